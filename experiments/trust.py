"""Simulation-based calibration, coverage and TARP of a posterior, for a record and a page."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jinn.inference.chunks import SamplesPosterior
from jinn.inference.diagnostics import UniformityTest, write_report

TESTS = ("SBC", "TARP", "central", "highest density")
"""Names of the tests, the last for posteriors that have a density."""


def judge(
    page: Path,
    posterior: SamplesPosterior,
    key: jax.Array,
    x: jax.Array,
    y: jax.Array,
    *,
    labels: Sequence[str],
    samples: int,
    level: float = 0.05,
) -> dict[str, Any]:
    """Tests a posterior on pairs (x, y) and writes the page of its diagnostics.

    Args:
        page: The HTML file.
        posterior: What is tested.
        key: A JAX key.
        x: True parameters (n, dim_x).
        y: Their observations (n, dim_y).
        labels: Names of the parameters.
        samples: Posterior samples for each observation.
        level: False-alarm rate of all tests together.

    Returns:
        By test: whether it passed, its smallest p-value over the parameters and the least that
        passes, that parameter, and the largest deviation of ranks or levels from uniform ones.
    """
    options: dict[str, Any] = {"labels": labels, "samples": samples, "level": level}
    results = write_report(page, posterior, x, y, key=key, **options).results
    names = ["SBC", "central", "TARP"]
    if len(results) > len(names):
        names.insert(1, "highest density")
    return {
        name: {
            "passed": test.passed,
            "smallest p": float(test.p_values.min()),
            "least allowed": test.level / len(test.p_values),
            "worst": test.labels[int(test.p_values.argmin())],
            "largest deviation": float(np.max(np.abs(test.ecdf - test.points[:, None]))),
        }
        for name, test in zip(names, results, strict=True)
        if isinstance(test, UniformityTest)
    }


def verdict(test: Mapping[str, Any]) -> str:
    """Whether a test passed, and its smallest p-value over the least that passes."""
    return (
        f"{'pass' if test['passed'] else 'FAIL'} {test['smallest p'] / test['least allowed']:.2g}"
    )

"""One page that says whether a posterior can be trusted."""

import base64
import html
import io
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array

from jinn.inference.chunks import SamplesPosterior, check_pairs
from jinn.inference.diagnostics.calibration import (
    check_level,
    expected_coverage,
    simulation_based_calibration,
    tarp,
)
from jinn.inference.diagnostics.pictures import new_axes
from jinn.inference.diagnostics.predictive import PredictiveCheck, posterior_predictive_check
from jinn.inference.diagnostics.typicality import TypicalityCheck, check_typicality
from jinn.inference.diagnostics.uniformity import UniformityTest
from jinn.inference.metrics import calibration_error
from jinn.networks.randomness import as_key

_MOST_ROWS = 50
_STYLE = (
    "body{font:15px sans-serif;max-width:60em;margin:2em auto;padding:0 1em}"
    "table{border-collapse:collapse}td,th{padding:.2em .8em;text-align:left;"
    "border-bottom:1px solid #ccc}.pass{color:#060}.fail{color:#a00}img{max-width:100%}"
)


class Report(NamedTuple):
    """What `write_report` found.

    Attributes:
        passed: Whether all diagnostics passed.
        level: False-alarm rate of ``passed``; each diagnostic has its share of it.
        results: The diagnostics.
        calibration_error: As `calibration_error` gives it.
        path: The page.
    """

    passed: bool
    level: float
    results: tuple[UniformityTest | PredictiveCheck | TypicalityCheck, ...]
    calibration_error: float
    path: Path


def write_report(
    path: str | os.PathLike,
    posterior: SamplesPosterior,
    x: ArrayLike,
    y: Any,
    *,
    observed: ArrayLike | None = None,
    simulate: Callable[[Array, Array], ArrayLike] | None = None,
    samples: int = 200,
    level: float = 0.05,
    labels: Sequence[str] | None = None,
    key: int | Array | None = None,
) -> Report:
    """Runs the diagnostics that the arguments allow and writes a self-contained HTML page.

    Those on pairs are always run, the coverage of regions of highest density only if the posterior
    has a ``log_prob``. The level is divided by the number of diagnostics, so that a good posterior
    and a typical observation fail in a share of at most ``level`` of cases.

    Args:
        path: The file; one of that name is replaced.
        posterior: What is tested, as in `simulation_based_calibration`.
        x: True parameters, shape (n, dim): with y, n independent draws of the joint distribution.
        y: Their observations, shape (n, dim_y), or a dict of arrays with n rows each.
        observed: Observations to check for typicality against y, shape (k, dim_y), where y is an
            array.
        simulate: The noisy simulator ``simulate(key, x)``, for a posterior predictive check of the
            observed data.
        samples: Posterior samples for each observation.
        level: False-alarm rate of all together.
        labels: Names of the parameters.
        key: A JAX random key, or an int to make one of; the default is 0.

    Returns:
        The `Report`.

    Raises:
        ValueError: As the diagnostics do, a simulator without observed data, or a path that
            cannot be written.
        ImportError: If matplotlib is not installed.
    """
    check_level("write_report", level)
    if simulate is not None and observed is None:
        raise ValueError(
            "write_report: expected observed=, the data that simulate= is to be compared with, got "
            "None."
        )
    path = _writable(path)
    check_pairs("write_report", x, y, samples)
    new_axes()  # before the work
    has_density = callable(getattr(posterior, "log_prob", None))
    share = level / (3 + has_density + (observed is not None) + (simulate is not None))
    keys = jax.random.split(as_key(0 if key is None else key, "write_report: key"), 6)
    common: dict[str, Any] = {"samples": samples, "level": share}
    named = {**common, "labels": labels}
    # What may not fit the rest comes first, before the work.
    about_observed: list[Any] = []
    if observed is not None:
        about_observed.append(check_typicality(observed, y, level=share))
    if observed is not None and simulate is not None:
        enough = max(samples, int(np.ceil(len(np.asarray(observed)) / share)))
        about_observed.append(
            posterior_predictive_check(
                posterior, simulate, observed, samples=enough, level=share, key=keys[4]
            )
        )
    results: list[Any] = [
        simulation_based_calibration(posterior, x, y, **named, key=keys[0]),
        expected_coverage(posterior, x, y, regions="central", **named, key=keys[1]),
        tarp(posterior, x, y, **common, key=keys[2]),
    ]
    if has_density:
        results.insert(1, expected_coverage(posterior, x, y, **common, key=keys[3]))
    results += about_observed
    error = float(calibration_error(posterior, x, y, samples=samples, key=keys[5]))
    passed = all(result.passed for result in results)
    report = Report(passed, level, tuple(results), error, path)
    report.path.write_text(_page(report, len(jnp.asarray(x))), encoding="utf-8")
    return report


def _writable(path: str | os.PathLike) -> Path:
    path = Path(path)
    if path.is_dir() or not path.parent.is_dir() or not os.access(path.parent, os.W_OK):
        raise ValueError(
            f"write_report: {path} cannot be written; expected a file in a folder that exists and "
            "can be written to."
        )
    return path


def _page(report: Report, pairs: int) -> str:
    rows = "".join(
        f"<tr><td>{html.escape(result.name)}</td><td>{_verdict(result.passed)}</td>"
        f"<td>{np.min(result.p_values):.4g}</td><td>{result.level:.4g}</td></tr>"
        for result in report.results
    )
    sections = "".join(_section(result) for result in report.results)
    return (
        "<!DOCTYPE html><html lang='en'><head><meta charset='utf-8'><title>Posterior diagnostics"
        f"</title><style>{_STYLE}</style></head><body><h1>Posterior diagnostics: "
        f"{_verdict(report.passed)}</h1><p>{pairs} pairs (x, y). A posterior that is exact fails "
        f"in a share of at most {report.level:.4g} of cases, over all diagnostics together. A pass "
        "means that no fault was found with this many pairs. Calibration error (median over "
        f"confidences): {report.calibration_error:.4f}.</p><table><tr><th>diagnostic</th>"
        "<th>verdict</th><th>smallest p-value, not adjusted</th><th>level</th></tr>"
        f"{rows}</table>{sections}</body></html>"
    )


def _section(result: Any) -> str:
    pictures = [_picture(result.draw)]
    if isinstance(result, UniformityTest):
        pictures.append(_picture(result.draw_histogram))
        labels: Sequence[Any] = result.labels
    else:
        labels = range(len(result.p_values))
    rows = "".join(
        f"<tr><td>{html.escape(str(label))}</td><td>{p:.4g}</td></tr>"
        for label, p in list(zip(labels, result.p_values, strict=True))[:_MOST_ROWS]
    )
    more = len(result.p_values) - _MOST_ROWS
    note = f"<p>{more} more are left out.</p>" if more > 0 else ""
    return (
        f"<h2>{html.escape(result.name)}: {_verdict(result.passed)}</h2>{''.join(pictures)}"
        f"<table><tr><th></th><th>p-value</th></tr>{rows}</table>{note}"
    )


def _picture(draw: Callable[[], Any]) -> str:
    file = io.BytesIO()
    draw().figure.savefig(file, format="png", dpi=90)
    data = base64.b64encode(file.getvalue()).decode()
    return f"<img alt='' src='data:image/png;base64,{data}'>"


def _verdict(passed: bool) -> str:
    return "<span class='pass'>pass</span>" if passed else "<span class='fail'>fail</span>"

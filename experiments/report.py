"""The results as a table to read and as JSON to keep."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from rich import box
from rich.console import Group
from rich.table import Table
from rich.text import Text

from experiments.comparison import Outcome
from experiments.inverse_problem import InverseProblem
from experiments.record import environment
from experiments.settings import Settings
from experiments.trust import verdict

METRICS = ("Err_post", "Err_post biased", "Err_resim")


def make_table(problem: InverseProblem, outcome: Outcome, settings: Settings) -> Group:
    """Lays the measured errors out beside the published ones, for 80 columns."""
    title = f"{problem.title}: {len(outcome.y)} observations x {settings.samples} samples"
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=0)
    table.add_column("sampler", no_wrap=True)
    for header in (
        "Err_post\nunbiased",
        "Err_post\nbiased",
        "Err_resim\n",
        "calibr.\nerror",
        "para-\nmeters",
        "train.\nsec.",
        "samples\na sec.",
    ):
        table.add_column(header, justify="right", no_wrap=True)
    for name, label in (
        ("network", settings.title),
        ("network, rounded", f"  {', '.join(problem.integers)} rounded"),
        ("ABC again", "second ABC run"),
        ("prior", "prior, ignores y"),
    ):
        if name not in outcome.errors:
            continue
        means = {metric: values.mean() for metric, values in outcome.errors[name].items()}
        row = [_number(means.get(metric)) for metric in METRICS]
        if name == "network":
            row += [
                f"{outcome.calibration_error:.2%}",
                f"{outcome.network['parameters']:,}",
                f"{outcome.network['training_seconds']:.0f}",
                f"{outcome.network['samples_per_second']:,.0f}",
            ]
        table.add_row(label, *row, style="bold" if name == "network" else None)
    table.add_section()
    sources = _sources(problem)
    for method, errors, source in problem.published:
        row = [_number(errors.get(metric)) for metric in METRICS]
        table.add_row(Text(f"{method} [{sources.index(source) + 1}]"), *row)
    return Group(table, Text(_notes(problem, outcome, settings)))


def _sources(problem: InverseProblem) -> list[str]:
    return list(dict.fromkeys(published.source for published in problem.published))


def _notes(problem: InverseProblem, outcome: Outcome, settings: Settings) -> str:
    lines = [
        "Err_post: MMD^2 to exact ABC samples (inverse multiquadratic kernel, lengths",
        "    0.05, 0.2, 0.9). A second ABC run shows its floor.",
        "Err_resim: mean squared distance of f(x) from y. The tolerance of "
        f"{settings.tolerance:g} alone",
        f"    gives ABC {problem.dim_y * settings.tolerance**2:.1e}.",
        f"Calibration error: median over 100 confidences, {settings.calibration_observations} "
        "observations.",
    ]
    if outcome.trust:
        found = ", ".join(f"{name} {verdict(test)}" for name, test in outcome.trust.items())
        lines += [f"Diagnostics: {found}", "    (the smallest p-value over the least that passes)."]
    if problem.integers:
        names = ", ".join(problem.integers)
        lines.append(f"{names}: whole in the prior, real to the network. Err_resim is as sampled.")
    if "evaluations_per_sample" in outcome.network:
        evaluations = outcome.network["evaluations_per_sample"]
        lines.append(f"A sample takes {evaluations:.0f} evaluations of networks.")
    for what, counts in outcome.counts.items():
        total = len(outcome.y) * settings.samples
        lines.append(f"{counts['network']:,} of the network's {total:,} samples {what}.")
    if outcome.left_out:
        lines.append(
            f"{outcome.left_out} of {settings.observations} observations are left out: their "
            "ground truth fell short of its samples."
        )
    lines += [f"[{index}] {source}" for index, source in enumerate(_sources(problem), start=1)]
    return "\n".join(lines) + "\n"


def save_json(
    path: Path, problem: InverseProblem, outcome: Outcome, settings: Settings, command: str
) -> None:
    """Writes results, values for each observation, settings, and what is needed to repeat them."""
    means = {
        sampler: {
            metric: {"mean": values.mean(), "standard_error": values.std() / len(values) ** 0.5}
            for metric, values in metrics.items()
        }
        for sampler, metrics in outcome.errors.items()
    }
    record = {
        "experiment": problem.name,
        "command": command,
        "settings": asdict(settings),
        "results": {
            "errors": means,
            "calibration_error": outcome.calibration_error,
            "observations_left_out": outcome.left_out,
            **({"trust": outcome.trust} if outcome.trust else {}),
            **({"counts": outcome.counts} if outcome.counts else {}),
            **outcome.network,
        },
        "published": [
            {"method": method, "source": source, **errors}
            for method, errors, source in problem.published
        ],
        "environment": environment(),
        "calibration_curve": outcome.calibration,
        "per_observation": {"y": outcome.y, **outcome.errors},
    }
    path.write_text(json.dumps(_plain(record), indent=1) + "\n")


def _number(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:.1e}" if abs(value) < 1e-3 else f"{value:.4f}"


def _plain(value: Any) -> Any:
    """Turns arrays into lists, and NaN, which JSON lacks, into None."""
    if isinstance(value, dict):
        return {name: _plain(entry) for name, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    if isinstance(value, np.ndarray | np.generic):
        return _plain(value.tolist())
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value

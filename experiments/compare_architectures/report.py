"""The tables, for the terminal and for a page, and the pictures."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
from rich.box import SIMPLE_HEAD
from rich.table import Table

from experiments.compare_architectures.methods import METHODS
from experiments.compare_architectures.published import CAVEAT, PAPER, PUBLISHED
from experiments.inverse_problem import InverseProblem

Runs = Mapping[str, Mapping[str, Any]]
REFERENCES = {"ABC": "a second ABC run", "prior": "prior, ignores y"}
COLUMNS = (
    "method",
    "Err_post",
    "biased",
    "Err_resim",
    "calibration",
    "parameters",
    "training s",
    "ms / 1000 samples",
    "published Err_post",
    "published Err_resim",
)
INN_COLUMNS = (
    "method",
    "Err_post",
    "Err_resim",
    "MMD of z",
    "threshold",
    "MMD of (z, y)",
    "threshold",
    "correlation",
    "forward error",
)


def by_method(runs: Runs) -> dict[str, list[Mapping[str, Any]]]:
    """Groups runs named METHOD-seedN, in the order of the methods and of the seeds."""
    found: dict[str, list[tuple[int, Mapping[str, Any]]]] = {}
    for name, record in runs.items():
        method, _, seed = name.partition("-seed")
        if seed:
            found.setdefault(method, []).append((int(seed), record))
    order = [method for method in METHODS if method in found]
    return {method: [record for _, record in sorted(found[method])] for method in order}


def rows(problem: InverseProblem, runs: Runs) -> list[list[str]]:
    """The rows of a problem's table, means over the seeds with their spread.

    Of the times the least is shown: other work on the machine only adds to them.
    """
    table = []
    for method, records in by_method(runs).items():
        if METHODS[method].ablation:
            continue
        published = PUBLISHED[problem.name].get(METHODS[method].published or "", ())
        table.append(
            [
                METHODS[method].label,
                *(over_seeds(errors(records, metric)) for metric in METRICS),
                over_seeds([100 * record["calibration_error"] for record in records]) + " %",
                f"{records[0]['parameters']:,}",
                f"{min(record['training_seconds'] for record in records):.0f}",
                f"{min(record['milliseconds_per_1000_samples'] for record in records):.2g}",
                *(f"{value:g}" for value in published),
            ]
        )
        if problem.integers:
            rounded = (f"{metric}, rounded" for metric in METRICS[:2])
            label = f"  {', '.join(problem.integers)} rounded"
            table.append([label, *(over_seeds(errors(records, metric)) for metric in rounded)])
    for name, label in REFERENCES.items():
        if name in runs:
            table.append([label, *(number(errors([runs[name]], m)[0]) for m in METRICS)])
    return [row + [""] * (len(COLUMNS) - len(row)) for row in table]


METRICS = ("Err_post", "Err_post biased", "Err_resim")


def inn_rows(runs: Runs) -> list[list[str]]:
    """The rows of the INNs' table: their losses, their latents and their forward process."""
    table = []
    for method, records in by_method(runs).items():
        latents = [record["latent"] for record in records if "latent" in record]
        if latents:
            table.append(
                [
                    METHODS[method].label,
                    *(over_seeds(errors(records, metric)) for metric in ("Err_post", "Err_resim")),
                    *(
                        over_seeds([latent[name] for latent in latents])
                        for name in (
                            "mmd",
                            "mmd_threshold",
                            "joint_mmd",
                            "joint_threshold",
                            "correlation",
                            "forward_error",
                        )
                    ),
                ]
            )
    return table


def errors(records: Sequence[Mapping[str, Any]], metric: str) -> list[float]:
    """The mean error of each run."""
    return [record["errors"][metric]["mean"] for record in records]


def over_seeds(values: Sequence[float]) -> str:
    """The mean, and from two values on the standard deviation."""
    mean = number(float(np.mean(values)))
    return mean if len(values) < 2 else f"{mean} ± {number(float(np.std(values, ddof=1)))}"


def number(value: float) -> str:
    """Two to three digits that matter."""
    return f"{value:.1e}" if 0 < abs(value) < 1e-3 else f"{value:.3g}"


def make_table(problem: InverseProblem, runs: Runs) -> Table:
    """The table for the terminal, for 80 columns: means alone, less what most rows share."""
    title = f"{problem.title}: means over seeds, their spread is in the page"
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, padding=0)
    headers = {
        "method": "\nmethod",
        "Err_post": "Err_post\nunbiased",
        "Err_resim": "\nErr_resim",
        "calibration": "calibr.\nerror",
        "training s": "train.\nsec.",
        "published Err_post": "publ.\npost",
        "published Err_resim": "publ.\nresim",
    }
    for column, header in headers.items():
        table.add_column(header, justify="left" if column == "method" else "right", no_wrap=True)
    for row in rows(problem, runs):
        cells: dict[str, str] = dict(zip(COLUMNS, row, strict=True))
        table.add_row(*(re.sub(r" ± \S+", "", cells[column]) for column in headers))
    return table


def markdown(problem: InverseProblem, runs: Runs) -> str:
    """The tables for a page."""
    parts = [f"### {problem.title}", _page_table(COLUMNS, rows(problem, runs))]
    if inn_rows(runs):
        parts.append(_page_table(INN_COLUMNS, inn_rows(runs)))
    return "\n\n".join([*parts, f"Published: {PAPER}. {CAVEAT}"]) + "\n"


def _page_table(columns: Sequence[str], cells: Sequence[Sequence[str]]) -> str:
    lines = [columns, ["---"] * len(columns), *cells]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def titles() -> dict[str, str]:
    """Titles of the pictures' panels, by method, "ABC" or "prior"."""
    labels = {name: method.label for name, method in METHODS.items() if not method.ablation}
    return {"prior": "prior", "ABC": "ground truth (ABC)"} | labels


def draw(path: Path, problem: InverseProblem, examples: Mapping[str, np.ndarray]) -> None:
    """Draws each method's posterior of the problem's example, side by side.

    Args:
        path: The picture.
        problem: The inverse problem.
        examples: By method, or "ABC" and "prior": samples (n, dim_x).
    """
    shown = {name: title for name, title in titles().items() if name in examples}
    columns = min(5, len(shown))
    count = -(-len(shown) // columns)
    figure, axes = plt.subplots(
        count,
        columns,
        figsize=(3.2 * columns, 3.2 * count),
        layout="constrained",
        sharex=True,
        sharey=True,
        squeeze=False,
    )
    for ax in axes.flat[len(shown) :]:
        ax.axis("off")
    for ax, (name, title) in zip(axes.flat, shown.items(), strict=False):
        problem.draw(ax, examples[name])
        ax.set_title(title, fontsize=10)
    figure.supxlabel("horizontal position")
    figure.supylabel("vertical position")
    figure.savefig(path, dpi=90)
    plt.close(figure)

"""The picture of all densities and their models."""

from collections.abc import Mapping
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np

from experiments.density2d.measure import VIEW


def draw(
    path: Path,
    problems: list[str],
    columns: list[str],
    panels: Mapping[tuple[str, str], Mapping[str, np.ndarray]],
) -> None:
    """Draws samples, and below them the density, by problem (rows) and flow (columns).

    Args:
        path: Where the picture goes.
        problems: Names of the problems.
        columns: Names of the columns.
        panels: By problem and column: ``samples`` `(n, 2)` and ``density`` on a grid; what misses
            is left empty.
    """
    figure, axes = plt.subplots(
        2 * len(problems),
        len(columns),
        figsize=(1.5 * len(columns), 3 * len(problems) + 0.3),
        squeeze=False,
        layout="constrained",
    )
    for i, problem in enumerate(problems):
        highest = panels[problem, columns[0]]["density"].max()
        for j, column in enumerate(columns):
            above, below = axes[2 * i, j], axes[2 * i + 1, j]
            for axis in (above, below):
                axis.set(xlim=(-VIEW, VIEW), ylim=(-VIEW, VIEW), xticks=[], yticks=[])
                axis.set_aspect("equal")
            if i == 0:
                above.set_title(
                    column.replace("neural_spline", "spline").replace("_", " "), fontsize=9
                )
            if j == 0:
                above.set_ylabel(problem.replace("_", " "), fontsize=9)
            panel = panels.get((problem, column))
            if panel is None:
                continue
            above.plot(*panel["samples"].T, ",", color="tab:blue", alpha=0.6)
            below.imshow(
                panel["density"],
                extent=(-VIEW, VIEW, -VIEW, VIEW),
                origin="lower",
                vmin=0,
                vmax=1.2 * highest,
                cmap="magma",
            )
    figure.savefig(path, dpi=100)
    plt.close(figure)

"""The picture of samples for each label."""

from collections.abc import Mapping
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.patches import Circle

from experiments.gaussian_mixture.problem import DEVIATION, MODES

VIEW = 4.2
TITLES = {
    "exact": "ground truth",
    "inn": "INN, all losses",
    "inn_only_y_z": "INN, only L_y + L_z",
    "inn_only_x": "INN, only L_x",
    "cinn": "cINN",
}


def draw(
    path: Path,
    labelings: list[str],
    columns: list[str],
    panels: Mapping[tuple[str, str], Mapping[str, np.ndarray]],
) -> None:
    """Draws samples, coloured by the label they were drawn for, around circles of two deviations.

    Args:
        path: Where the picture goes.
        labelings: The rows.
        columns: The columns, keys of `TITLES`.
        panels: By labeling and column, ``samples`` `(n, 2)` and ``labels`` `(n,)`; what misses is
            left empty.
    """
    figure, axes = plt.subplots(
        len(labelings),
        len(columns),
        figsize=(2.2 * len(columns), 2.2 * len(labelings) + 0.3),
        squeeze=False,
        layout="constrained",
    )
    for axis, column in zip(axes[0], columns, strict=True):
        axis.set_title(TITLES[column], fontsize=9)
    for row, labeling in zip(axes, labelings, strict=True):
        row[0].set_ylabel(f"labels: {labeling}", fontsize=9)
        for axis, column in zip(row, columns, strict=True):
            axis.set(xlim=(-VIEW, VIEW), ylim=(-VIEW, VIEW), xticks=[], yticks=[], aspect="equal")
            for mode in MODES:
                axis.add_patch(Circle(mode, 2 * DEVIATION, fill=False, color="0.75", linewidth=0.8))
            panel = panels.get((labeling, column))
            if panel is not None:
                colors = plt.get_cmap("Dark2")(panel["labels"])
                axis.scatter(*panel["samples"].T, s=2, c=colors, linewidths=0)
    figure.savefig(path, dpi=110)
    plt.close(figure)

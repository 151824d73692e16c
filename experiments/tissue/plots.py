"""The pictures: the posterior of one spectrum, its correlations, and the map of the scene."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np

from experiments.tissue.parameters import MEAN, STD, SUPPORT
from experiments.tissue.problem import NAMES
from experiments.tissue.scene import masks

COLORS = {"cinn": "tab:blue", "inn": "tab:green", "abc": "tab:orange"}


def draw_marginals(path: Path, panels: Mapping[str, Any]) -> None:
    """Draws the marginal posteriors of the first unseen spectrum by each method over the prior."""
    figure, axes = plt.subplots(3, 5, figsize=(14, 7), layout="constrained")
    for ax in axes.flat[len(NAMES) :]:
        ax.axis("off")
    for column, (ax, name) in enumerate(zip(axes.flat, NAMES, strict=False)):
        low, high = (end[column] for end in SUPPORT)
        if np.isfinite(high):
            ax.fill_between([low, high], 1 / (high - low), color="0.88", label="prior")
        else:
            low, high = MEAN[column] + 3.2 * STD[column] * np.array([-1, 1])
            grid = np.linspace(low, high, 101)
            z = (grid - MEAN[column]) / STD[column]
            density = np.exp(-0.5 * z**2) / (np.sqrt(2 * np.pi) * STD[column])
            ax.fill_between(grid, density, color="0.88", label="prior")
        for method, panel in panels.items():
            ax.hist(
                panel["samples"][:, column],
                np.linspace(low, high, 31),
                density=True,
                histtype="step",
                color=COLORS[method],
                label=method,
            )
        ax.axvline(next(iter(panels.values()))["truth"][column], color="black", lw=1, label="truth")
        ax.set(title=name, yticks=[])
    handles, labels = axes.flat[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="lower right")
    figure.savefig(path, dpi=100)
    plt.close(figure)


def draw_correlations(path: Path, samples: np.ndarray) -> None:
    """Draws the correlation matrix of the posterior of one spectrum."""
    figure, ax = plt.subplots(figsize=(7, 6), layout="constrained")
    image = ax.imshow(np.corrcoef(samples.T), vmin=-1, vmax=1, cmap="RdBu_r")
    ax.set_xticks(range(len(NAMES)), NAMES, rotation=90)
    ax.set_yticks(range(len(NAMES)), NAMES)
    figure.colorbar(image)
    figure.savefig(path, dpi=100)
    plt.close(figure)


def draw_scene(path: Path, panel: Mapping[str, np.ndarray]) -> None:
    """Draws the oxygenation of the scene, its posterior mean and deviation, and the error."""
    truth = panel["oxygenation"]
    pictures = {
        "oxygenation": (truth, 1.0, "viridis"),
        "posterior mean": (panel["mean"], 1.0, "viridis"),
        "posterior deviation": (panel["deviation"], 0.3, "magma"),
        "absolute error of the mean": (np.abs(panel["mean"] - truth), 0.3, "magma"),
    }
    figure, axes = plt.subplots(1, 4, figsize=(16, 3.8), layout="constrained")
    vessel, clamped, _ = masks(len(truth))
    for ax, (title, (values, high, colors)) in zip(axes, pictures.items(), strict=True):
        figure.colorbar(ax.imshow(values, vmin=0, vmax=high, cmap=colors), ax=ax)
        for mask, color in ((clamped, "white"), (vessel, "red")):
            ax.contour(mask, levels=[0.5], colors=color, linewidths=0.8)
        ax.set(title=title, xticks=[], yticks=[])
    figure.savefig(path, dpi=100)
    plt.close(figure)

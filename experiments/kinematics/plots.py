"""The pictures: arms that reach one end point, and the posterior's marginals."""

from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection

from experiments.kinematics.problem import joints

X_LIMITS, Y_LIMITS = (-0.35, 2.25), (-1.3, 1.3)
ARMS = 300
BANDWIDTH = 0.1
NAMES = ("rail height", "angle 1", "angle 2", "angle 3")
TRUTH, NETWORK = "tab:orange", "tab:blue"


def draw_arms(path: Path, example: dict[str, np.ndarray], y: tuple[float, float]) -> None:
    """Draws poses of the prior, the ground truth and the network for one end point y."""
    titles = {"prior": "prior", "ABC": "ground truth (ABC)", "network": "network"}
    figure, axes = plt.subplots(1, 3, figsize=(12, 4.8), layout="constrained", sharey=True)
    for ax, (name, title) in zip(axes, titles.items(), strict=True):
        _draw_panel(ax, example[name], y)
        ax.set_title(title)
        ax.set_xlabel("horizontal position")
    axes[0].set_ylabel("vertical position")
    axes[0].legend(loc="lower left")
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _draw_panel(ax: Axes, x: np.ndarray, y: tuple[float, float]) -> None:
    arms = np.asarray(joints(jnp.asarray(x)))
    ax.axvline(0.0, color="0.75", linewidth=4, zorder=0)
    ax.add_collection(LineCollection(list(arms[:ARMS]), colors="tab:blue", alpha=0.09))
    ax.scatter(*arms[:ARMS, -1].T, s=4, color="tab:blue", alpha=0.25, linewidths=0)
    exemplar = arms[most_likely(x)]
    ax.plot(*exemplar.T, "-o", color="black", linewidth=2.5, markersize=5, label="densest pose")
    ax.plot(
        *y, "x", color="tab:red", markersize=11, markeredgewidth=2.5, label="end point", zorder=5
    )
    ax.set(xlim=X_LIMITS, ylim=Y_LIMITS, aspect="equal")


def most_likely(x: np.ndarray) -> int:
    """Finds the sample of highest Gaussian kernel density, of bandwidth 0.1."""
    d2 = np.sum((x[:, None] - x[None]) ** 2, axis=-1)
    return int(np.argmax(np.sum(np.exp(-0.5 * d2 / BANDWIDTH**2), axis=1)))


def draw_marginals(path: Path, example: dict[str, np.ndarray], y: tuple[float, float]) -> None:
    """Draws all one- and two-dimensional marginals of the ground truth and of the network."""
    samples = {"ABC": (example["ABC"], TRUTH), "network": (example["network"], NETWORK)}
    pooled = np.concatenate([x for x, _ in samples.values()])
    limits = np.quantile(pooled, (0.001, 0.999), axis=0).T
    limits += 0.08 * np.diff(limits, axis=1) * np.array([-1.0, 1.0])
    figure, axes = plt.subplots(4, 4, figsize=(8.5, 8.5), layout="constrained", sharex="col")
    for row in range(4):
        for column in range(4):
            ax = axes[row, column]
            if column > row:
                ax.axis("off")
                continue
            for name, (x, color) in samples.items():
                if row == column:
                    bins = np.linspace(limits[row, 0], limits[row, 1], 41)
                    ax.hist(x[:, row], bins, histtype="step", density=True, color=color, label=name)
                else:
                    ax.scatter(x[:, column], x[:, row], s=3, color=color, alpha=0.3, linewidths=0)
                    ax.set_ylim(*limits[row])
            ax.set_xlim(*limits[column])
            if row == column:
                ax.set_yticks([])
            if row == 3:
                ax.set_xlabel(NAMES[column])
            if column == 0 and row > 0:
                ax.set_ylabel(NAMES[row])
            elif column > 0 and row != column:
                ax.set_yticklabels([])
    handles, labels = axes[0, 0].get_legend_handles_labels()
    labels = ["ground truth (ABC)", "network"]
    figure.legend(handles, labels, loc="upper right", frameon=False)
    figure.suptitle(f"Posterior of the pose for the end point {y}")
    figure.savefig(path, dpi=110)
    plt.close(figure)

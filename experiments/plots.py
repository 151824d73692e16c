"""The pictures: what the samples of one observation look like, and their marginals."""

from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np

from experiments.inverse_problem import InverseProblem

TRUTH, NETWORK = "tab:orange", "tab:blue"


def draw_panels(path: Path, problem: InverseProblem, example: dict[str, np.ndarray]) -> None:
    """Draws samples of the prior, the ground truth and the network for the example, in panels."""
    titles = {"prior": "prior", "ABC": "ground truth (ABC)", "network": "network"}
    figure, axes = plt.subplots(1, 3, figsize=(12, 4.8), layout="constrained", sharey=True)
    for ax, (name, title) in zip(axes, titles.items(), strict=True):
        problem.draw(ax, example[name])
        ax.set_title(title)
        ax.set_xlabel("horizontal position")
    axes[0].set_ylabel("vertical position")
    axes[0].legend(loc=problem.legend)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def most_likely(x: np.ndarray, bandwidth: float | np.ndarray) -> int:
    """Finds the sample of highest Gaussian kernel density, for one or dim_x bandwidths."""
    d2 = np.sum(((x[:, None] - x[None]) / bandwidth) ** 2, axis=-1)
    return int(np.argmax(np.sum(np.exp(-0.5 * d2), axis=1)))


def draw_marginals(path: Path, problem: InverseProblem, example: dict[str, np.ndarray]) -> None:
    """Draws all one- and two-dimensional marginals of the ground truth and of the network."""
    samples = {"ABC": (example["ABC"], TRUTH), "network": (example["network"], NETWORK)}
    pooled = np.concatenate([x for x, _ in samples.values()])
    limits = np.quantile(pooled, (0.001, 0.999), axis=0).T
    limits += 0.08 * np.diff(limits, axis=1) * np.array([-1.0, 1.0])
    dim = problem.dim_x
    figure, axes = plt.subplots(dim, dim, figsize=(8.5, 8.5), layout="constrained", sharex="col")
    for row in range(dim):
        for column in range(dim):
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
            if row == dim - 1:
                ax.set_xlabel(problem.parameters[column])
            if column == 0 and row > 0:
                ax.set_ylabel(problem.parameters[row])
            elif column > 0 and row != column:
                ax.set_yticklabels([])
    handles, labels = axes[0, 0].get_legend_handles_labels()
    labels = ["ground truth (ABC)", "network"]
    figure.legend(handles, labels, loc="upper right", frameon=False)
    y = problem.example_y if problem.dim_y > 1 else problem.example_y[0]
    figure.suptitle(f"Posterior of the {problem.cause} for the {problem.effect} {y}")
    figure.savefig(path, dpi=110)
    plt.close(figure)

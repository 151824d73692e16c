"""The picture of the accuracies."""

from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np


def draw_accuracies(path: Path, runs: list[dict[str, Any]]) -> None:
    """Draws C2ST over the number of simulations: each observation, their mean, the published.

    Args:
        path: Where the picture goes.
        runs: Records of the runs.
    """
    problems = sorted({run["problem"] for run in runs})
    figure, axes = plt.subplots(
        1, len(problems), figsize=(4.5 * len(problems), 3.6), sharey=True, squeeze=False
    )
    for axis, problem in zip(axes[0], problems, strict=True):
        own = [run for run in runs if run["problem"] == problem]
        budgets = sorted({run["simulations"] for run in own})
        values = [
            [v for run in own if run["simulations"] == n for v in run["c2st"].values()]
            for n in budgets
        ]
        for n, accuracies in zip(budgets, values, strict=True):
            axis.plot([n] * len(accuracies), accuracies, ".", color="tab:blue", alpha=0.4)
        axis.plot(budgets, [np.mean(v) for v in values], "o-", color="tab:blue", label="jinn")
        known = {run["simulations"]: run["published"] for run in own if run["published"]}
        if known:
            line = sorted(known.items())
            axis.plot(*zip(*line, strict=True), "s--", color="tab:gray", label="published NPE")
        axis.axhline(0.5, color="black", linewidth=0.8)
        axis.set(xscale="log", title=problem, xlabel="simulations", ylim=(0.48, 1.0))
        axis.legend()
    axes[0, 0].set_ylabel("C2ST")
    figure.tight_layout()
    figure.savefig(path, dpi=120)
    plt.close(figure)

"""The picture: arms that reach one end point."""

import jax.numpy as jnp
import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection

from experiments.kinematics.problem import EXAMPLE_Y, joints
from experiments.plots import most_likely

X_LIMITS, Y_LIMITS = (-0.35, 2.25), (-1.3, 1.3)
ARMS = 300
BANDWIDTH = 0.1


def draw_arms(ax: Axes, x: np.ndarray) -> None:
    """Draws poses x, shape (n, 4), and the end point `EXAMPLE_Y`."""
    arms = np.asarray(joints(jnp.asarray(x)))
    ax.axvline(0.0, color="0.75", linewidth=4, zorder=0)
    ax.add_collection(LineCollection(list(arms[:ARMS]), colors="tab:blue", alpha=0.09))
    ax.scatter(*arms[:ARMS, -1].T, s=4, color="tab:blue", alpha=0.25, linewidths=0)
    exemplar = arms[most_likely(x, BANDWIDTH)]
    ax.plot(*exemplar.T, "-o", color="black", linewidth=2.5, markersize=5, label="densest pose")
    ax.plot(
        *EXAMPLE_Y,
        "x",
        color="tab:red",
        markersize=11,
        markeredgewidth=2.5,
        label="end point",
        zorder=5,
    )
    ax.set(xlim=X_LIMITS, ylim=Y_LIMITS, aspect="equal")

"""The picture: throws that land at one place."""

import jax.numpy as jnp
import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection

from experiments.ballistics.problem import EXAMPLE_Y, impact_time, position
from experiments.plots import most_likely

X_LIMITS, Y_LIMITS = (-2.0, 15.0), (-0.4, 10.0)
THROWS, INSTANTS = 300, 60
BANDWIDTH = np.array([0.15, 0.15, 0.1, 1.0])


def draw_throws(ax: Axes, x: np.ndarray) -> None:
    """Draws the flights of throws x, shape (n, 4), and the impact `EXAMPLE_Y`."""
    flights = trajectories(x)
    ax.axhline(0.0, color="0.75", linewidth=4, zorder=0)
    ax.add_collection(LineCollection(list(flights[:THROWS]), colors="tab:blue", alpha=0.09))
    ax.scatter(*flights[:THROWS, 0].T, s=4, color="tab:blue", alpha=0.25, linewidths=0)
    exemplar = flights[most_likely(x, BANDWIDTH)]
    ax.plot(*exemplar.T, color="black", linewidth=2.5, label="densest throw")
    ax.plot(
        *EXAMPLE_Y,
        0.0,
        "x",
        color="tab:red",
        markersize=11,
        markeredgewidth=2.5,
        label="impact",
        zorder=5,
    )
    ax.set(xlim=X_LIMITS, ylim=Y_LIMITS)


def trajectories(x: np.ndarray) -> np.ndarray:
    """Gives places from the throw to the impact, (n, 4) -> (n, `INSTANTS`, 2)."""
    throws = jnp.asarray(x)[:, None]
    times = impact_time(throws) * jnp.linspace(0.0, 1.0, INSTANTS)[None]
    return np.asarray(position(throws, times))

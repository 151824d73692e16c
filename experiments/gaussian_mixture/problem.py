"""The eight modes and their labels, and exact samples for each label.

Analyzing Inverse Problems with Invertible Neural Networks (Ardizzone, Kruse, Wirkert, Rahner,
Pellegrini, Klessen, Maier-Hein, Rother, Kothe, 2019), https://arxiv.org/abs/1808.04730.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

_NEAR, _FAR = 1.0, 1.0 + math.sqrt(2.0)
MODES = np.array(
    [
        (-_FAR, _NEAR),
        (-_NEAR, _FAR),
        (_NEAR, _FAR),
        (_FAR, _NEAR),
        (_FAR, -_NEAR),
        (_NEAR, -_FAR),
        (-_NEAR, -_FAR),
        (-_FAR, -_NEAR),
    ],
    np.float32,
)
"""Means of the eight equally likely normals: an octagon of side 2, clockwise."""
DEVIATION = 0.2
CATEGORIES = 8
"""Labels are one of eight, also where fewer occur."""
LABELINGS = {
    "all": (0, 1, 2, 3, 4, 5, 6, 7),
    "some": (0, 0, 0, 0, 1, 1, 2, 3),
    "none": (0, 0, 0, 0, 0, 0, 0, 0),
}
"""The label of each mode."""


def simulate(key: Array, n: int, labeling: str) -> tuple[Float[Array, "n 2"], Int[Array, " n"]]:
    """Draws points of all modes, with their labels."""
    mode_key, noise_key = jax.random.split(key)
    modes = jax.random.randint(mode_key, (n,), 0, len(MODES))
    return _around(noise_key, modes), jnp.asarray(LABELINGS[labeling])[modes]


def exact_samples(key: Array, n: int, labeling: str) -> Float[Array, "n labels 2"]:
    """Draws n points of p(x | label) for each label that occurs, in ascending order."""
    samples = []
    for label in occurring(labeling):
        mode_key, noise_key = jax.random.split(jax.random.fold_in(key, label))
        modes = jax.random.choice(mode_key, jnp.asarray(modes_of(labeling, label)), (n,))
        samples.append(_around(noise_key, modes))
    return jnp.stack(samples, axis=1)


def occurring(labeling: str) -> list[int]:
    """The labels that occur."""
    return sorted(set(LABELINGS[labeling]))


def probabilities(labeling: str) -> np.ndarray:
    """How likely each label is that occurs."""
    return np.bincount(LABELINGS[labeling]) / len(MODES)


def modes_of(labeling: str, label: int) -> np.ndarray:
    """The indices of a label's modes."""
    return np.flatnonzero(np.array(LABELINGS[labeling]) == label)


def _around(key: Array, modes: Int[Array, " n"]) -> Float[Array, "n 2"]:
    return jnp.asarray(MODES)[modes] + DEVIATION * jax.random.normal(key, (len(modes), 2))

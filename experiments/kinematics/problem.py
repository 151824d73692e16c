"""The arm: its prior, its forward process, and the posterior's density.

An arm of three segments hangs on a vertical rail. Its pose is x = (height on the rail, three joint
angles, each relative to the segment before), with a Gaussian prior; y is the position of its end,
(horizontal, vertical).

Reference:
    Benchmarking Invertible Architectures on Inverse Problems. Kruse, Ardizzone, Rother, Koethe,
    2021. https://arxiv.org/abs/2101.10763 (y in the order of its code; its text swaps the entries)
"""

import jax
import jax.numpy as jnp
import numpy as np

LENGTHS = np.array([0.5, 0.5, 1.0], np.float32)
PRIOR_STD = np.array([0.25, 0.5, 0.5, 0.5], np.float32)
DIM_X = 4

EXAMPLE_Y = (1.5, 0.0)
"""The end point of the pictures, one that few poses of the prior reach."""


def reach(angles: jax.Array) -> jax.Array:
    """Gives the arm's end relative to its mount on the rail, (..., 3) -> (..., 2)."""
    phi = jnp.cumsum(angles, axis=-1)
    return jnp.stack([jnp.cos(phi) @ LENGTHS, jnp.sin(phi) @ LENGTHS], axis=-1)


def forward(x: jax.Array) -> jax.Array:
    """Gives the position of the arm's end, (..., 4) -> (..., 2)."""
    return _mount(x) + reach(x[..., 1:])


def joints(x: jax.Array) -> jax.Array:
    """Gives the positions of mount, two inner joints and end, (..., 4) -> (..., 4, 2)."""
    phi = jnp.cumsum(x[..., 1:], axis=-1)
    lengths = jnp.broadcast_to(LENGTHS, phi.shape)
    segments = jnp.stack([lengths * jnp.cos(phi), lengths * jnp.sin(phi)], axis=-1)
    steps = jnp.concatenate([_mount(x)[..., None, :], segments], axis=-2)
    return jnp.cumsum(steps, axis=-2)


def simulate(key: jax.Array, n: int) -> tuple[jax.Array, jax.Array]:
    """Draws n poses from the prior and the points that they reach, without noise."""
    x = jax.random.normal(key, (n, DIM_X)) * PRIOR_STD[None]
    return x, forward(x)


def _mount(x: jax.Array) -> jax.Array:
    return jnp.stack([jnp.zeros_like(x[..., 0]), x[..., 0]], axis=-1)

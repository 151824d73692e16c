"""Simulators and priors of two problems of sbibm, in JAX.

Benchmarking Simulation-Based Inference (Lueckmann, Boelts, Greenberg, Goncalves, Macke, 2021),
https://arxiv.org/abs/2101.04653, appendix T.
"""

from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

VARIANCE_ADDED = 1e-6


@dataclass(frozen=True)
class Problem:
    """A problem with a uniform prior on a cube.

    Attributes:
        name: What sbibm calls it.
        dim: Number of parameters.
        bound: The prior is uniform on [-bound, bound] in every parameter.
        simulate: From a key and parameters `(n, dim)` to data `(n, dim_y)`.
        published: C2ST of sbibm's NPE, a mean over observations, by number of simulations.
    """

    name: str
    dim: int
    bound: float
    simulate: Callable[[Array, Array], Array]
    published: dict[int, float]

    def pairs(self, key: Array, n: int) -> tuple[Float[Array, "n dim"], Float[Array, "n dim_y"]]:
        """Draws parameters of the prior and their data."""
        prior_key, data_key = jax.random.split(key)
        x = jax.random.uniform(prior_key, (n, self.dim), minval=-self.bound, maxval=self.bound)
        return x, self.simulate(data_key, x)


def two_moons(key: Array, x: Float[Array, "n 2"]) -> Float[Array, "n 2"]:
    """A point of a half ring of radius 0.1, moved by (-|x0 + x1|, x1 - x0) / sqrt(2)."""
    angle_key, radius_key = jax.random.split(key)
    angle = jax.random.uniform(angle_key, x.shape[:1], minval=-jnp.pi / 2, maxval=jnp.pi / 2)
    radius = 0.1 + 0.01 * jax.random.normal(radius_key, x.shape[:1])
    ring = jnp.stack([radius * jnp.cos(angle) + 0.25, radius * jnp.sin(angle)], axis=1)
    moved = jnp.stack([-jnp.abs(x[:, 0] + x[:, 1]), x[:, 1] - x[:, 0]], axis=1)
    return ring + moved / jnp.sqrt(2.0)


def slcp(key: Array, x: Float[Array, "n 5"]) -> Float[Array, "n 8"]:
    """Four draws of a normal in the plane: mean (x0, x1), deviations x2^2, x3^2, tanh(x4).

    As in sbibm, 1e-6 is added to both variances.
    """
    noise = jax.random.normal(key, (len(x), 4, 2))
    first, second = x[:, 2:3] ** 2, x[:, 3:4] ** 2
    lower00 = jnp.sqrt(first**2 + VARIANCE_ADDED)
    lower10 = jnp.tanh(x[:, 4:5]) * first * second / lower00
    lower11 = jnp.sqrt(second**2 + VARIANCE_ADDED - lower10**2)
    y0 = x[:, 0:1] + lower00 * noise[..., 0]
    y1 = x[:, 1:2] + lower10 * noise[..., 0] + lower11 * noise[..., 1]
    return jnp.stack([y0, y1], axis=-1).reshape(len(x), 8)


PROBLEMS = {
    "two_moons": Problem(
        "two_moons", 2, 1.0, two_moons, {1000: 0.725, 10_000: 0.606, 100_000: 0.542}
    ),
    "slcp": Problem("slcp", 5, 3.0, slcp, {1000: 0.975, 10_000: 0.901, 100_000: 0.831}),
}

"""Exact samples of the ballistics posterior with a Gaussian tolerance, as ground truth.

The start x0 moves the impact by as much, and both its prior and the tolerance are Gaussian. So x0
is Gaussian under the two together, given all else, and only height, angle and speed need
rejection: with x0 integrated out, the impact is Gaussian around the throw's range, with standard
deviation sqrt(s^2 + 0.5^2) for a tolerance s. Plain rejection would accept 25 times less.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from experiments.ballistics.problem import POSITION_STD, forward, prior
from jinn.inference.abc import ABCResult, rejection_sample

_CHUNK = 2**14


@partial(jax.jit, static_argnames=("tolerance", "n_samples", "max_proposals"))
def sample_reference(
    key: jax.Array, y: jax.Array, *, tolerance: float, n_samples: int, max_proposals: int = 10**8
) -> ABCResult:
    """Draws exact samples of p(x) N(y; f(x), tolerance^2) for each of several observations y.

    Args:
        key: A JAX random key.
        y: Observations, shape (n_obs, 1).
        tolerance: Standard deviation of the Gaussian tolerance on y, in metres.
        n_samples: Samples for each observation.
        max_proposals: Bound on the proposals for each observation.

    Returns:
        An `ABCResult` whose fields have a leading axis of observations; its samples have shape
        (n_obs, n_samples, 4) and are NaN from ``n_accepted`` on where ``complete`` is False.
    """
    deviation = float(np.hypot(tolerance, POSITION_STD))
    shrink = (POSITION_STD / deviation) ** 2

    def propose(y: jax.Array, key: jax.Array, n: int) -> tuple[jax.Array, jax.Array]:
        from_origin = prior(key, n).at[:, 0].set(0.0)
        error = (y - forward(from_origin)[:, 0]) / deviation
        return from_origin, -0.5 * error**2

    def sample_one(key_and_y: tuple[jax.Array, jax.Array]) -> ABCResult:
        key, y = key_and_y
        throw_key, start_key = jax.random.split(key)
        result = rejection_sample(
            throw_key,
            partial(propose, y),
            n_samples=n_samples,
            max_simulations=max_proposals,
            chunk_size=_CHUNK,
        )
        start = shrink * (y - forward(result.samples)[:, 0])
        start += shrink**0.5 * tolerance * jax.random.normal(start_key, start.shape)
        return result._replace(samples=result.samples.at[:, 0].set(start))

    return jax.lax.map(sample_one, (jax.random.split(key, len(y)), jnp.asarray(y)[:, 0]))

"""Exact samples of the kinematics posterior with a Gaussian tolerance, as ground truth.

Given the angles, the height on the rail is Gaussian under prior and tolerance together, so only the
angles need rejection: with the rail integrated out, the end is Gaussian around its reach, with the
tolerance s as horizontal deviation and sqrt(s^2 + 0.25^2) as vertical deviation.

Proposals from the prior would be accepted once in a hundred to a million times. Here the space of
angles is cut into cells, and interval arithmetic bounds the acceptance probability within each. A
cell is proposed with probability (prior mass x bound), the angles within it from the prior, and
accepted with (acceptance probability / bound). The accepted density is the same, exactly.
"""

from collections.abc import Callable
from functools import cache, partial
from statistics import NormalDist

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import ndtr, ndtri

from experiments.kinematics.problem import LENGTHS, PRIOR_STD, reach
from jinn.inference.abc import ABCResult, rejection_sample

_CELLS = 64  # of each angle; edges in standard deviations of the prior
_EDGES = np.concatenate([[-20.0], np.linspace(-4.5, 4.5, _CELLS - 1), [20.0]])
_CHUNK = 2**12


def sample_reference(
    key: jax.Array, y: jax.Array, *, tolerance: float, n_samples: int, max_proposals: int = 10**8
) -> ABCResult:
    """Draws exact samples of p(x) N(y; f(x), tolerance^2) for each of several observations y.

    Args:
        key: A JAX random key.
        y: Observations, shape (n_obs, 2).
        tolerance: Standard deviation of the Gaussian tolerance on both entries of y.
        n_samples: Samples for each observation.
        max_proposals: Bound on the proposals for each observation.

    Returns:
        An `ABCResult` whose fields have a leading axis of observations; its samples have shape
        (n_obs, n_samples, 4) and are NaN from ``n_accepted`` on where ``complete`` is False.
    """
    bounds = _reach_bounds()
    return _sample_reference(key, jnp.asarray(y), bounds, tolerance, n_samples, max_proposals)


@partial(jax.jit, static_argnums=(3, 4, 5))
def _sample_reference(
    key: jax.Array,
    y: jax.Array,
    bounds: tuple[jax.Array, jax.Array],
    tolerance: float,
    n_samples: int,
    max_proposals: int,
) -> ABCResult:
    low, high = bounds

    def sample_one(key_and_y: tuple[jax.Array, jax.Array]) -> ABCResult:
        key, y = key_and_y
        rail_std = float(PRIOR_STD[0])
        deviation = jnp.array([tolerance, np.hypot(tolerance, rail_std)], y.dtype)
        target = y[:, None, None, None]
        gap = jnp.maximum(jnp.maximum(low - target, target - high), 0.0)
        log_bound = -0.5 * jnp.sum((gap / deviation[:, None, None, None]) ** 2, axis=0)

        def log_acceptance(angles: jax.Array) -> jax.Array:
            error = (reach(angles) - y[None]) / deviation[None]
            return -0.5 * jnp.sum(error**2, axis=-1)

        angle_key, rail_key = jax.random.split(key)
        result = rejection_sample(
            angle_key,
            _proposal(log_bound, log_acceptance),
            n_samples=n_samples,
            max_simulations=max_proposals,
            chunk_size=_CHUNK,
        )
        angles = result.samples
        shrink = rail_std**2 / (rail_std**2 + tolerance**2)
        rail = shrink * (y[1] - reach(angles)[:, 1])
        rail += shrink**0.5 * tolerance * jax.random.normal(rail_key, rail.shape)
        return result._replace(samples=jnp.concatenate([rail[:, None], angles], axis=1))

    return jax.lax.map(sample_one, (jax.random.split(key, len(y)), y))


def _proposal(
    log_bound: jax.Array, log_acceptance: Callable[[jax.Array], jax.Array]
) -> Callable[[jax.Array, int], tuple[jax.Array, jax.Array]]:
    """Proposes a cell by prior mass times bound, and the angles within it from the prior."""
    mass = np.log(np.diff([NormalDist().cdf(edge) for edge in _EDGES]))
    log_mass = mass[:, None, None] + mass[None, :, None] + mass[None, None, :]
    log_weight = log_bound + log_mass.astype(log_bound.dtype)
    weight = jnp.exp(log_weight - jnp.max(log_weight)).reshape(_CELLS**2, _CELLS)
    # In two steps, since one cumulative sum over 64^3 cells would lack precision.
    row_ends = jnp.cumsum(jnp.sum(weight, axis=1))
    column_ends = jnp.cumsum(weight, axis=1)
    edges = jnp.asarray(_EDGES, log_bound.dtype)
    std = jnp.asarray(PRIOR_STD)[None, 1:]

    def propose(key: jax.Array, n: int) -> tuple[jax.Array, jax.Array]:
        row_key, column_key, angle_key = jax.random.split(key, 3)
        level = row_ends[-1] * jax.random.uniform(row_key, (n,))
        row = jnp.minimum(jnp.searchsorted(row_ends, level, side="right"), _CELLS**2 - 1)
        ends = column_ends[row]
        level = ends[:, -1:] * jax.random.uniform(column_key, (n, 1))
        column = jnp.minimum(jnp.sum(ends <= level, axis=1), _CELLS - 1)
        cell = jnp.stack([row // _CELLS, row % _CELLS, column], axis=1)
        angles = std * _truncated_normal(angle_key, edges[cell], edges[cell + 1])
        excess = log_acceptance(angles) - log_bound.reshape(-1)[row * _CELLS + column]
        return angles, excess

    return propose


def _truncated_normal(key: jax.Array, low: jax.Array, high: jax.Array) -> jax.Array:
    """Draws standard normals between two bounds; in the lower tail, where floats are dense."""
    mirror = low > 0
    low, high = jnp.where(mirror, -high, low), jnp.where(mirror, -low, high)
    u = jax.random.uniform(key, low.shape)
    draws = jnp.clip(ndtri(ndtr(low) + (ndtr(high) - ndtr(low)) * u), low, high)
    return jnp.where(mirror, -draws, draws)


@cache
def _reach_bounds() -> tuple[np.ndarray, np.ndarray]:
    """Bounds of the reach over every cell of angles, two arrays of shape (2, 64, 64, 64)."""
    slack = 1e-5  # for rounding, here and in the reach
    low, high = np.zeros((2, 2, _CELLS, _CELLS, _CELLS))
    phi_low, phi_high = np.zeros((2, 1, 1, 1))
    for axis, (length, std) in enumerate(zip(LENGTHS, PRIOR_STD[1:], strict=True)):
        shape = [_CELLS if other == axis else 1 for other in range(3)]
        phi_low = phi_low + std * _EDGES[:-1].reshape(shape)
        phi_high = phi_high + std * _EDGES[1:].reshape(shape)
        for entry, phase in enumerate((0.0, np.pi / 2)):  # sin(phi) = cos(phi - pi/2)
            smallest, largest = _cos_range(phi_low - phase, phi_high - phase)
            low[entry] += length * smallest
            high[entry] += length * largest
    return (low - slack).astype(np.float32), (high + slack).astype(np.float32)


def _cos_range(low: np.ndarray, high: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The smallest and largest cosine over intervals of angles."""

    def holds(angle: float) -> np.ndarray:  # angle + 2 pi k, for some k
        turn = 2 * np.pi
        return np.floor((high - angle) / turn) >= np.ceil((low - angle) / turn)

    ends = np.cos(low), np.cos(high)
    return (
        np.where(holds(np.pi), -1.0, np.minimum(*ends)),
        np.where(holds(0.0), 1.0, np.maximum(*ends)),
    )

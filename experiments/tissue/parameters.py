"""The parameters as posteriors hold them, and spectra as they see them.

The prior cuts Mie amplitudes off at almost nothing, where 3 % of them lie on one point, for which
no network has a density. Posteriors therefore hold them as they are before the cut: the same prior
and the same tissue, and 13 parameters that are uniform or normal. Spectra are logarithms, for which
the camera's noise is the same in bright and in dark bands.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import ndtr, ndtri

from experiments.tissue import problem

MIE = ~np.isfinite(problem.SUPPORT[1])
"""Which of the parameters are Mie amplitudes, (13,)."""
SUPPORT = (
    np.where(MIE, -np.inf, problem.SUPPORT[0]),
    np.where(MIE, np.inf, problem.SUPPORT[1]),
)
"""Lowest and highest values before the cut, (13,) each."""
_LOW, _HIGH = (np.where(MIE, 0.0, end) for end in SUPPORT)
MEAN = np.where(MIE, problem.MIE_MEAN, (_LOW + _HIGH) / 2).astype(np.float32)
STD = np.where(MIE, problem.MIE_STD, (_HIGH - _LOW) / np.sqrt(12)).astype(np.float32)
"""Means and standard deviations of the prior before the cut, (13,) each."""


def along(values: jax.Array | np.ndarray, x: jax.Array) -> jax.Array:
    """Repeats values of each column, or what has x's shape, to the shape of x."""
    return jnp.broadcast_to(jnp.asarray(values), x.shape)


def uncut(key: jax.Array, x: jax.Array) -> jax.Array:
    """Draws what Mie amplitudes at the least value were before the cut, (..., 13) -> (..., 13)."""
    z = jax.random.truncated_normal(key, -jnp.inf, -problem.MIE_MEAN / problem.MIE_STD, x.shape)
    below = problem.MIE_MEAN + problem.MIE_STD * z
    return jnp.where(along(MIE, x) & (x <= problem.MIE_LEAST), below, x)


def cut(x: jax.Array) -> jax.Array:
    """Makes parameters before the cut those of a tissue, (..., 13) -> (..., 13)."""
    return jnp.where(along(MIE, x), jnp.maximum(x, problem.MIE_LEAST), x)


def standardized(x: jax.Array) -> jax.Array:
    """Gives parameters in standard deviations of the prior, (..., 13) -> (..., 13)."""
    return (x - along(MEAN, x)) / along(STD, x)


def to_normal(x: jax.Array) -> jax.Array:
    """Makes each parameter of the prior standard normal, (..., 13) -> (..., 13)."""
    low, high = along(_LOW, x), along(_HIGH, x)
    share = jnp.clip((x - low) / jnp.where(high > low, high - low, 1.0), 1e-6, 1 - 1e-6)
    return jnp.where(along(MIE, x), standardized(x), ndtri(share))


def from_normal(z: jax.Array) -> jax.Array:
    """The inverse of `to_normal`, (..., 13) -> (..., 13)."""
    low, high = along(_LOW, z), along(_HIGH, z)
    free = along(MEAN, z) + along(STD, z) * z
    return jnp.where(along(MIE, z), free, low + (high - low) * ndtr(z))


def seen(key: jax.Array, spectra: jax.Array, signal_to_noise: float) -> jax.Array:
    """Gives the logarithm of what the camera sees of spectra, (..., 8) -> (..., 8)."""
    return jnp.log(problem.add_camera_noise(key, spectra, signal_to_noise))


def noise_in(y: jax.Array, log_spectra: jax.Array, signal_to_noise: float) -> jax.Array:
    """Gives what `seen` added, in standard deviations, (..., 8) and (..., 8) -> (..., 8)."""
    return signal_to_noise * jnp.expm1(y - log_spectra)


def log_likelihood(y: jax.Array, log_spectra: jax.Array, signal_to_noise: float) -> jax.Array:
    """Gives log p(y | spectrum) up to a constant, for (..., 8) or (8,) and (..., 8).

    The camera's bounds are left out: reflectances are never that near to 0 or 1.
    """
    y = along(y, log_spectra)
    noise = noise_in(y, log_spectra, signal_to_noise)
    return -jnp.sum(0.5 * noise**2 + log_spectra, axis=-1)

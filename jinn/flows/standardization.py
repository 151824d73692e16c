"""Arrays brought to mean 0 and deviation 1, and back."""

import jax.numpy as jnp
from jaxtyping import Array

from jinn.networks.buffer import Buffer, constant


def statistics(values: Array) -> tuple[Buffer, Buffer]:
    """Mean and standard deviation of each element over the rows, in float32 or wider.

    Args:
        values: Vectors `(rows, dim)`.

    Returns:
        The means, and the deviations, which are 1 where rows differ by rounding only, `(dim,)`.
    """
    wide = _wide(values)
    largest = jnp.max(jnp.abs(wide), 0)
    mantissa = jnp.where(largest > 0, jnp.frexp(largest)[0], 0.5)
    # A power of two, which rounds nothing, so that no square leaves the range of the type.
    unit = jnp.where(largest > 0, largest, 1.0) * 0.5 / mantissa
    parts = wide / unit[None]
    mean, deviation = jnp.mean(parts, 0), jnp.std(parts, 0)
    rounding = 4 * jnp.finfo(values.dtype).eps * jnp.max(jnp.abs(parts), 0)
    return Buffer(mean * unit), Buffer(jnp.where(deviation > rounding, deviation * unit, 1.0))


def standardized(values: Array, mean: Buffer, scale: Buffer) -> Array:
    """Bring arrays to mean 0 and deviation 1, `(values - mean) / scale`.

    Args:
        values: Arrays `(*batch, *shape)`.
        mean: Their means `shape`.
        scale: Their deviations `shape`.

    Returns:
        Of the shape and type of the values; computed in float32 or wider.
    """
    wide = _wide(values)
    return ((wide - _aligned(mean, wide)) / _aligned(scale, wide)).astype(values.dtype)


def restored(values: Array, mean: Buffer, scale: Buffer) -> Array:
    """Bring standardised arrays back to their units, `values * scale + mean`.

    Args:
        values: Arrays `(*batch, *shape)`.
        mean: The means `shape`.
        scale: The deviations `shape`.

    Returns:
        Of the shape and type of the values; computed in float32 or wider.
    """
    wide = _wide(values)
    return (wide * _aligned(scale, wide) + _aligned(mean, wide)).astype(values.dtype)


def _wide(values: Array) -> Array:
    return values.astype(jnp.promote_types(values.dtype, jnp.float32))


def _aligned(buffer: Buffer, like: Array) -> Array:
    values = constant(buffer).astype(like.dtype)
    return values.reshape(*[1] * (like.ndim - values.ndim), *values.shape)

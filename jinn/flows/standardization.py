"""Vectors brought to mean 0 and deviation 1, and back."""

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
    wide = values.astype(jnp.promote_types(values.dtype, jnp.float32))
    largest = jnp.max(jnp.abs(wide), 0)
    mantissa = jnp.where(largest > 0, jnp.frexp(largest)[0], 0.5)
    # A power of two, which rounds nothing, so that no square leaves the range of the type.
    unit = jnp.where(largest > 0, largest, 1.0) * 0.5 / mantissa
    parts = wide / unit[None]
    mean, deviation = jnp.mean(parts, 0), jnp.std(parts, 0)
    rounding = 4 * jnp.finfo(values.dtype).eps * jnp.max(jnp.abs(parts), 0)
    return Buffer(mean * unit), Buffer(jnp.where(deviation > rounding, deviation * unit, 1.0))


def standardized(values: Array, mean: Buffer, scale: Buffer) -> Array:
    """Bring vectors to mean 0 and deviation 1, `(values - mean) / scale`, in their type.

    Args:
        values: Vectors `(*batch, dim)`.
        mean: Their means `(dim,)`.
        scale: Their deviations `(dim,)`.

    Returns:
        Of the shape of the values.
    """
    return (values - _aligned(mean, values)) / _aligned(scale, values)


def restored(values: Array, mean: Buffer, scale: Buffer) -> Array:
    """Bring standardised vectors back to their units, `values * scale + mean`, in their type.

    Args:
        values: Vectors `(*batch, dim)`.
        mean: The means `(dim,)`.
        scale: The deviations `(dim,)`.

    Returns:
        Of the shape of the values.
    """
    return values * _aligned(scale, values) + _aligned(mean, values)


def _aligned(buffer: Buffer, like: Array) -> Array:
    return constant(buffer).astype(like.dtype).reshape(*[1] * (like.ndim - 1), -1)

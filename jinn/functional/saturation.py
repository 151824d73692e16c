"""Where element-wise maps saturate, so that no value and no gradient leaves the floating type.

Types narrower than float32 hold too few numbers near 0 to compute a logarithm with: maps that take
one compute in float32, and round the results.
"""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def wide_type(dtype: jax.typing.DTypeLike) -> jnp.dtype:
    """Find the type that a map computes in: the given one, or float32 if that is wider.

    Args:
        dtype: A floating type.

    Returns:
        The type.
    """
    return jnp.promote_types(dtype, jnp.float32)


def narrow(x: Float[Array, "*shape"], dtype: jax.typing.DTypeLike) -> Float[Array, "*shape"]:
    """Round to a narrower type, what exceeds it to its largest number.

    Args:
        x: Values, any shape.
        dtype: The type, or that of x.

    Returns:
        The values in that type.
    """
    if x.dtype == dtype:
        return x
    largest = float(jnp.finfo(dtype).max)
    return clamp(-largest, x, largest).astype(dtype)


def smallest_argument(dtype: jax.typing.DTypeLike) -> float:
    """Find the closest to 0 that a logarithm is taken of, `tiny / eps`: 1e-31 in float32.

    Of the narrower types, which are computed in float32, it is that of float32, or the smallest
    number that the type holds (6e-8 in float16).

    Args:
        dtype: A floating type.

    Returns:
        The number; one over it times a gradient of moderate size is still finite.
    """
    info = jnp.finfo(wide_type(dtype))
    return max(float(info.tiny / info.eps), float(jnp.finfo(dtype).smallest_subnormal))


def largest_exponent(dtype: jax.typing.DTypeLike) -> float:
    """Find the largest number that is exponentiated, `log(max) - 1`: 87.7 in float32.

    Args:
        dtype: A floating type.

    Returns:
        The number.
    """
    return math.log(float(jnp.finfo(dtype).max)) - 1


def clamp(low: float, x: Float[Array, "*shape"], high: float) -> Float[Array, "*shape"]:
    """Clip, `min(max(x, low), high)`, so that no gradient passes where x is clipped.

    Args:
        low: The smallest result.
        x: Values, any shape.
        high: The largest result.

    Returns:
        The clipped values. Not even an infinite gradient gets through where one is clipped.
    """
    return jax.lax.clamp(jnp.asarray(low, x.dtype), x, jnp.asarray(high, x.dtype))

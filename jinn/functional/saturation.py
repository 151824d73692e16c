"""Where element-wise maps saturate, so that no value and no gradient leaves the floating type."""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def smallest_argument(dtype: jnp.dtype) -> float:
    """Find the closest to 0 that a logarithm is taken of, `tiny / eps`: 1e-31 in float32.

    Args:
        dtype: A floating type.

    Returns:
        The number; one over it times a gradient of moderate size is still finite.
    """
    info = jnp.finfo(dtype)
    return float(info.tiny / info.eps)


def largest_exponent(dtype: jnp.dtype) -> float:
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

"""The exponential and powers of single elements: maps to and from the positive numbers."""

import math

import jax.numpy as jnp
from jaxtyping import Array, Float

from jinn.functional.saturation import (
    clamp,
    largest_exponent,
    narrow,
    smallest_argument,
    wide_type,
)


def exp_forward(
    x: Float[Array, "*shape"],
) -> tuple[Float[Array, "*shape"], Float[Array, "*shape"]]:
    """Make every element positive, `y = exp(x)`.

    The value saturates at 0, and at max / e of the type (1e38 in float32) for x above 87.7; the
    log-derivative stays exact.

    Args:
        x: Real values, any shape.

    Returns:
        `y` and the log-derivative `x` of each element.
    """
    return jnp.exp(clamp(-jnp.inf, x, largest_exponent(x.dtype))), x


def exp_inverse(
    y: Float[Array, "*shape"],
) -> tuple[Float[Array, "*shape"], Float[Array, "*shape"]]:
    """Undo `exp_forward`, `x = log(y)`.

    Args:
        y: Values in [0, inf), any shape. Those below tiny / eps (1e-31 in float32), also negative
            ones, are taken as that, so that the result is finite.

    Returns:
        `x` and the log-derivative `-log(y)` of each element, -inf where y is negative, where no
        density is.
    """
    x = jnp.log(clamp(smallest_argument(y.dtype), y.astype(wide_type(y.dtype)), jnp.inf))
    return narrow(x, y.dtype), jnp.where(y < 0, -jnp.inf, -x.astype(y.dtype))


def power_forward(
    x: Float[Array, "*shape"], exponent: float
) -> tuple[Float[Array, "*shape"], Float[Array, "*shape"]]:
    """Raise every element to a power, `y = x^exponent`; a map of the positive numbers.

    Args:
        x: Values in [0, inf), any shape. Those below tiny / eps (1e-31 in float32), also negative
            ones, are taken as that. Those whose power or its slope would exceed max * eps of the
            type (4e31 in float32) are taken as the last whose does not.
        exponent: The power, finite and not 0. Below 0 the map is decreasing.

    Returns:
        `y` and the log-derivative `log|exponent| + (exponent - 1) log(x)` of each element, -inf
        where x is negative, where no density is.

    Raises:
        ValueError: If the exponent is 0 or not finite.
    """
    _check_exponent(exponent)
    return _raise_to(exponent, x)


def power_inverse(
    y: Float[Array, "*shape"], exponent: float
) -> tuple[Float[Array, "*shape"], Float[Array, "*shape"]]:
    """Undo `power_forward`, `x = y^(1 / exponent)`.

    Args:
        y: Values in [0, inf), any shape; see `power_forward` for the edges.
        exponent: The power of the forward map, finite and not 0.

    Returns:
        `x` and the log-derivative of each element, -inf where y is negative.

    Raises:
        ValueError: If the exponent is 0 or not finite.
    """
    _check_exponent(exponent)
    return _raise_to(1 / exponent, y)


def is_exponent(exponent: float) -> bool:
    """Tell whether `x^exponent` can be computed and undone.

    Args:
        exponent: The power.

    Returns:
        True if neither it nor one over it is 0 or infinite in float32.
    """
    return 2.0**-126 <= abs(exponent) <= 2.0**126


def _check_exponent(exponent: float) -> None:
    if not is_exponent(exponent):
        raise ValueError(
            f"power: expected a finite exponent other than 0, got {exponent}; "
            "its size can be 1e-37 to 1e37"
        )


def _raise_to(exponent: float, x: Array) -> tuple[Array, Array]:
    wide = x.astype(wide_type(x.dtype))
    low, high = _range(exponent, x.dtype)
    log_x = jnp.log(clamp(smallest_argument(x.dtype), wide, jnp.inf))
    log_slope = math.log(abs(exponent)) + (exponent - 1) * log_x
    y = narrow(jnp.power(clamp(low, wide, high), exponent), x.dtype)
    return y, jnp.where(x < 0, -jnp.inf, log_slope.astype(x.dtype))


def _range(exponent: float, dtype: jnp.dtype) -> tuple[float, float]:
    """The smallest and largest number whose power and slope the type can hold."""
    info = jnp.finfo(wide_type(dtype))
    largest = float(info.max) * float(info.eps)
    low, high = smallest_argument(dtype), float(info.max)
    if exponent < 0:
        low = max(low, (largest / max(-exponent, 1.0)) ** (1 / (exponent - 1)))
    if exponent > 1:
        high = (largest / exponent) ** (1 / exponent)
    return low, high

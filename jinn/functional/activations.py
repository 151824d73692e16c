"""Softplus, tanh and leaky ReLU: increasing maps of single elements, with their inverses."""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jinn.functional.saturation import clamp, narrow, smallest_argument, wide_type


def softplus_forward(
    x: Float[Array, "*shape"],
) -> tuple[Float[Array, "*shape"], Float[Array, "*shape"]]:
    """Make every element positive, `y = log(1 + exp(x))`.

    Far below 0 the value saturates at 0 in floating point; the log-derivative stays exact.

    Args:
        x: Real values, any shape.

    Returns:
        `y` and the log-derivative `-softplus(-x)` of each element.
    """
    return jax.nn.softplus(x), -jax.nn.softplus(-x)


def softplus_inverse(
    y: Float[Array, "*shape"],
) -> tuple[Float[Array, "*shape"], Float[Array, "*shape"]]:
    """Undo `softplus_forward`, `x = y + log(1 - exp(-y))`.

    Args:
        y: Values in [0, inf), any shape. Those below tiny / eps (1e-31 in float32), also negative
            ones, are taken as that, so that the result is finite.

    Returns:
        `x` and the log-derivative `-log(1 - exp(-y))` of each element, -inf where y is negative,
        where no density is.
    """
    p = clamp(smallest_argument(y.dtype), y.astype(wide_type(y.dtype)), jnp.inf)
    log_q = jnp.log(-jnp.expm1(-p))
    return narrow(p + log_q, y.dtype), jnp.where(y < 0, -jnp.inf, -log_q.astype(y.dtype))


def tanh_forward(
    x: Float[Array, "*shape"],
) -> tuple[Float[Array, "*shape"], Float[Array, "*shape"]]:
    """Squash every element into (-1, 1), `y = tanh(x)`.

    Far from 0 the value saturates at -1 or 1 in floating point; the log-derivative stays exact.

    Args:
        x: Real values, any shape.

    Returns:
        `y` and the log-derivative `log(1 - tanh(x)^2)` of each element.
    """
    return jnp.tanh(x), math.log(4) - jax.nn.softplus(2 * x) - jax.nn.softplus(-2 * x)


def tanh_inverse(
    y: Float[Array, "*shape"],
) -> tuple[Float[Array, "*shape"], Float[Array, "*shape"]]:
    """Undo `tanh_forward`, `x = log((1 + y) / (1 - y)) / 2`.

    Args:
        y: Values in [-1, 1], any shape. Those within eps of an end are taken as that far inside,
            so that the result is finite (at most 8.7 in float32); so are values beyond.

    Returns:
        `x` and the log-derivative `-log(1 - y^2)` of each element, -inf where y is outside
        [-1, 1], where no density is.
    """
    end = 1 - float(jnp.finfo(y.dtype).epsneg)
    p = clamp(-end, y.astype(wide_type(y.dtype)), end)
    above, below = jnp.log1p(p), jnp.log1p(-p)
    log_slope = (-above - below).astype(y.dtype)
    return narrow((above - below) / 2, y.dtype), jnp.where(jnp.abs(y) > 1, -jnp.inf, log_slope)


def leaky_relu_forward(
    x: Float[Array, "*shape"], negative_slope: float
) -> tuple[Float[Array, "*shape"], Float[Array, "*shape"]]:
    """Scale negative elements, `y = x` where x >= 0 and `negative_slope * x` elsewhere.

    Args:
        x: Real values, any shape.
        negative_slope: The slope below 0, positive and finite.

    Returns:
        `y` and the log-derivative of each element: 0, or `log(negative_slope)`.

    Raises:
        ValueError: If the slope is not positive and finite.
    """
    _check_slope(negative_slope)
    return _two_slopes(x, negative_slope)


def leaky_relu_inverse(
    y: Float[Array, "*shape"], negative_slope: float
) -> tuple[Float[Array, "*shape"], Float[Array, "*shape"]]:
    """Undo `leaky_relu_forward`, `x = y` where y >= 0 and `y / negative_slope` elsewhere.

    Args:
        y: Real values, any shape.
        negative_slope: The slope of the forward map below 0, positive and finite.

    Returns:
        `x` and the log-derivative of each element: 0, or `-log(negative_slope)`.

    Raises:
        ValueError: If the slope is not positive and finite.
    """
    _check_slope(negative_slope)
    return _two_slopes(y, 1 / negative_slope)


def _check_slope(negative_slope: float) -> None:
    if not 0 < negative_slope < math.inf:
        raise ValueError(
            f"leaky_relu: expected a positive, finite negative_slope, got {negative_slope}"
        )


def _two_slopes(x: Array, below: float) -> tuple[Array, Array]:
    log_slope = jnp.where(x >= 0, 0.0, math.log(below)).astype(x.dtype)
    return jnp.where(x >= 0, x, below * x), log_slope

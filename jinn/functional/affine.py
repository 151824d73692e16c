"""Additive and affine maps of single elements, and the law that bounds their log-scales."""

import math

import jax.numpy as jnp
from jaxtyping import Array, Float


def soft_clamp(s: Float[Array, "*shape"], limit: float) -> Float[Array, "*shape"]:
    """Bound a log-scale smoothly: `limit * tanh(s / limit)`, which lies in (-limit, limit).

    The slope at 0 is 1, so that small log-scales pass unchanged.

    Args:
        s: Log-scales, any shape.
        limit: The bound, positive and finite.

    Returns:
        The bounded log-scales, in the shape of `s`.

    Raises:
        ValueError: If `limit` is not positive and finite.
    """
    if not 0 < limit < math.inf:
        raise ValueError(f"soft_clamp: expected a positive, finite limit, got {limit}")
    return limit * jnp.tanh(s / limit)


def additive_forward(
    x: Float[Array, "*#shape"], shift: Float[Array, "*#shape"]
) -> tuple[Float[Array, "*shape"], Float[Array, "*shape"]]:
    """Shift every element, `y = x + shift`; its log-derivative is 0.

    Args:
        x: Values, any shape.
        shift: Shifts, broadcastable against `x`.

    Returns:
        `y` and the log-derivative of each element, both in the broadcast shape.

    Reference:
        NICE: Non-linear Independent Components Estimation (Dinh, Krueger, Bengio, 2014),
        https://arxiv.org/abs/1410.8516
    """
    y = x + shift
    return y, jnp.zeros_like(y)


def additive_inverse(
    y: Float[Array, "*#shape"], shift: Float[Array, "*#shape"]
) -> tuple[Float[Array, "*shape"], Float[Array, "*shape"]]:
    """Undo `additive_forward`, `x = y - shift`; its log-derivative is 0.

    Args:
        y: Values, any shape.
        shift: Shifts, broadcastable against `y`.

    Returns:
        `x` and the log-derivative of each element, both in the broadcast shape.
    """
    return additive_forward(y, -shift)


def affine_forward(
    x: Float[Array, "*#shape"],
    shift: Float[Array, "*#shape"],
    log_scale: Float[Array, "*#shape"],
) -> tuple[Float[Array, "*shape"], Float[Array, "*shape"]]:
    """Scale and shift every element, `y = x * exp(log_scale) + shift`.

    Args:
        x: Values, any shape.
        shift: Shifts, broadcastable against `x`.
        log_scale: Logarithms of the scales, broadcastable against `x`; see `soft_clamp`.

    Returns:
        `y` and the log-derivative of each element (the log-scale), both in the broadcast shape.

    Reference:
        Density estimation using Real NVP (Dinh, Sohl-Dickstein, Bengio, 2017), eq. 7,
        https://arxiv.org/abs/1605.08803
    """
    y = x * jnp.exp(log_scale) + shift
    return y, jnp.broadcast_to(log_scale, y.shape)


def affine_inverse(
    y: Float[Array, "*#shape"],
    shift: Float[Array, "*#shape"],
    log_scale: Float[Array, "*#shape"],
) -> tuple[Float[Array, "*shape"], Float[Array, "*shape"]]:
    """Undo `affine_forward`, `x = (y - shift) * exp(-log_scale)`.

    Args:
        y: Values, any shape.
        shift: Shifts, broadcastable against `y`.
        log_scale: Logarithms of the forward map's scales, broadcastable against `y`.

    Returns:
        `x` and the log-derivative of each element (minus the log-scale), both in the broadcast
        shape.
    """
    x = (y - shift) * jnp.exp(-log_scale)
    return x, jnp.broadcast_to(-log_scale, x.shape)

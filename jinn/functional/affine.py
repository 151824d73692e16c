"""Additive and affine maps, and the laws that bound their log-scales."""

import math

import jax.numpy as jnp
from jax.typing import ArrayLike
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
    _check_limit(limit, "soft_clamp")
    return limit * jnp.tanh(s / limit)


def arctan_clamp(s: Float[Array, "*shape"], limit: float) -> Float[Array, "*shape"]:
    """Bound a log-scale as FrEIA does: `limit * (2 / pi) * arctan(s)`, in (-limit, limit).

    The slope at 0 is `2 limit / pi`, and the bound is neared slowly: at s = 10 it is 6 % away.

    Args:
        s: Log-scales, any shape.
        limit: The bound, positive and finite.

    Returns:
        The bounded log-scales, in the shape of `s`.

    Raises:
        ValueError: If `limit` is not positive and finite.

    Reference:
        Analyzing Inverse Problems with Invertible Neural Networks (Ardizzone et al., 2019),
        https://arxiv.org/abs/1808.04730; the law is that of the authors' library FrEIA.
    """
    _check_limit(limit, "arctan_clamp")
    return limit * (2 / math.pi) * jnp.arctan(s)


def _check_limit(limit: float, name: str) -> None:
    if not 0 < limit < math.inf:
        raise ValueError(f"{name}: expected a positive, finite limit, got {limit}")


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


def volume_preserving_forward(
    x: Float[Array, "*shape"],
    shift: Float[Array, "*shape"],
    log_scale: Float[Array, "*shape"],
    *,
    axis: int | tuple[int, ...] = -1,
    where: ArrayLike | None = None,
) -> tuple[Float[Array, "*shape"], Float[Array, "*shape"]]:
    """Scale and shift without changing volume, `y = x * exp(s - mean(s)) + shift`.

    The mean is over the event, so that the log-scales sum to zero and log|det| is exactly 0. An
    event of one element is only shifted.

    Args:
        x: Values, any shape.
        shift: Shifts, in the shape of `x`.
        log_scale: Log-scales s before their mean is taken out, in the shape of `x`.
        axis: The axes of one event.
        where: Booleans that broadcast against `x`, True for the elements that belong to the
            event; the others get values that are to be dropped. None takes all.

    Returns:
        `y` and zeros in the shape of `x`: the log-derivatives of an event sum to 0, and are not
        given one by one.

    Reference:
        Disentanglement by Nonlinear ICA with General Incompressible-flow Networks (GIN)
        (Sorrenson, Rother, Kothe, 2020), section 3.2, https://arxiv.org/abs/2001.04872
    """
    y, _ = affine_forward(x, shift, _centred(log_scale, axis, where))
    return y, jnp.zeros_like(y)


def volume_preserving_inverse(
    y: Float[Array, "*shape"],
    shift: Float[Array, "*shape"],
    log_scale: Float[Array, "*shape"],
    *,
    axis: int | tuple[int, ...] = -1,
    where: ArrayLike | None = None,
) -> tuple[Float[Array, "*shape"], Float[Array, "*shape"]]:
    """Undo `volume_preserving_forward`, `x = (y - shift) * exp(mean(s) - s)`.

    Args:
        y: Values, any shape.
        shift: Shifts, in the shape of `y`.
        log_scale: Log-scales s of the forward map.
        axis: The axes of one event.
        where: Booleans that broadcast against `y`, True for the elements that belong to the
            event; None takes all.

    Returns:
        `x` and zeros in the shape of `y`.
    """
    x, _ = affine_inverse(y, shift, _centred(log_scale, axis, where))
    return x, jnp.zeros_like(x)


def _centred(log_scale: Array, axis: int | tuple[int, ...], where: ArrayLike | None) -> Array:
    return log_scale - jnp.mean(
        log_scale, axis, keepdims=True, where=None if where is None else jnp.asarray(where)
    )

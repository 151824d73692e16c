"""Activation normalisation: one learned scale and shift a channel, set from data at the start."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from jinn.functional.affine import affine_forward, affine_inverse


def actnorm_forward(
    x: Float[Array, "*batch n"],
    shift: Float[Array, "*#batch n"],
    log_scale: Float[Array, "*#batch n"],
) -> tuple[Float[Array, "*batch n"], Float[Array, "*batch n"]]:
    """Scale and shift every channel, `y = x * exp(log_scale) + shift`.

    Args:
        x: Values, channels along the last axis.
        shift: One shift a channel.
        log_scale: One log-scale a channel.

    Returns:
        `y` and the log-derivative of each element.

    Reference:
        Glow: Generative Flow with Invertible 1x1 Convolutions (Kingma, Dhariwal, 2018),
        section 3.1, https://arxiv.org/abs/1807.03039
    """
    return affine_forward(x, *_channelwise(x, shift, log_scale))


def actnorm_inverse(
    y: Float[Array, "*batch n"],
    shift: Float[Array, "*#batch n"],
    log_scale: Float[Array, "*#batch n"],
) -> tuple[Float[Array, "*batch n"], Float[Array, "*batch n"]]:
    """Undo `actnorm_forward`, `x = (y - shift) * exp(-log_scale)`.

    Args:
        y: Values, channels along the last axis.
        shift: One shift a channel.
        log_scale: One log-scale a channel.

    Returns:
        `x` and the log-derivative of each element.
    """
    return affine_inverse(y, *_channelwise(y, shift, log_scale))


def actnorm_statistics(
    x: Float[Array, "*batch n"],
) -> tuple[Float[Array, " n"], Float[Array, " n"]]:
    """Find the shift and log-scale with which `actnorm_forward` standardises these data.

    Args:
        x: Data, channels along the last axis; all other axes are averaged over.

    Returns:
        `(shift, log_scale)`, one of each a channel. A channel that varies by no more than its
        rounding errors counts as constant: it is centred and keeps the scale 1.
    """
    axes = tuple(range(x.ndim - 1))
    first = x[(0,) * len(axes)]  # without it, a constant channel would have its sum's rounding
    centred = x - jnp.expand_dims(first, axes)
    mean, deviation = first + jnp.mean(centred, axes), jnp.std(centred, axes)
    varies = deviation > 4 * jnp.finfo(x.dtype).eps * jnp.max(jnp.abs(x), axes)
    log_scale = -jnp.log(jnp.where(varies, deviation, 1.0))
    return -mean * jnp.exp(log_scale), log_scale


def _channelwise(x: Array, *parameters: Array) -> tuple[Array, ...]:
    """Give parameters of shape (n,) the rank of x, so that they broadcast without promotion."""
    return tuple(p.reshape(*[1] * (x.ndim - 1), -1) for p in parameters)

"""Fixed monotone maps of single elements between the real line and intervals."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jinn.functional.saturation import (
    clamp,
    largest_exponent,
    narrow,
    smallest_argument,
    wide_type,
)


def sigmoid_forward(
    x: Float[Array, "*shape"],
) -> tuple[Float[Array, "*shape"], Float[Array, "*shape"]]:
    """Squash every element into (0, 1), `y = 1 / (1 + exp(-x))`.

    Far from 0 the value saturates at 0 or 1 in floating point; the log-derivative stays exact.

    Args:
        x: Real values, any shape.

    Returns:
        `y` and the log-derivative `-softplus(x) - softplus(-x)` of each element.
    """
    return jax.nn.sigmoid(x), -jax.nn.softplus(x) - jax.nn.softplus(-x)


def sigmoid_inverse(
    y: Float[Array, "*shape"],
) -> tuple[Float[Array, "*shape"], Float[Array, "*shape"]]:
    """Undo `sigmoid_forward`, `x = log(y) - log(1 - y)`.

    Args:
        y: Values in [0, 1], any shape. Those within tiny / eps of 0 (1e-31 in float32) or eps of
            1 are taken as that far inside, so that the result is finite; so are values beyond.

    Returns:
        `x` and the log-derivative `-log(y) - log(1 - y)` of each element, -inf where y is outside
        [0, 1], where no density is.
    """
    wide = y.astype(wide_type(y.dtype))
    p = clamp(smallest_argument(y.dtype), wide, 1 - float(jnp.finfo(y.dtype).epsneg))
    log_p, log_q = jnp.log(p), jnp.log1p(-p)
    log_slope = (-log_p - log_q).astype(y.dtype)
    return narrow(log_p - log_q, y.dtype), jnp.where((y < 0) | (y > 1), -jnp.inf, log_slope)


def logit_forward(
    x: Float[Array, "*shape"],
) -> tuple[Float[Array, "*shape"], Float[Array, "*shape"]]:
    """Spread (0, 1) over the real line, `y = log(x / (1 - x))`.

    Args:
        x: Values in [0, 1], any shape; see `sigmoid_inverse` for the edges.

    Returns:
        `y` and the log-derivative of each element.
    """
    return sigmoid_inverse(x)


def logit_inverse(
    y: Float[Array, "*shape"],
) -> tuple[Float[Array, "*shape"], Float[Array, "*shape"]]:
    """Undo `logit_forward`, `x = 1 / (1 + exp(-y))`.

    Args:
        y: Real values, any shape.

    Returns:
        `x` and the log-derivative of each element.
    """
    return sigmoid_forward(y)


def _cases(
    low: Float[Array, "*#shape"], high: Float[Array, "*#shape"]
) -> tuple[Array, Array, Array, Array, Array, Array]:
    """Which bounds are finite, and bounds that are safe to compute with where they are not."""
    has_low, has_high = jnp.isfinite(low), jnp.isfinite(high)
    both = has_low & has_high
    safe_low = jnp.where(has_low, low, 0.0)
    safe_high = jnp.where(has_high, high, 0.0)
    width = jnp.where(both, safe_high - safe_low, 1.0)
    return has_low, has_high, both, safe_low, safe_high, width


def unconstrain_forward(
    x: Float[Array, "*#shape"], low: Float[Array, "*#shape"], high: Float[Array, "*#shape"]
) -> tuple[Float[Array, "*shape"], Float[Array, "*shape"]]:
    """Map every element from its interval [low, high] to the real line.

    `logit((x - low) / (high - low))` between two bounds, `log(x - low)` above one,
    `-log(high - x)` below one, `x` where both are infinite. All are increasing.

    Args:
        x: Values, any shape. Values on a bound are taken as the closest number inside, so that
            the result is finite; so are values beyond it.
        low: Lower bounds, -inf where there is none, broadcastable against `x`.
        high: Upper bounds, +inf where there is none, broadcastable against `x`.

    Returns:
        The real values and the log-derivative of each element, both in the broadcast shape; the
        log-derivative is -inf outside the interval, where no density is.

    Reference:
        Stan Reference Manual, chapter Constraint Transforms,
        https://mc-stan.org/docs/reference-manual/transforms.html
    """
    narrow_type = jnp.result_type(x, low, high)
    x, low, high = (v.astype(wide_type(narrow_type)) for v in (x, low, high))
    outside = (x < low) | (x > high)
    has_low, has_high, both, low, high, width = _cases(low, high)
    two_sided, two_sided_log = sigmoid_inverse(jnp.where(both, (x - low) / width, 0.5))
    distance = jnp.where(has_low, x - low, high - x)
    one_sided = has_low ^ has_high
    safe_distance = jnp.where(one_sided, distance, 1.0)
    log_distance = jnp.log(clamp(smallest_argument(narrow_type), safe_distance, jnp.inf))
    sign = jnp.where(has_low, 1.0, -1.0).astype(distance.dtype)
    y = jnp.where(both, two_sided, jnp.where(one_sided, sign * log_distance, x))
    log_det = jnp.where(
        both, two_sided_log - jnp.log(width), jnp.where(one_sided, -log_distance, 0.0)
    )
    return narrow(y, narrow_type), jnp.where(outside, -jnp.inf, log_det).astype(narrow_type)


def unconstrain_inverse(
    y: Float[Array, "*#shape"], low: Float[Array, "*#shape"], high: Float[Array, "*#shape"]
) -> tuple[Float[Array, "*shape"], Float[Array, "*shape"]]:
    """Undo `unconstrain_forward`: map every real element into its interval [low, high].

    The result never leaves the interval; far out it saturates at a bound, and where a bound is
    missing at the largest number whose logarithm the type can hold.

    Args:
        y: Real values, any shape.
        low: Lower bounds, -inf where there is none, broadcastable against `y`.
        high: Upper bounds, +inf where there is none, broadcastable against `y`.

    Returns:
        The values inside and the log-derivative of each element, both in the broadcast shape.
    """
    narrow_type = jnp.result_type(y, low, high)
    y, low, high = (v.astype(wide_type(narrow_type)) for v in (y, low, high))
    has_low, has_high, both, safe_low, safe_high, width = _cases(low, high)
    p, log_slope = sigmoid_forward(y)
    one_sided = has_low ^ has_high
    log_min, log_max = -largest_exponent(y.dtype), largest_exponent(narrow_type)
    signed = jnp.where(has_low, y, -y)
    log_distance = jnp.clip(jnp.where(one_sided, signed, 0.0), log_min, log_max)
    distance = jnp.exp(log_distance)
    x = jnp.where(
        both,
        safe_low + width * p,
        jnp.where(one_sided, jnp.where(has_low, safe_low + distance, safe_high - distance), y),
    )
    log_det = jnp.where(both, log_slope + jnp.log(width), jnp.where(one_sided, log_distance, 0.0))
    x = narrow(jnp.clip(x, low, high), narrow_type)
    return x, jnp.broadcast_to(log_det, x.shape).astype(narrow_type)

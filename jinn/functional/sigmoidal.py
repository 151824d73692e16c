"""A monotone network of single elements: a mixture of sigmoids, and its logit."""

import math

import jax
import jax.numpy as jnp
from jax.scipy.special import logsumexp
from jaxtyping import Array, Float

from jinn.functional.knots import MIN_SLOPE, positive_slope
from jinn.functional.root import increasing_root


def sigmoidal_forward(
    x: Float[Array, "*shape"],
    weights: Float[Array, "units *#shape"],
    slopes: Float[Array, "units *#shape"],
    centers: Float[Array, "units *#shape"],
) -> tuple[Float[Array, "*shape"], Float[Array, "*shape"]]:
    """Monotone network, `y = 0.999 logit(sum_j w_j sigmoid(a_j (x - m_j))) + 0.001 x`.

    The map is onto the real line, in both tails nearly a line with the smallest of the a_j as its
    slope, which is nowhere less than 1e-3. With enough units it comes close to any increasing map.
    Computed by logarithms: it does not saturate.

    Args:
        x: Values, any shape.
        weights: Raw weights, units along the leading axis: softmax over that axis makes them
            positive with sum 1.
        slopes: Raw slopes: softplus and 1e-3 make them positive, and 1 where they are 0.
        centers: The centres m_j.

    Returns:
        `y`, and the log-derivative of each element in float32 or wider.

    Raises:
        ValueError: If the parameters' shapes do not fit `x` or each other.

    Reference:
        Neural Autoregressive Flows (Huang, Krueger, Lacoste, Courville, 2018), the deep sigmoidal
        flow of section 3.1, https://arxiv.org/abs/1804.00779; in terms of centres: Flow++ (Ho,
        Chen, Srinivas, Duan, Abbeel, 2019), section 3.2, https://arxiv.org/abs/1902.00275
    """
    _check(x, weights, slopes, centers)
    wide, *units = _units(x, weights, slopes, centers)
    y, log_slope = _evaluate(wide, *units)
    return y.astype(x.dtype), log_slope


def sigmoidal_inverse(
    y: Float[Array, "*shape"],
    weights: Float[Array, "units *#shape"],
    slopes: Float[Array, "units *#shape"],
    centers: Float[Array, "units *#shape"],
) -> tuple[Float[Array, "*shape"], Float[Array, "*shape"]]:
    """Undo `sigmoidal_forward` by bracketed Newton steps, to rounding.

    The root lies between the smallest and the largest of y and of the points `m_j + y / a_j` where
    a single unit gives y. Derivatives are those of the implicit function theorem.

    Args:
        y: Values, any shape.
        weights: Raw weights of the forward map, units along the leading axis.
        slopes: Raw slopes.
        centers: The centres m_j.

    Returns:
        `x`, and the log-derivative of each element in float32 or wider.

    Raises:
        ValueError: If the parameters' shapes do not fit `y` or each other.
    """
    _check(y, weights, slopes, centers)
    wide, *units = _units(y, weights, slopes, centers)
    _, slope, center = units
    ends = center + wide[None] / slope
    low, high = jnp.minimum(wide, jnp.min(ends, axis=0)), jnp.maximum(wide, jnp.max(ends, axis=0))
    x, _ = increasing_root(lambda x: _evaluate(x, *units)[0] - wide, low, high)
    x = x + _polish(x, wide, jnp.maximum(jnp.abs(low), jnp.abs(high)), units)
    _, log_slope = _evaluate(x, *units)
    return x.astype(y.dtype), -log_slope


def _check(x: Array, weights: Array, slopes: Array, centers: Array) -> None:
    units = weights.shape[0] if weights.ndim else 0
    fits = units >= 1 and all(
        array.ndim == x.ndim + 1
        and array.shape[0] == units
        and all(n in (1, m) for n, m in zip(array.shape[1:], x.shape, strict=True))
        for array in (weights, slopes, centers)
    )
    if not fits:
        raise ValueError(
            f"sigmoidal: expected weights, slopes and centers of one shape (units, "
            f"*{tuple(x.shape)}) with at least 1 unit on the leading axis, got {weights.shape}, "
            f"{slopes.shape} and {centers.shape}"
        )


def _units(x: Array, weights: Array, slopes: Array, centers: Array) -> list[Array]:
    """The values, and log-weights, slopes and centres, in float32 at least."""
    dtype = jnp.promote_types(jnp.result_type(x, weights, slopes, centers), jnp.float32)
    x, weights, slopes, centers = (a.astype(dtype) for a in (x, weights, slopes, centers))
    return [x, jax.nn.log_softmax(weights, axis=0), positive_slope(slopes), centers]


def _polish(x: Array, y: Array, size: Array, units: list[Array]) -> Array:
    """The last Newton step, within the rounding of the bracket, which may be far larger than x."""
    near, log_slope = _evaluate(x, *units)
    allowed = 4 * float(jnp.finfo(x.dtype).eps) * size
    step = jnp.clip((y - near) * jnp.exp(-log_slope), -allowed, allowed)
    return jax.lax.stop_gradient(step)


def _evaluate(x: Array, log_weight: Array, slope: Array, center: Array) -> tuple[Array, Array]:
    """Values, and the log-derivative as a sum of positive terms, which does not cancel.

    The logit is `log M - log(1 - M)`. With the shares `p_j` of the units in M, and `q_j` of their
    complements in 1 - M, its derivative is `sum_j a_j (p_j sigmoid(-u_j) + q_j sigmoid(u_j))`.
    """
    u = slope * (x[None] - center)
    log_below, log_above = jax.nn.log_sigmoid(u), jax.nn.log_sigmoid(-u)
    below, above = log_weight + log_below, log_weight + log_above
    y = logsumexp(below, axis=0) - logsumexp(above, axis=0)
    terms = jnp.concatenate(
        [
            jax.nn.log_softmax(below, axis=0) + log_above,
            jax.nn.log_softmax(above, axis=0) + log_below,
        ]
    )
    log_slope = logsumexp(terms + jnp.log(jnp.concatenate([slope, slope])), axis=0)
    share = 1 - MIN_SLOPE
    log_slope = jnp.logaddexp(log_slope + math.log(share), math.log(MIN_SLOPE))
    return share * y + MIN_SLOPE * x, log_slope

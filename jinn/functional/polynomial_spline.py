"""Monotonic splines of single elements, of degree 1, 2 and 3, with linear tails."""

import math
from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jinn.functional.knots import (
    MIN_SLOPE,
    check_parameters,
    clip,
    find_bin,
    in_box,
    knots,
    left_edges,
    pick,
    sum_bins,
)
from jinn.functional.root import increasing_root


def linear_spline_forward(
    x: Float[Array, "*shape"], heights: Float[Array, "bins *#shape"], *, bound: float
) -> tuple[Float[Array, "*shape"], Float[Array, "*shape"]]:
    """Push every element through a continuous, piecewise linear map of [-bound, bound].

    The bins are equally wide. Outside the box, and with all parameters 0 everywhere, the map is
    the identity. Its slope jumps at the knots.

    Args:
        x: Values, any shape.
        heights: Raw bin heights, bins along the leading axis: softmax over that axis makes them
            positive, at least 1e-3 of the box each, and fills the box.
        bound: Half the side of the box, positive.

    Returns:
        `y`, and the log-derivative of each element in float32 or wider.

    Raises:
        ValueError: If the parameters' shape does not fit `x`, or `bound` or the number of bins is
            out of range.

    Reference:
        Neural Importance Sampling (Mueller, McWilliams, Rousselle, Gross, Novak, 2019), section
        4.1, https://arxiv.org/abs/1808.03856
    """
    check_parameters("linear_spline", x, bound, {"heights": heights}, {})
    return in_box(partial(_linear_forward, bound=bound), x, bound, heights)


def linear_spline_inverse(
    y: Float[Array, "*shape"], heights: Float[Array, "bins *#shape"], *, bound: float
) -> tuple[Float[Array, "*shape"], Float[Array, "*shape"]]:
    """Undo `linear_spline_forward`.

    Args:
        y: Values, any shape.
        heights: Raw bin heights of the forward map, bins along the leading axis.
        bound: Half the side of the box, positive.

    Returns:
        `x`, and the log-derivative of each element in float32 or wider.

    Raises:
        ValueError: If the parameters' shape does not fit `y`, or `bound` or the number of bins is
            out of range.
    """
    check_parameters("linear_spline", y, bound, {"heights": heights}, {})
    return in_box(partial(_linear_inverse, bound=bound), y, bound, heights)


def quadratic_spline_forward(
    x: Float[Array, "*shape"],
    widths: Float[Array, "bins *#shape"],
    slopes: Float[Array, "inner *#shape"],
    *,
    bound: float,
) -> tuple[Float[Array, "*shape"], Float[Array, "*shape"]]:
    """Push every element through a piecewise quadratic map of [-bound, bound], smooth at all knots.

    Outside the box, and with all parameters 0 everywhere, the map is the identity.

    Args:
        x: Values, any shape.
        widths: Raw bin widths, bins along the leading axis: softmax over that axis makes them
            positive, at least 1e-3 of the box each, and fills the box.
        slopes: Raw slopes at the bins - 1 inner knots: softplus and 1e-3 make them positive, and
            one factor for all lets the map end in the corner of the box with slope 1.
        bound: Half the side of the box, positive.

    Returns:
        `y`, and the log-derivative of each element in float32 or wider.

    Raises:
        ValueError: If the parameters' shapes do not fit `x` or each other, or `bound` or the
            number of bins is out of range.

    Reference:
        Neural Importance Sampling (Mueller, McWilliams, Rousselle, Gross, Novak, 2019), section
        4.2, https://arxiv.org/abs/1808.03856; the slope 1 at the edges as in Neural Spline Flows
        (Durkan, Bekasov, Murray, Papamakarios, 2019), https://arxiv.org/abs/1906.04032
    """
    parameters = {"widths": widths, "slopes": slopes}
    check_parameters("quadratic_spline", x, bound, parameters, {"slopes": -1})
    return in_box(partial(_quadratic_forward, bound=bound), x, bound, widths, slopes)


def quadratic_spline_inverse(
    y: Float[Array, "*shape"],
    widths: Float[Array, "bins *#shape"],
    slopes: Float[Array, "inner *#shape"],
    *,
    bound: float,
) -> tuple[Float[Array, "*shape"], Float[Array, "*shape"]]:
    """Undo `quadratic_spline_forward` by the root of each element's quadratic.

    Args:
        y: Values, any shape.
        widths: Raw bin widths of the forward map, bins along the leading axis.
        slopes: Raw slopes at the bins - 1 inner knots.
        bound: Half the side of the box, positive.

    Returns:
        `x`, and the log-derivative of each element in float32 or wider.

    Raises:
        ValueError: If the parameters' shapes do not fit `y` or each other, or `bound` or the
            number of bins is out of range.
    """
    parameters = {"widths": widths, "slopes": slopes}
    check_parameters("quadratic_spline", y, bound, parameters, {"slopes": -1})
    return in_box(partial(_quadratic_inverse, bound=bound), y, bound, widths, slopes)


def cubic_spline_forward(
    x: Float[Array, "*shape"],
    widths: Float[Array, "bins *#shape"],
    heights: Float[Array, "bins *#shape"],
    edge_slopes: Float[Array, "two *#shape"],
    *,
    bound: float,
) -> tuple[Float[Array, "*shape"], Float[Array, "*shape"]]:
    """Push every element through a piecewise cubic map of [-bound, bound], smooth at inner knots.

    The slopes at inner knots are Steffen's, which keep it monotonic. Outside the box, and with all
    parameters 0 everywhere, the map is the identity; its slope jumps at the edges.

    Args:
        x: Values, any shape.
        widths: Raw bin widths, bins along the leading axis: softmax over that axis makes them
            positive, at least 1e-3 of the box each, and fills the box.
        heights: Raw bin heights, in the same form.
        edge_slopes: Raw slopes at the left and at the right edge, shape `(2, *x.shape)`: between
            1e-3 and 3 times the mean slope of the bin there, by a sigmoid that is 1 at 0.
        bound: Half the side of the box, positive.

    Returns:
        `y`, and the log-derivative of each element in float32 or wider.

    Raises:
        ValueError: If the parameters' shapes do not fit `x` or each other, or `bound` or the
            number of bins is out of range.

    Reference:
        Cubic-Spline Flows (Durkan, Bekasov, Murray, Papamakarios, 2019),
        https://arxiv.org/abs/1906.02145; A Simple Method for Monotonic Interpolation in One
        Dimension (Steffen, 1990), https://ui.adsabs.harvard.edu/abs/1990A&A...239..443S
    """
    _check_cubic(x, widths, heights, edge_slopes, bound)
    return in_box(partial(_cubic_forward, bound=bound), x, bound, widths, heights, edge_slopes)


def cubic_spline_inverse(
    y: Float[Array, "*shape"],
    widths: Float[Array, "bins *#shape"],
    heights: Float[Array, "bins *#shape"],
    edge_slopes: Float[Array, "two *#shape"],
    *,
    bound: float,
) -> tuple[Float[Array, "*shape"], Float[Array, "*shape"]]:
    """Undo `cubic_spline_forward` by Newton steps within the bin, to rounding.

    The closed form of a cubic's root loses half of the digits where the cubic is nearly a
    parabola or a line.

    Args:
        y: Values, any shape.
        widths: Raw bin widths of the forward map, bins along the leading axis.
        heights: Raw bin heights.
        edge_slopes: Raw slopes at the left and at the right edge, shape `(2, *y.shape)`.
        bound: Half the side of the box, positive.

    Returns:
        `x`, and the log-derivative of each element in float32 or wider.

    Raises:
        ValueError: If the parameters' shapes do not fit `y` or each other, or `bound` or the
            number of bins is out of range.
    """
    _check_cubic(y, widths, heights, edge_slopes, bound)
    return in_box(partial(_cubic_inverse, bound=bound), y, bound, widths, heights, edge_slopes)


# --- Degree 1 -------------------------------------------------------------------------------------


def _linear_forward(x: Array, heights: Array, *, bound: float) -> tuple[Array, Array]:
    left, width = _equal_bins(heights, bound)
    bottom, height = knots(heights, bound)
    _, here = find_bin(x, left)
    slope = pick(here, height) / width
    return pick(here, bottom) + (x - pick(here, left)) * slope, jnp.log(slope)


def _linear_inverse(y: Array, heights: Array, *, bound: float) -> tuple[Array, Array]:
    left, width = _equal_bins(heights, bound)
    bottom, height = knots(heights, bound)
    _, here = find_bin(y, bottom)
    slope = pick(here, height) / width
    return pick(here, left) + (y - pick(here, bottom)) / slope, -jnp.log(slope)


def _equal_bins(like: Array, bound: float) -> tuple[Array, float]:
    bins = like.shape[0]
    width = 2 * bound / bins
    edges = width * jnp.arange(bins, dtype=like.dtype) - bound
    return edges.reshape(-1, *[1] * (like.ndim - 1)), width


# --- Degree 2 -------------------------------------------------------------------------------------


def _quadratic_bins(widths: Array, slopes: Array, bound: float) -> tuple[Array, ...]:
    """Left edges, widths, lower edges, and slopes at the left and right knots, of all bins."""
    left, width = knots(widths, bound)
    inner = jax.nn.softplus(slopes) + MIN_SLOPE
    # With slope 1 at the edges the area under the slopes is that of the box for one scale only.
    first, last = 0.5 * width[:1], 0.5 * width[-1:]
    area = (
        first * inner[:1]
        + last * inner[-1:]
        + sum_bins(0.5 * (inner[:-1] + inner[1:]) * width[1:-1])[None]
    )
    inner = inner * ((2 * bound - first - last) / area)
    inner = MIN_SLOPE + (1 - MIN_SLOPE) * inner
    ones = jnp.ones_like(inner[:1])
    left_slope = jnp.concatenate([ones, inner])
    right_slope = jnp.concatenate([inner, ones])
    bottom = left_edges(0.5 * (left_slope + right_slope) * width, bound)
    return left, width, bottom, left_slope, right_slope


def _quadratic_forward(
    x: Array, widths: Array, slopes: Array, *, bound: float
) -> tuple[Array, Array]:
    cells = _quadratic_bins(widths, slopes, bound)
    _, here = find_bin(x, cells[0])
    left, width, bottom, slope0, slope1 = (pick(here, part) for part in cells)
    t = clip((x - left) / width, 1.0)
    y = bottom + width * t * (slope0 + 0.5 * t * (slope1 - slope0))
    return y, jnp.log((1 - t) * slope0 + t * slope1)


def _quadratic_inverse(
    y: Array, widths: Array, slopes: Array, *, bound: float
) -> tuple[Array, Array]:
    cells = _quadratic_bins(widths, slopes, bound)
    _, here = find_bin(y, cells[2])
    left, width, bottom, slope0, slope1 = (pick(here, part) for part in cells)
    rise = clip((y - bottom) / width, 0.5 * (slope0 + slope1))
    square = slope0 * slope0 + 2 * (slope1 - slope0) * rise  # of the slope at the root
    positive = square > 0
    root = jnp.where(positive, jnp.sqrt(jnp.where(positive, square, 1.0)), 0.0)
    t = clip(2 * rise / (slope0 + root), 1.0)
    return left + t * width, -jnp.log((1 - t) * slope0 + t * slope1)


# --- Degree 3 -------------------------------------------------------------------------------------

_EDGE_SHIFT = math.log((1 - MIN_SLOPE) / (2 - MIN_SLOPE))
"""What makes a raw slope of 0 at an edge the mean slope of its bin."""


def _check_cubic(x: Array, widths: Array, heights: Array, edges: Array, bound: float) -> None:
    check_parameters("cubic_spline", x, bound, {"widths": widths, "heights": heights}, {})
    shape = (2, *x.shape)
    fits = len(edges.shape) == len(shape) and edges.shape[0] == 2
    if not fits or any(n not in (1, m) for n, m in zip(edges.shape, shape, strict=True)):
        raise ValueError(
            f"cubic_spline: expected edge_slopes of shape {shape}, left and right edge along the "
            f"leading axis, got {edges.shape}"
        )


def _cubic_cell(
    at: Array, widths: Array, heights: Array, edges: Array, bound: float, *, along_x: bool
) -> tuple[Array, ...]:
    """Each element's bin: its corner, size, and slopes at its knots as parts of the mean slope."""
    left, width = knots(widths, bound)
    bottom, height = knots(heights, bound)
    slope = height / width
    before, after = slope[:-1], slope[1:]
    parabola = (width[1:] * before + width[:-1] * after) / (width[:-1] + width[1:])
    inner = jnp.minimum(2 * jnp.minimum(before, after), parabola)
    parts = MIN_SLOPE + (3 - 2 * MIN_SLOPE) * jax.nn.sigmoid(edges + _EDGE_SHIFT)
    parts = jnp.broadcast_to(parts, (2, *jnp.broadcast_shapes(parts.shape[1:], slope.shape[1:])))
    inner = jnp.broadcast_to(inner, (inner.shape[0], *parts.shape[1:]))
    slope0 = jnp.concatenate([parts[:1], inner / slope[1:]])
    slope1 = jnp.concatenate([inner / slope[:-1], parts[1:]])
    _, here = find_bin(at, left if along_x else bottom)
    return tuple(pick(here, part) for part in (left, bottom, width, height, slope0, slope1))


def _cubic(t: Array, slope0: Array, slope1: Array) -> Array:
    """A cubic from (0, 0) to (1, 1) with these slopes there, in Bernstein's form."""
    rest = 1 - t
    return t * (slope0 * rest * rest + (3 - slope1) * t * rest + t * t)


def _cubic_log_slope(t: Array, slope0: Array, slope1: Array) -> Array:
    """Log-slope of `_cubic`, as a sum of terms of which none is negative."""
    rest = 1 - t
    middle = 3 - slope0 - slope1
    bent = middle < 0
    roots = jnp.sqrt(slope0), jnp.sqrt(slope1)
    square = jnp.square(roots[0] * rest - roots[1] * t)
    flat = square + 2 * (middle + roots[0] * roots[1]) * t * rest
    plain = slope0 * rest * rest + 2 * middle * t * rest + slope1 * t * t
    return jnp.log(jnp.where(bent, flat, plain))


def _cubic_forward(
    x: Array, widths: Array, heights: Array, edges: Array, *, bound: float
) -> tuple[Array, Array]:
    cell = _cubic_cell(x, widths, heights, edges, bound, along_x=True)
    left, bottom, width, height, slope0, slope1 = cell
    t = clip((x - left) / width, 1.0)
    log_slope = _cubic_log_slope(t, slope0, slope1) + jnp.log(height / width)
    return bottom + height * _cubic(t, slope0, slope1), log_slope


def _cubic_inverse(
    y: Array, widths: Array, heights: Array, edges: Array, *, bound: float
) -> tuple[Array, Array]:
    cell = _cubic_cell(y, widths, heights, edges, bound, along_x=False)
    left, bottom, width, height, slope0, slope1 = cell
    rise = clip((y - bottom) / height, 1.0)

    def above(t: Array) -> Array:
        return _cubic(t, slope0, slope1) - rise

    t, _ = increasing_root(above, jnp.zeros_like(rise), jnp.ones_like(rise))
    log_slope = _cubic_log_slope(t, slope0, slope1) + jnp.log(height / width)
    return left + t * width, -log_slope

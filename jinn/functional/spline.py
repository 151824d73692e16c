"""Monotonic rational-quadratic splines of single elements, with linear tails or on a circle."""

from functools import partial
from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from jinn.functional.knots import (
    check_parameters,
    clip,
    find_bin,
    in_box,
    knots,
    on_circle,
    pick,
    positive_slope,
)


class _Bin(NamedTuple):
    """The bin that holds each element: its corner, size, and the slopes at its two knots."""

    x0: Array
    y0: Array
    width: Array
    height: Array
    slope0: Array
    slope1: Array


def rational_quadratic_spline_forward(
    x: Float[Array, "*shape"],
    widths: Float[Array, "bins *#shape"],
    heights: Float[Array, "bins *#shape"],
    slopes: Float[Array, "inner *#shape"],
    *,
    bound: float,
) -> tuple[Float[Array, "*shape"], Float[Array, "*shape"]]:
    """Push every element through a monotonic rational-quadratic spline on [-bound, bound].

    Outside the box, and with all parameters 0 everywhere, the map is the identity.

    Args:
        x: Values, any shape.
        widths: Raw bin widths, bins along the leading axis: softmax over that axis makes them
            positive, at least 1e-3 of the box each, and fills the box.
        heights: Raw bin heights, in the same form.
        slopes: Raw slopes at the bins - 1 inner knots, along the leading axis: softplus, shifted
            so that 0 stands for slope 1, makes them at least 1e-3. At the box's edges the slope
            is 1.
        bound: Half the side of the box, positive.

    Returns:
        `y`, and the log-derivative of each element in float32 or wider.

    Raises:
        ValueError: If the parameters' shapes do not fit `x` or each other, or `bound` or the
            number of bins is out of range.

    Reference:
        Neural Spline Flows (Durkan, Bekasov, Murray, Papamakarios, 2019), eqs. 4-5,
        https://arxiv.org/abs/1906.04032
    """
    _check("rational_quadratic_spline", x, widths, heights, slopes, bound, slopes_more=-1)
    return in_box(partial(_forward, bound=bound), x, bound, widths, heights, slopes)


def rational_quadratic_spline_inverse(
    y: Float[Array, "*shape"],
    widths: Float[Array, "bins *#shape"],
    heights: Float[Array, "bins *#shape"],
    slopes: Float[Array, "inner *#shape"],
    *,
    bound: float,
) -> tuple[Float[Array, "*shape"], Float[Array, "*shape"]]:
    """Undo `rational_quadratic_spline_forward` by the root of each element's quadratic.

    Args:
        y: Values, any shape.
        widths: Raw bin widths of the forward map, bins along the leading axis.
        heights: Raw bin heights.
        slopes: Raw slopes at the bins - 1 inner knots.
        bound: Half the side of the box, positive.

    Returns:
        `x`, and the log-derivative of each element in float32 or wider.

    Raises:
        ValueError: If the parameters' shapes do not fit `y` or each other, or `bound` or the
            number of bins is out of range.

    Reference:
        Neural Spline Flows (Durkan, Bekasov, Murray, Papamakarios, 2019), eqs. 6-8,
        https://arxiv.org/abs/1906.04032
    """
    _check("rational_quadratic_spline", y, widths, heights, slopes, bound, slopes_more=-1)
    return in_box(partial(_inverse, bound=bound), y, bound, widths, heights, slopes)


def circular_rational_quadratic_spline_forward(
    x: Float[Array, "*shape"],
    widths: Float[Array, "bins *#shape"],
    heights: Float[Array, "bins *#shape"],
    slopes: Float[Array, "bins *#shape"],
    *,
    bound: float,
) -> tuple[Float[Array, "*shape"], Float[Array, "*shape"]]:
    """Push angles through a rational-quadratic spline, `f(x + 2 bound) = f(x) + 2 bound`.

    The circle is [-bound, bound] with its ends joined. The derivative is periodic, and learned at
    the joint like at any knot. Angles of any size may be given, and as many turns as they have come
    out; so the map is invertible on the line as well. The joint maps to itself: add a rotation
    (`additive_forward`) to move it. All parameters 0 give the identity.

    Args:
        x: Angles, any shape.
        widths: Raw bin widths, as in `rational_quadratic_spline_forward`.
        heights: Raw bin heights, in the same form.
        slopes: Raw slopes at the left knot of each bin; the first is that of the joint.
        bound: Half the period, positive, such as pi.

    Returns:
        `y`, and the log-derivative of each element in float32 or wider.

    Raises:
        ValueError: If the parameters' shapes do not fit `x` or each other, or `bound` or the
            number of bins is out of range.

    Reference:
        Normalizing Flows on Tori and Spheres (Rezende et al., 2020), section 2.1.3,
        https://arxiv.org/abs/2002.02428
    """
    name = "circular_rational_quadratic_spline"
    _check(name, x, widths, heights, slopes, bound, slopes_more=0)
    return on_circle(partial(_forward, bound=bound), x, bound, widths, heights, slopes)


def circular_rational_quadratic_spline_inverse(
    y: Float[Array, "*shape"],
    widths: Float[Array, "bins *#shape"],
    heights: Float[Array, "bins *#shape"],
    slopes: Float[Array, "bins *#shape"],
    *,
    bound: float,
) -> tuple[Float[Array, "*shape"], Float[Array, "*shape"]]:
    """Undo `circular_rational_quadratic_spline_forward`.

    Args:
        y: Angles, any shape.
        widths: Raw bin widths of the forward map.
        heights: Raw bin heights.
        slopes: Raw slopes at the left knot of each bin.
        bound: Half the period, positive.

    Returns:
        `x`, and the log-derivative of each element in float32 or wider.

    Raises:
        ValueError: If the parameters' shapes do not fit `y` or each other, or `bound` or the
            number of bins is out of range.
    """
    name = "circular_rational_quadratic_spline"
    _check(name, y, widths, heights, slopes, bound, slopes_more=0)
    return on_circle(partial(_inverse, bound=bound), y, bound, widths, heights, slopes)


def _check(
    name: str,
    x: Array,
    widths: Array,
    heights: Array,
    slopes: Array,
    bound: float,
    *,
    slopes_more: int,
) -> None:
    parameters = {"widths": widths, "heights": heights, "slopes": slopes}
    check_parameters(name, x, bound, parameters, {"slopes": slopes_more})


def _forward(
    x: Array, widths: Array, heights: Array, slopes: Array, *, bound: float
) -> tuple[Array, Array]:
    cell = _find_cell(x, widths, heights, slopes, bound, along_x=True)
    t = clip((x - cell.x0) / cell.width, 1.0)
    return _evaluate(t, cell)


def _inverse(
    y: Array, widths: Array, heights: Array, slopes: Array, *, bound: float
) -> tuple[Array, Array]:
    cell = _find_cell(y, widths, heights, slopes, bound, along_x=False)
    t = clip(_solve(clip(y - cell.y0, cell.height), cell), 1.0)
    _, log_slope = _evaluate(t, cell)
    return cell.x0 + t * cell.width, -log_slope


def _find_cell(
    at: Array, widths: Array, heights: Array, slopes: Array, bound: float, *, along_x: bool
) -> _Bin:
    """Select the bin that holds each element of `at`, an abscissa or an ordinate.

    The slopes are selected raw and made positive afterwards: two softplus an element in place of
    one a knot. As many slopes as bins are those of a circle; one fewer, those of a box.
    """
    left, width = knots(widths, bound)
    bottom, height = knots(heights, bound)
    index, here = find_bin(at, left if along_x else bottom)
    if slopes.shape[0] == widths.shape[0]:
        slope0 = positive_slope(pick(here, slopes))
        slope1 = positive_slope(pick(here, jnp.roll(slopes, -1, axis=0)))
    else:
        slope0 = jnp.where(index == 0, 1.0, positive_slope(pick(here[1:], slopes)))
        last = index == widths.shape[0] - 1
        slope1 = jnp.where(last, 1.0, positive_slope(pick(here[:-1], slopes)))
    return _Bin(
        x0=pick(here, left),
        y0=pick(here, bottom),
        width=pick(here, width),
        height=pick(here, height),
        slope0=slope0,
        slope1=slope1,
    )


def _evaluate(t: Array, cell: _Bin) -> tuple[Array, Array]:
    """Ordinate and log-slope at the fraction t of the way through the bin."""
    s = cell.height / cell.width
    tt = t * (1 - t)
    denominator = s + (cell.slope0 + cell.slope1 - 2 * s) * tt
    y = cell.y0 + cell.height * (s * t * t + cell.slope0 * tt) / denominator
    slope = (s * s * (cell.slope1 * t * t + 2 * s * tt + cell.slope0 * (1 - t) * (1 - t))) / (
        denominator * denominator
    )
    return y, jnp.log(slope)


def _solve(rise: Array, cell: _Bin) -> Array:
    """Fraction of the way through the bin at which the spline has risen by `rise`.

    Of the two forms of the quadratic's root that one is taken which subtracts no close numbers;
    rounding may make the discriminant negative, where it is 0.
    """
    s = cell.height / cell.width
    curvature = rise * (cell.slope0 + cell.slope1 - 2 * s)
    a = cell.height * (s - cell.slope0) + curvature
    b = cell.height * cell.slope0 - curvature
    c = -s * rise
    discriminant = b * b - 4 * a * c
    positive = discriminant > 0
    root = jnp.where(positive, jnp.sqrt(jnp.where(positive, discriminant, 1.0)), 0.0)
    stable = b >= 0
    one, two = b + root, 2 * a
    first = -2 * c / jnp.where(stable & (one != 0), one, 1.0)
    second = (root - b) / jnp.where(stable, 1.0, two)
    return jnp.where(stable, first, second)

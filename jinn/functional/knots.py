"""What all splines of single elements share: knots, the bin of a value, tails and circles.

The parameters lie along a leading axis: reductions over the bins then run over whole rows of
elements, which is about a third faster under XLA than a trailing bin axis.
"""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array

MIN_BIN = 1e-3
"""Smallest width and height of a bin, as a fraction of the box."""
MIN_SLOPE = 1e-3
"""Smallest slope at a knot."""

Evaluate = Callable[..., tuple[Array, Array]]


def check_parameters(
    name: str, x: Array, bound: float, parameters: dict[str, Array], extra: dict[str, int]
) -> None:
    """Check the shapes of a spline's raw parameters, and its box.

    Args:
        name: The spline's name, for the error.
        x: Values.
        bound: Half the side of the box.
        parameters: Raw parameters by name; the first one has as many rows as there are bins.
        extra: By how many rows each of the others differs from the bins.

    Raises:
        ValueError: If a shape does not fit, there are fewer than 2 bins or too many, or the box
            has no width.
    """
    first = next(iter(parameters.values()))
    bins = first.shape[0] if first.ndim else 0
    fits = all(
        array.ndim == x.ndim + 1
        and array.shape[0] == bins + extra.get(key, 0)
        and all(n in (1, m) for n, m in zip(array.shape[1:], x.shape, strict=True))
        for key, array in parameters.items()
    )
    if not fits or not 2 <= bins < 1 / MIN_BIN:
        rows = {0: "bins"}
        shapes = [
            f"{key} ({rows.get(n := extra.get(key, 0), f'bins {n:+d}')}, *{tuple(x.shape)})"
            for key in parameters
        ]
        raise ValueError(
            f"{name}: expected {' and '.join(parameters)} of shapes {', '.join(shapes)} with at "
            f"least 2 and fewer than {1 / MIN_BIN:.0f} bins, got "
            f"{', '.join(str(array.shape) for array in parameters.values())}; "
            "put the bins on the leading axis"
        )
    if not 0 < bound < math.inf:
        raise ValueError(f"{name}: expected a positive, finite bound, got {bound}")


def in_box(evaluate: Evaluate, x: Array, bound: float, *raw: Array) -> tuple[Array, Array]:
    """Apply a map of the box [-bound, bound] inside of it, and the identity outside.

    Args:
        evaluate: From values in the box and raw parameters to values and log-derivatives.
        x: Values.
        bound: Half the side of the box.
        *raw: Raw parameters.

    Returns:
        Values in the type of x, and log-derivatives, float32 or wider.
    """

    def piecewise(x: Array, *raw: Array) -> tuple[Array, Array]:
        inside = jnp.abs(x) <= bound
        y, log_slope = evaluate(*_widen(jnp.where(inside, x, 0.0), *raw))
        return jnp.where(inside, y.astype(x.dtype), x), jnp.where(inside, log_slope, 0.0)

    return _along_one_axis(piecewise, x, *raw)


def on_circle(evaluate: Evaluate, x: Array, bound: float, *raw: Array) -> tuple[Array, Array]:
    """Apply a map of the box to all its periods, `f(x + 2 bound) = f(x) + 2 bound`.

    Args:
        evaluate: From values in the box and raw parameters to values and log-derivatives.
        x: Values.
        bound: Half the period.
        *raw: Raw parameters.

    Returns:
        Values in the type of x, and log-derivatives, float32 or wider.
    """

    def periodic(x: Array, *raw: Array) -> tuple[Array, Array]:
        wide, *raw_wide = _widen(x, *raw)
        start = 2 * bound * jnp.floor((wide + bound) / (2 * bound))
        inside = wide - start
        inside = inside + jax.lax.stop_gradient(jnp.clip(inside, -bound, bound) - inside)
        y, log_slope = evaluate(inside, *raw_wide)
        return (y + start).astype(x.dtype), log_slope

    return _along_one_axis(periodic, x, *raw)


def _along_one_axis(evaluate: Evaluate, x: Array, *raw: Array) -> tuple[Array, Array]:
    """Evaluate with all elements along one axis: XLA does not vectorise a last one of size 1.

    Axes along a mesh with explicit axes stay, since JAX joins only some of them.
    """
    alike = all(parameter.shape[1:] == x.shape for parameter in raw)
    if x.ndim < 2 or not alike or any(any(jax.typeof(a).sharding.spec) for a in (x, *raw)):
        return evaluate(x, *raw)
    flat = [parameter.reshape(parameter.shape[0], -1) for parameter in raw]
    y, log_slope = evaluate(x.reshape(-1), *flat)
    return y.reshape(x.shape), log_slope.reshape(x.shape)


def _widen(*arrays: Array) -> list[Array]:
    """Compute in float32 at least: knots are sums, and a bin's place in the box is a difference."""
    dtype = jnp.promote_types(jnp.result_type(*arrays), jnp.float32)
    return [array.astype(dtype) for array in arrays]


def knots(raw: Array, bound: float) -> tuple[Array, Array]:
    """Left edges and sizes of the bins along the leading axis, from the raw sizes.

    Args:
        raw: Raw sizes; softmax makes them positive, at least 1e-3 of the box.
        bound: Half the side of the box.

    Returns:
        Left edges and sizes, in the shape of `raw`.
    """
    bins = raw.shape[0]
    powers = jnp.exp(raw - jax.lax.stop_gradient(jnp.max(raw, axis=0))[None])
    softmax = powers / sum_bins(powers)[None]
    sizes = 2 * bound * (MIN_BIN + (1 - MIN_BIN * bins) * softmax)
    return left_edges(sizes, bound), sizes


def left_edges(sizes: Array, bound: float) -> Array:
    """Left edges of bins that fill the box.

    Args:
        sizes: Sizes of the bins along the leading axis.
        bound: Half the side of the box.

    Returns:
        The edges, in the shape of `sizes`.
    """
    return jnp.cumsum(sizes, axis=0) - sizes - bound


def sum_bins(values: Array) -> Array:
    """Sum over the leading axis, as a product with ones, which a CPU does faster than a sum.

    Args:
        values: Values, bins along the leading axis.

    Returns:
        Their sums.
    """
    ones = jnp.ones(values.shape[0], values.dtype)
    return jnp.tensordot(ones, values, axes=1, precision="highest")


def find_bin(at: Array, edges: Array) -> tuple[Array, Array]:
    """Find the bin that holds each element.

    Args:
        at: Abscissas or ordinates in the box.
        edges: Left edges of the bins along the leading axis.

    Returns:
        The bin's index, and booleans that are True in its row, `(bins, *at.shape)`.
    """
    index = jnp.sum(at[None] >= edges[1:], axis=0)
    numbers = jnp.arange(edges.shape[0]).reshape(-1, *[1] * at.ndim)
    return index, index[None] == numbers


def pick(here: Array, values: Array) -> Array:
    """Select one row of each element.

    Args:
        here: Booleans, True in at most one row.
        values: Values along the leading axis.

    Returns:
        The value of that row, or 0.
    """
    return sum_bins(jnp.where(here, values, 0.0))


def positive_slope(raw: Array) -> Array:
    """Make a slope positive by softplus with a floor of 1e-3, shifted so that 0 gives slope 1.

    Args:
        raw: Any numbers.

    Returns:
        The slopes.
    """
    return MIN_SLOPE + jax.nn.softplus(raw + math.log(math.expm1(1 - MIN_SLOPE)))


def clip(value: Array, high: Array | float) -> Array:
    """Clip to [0, high] what rounding of the knots has moved out, and let the gradient pass.

    Args:
        value: Values.
        high: The upper end.

    Returns:
        The clipped values.
    """
    return value + jax.lax.stop_gradient(jnp.clip(value, 0.0, high) - value)

"""Kernel two-sample statistics: the maximum mean discrepancy."""

from collections.abc import Sequence
from functools import partial
from numbers import Real
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.custom_derivatives import SymbolicZero
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from jinn.functional.loop import varying_like


def _inverse_multiquadratic(d2: Array, h: float) -> tuple[Array, Array]:
    k = 1.0 / (1.0 + d2 / h**2)
    return k, -k * k / h**2


def _gaussian(d2: Array, h: float) -> tuple[Array, Array]:
    k = jnp.exp(-0.5 * d2 / h**2)
    return k, -0.5 * k / h**2


_KERNELS = {"inverse_multiquadratic": _inverse_multiquadratic, "gaussian": _gaussian}
"""Kernels of a squared distance, each with its derivative by that."""
_PAIRS_PER_BLOCK = 2**20
_LARGEST_UNROLLED_DIM = 16


def mmd_squared(
    x: ArrayLike,
    y: ArrayLike,
    *,
    bandwidths: Sequence[float] | float = (0.05, 0.2, 0.9),
    kernel: str = "inverse_multiquadratic",
    unbiased: bool = True,
    conditions: tuple[ArrayLike, ArrayLike] | None = None,
    condition_bandwidth: float | None = None,
) -> Float[Array, ""]:
    r"""Estimates MMD^2 = E k(x, x') - 2 E k(x, y) + E k(y, y') from samples of two distributions.

    The kernel is a sum over the bandwidths h of ``1 / (1 + |u - v|^2 / h^2)``
    (``"inverse_multiquadratic"``) or of ``exp(-|u - v|^2 / (2 h^2))`` (``"gaussian"``). Given
    conditions a of x and b of y, each kernel is multiplied by ``exp(-|a - b|^2 / (2 s^2))``: then
    only points of like conditions are compared. Pairs are visited in blocks of rows, and the
    gradient is summed in the same pass, so that memory grows with n + m and not with n m. Up to 16
    dimensions the squared distances are sums of squared differences, exact for close points; above,
    they come from matrix products of centred points, clipped at 0.

    Args:
        x: Samples of the first distribution, shape (n, dim).
        y: Samples of the second distribution, shape (m, dim).
        bandwidths: Positive lengths h, in the units of x, one or several, whose
            kernels are added.
        kernel: ``"inverse_multiquadratic"`` or ``"gaussian"``.
        unbiased: Leave the pairs of a point with itself out of E k(x, x') and E k(y, y'). The
            estimate has mean MMD^2 and may be negative; it needs two rows of each. With False they
            are counted: never negative, and too large by about ``len(bandwidths) (1/n + 1/m)``.
        conditions: None, or the conditions of x and of y, shapes (n, k) and (m, k).
        condition_bandwidth: The positive length s, in the units of the conditions.

    Returns:
        The estimate, a scalar in the wider of the two dtypes and float32.

    Raises:
        ValueError: x and y are not two matrices of equally wide rows, there are too few rows, a
            bandwidth is not positive, the kernel is unknown, or the conditions do not fit.

    Reference:
        A Kernel Two-Sample Test. Gretton, Borgwardt, Rasch, Schoelkopf, Smola, 2012.
        https://jmlr.org/papers/v13/gretton12a.html
    """
    x, y = jnp.asarray(x), jnp.asarray(y)
    if x.ndim != 2 or y.ndim != 2 or x.shape[1] != y.shape[1]:
        raise ValueError(
            f"mmd_squared: expected x of shape (n, dim) and y of shape (m, dim), got {x.shape} "
            f"and {y.shape}; reshape scalars to (n, 1), and use jax.vmap to map over a batch."
        )
    least = 2 if unbiased else 1
    for name, rows in (("x", x.shape[0]), ("y", y.shape[0])):
        if rows < least:
            raise ValueError(
                f"mmd_squared: expected at least {least} rows in {name}, got {rows}; the "
                f"{'unbiased' if unbiased else 'biased'} estimate would be NaN. Draw more samples."
            )
    if kernel not in _KERNELS:
        raise ValueError(f"mmd_squared: unknown kernel {kernel!r}; choose from {sorted(_KERNELS)}.")
    lengths = kernel_lengths(bandwidths)
    if not lengths:
        raise ValueError(
            "mmd_squared: expected positive bandwidths, whose squares are in the range of float32, "
            f"got {bandwidths!r}."
        )
    first, second = [x], [y]
    if conditions is not None or condition_bandwidth is not None:
        a, b = _checked_conditions(conditions, condition_bandwidth, len(x), len(y))
        first, second = [x, a], [y, b]
    dtype = jnp.promote_types(jnp.result_type(*first, *second, float), jnp.float32)
    width = None if condition_bandwidth is None else kernel_lengths(condition_bandwidth)[0]
    kinds = _Kernel(lengths, kernel, width)
    first, second = (tuple(leaf.astype(dtype) for leaf in side) for side in (first, second))
    return _mmd_squared(first, second, kinds, unbiased)


def kernel_lengths(bandwidths: Any) -> tuple[float, ...]:
    """Read the lengths of a kernel.

    Args:
        bandwidths: One or several numbers, as users give them.

    Returns:
        Them as numbers; none where one is not positive or its square is out of float32's range.
    """
    try:
        lengths = np.ravel(bandwidths).tolist()
    except ValueError:  # rows of different length
        return ()
    usable = all(isinstance(h, Real) and 1e-18 < float(h) < 1e18 for h in lengths)
    return tuple(map(float, lengths)) if usable else ()


def _checked_conditions(conditions: Any, bandwidth: Any, n: int, m: int) -> tuple[Array, Array]:
    pair = isinstance(conditions, tuple | list) and len(conditions) == 2
    if not pair or len(kernel_lengths(bandwidth)) != 1:
        found = (
            "no conditions" if conditions is None else f"conditions, a {type(conditions).__name__}"
        )
        raise ValueError(
            "mmd_squared: expected conditions=(a, b) and a positive condition_bandwidth, or "
            f"neither, got condition_bandwidth={bandwidth} and {found}."
        )
    a, b = map(jnp.asarray, conditions)
    if a.ndim != 2 or b.ndim != 2 or (len(a), len(b), a.shape[1]) != (n, m, b.shape[1]):
        raise ValueError(
            f"mmd_squared: expected conditions of shapes ({n}, k) and ({m}, k), got {a.shape} and "
            f"{b.shape}."
        )
    return a, b


class _Kernel(NamedTuple):
    """A sum of kernels of points, times a Gaussian of their conditions if they have some."""

    bandwidths: tuple[float, ...]
    name: str
    condition_bandwidth: float | None
    skip_diagonal: bool = False

    def __call__(self, d2: Array, *condition_d2: Array) -> tuple[Array, list[Array]]:
        """The kernel, and its derivative by each squared distance."""
        zero = jnp.zeros_like(d2)
        both = [_KERNELS[self.name](d2, h) for h in self.bandwidths]
        k, slope = sum((k for k, _ in both), start=zero), sum((s for _, s in both), start=zero)
        if self.condition_bandwidth is None:
            return k, [slope]
        weight, weight_slope = _gaussian(condition_d2[0], self.condition_bandwidth)
        return weight * k, [weight * slope, weight_slope * k]


_Points = tuple[Array, ...]
"""Points `(rows, dim)`, and their conditions `(rows, k)` if they have some."""


@partial(jax.jit, static_argnums=(2, 3))
def _mmd_squared(
    first: _Points, second: _Points, kernel: _Kernel, unbiased: bool
) -> Float[Array, ""]:
    first, second = zip(*map(_centred, first, second), strict=True)
    own = kernel._replace(skip_diagonal=unbiased)
    return (
        _mean_kernel(first, first, own)
        - 2.0 * _mean_kernel(first, second, kernel)
        + _mean_kernel(second, second, own)
    )


def _centred(u: Array, v: Array) -> tuple[Array, Array]:
    """Wide points around their mean: distances do not change, their rounding errors do."""
    if u.shape[1] <= _LARGEST_UNROLLED_DIM:
        return u, v
    centre = jax.lax.stop_gradient(jnp.mean(v, axis=0, keepdims=True))
    return u - centre, v - centre


@partial(jax.custom_jvp, nondiff_argnums=(2,))
def _mean_kernel(first: _Points, second: _Points, kernel: _Kernel) -> Float[Array, ""]:
    """Averages k(x_i, y_j) over all i and j, or over i != j."""
    return _mean_and_gradients(first, second, kernel)[0]


def _mean_kernel_jvp(kernel: _Kernel, primals: Any, tangents: Any) -> tuple[Array, Array]:
    """The rule of the gradient: it comes with the mean, in one pass, so that no pair is stored."""
    wanted = tuple(tuple(not isinstance(t, SymbolicZero) for t in side) for side in tangents)
    first, second = primals
    mean, gradients = _mean_and_gradients(first, second, kernel, wanted)
    flat = [
        (g, t)
        for gs, ts in zip(gradients, tangents, strict=True)
        for g, t in zip(gs, ts, strict=True)
    ]
    return mean, sum((jnp.vdot(g, t) for g, t in flat if g is not None), start=jnp.zeros_like(mean))


_mean_kernel.defjvp(_mean_kernel_jvp, symbolic_zeros=True)


def _mean_and_gradients(
    first: _Points,
    second: _Points,
    kernel: _Kernel,
    wanted: tuple[tuple[bool, ...], ...] = ((False, False), (False, False)),
) -> tuple[Array, tuple[list[Any], list[Any]]]:
    """The mean kernel and its gradients by those points and conditions that are wanted, or None.

    A block of rows of the first meets all of the second at a time.
    """
    n, m = len(first[0]), len(second[0])
    rows = max(1, min(n, _PAIRS_PER_BLOCK // m))
    blocks = -(-n // rows)
    columns = m - 1 if kernel.skip_diagonal else m

    def in_blocks(leaf: Array) -> Array:
        padding = ((0, blocks * rows - n), *((0, 0),) * (leaf.ndim - 1))
        return jnp.pad(leaf, padding).reshape(blocks, rows, *leaf.shape[1:])

    def visit(sums: list[Any], part: tuple[Array, _Points]) -> tuple[list[Any], Any]:
        index, block = part
        d2 = [_squared_distances(u, v) for u, v in zip(block, second, strict=True)]
        k, slopes = kernel(*d2)
        counted = index[:, None] < n
        if kernel.skip_diagonal:
            counted = counted & (index[:, None] != jnp.arange(m)[None])
        by_row: list[Any] = [None] * len(block)
        by_column = list(sums)
        for i, (slope, u, v) in enumerate(zip(slopes, block, second, strict=True)):
            slope = jnp.where(counted, slope, 0.0)
            centre = jnp.mean(v, axis=0, keepdims=True)
            u, v = u - centre, v - centre  # so that less cancels in the differences below
            if wanted[0][i]:
                by_row[i] = u * jnp.sum(slope, 1)[:, None] - _product(slope, v)
            if wanted[1][i]:
                by_column[i] += v * jnp.sum(slope, 0)[:, None] - _product(slope.T, u)
        return by_column, (jnp.sum(jnp.where(counted, k, 0.0), 1), by_row)

    start = [
        jnp.zeros_like(v) if want else None for v, want in zip(second, wanted[1], strict=False)
    ]
    parts = jnp.arange(blocks * rows).reshape(blocks, rows), tuple(map(in_blocks, first))
    by_column, (sums, by_row) = jax.lax.scan(visit, varying_like(start, (first, second)), parts)
    mean = jnp.mean(sums.reshape(-1)[:n] / columns)

    def scaled(total: Array) -> Array:
        return total.reshape(-1, total.shape[-1]) * (2.0 / (n * columns))

    return mean, (jax.tree.map(lambda g: scaled(g)[:n], by_row), jax.tree.map(scaled, by_column))


def _product(a: Array, b: Array) -> Array:
    return jnp.matmul(a, b, precision=jax.lax.Precision.HIGHEST)


def _squared_distances(u: Float[Array, "n dim"], v: Float[Array, "m dim"]) -> Float[Array, "n m"]:
    dim = u.shape[1]
    if dim <= _LARGEST_UNROLLED_DIM:
        zero = jnp.zeros((len(u), len(v)), u.dtype)
        return sum(((u[:, i, None] - v[None, :, i]) ** 2 for i in range(dim)), start=zero)
    squares = jnp.sum(u**2, 1)[:, None] + jnp.sum(v**2, 1)[None]
    return jnp.maximum(squares - 2.0 * _product(u, v.T), 0.0)

"""Kernel two-sample statistics: the maximum mean discrepancy."""

from collections.abc import Sequence
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float

_KERNELS = {
    "inverse_multiquadratic": lambda d2, h: 1.0 / (1.0 + d2 / h**2),
    "gaussian": lambda d2, h: jnp.exp(-0.5 * d2 / h**2),
}
_PAIRS_PER_BLOCK = 2**20
_LARGEST_UNROLLED_DIM = 16


def mmd_squared(
    x: ArrayLike,
    y: ArrayLike,
    *,
    bandwidths: Sequence[float] | float = (0.05, 0.2, 0.9),
    kernel: str = "inverse_multiquadratic",
    unbiased: bool = True,
) -> Float[Array, ""]:
    r"""Estimates MMD^2 = E k(x, x') - 2 E k(x, y) + E k(y, y') from samples of two distributions.

    The kernel is a sum over the bandwidths h of ``1 / (1 + |u - v|^2 / h^2)``
    (``"inverse_multiquadratic"``) or of ``exp(-|u - v|^2 / (2 h^2))`` (``"gaussian"``). Pairs are
    visited in blocks of rows, forward and backward, so that memory grows with n + m and not
    with n m. Up to 16 dimensions the squared distances are sums of squared differences, exact for
    close points; above, they come from matrix products of centred points, clipped at 0.

    Args:
        x: Samples of the first distribution, shape (n, dim).
        y: Samples of the second distribution, shape (m, dim).
        bandwidths: Positive lengths h, in the units of x, one or several, whose
            kernels are added.
        kernel: ``"inverse_multiquadratic"`` or ``"gaussian"``.
        unbiased: Leave the pairs of a point with itself out of E k(x, x') and E k(y, y'). The
            estimate has mean MMD^2 and may be negative; it needs two rows of each. With False they
            are counted: never negative, and too large by about ``len(bandwidths) (1/n + 1/m)``.

    Returns:
        The estimate, a scalar in the wider of the two dtypes and float32.

    Raises:
        ValueError: x and y are not two matrices of equally wide rows, there are too few rows, a
            bandwidth is not positive, or the kernel is unknown.

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
    bandwidths = tuple(float(h) for h in np.ravel(bandwidths))
    if not bandwidths or not all(h > 0 for h in bandwidths):
        raise ValueError(f"mmd_squared: expected positive bandwidths, got {bandwidths}.")
    dtype = jnp.promote_types(jnp.result_type(x, y, float), jnp.float32)
    return _mmd_squared(x.astype(dtype), y.astype(dtype), bandwidths, kernel, unbiased)


@partial(jax.jit, static_argnums=(2, 3, 4))
def _mmd_squared(
    x: Float[Array, "n dim"],
    y: Float[Array, "m dim"],
    bandwidths: tuple[float, ...],
    kernel: str,
    unbiased: bool,
) -> Float[Array, ""]:
    if x.shape[1] > _LARGEST_UNROLLED_DIM:  # distances do not change, their rounding errors do
        centre = jax.lax.stop_gradient(jnp.mean(y, axis=0, keepdims=True))
        x, y = x - centre, y - centre
    mean = partial(_mean_kernel, bandwidths=bandwidths, kernel=kernel)
    return mean(x, x, unbiased) - 2.0 * mean(x, y, False) + mean(y, y, unbiased)


def _mean_kernel(
    x: Float[Array, "n dim"],
    y: Float[Array, "m dim"],
    skip_diagonal: bool,
    *,
    bandwidths: tuple[float, ...],
    kernel: str,
) -> Float[Array, ""]:
    """Averages k(x_i, y_j) over all i and j, or over i != j."""
    columns = jnp.arange(y.shape[0])

    @jax.checkpoint
    def row_mean(row: tuple[Array, Array]) -> Array:
        index, point = row
        d2 = _squared_distances(point, y)
        k = sum(_KERNELS[kernel](d2, h) for h in bandwidths)
        if skip_diagonal:
            return jnp.sum(jnp.where(columns == index, 0.0, k)) / (len(columns) - 1)
        return jnp.mean(k)

    rows = max(1, _PAIRS_PER_BLOCK // y.shape[0])
    return jnp.mean(jax.lax.map(row_mean, (jnp.arange(x.shape[0]), x), batch_size=rows))


def _squared_distances(
    point: Float[Array, " dim"], points: Float[Array, "m dim"]
) -> Float[Array, " m"]:
    dim = points.shape[1]
    if dim <= _LARGEST_UNROLLED_DIM:
        zero = jnp.zeros(points.shape[0], points.dtype)
        return sum(((point[i] - points[:, i]) ** 2 for i in range(dim)), start=zero)
    products = jnp.matmul(points, point, precision=jax.lax.Precision.HIGHEST)
    return jnp.maximum(jnp.sum(point**2) + jnp.sum(points**2, axis=1) - 2.0 * products, 0.0)

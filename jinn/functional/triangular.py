"""Linear maps along the last axis that are made of triangular matrices."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int


def triangular_forward(
    x: Float[Array, "*batch n"], shift: Float[Array, " n"], triangle: Float[Array, "n n"]
) -> tuple[Float[Array, "*batch n"], Float[Array, "*batch"]]:
    """Mix the last axis by a lower triangular matrix, `y = L x + shift`.

    Args:
        x: Vectors along the last axis.
        shift: What is added to each element of the last axis.
        triangle: L below its diagonal, and on the diagonal the logarithms of L's. What is above
            the diagonal is not read.

    Returns:
        `y` and the log-determinant, the sum of the diagonal, in the shape of the leading axes.
    """
    lower, log_diagonal = _lower(triangle, x.dtype)
    return _multiply(x, lower) + _along_last(shift, x), _log_det(x, log_diagonal)


def triangular_inverse(
    y: Float[Array, "*batch n"], shift: Float[Array, " n"], triangle: Float[Array, "n n"]
) -> tuple[Float[Array, "*batch n"], Float[Array, "*batch"]]:
    """Undo `triangular_forward`, `x = L^-1 (y - shift)`.

    L is inverted by substitution, once for all vectors.

    Args:
        y: Vectors along the last axis.
        shift: The shift of the forward map.
        triangle: L and the logarithms of its diagonal, as in the forward map.

    Returns:
        `x` and the log-determinant in the shape of the leading axes.
    """
    lower, log_diagonal = _lower(triangle, y.dtype)
    identity = jnp.eye(len(lower), dtype=lower.dtype)
    inverse = jax.scipy.linalg.solve_triangular(lower, identity, lower=True)
    return _multiply(y - _along_last(shift, y), inverse), -_log_det(y, log_diagonal)


def plu_forward(
    x: Float[Array, "*batch n"], triangles: Float[Array, "n n"], permutation: Int[Array, " n"]
) -> tuple[Float[Array, "*batch n"], Float[Array, "*batch"]]:
    """Mix the last axis by a matrix in PLU form, `y = P L U x`.

    L is lower triangular with ones on its diagonal, U upper triangular with a positive diagonal,
    and P puts the elements in another order, `(P v)[i] = v[permutation[i]]`.

    Args:
        x: Vectors along the last axis.
        triangles: L below the diagonal, U above it, and on it the logarithms of U's diagonal.
        permutation: Every integer from 0 to n - 1 once.

    Returns:
        `y` and the log-determinant, the sum of the diagonal, in the shape of the leading axes.

    Reference:
        Glow: Generative Flow with Invertible 1x1 Convolutions (Kingma, Dhariwal, 2018),
        section 3.2, https://arxiv.org/abs/1807.03039
    """
    lower, upper, log_diagonal = _lower_and_upper(triangles, x.dtype)
    with jax.default_matmul_precision("highest"):
        matrix = _take(lower @ upper, permutation, axis=0)
    return _multiply(x, matrix), _log_det(x, log_diagonal)


def plu_inverse(
    y: Float[Array, "*batch n"], triangles: Float[Array, "n n"], permutation: Int[Array, " n"]
) -> tuple[Float[Array, "*batch n"], Float[Array, "*batch"]]:
    """Undo `plu_forward`, `x = U^-1 L^-1 P^T y`.

    The triangles are inverted by substitution, once for all vectors.

    Args:
        y: Vectors along the last axis.
        triangles: L and U as in the forward map.
        permutation: The permutation of the forward map.

    Returns:
        `x` and the log-determinant in the shape of the leading axes.
    """
    lower, upper, log_diagonal = _lower_and_upper(triangles, y.dtype)
    identity = jnp.eye(len(lower), dtype=lower.dtype)
    solve = jax.scipy.linalg.solve_triangular
    inverse = solve(upper, solve(lower, identity, lower=True, unit_diagonal=True))
    return _multiply(y, _take(inverse, permutation, axis=1)), -_log_det(y, log_diagonal)


def _lower(triangle: Array, dtype: jnp.dtype) -> tuple[Array, Array]:
    """L, and the logarithms of its diagonal, in float32 or wider."""
    triangle = triangle.astype(_wide(triangle, dtype))
    log_diagonal = jnp.diagonal(triangle)
    return jnp.tril(triangle, -1) + jnp.diag(jnp.exp(log_diagonal)), log_diagonal


def _lower_and_upper(triangles: Array, dtype: jnp.dtype) -> tuple[Array, Array, Array]:
    """L, U, and the logarithms of U's diagonal, in float32 or wider."""
    triangles = triangles.astype(_wide(triangles, dtype))
    log_diagonal = jnp.diagonal(triangles)
    lower = jnp.tril(triangles, -1) + jnp.eye(len(triangles), dtype=triangles.dtype)
    return lower, jnp.triu(triangles, 1) + jnp.diag(jnp.exp(log_diagonal)), log_diagonal


def _wide(parameter: Array, dtype: jnp.dtype) -> jnp.dtype:
    return jnp.promote_types(jnp.promote_types(parameter.dtype, dtype), jnp.float32)


def _along_last(shift: Array, x: Array) -> Array:
    return shift.astype(x.dtype).reshape(*[1] * (x.ndim - 1), -1)


def _take(matrix: Array, permutation: Array, axis: int) -> Array:
    return jnp.take(matrix, permutation, axis=axis, unique_indices=True, mode="clip")


def _multiply(x: Array, matrix: Array) -> Array:
    """The matrix times each vector, in the vectors' type."""
    return jnp.matmul(x, matrix.T, precision=jax.lax.Precision.HIGHEST).astype(x.dtype)


def _log_det(x: Array, log_diagonal: Array) -> Array:
    dtype = jnp.promote_types(x.dtype, jnp.float32)
    return jnp.broadcast_to(jnp.sum(log_diagonal), x.shape[:-1]).astype(dtype)

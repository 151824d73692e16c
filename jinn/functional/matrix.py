"""Linear maps along the last axis by any matrix."""

import jax.numpy as jnp
from jaxtyping import Array, Float


def linear_forward(
    x: Float[Array, "*batch n"], matrix: Float[Array, "n n"], shift: Float[Array, " n"]
) -> tuple[Float[Array, "*batch n"], Float[Array, "*batch"]]:
    """Multiply the last axis by a matrix and add a shift, `y = M x + shift`.

    Args:
        x: Vectors along the last axis.
        matrix: M, square. Where it is singular the log-determinant is -inf.
        shift: What is added.

    Returns:
        `y`, and `log|det M|` in the shape of the leading axes, float32 or wider.
    """
    wide, matrix, shift = widen(x, matrix, shift)
    y = jnp.matmul(wide, matrix.T, precision="highest") + shift
    return y.astype(x.dtype), jnp.full(x.shape[:-1], jnp.linalg.slogdet(matrix)[1])


def linear_inverse(
    y: Float[Array, "*batch n"], matrix: Float[Array, "n n"], shift: Float[Array, " n"]
) -> tuple[Float[Array, "*batch n"], Float[Array, "*batch"]]:
    """Undo `linear_forward`, `x = M^-1 (y - shift)`, by one factorisation for the whole batch.

    Args:
        y: Vectors along the last axis.
        matrix: M of the forward map.
        shift: Its shift.

    Returns:
        `x`, not finite where M is singular, and `-log|det M|` in the shape of the leading axes.
    """
    wide, matrix, shift = widen(y, matrix, shift)
    rows = (wide - shift).reshape(-1, y.shape[-1])
    x = jnp.linalg.solve(matrix, rows.T).T.reshape(y.shape)
    return x.astype(y.dtype), jnp.full(y.shape[:-1], -jnp.linalg.slogdet(matrix)[1])


def widen(x: Array, matrix: Array, shift: Array) -> tuple[Array, Array, Array]:
    """Compute in float32 at least.

    Args:
        x: Vectors along the last axis.
        matrix: What they are multiplied by.
        shift: What is added.

    Returns:
        All three in float32 or wider, the shift in the rank of x.
    """
    dtype = jnp.promote_types(jnp.result_type(x, matrix, shift), jnp.float32)
    shift = shift.astype(dtype).reshape(*[1] * (x.ndim - 1), -1)
    return x.astype(dtype), matrix.astype(dtype), shift

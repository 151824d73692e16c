"""Linear maps along the last axis whose determinant is known without work."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def orthogonal_forward(
    x: Float[Array, "*batch n"], matrix: Float[Array, "n n"]
) -> tuple[Float[Array, "*batch n"], Float[Array, "*batch"]]:
    """Rotate or reflect the last axis, `y = Q x`; |det Q| = 1, so the log-determinant is 0.

    Args:
        x: Vectors along the last axis.
        matrix: Q, an orthogonal matrix. It is not checked; `skew_exponential` makes one.

    Returns:
        `y` and zeros in the shape of the leading axes.
    """
    return _rotate(x, matrix.T)


def orthogonal_inverse(
    y: Float[Array, "*batch n"], matrix: Float[Array, "n n"]
) -> tuple[Float[Array, "*batch n"], Float[Array, "*batch"]]:
    """Undo `orthogonal_forward`, `x = Q^T y`; the log-determinant is 0.

    Args:
        y: Vectors along the last axis.
        matrix: Q, the orthogonal matrix of the forward map.

    Returns:
        `x` and zeros in the shape of the leading axes.
    """
    return _rotate(y, matrix)


def skew_exponential(entries: Float[Array, " m"], size: int) -> Float[Array, "n n"]:
    """Make a rotation, `exp(A - A^T)`, where A holds `entries` strictly above its diagonal.

    Zeros give the identity, and every rotation is reached.

    Args:
        entries: The size * (size - 1) / 2 free numbers, row by row.
        size: Number of rows n.

    Returns:
        An orthogonal matrix with determinant 1.

    Reference:
        Cheap Orthogonal Constraints in Neural Networks (Lezcano-Casado, Martinez-Rubio, 2019),
        https://arxiv.org/abs/1901.08428
    """
    rows, columns = jnp.triu_indices(size, k=1)
    upper = jnp.zeros((size, size), entries.dtype).at[rows, columns].set(entries)
    return jax.scipy.linalg.expm(upper - upper.T, max_squarings=32)


def polish_orthogonal(matrix: Float[Array, "n n"]) -> Float[Array, "n n"]:
    """Remove the rounding error of an orthogonal matrix, `Q (3 I - Q^T Q) / 2`.

    One Newton-Schulz step squares the distance to orthogonality, so that a matrix stored in a
    narrow type is orthogonal to the precision of the type it is cast to.

    Args:
        matrix: Q, orthogonal up to rounding.

    Returns:
        The nearest orthogonal matrix, to second order.

    Reference:
        An Iterative Algorithm for Computing the Best Estimate of an Orthogonal Matrix (Bjorck,
        Bowie, 1971), https://doi.org/10.1137/0708036
    """
    with jax.default_matmul_precision("highest"):
        return 1.5 * matrix - 0.5 * matrix @ (matrix.T @ matrix)


def _rotate(
    x: Float[Array, "*batch n"], right: Float[Array, "n n"]
) -> tuple[Float[Array, "*batch n"], Float[Array, "*batch"]]:
    y = jnp.matmul(x, right, precision=jax.lax.Precision.HIGHEST)
    return y, jnp.zeros(x.shape[:-1], jnp.promote_types(x.dtype, jnp.float32))

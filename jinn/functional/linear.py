"""Linear maps along the last axis whose determinant is known without work."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jinn.functional.saturation import smallest_argument


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
    rotation = jax.scipy.linalg.expm(_skew(entries, size), max_squarings=32)
    return rotation.astype(entries.dtype)


def skew_cayley(entries: Float[Array, " m"], size: int) -> Float[Array, "n n"]:
    """Make a rotation by Cayley's map, `(I - S / 2)^-1 (I + S / 2)`, `S = A - A^T`.

    A holds `entries` strictly above its diagonal. Zeros give the identity, and every rotation is
    reached that turns no plane by half a turn. It costs one solve, less than `skew_exponential`,
    with which it agrees to second order.

    Args:
        entries: The size * (size - 1) / 2 free numbers, row by row.
        size: Number of rows n.

    Returns:
        An orthogonal matrix with determinant 1.

    Reference:
        Orthogonal Recurrent Neural Networks with Scaled Cayley Transform (Helfrich, Willmott, Ye,
        2018), https://arxiv.org/abs/1707.09520
    """
    half = 0.5 * _skew(entries, size)
    eye = jnp.eye(size, dtype=half.dtype)
    return jnp.linalg.solve(eye - half, eye + half).astype(entries.dtype)


def _skew(entries: Array, size: int) -> Array:
    """`A - A^T` in float32 or wider; there are no solves in narrower types."""
    rows, columns = jnp.triu_indices(size, k=1)
    wide = jnp.promote_types(entries.dtype, jnp.float32)
    upper = jnp.zeros((size, size), wide).at[rows, columns].set(entries.astype(wide))
    return upper - upper.T


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


def householder_forward(
    x: Float[Array, "*batch n"], vectors: Float[Array, "*#batch k n"]
) -> tuple[Float[Array, "*batch n"], Float[Array, "*batch"]]:
    """Reflect the last axis k times, `y = H_k ... H_1 x` with `H_i = I - 2 v_i v_i^T / |v_i|^2`.

    The product is orthogonal, so the log-determinant is 0; n reflections make every orthogonal
    matrix whose determinant is (-1)^n. Only the directions of the vectors count. The product is
    formed once, as one matrix, and costs a batch one matrix product.

    Args:
        x: Vectors along the last axis.
        vectors: The vectors v_i that are reflected, one a row, of any length; with batch axes, each
            entry of the batch is reflected by its own. A zero vector (all elements below
            tiny / eps, 1e-31 in float32) reflects nothing.

    Returns:
        `y` and zeros in the shape of the leading axes.

    Reference:
        Improving Variational Auto-Encoders using Householder Flow (Tomczak, Welling, 2016),
        https://arxiv.org/abs/1611.09630; the product as one matrix: Accumulating Householder
        Transformations, Revisited (Joffrain et al., 2006), https://doi.org/10.1145/1141885.1141886
    """
    left, right = _reflections(vectors, x.dtype)
    return _reflect(x, left, right)


def householder_inverse(
    y: Float[Array, "*batch n"], vectors: Float[Array, "*#batch k n"]
) -> tuple[Float[Array, "*batch n"], Float[Array, "*batch"]]:
    """Undo `householder_forward`, `x = H_1 ... H_k y`; the log-determinant is 0.

    Args:
        y: Vectors along the last axis.
        vectors: The vectors of the forward map.

    Returns:
        `x` and zeros in the shape of the leading axes.
    """
    left, right = _reflections(vectors, y.dtype)
    return _reflect(y, right, left)


def householder_matrix(vectors: Float[Array, "k n"]) -> Float[Array, "n n"]:
    """Make the orthogonal matrix `H_k ... H_1` of `householder_forward`.

    Args:
        vectors: The vectors v_i that are reflected, one a row, of any length.

    Returns:
        An orthogonal matrix with determinant (-1)^k, if no vector is zero.
    """
    left, right = _reflections(vectors, vectors.dtype)
    with jax.default_matmul_precision("highest"):
        matrix = jnp.eye(vectors.shape[1], dtype=left.dtype) - right.T @ left
    return matrix.astype(vectors.dtype)


def _reflections(vectors: Array, dtype: jnp.dtype) -> tuple[Array, Array]:
    """Arrays A and B, both (..., k, n), with `H_1 ... H_k = I - A^T B`."""
    wide = jnp.promote_types(jnp.promote_types(vectors.dtype, dtype), jnp.float32)
    vectors = vectors.astype(wide)
    size = jax.lax.stop_gradient(jnp.max(jnp.abs(vectors), axis=-1, keepdims=True))
    zero = size < smallest_argument(wide)
    scaled = jnp.where(zero, 1.0, vectors / jnp.where(zero, 1.0, size))
    scaled = jax.lax.optimization_barrier(scaled)  # else XLA may square before it divides
    units = scaled / jnp.linalg.norm(scaled, axis=-1, keepdims=True)
    units = jnp.where(zero, 0.0, units)
    with jax.default_matmul_precision("highest"):
        products = jnp.triu(units @ jnp.matrix_transpose(units), 1)
    products = products + jnp.broadcast_to(0.5 * jnp.eye(products.shape[-1]), products.shape)
    return units, jax.scipy.linalg.solve_triangular(products.astype(wide), units)


def _reflect(x: Array, left: Array, right: Array) -> tuple[Array, Array]:
    """Multiply each row by `I - left^T right`, through the narrow factors if these are thin."""
    k, n = left.shape[-2:]
    with jax.default_matmul_precision("highest"):
        if left.ndim > 2 or 16 * k < n:
            wide = x.astype(left.dtype)
            along = jnp.einsum("...n,...kn->...k", wide, left)
            y = (wide - jnp.einsum("...k,...kn->...n", along, right)).astype(x.dtype)
            return y, _zeros(x)
        matrix = jnp.eye(n, dtype=left.dtype) - left.T @ right
    return _rotate(x, matrix)


def _rotate(
    x: Float[Array, "*batch n"], right: Float[Array, "n n"]
) -> tuple[Float[Array, "*batch n"], Float[Array, "*batch"]]:
    y = jnp.matmul(x, right, precision=jax.lax.Precision.HIGHEST)
    return y.astype(x.dtype), _zeros(x)


def _zeros(x: Float[Array, "*batch n"]) -> Float[Array, "*batch"]:
    return jnp.zeros(x.shape[:-1], jnp.promote_types(x.dtype, jnp.float32))

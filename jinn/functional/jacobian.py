"""Jacobians of batched maps, and what contractions need of them: determinants and solves."""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

Map = Callable[[Array], Array]
ValueAndJacobian = Callable[[Array], tuple[Array, Array]]

_UNROLLED = 4
_COLUMNS_AT_ONCE = 64


def keeping_shape(function: Map, name: str) -> Map:
    """A map that is refused where it does not return the shape of its argument.

    Args:
        function: The map.
        name: What it belongs to, for the error.

    Returns:
        The same map.
    """

    def checked(x: Array) -> Array:
        value = function(x)
        if jnp.shape(value) != x.shape:
            raise ValueError(
                f"{name}: expected the map to return the shape of its argument, {x.shape}, got "
                f"{jnp.shape(value)}; it gets values with their batch axes"
            )
        return value

    return checked


def value_and_jacobian(
    function: Map, x: Float[Array, "*batch_event"], *, event_ndim: int = 1
) -> tuple[Float[Array, "*batch_event"], Float[Array, "*batch n n"]]:
    """Value and Jacobian `J_ij = d f_i / d x_j` of a map that acts on each batch entry by itself.

    One forward-mode product a column, for all entries at once; events are flattened in J.

    Args:
        function: From events `(*batch, *event)` to events of the same shape.
        x: Where to evaluate it.
        event_ndim: Number of axes of one event.

    Returns:
        `f(x)` and the Jacobians of shape `(*batch, n, n)`, n being the size of an event.
    """
    value, product = jax.linearize(function, x)
    split = x.ndim - event_ndim
    batch, event = x.shape[:split], x.shape[split:]
    n = math.prod(event)
    basis = jnp.eye(n, dtype=x.dtype).reshape(n, *[1] * split, *event)

    def column(direction: Array) -> Array:
        return product(jnp.broadcast_to(direction, x.shape)).reshape(*batch, n)

    if n <= _COLUMNS_AT_ONCE:
        return value, jax.vmap(column, out_axes=-1)(basis)
    columns = jax.lax.map(column, basis, batch_size=_COLUMNS_AT_ONCE)
    return value, jnp.moveaxis(columns, 0, -1)


def log_det_identity_plus(jacobian: Float[Array, "*batch n n"]) -> Float[Array, "*batch"]:
    """Log-determinant `log|det(I + J)|`, for J of spectral norm less than 1.

    The symmetric part of `I + J` is then positive definite, so that elimination needs no pivoting:
    up to 4 x 4 it is unrolled into arithmetic over the batch; larger ones go to LAPACK.

    Args:
        jacobian: The matrices J.

    Returns:
        One value a matrix, float32 or wider.
    """
    matrix = _identity_plus(jacobian)
    if matrix.shape[-1] > _UNROLLED:
        return jnp.linalg.slogdet(matrix)[1]
    rows = _eliminated(_entries(matrix))
    return sum(
        (jnp.log(jnp.abs(row[k])) for k, row in enumerate(rows)),
        jnp.zeros(matrix.shape[:-2], matrix.dtype),
    )


def solve_identity_plus(
    jacobian: Float[Array, "*batch n n"], right: Float[Array, "*batch n"]
) -> Float[Array, "*batch n"]:
    """Solve `(I + J) v = b`, for J of spectral norm less than 1.

    Args:
        jacobian: The matrices J.
        right: The vectors b.

    Returns:
        The vectors v.
    """
    matrix, n = _identity_plus(jacobian), jacobian.shape[-1]
    if n > _UNROLLED:
        right_wide = right.astype(matrix.dtype)[..., None]
        return jnp.linalg.solve(matrix, right_wide)[..., 0].astype(right.dtype)
    rows = [[*row, right[..., i]] for i, row in enumerate(_entries(matrix))]
    rows = _eliminated(rows)
    solution: list[Array] = []
    for k in reversed(range(n)):
        known = sum((rows[k][n - 1 - i] * v for i, v in enumerate(solution)), start=0.0)
        solution.append((rows[k][n] - known) / rows[k][k])
    return jnp.stack(solution[::-1], axis=-1).astype(right.dtype)


def _identity_plus(jacobian: Array) -> Array:
    wide = jacobian.astype(jnp.promote_types(jacobian.dtype, jnp.float32))
    identity = jnp.eye(wide.shape[-1], dtype=wide.dtype)
    return wide + identity.reshape(*[1] * (wide.ndim - 2), *identity.shape)


def _entries(matrix: Array) -> list[list[Array]]:
    n = matrix.shape[-1]
    return [[matrix[..., i, j] for j in range(n)] for i in range(n)]


def _eliminated(rows: list[list[Array]]) -> list[list[Array]]:
    """Gaussian elimination below the diagonal, without pivoting; what it clears is left as is."""
    for k in range(len(rows)):
        for i in range(k + 1, len(rows)):
            factor = rows[i][k] / rows[k][k]
            tail = [a - factor * b for a, b in zip(rows[i][k + 1 :], rows[k][k + 1 :], strict=True)]
            rows[i] = rows[i][: k + 1] + tail
    return rows

"""Permutations of the elements along the last axis."""

import jax.numpy as jnp
from jaxtyping import Array, Float, Int


def permutation_forward(
    x: Float[Array, "*batch n"], permutation: Int[Array, " n"]
) -> tuple[Float[Array, "*batch n"], Float[Array, "*batch"]]:
    """Reorder the last axis, `y[i] = x[permutation[i]]`; the log-determinant is 0.

    Args:
        x: Values whose last axis is reordered.
        permutation: Every integer from 0 to n - 1 once.

    Returns:
        `y` and zeros in the shape of the leading axes.
    """
    return jnp.take(x, permutation, axis=-1, unique_indices=True, mode="clip"), _zeros(x)


def permutation_inverse(
    y: Float[Array, "*batch n"], permutation: Int[Array, " n"]
) -> tuple[Float[Array, "*batch n"], Float[Array, "*batch"]]:
    """Undo `permutation_forward`, `x[permutation[i]] = y[i]`; the log-determinant is 0.

    Args:
        y: Values whose last axis is put back in order.
        permutation: The permutation of the forward map.

    Returns:
        `x` and zeros in the shape of the leading axes.
    """
    return permutation_forward(y, jnp.argsort(permutation))


def _zeros(x: Float[Array, "*batch n"]) -> Float[Array, "*batch"]:
    return jnp.zeros(x.shape[:-1], jnp.promote_types(x.dtype, jnp.float32))

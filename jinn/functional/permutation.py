"""Permutations of the elements along the last axis."""

import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Shaped

COMPARED = 32
"""Entries that are compared with each other rather than sorted, at most."""


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
    return permutation_forward(y, ascending(permutation))


def places(keys: Shaped[Array, " n"]) -> Int[Array, " n"]:
    """Place of each entry in ascending order, the inverse of the permutation `argsort(keys)`.

    A few entries are compared with each other, which takes one kernel where a sort takes several.

    Args:
        keys: Numbers; of equal ones the first comes first.

    Returns:
        Every integer from 0 to n - 1 once.
    """
    n = keys.shape[0]
    if n > COMPARED:
        return jnp.argsort(jnp.argsort(keys))
    index = jnp.arange(n)
    one, other = keys[:, None], keys[None]
    before = (other < one) | ((other == one) & (index[None] < index[:, None]))
    return jnp.sum(before, axis=1, dtype=index.dtype)


def ascending(keys: Shaped[Array, " n"]) -> Int[Array, " n"]:
    """The permutation that puts keys in ascending order, as `jnp.argsort`.

    Args:
        keys: Numbers; of equal ones the first comes first.

    Returns:
        Every integer from 0 to n - 1 once.
    """
    n = keys.shape[0]
    if n > COMPARED:
        return jnp.argsort(keys)
    index = jnp.arange(n)
    return jnp.sum(jnp.where(places(keys)[None] == index[:, None], index[None], 0), axis=1)


def _zeros(x: Float[Array, "*batch n"]) -> Float[Array, "*batch"]:
    return jnp.zeros(x.shape[:-1], jnp.promote_types(x.dtype, jnp.float32))

"""Reverse-mode differentiation of trees that hold more than floating arrays."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp


def is_float(leaf: Any) -> bool:
    """Tell whether a leaf has a derivative: whether it is a real or complex array.

    Args:
        leaf: A leaf of a tree.

    Returns:
        False for integers, booleans, JAX keys and everything that is no array.
    """
    dtype = getattr(leaf, "dtype", None)
    return dtype is not None and bool(jnp.issubdtype(dtype, jnp.inexact))


def float_vjp(function: Callable[..., Any], *operands: Any) -> tuple[Any, Callable[[Any], Any]]:
    """As `jax.vjp`, with operands that may hold integers, keys and functions beside floats.

    Args:
        function: From the operands to a tree of floating arrays.
        *operands: Any trees.

    Returns:
        What the function gives, and its pullback: from a cotangent of that to a tuple of trees like
        the operands, with cotangents in place of the floats and all else as it was.
    """
    leaves, treedef = jax.tree.flatten(operands)
    floats = [is_float(leaf) for leaf in leaves]

    def merged(values: Any) -> Any:
        rest = iter(values)
        new = [next(rest) if f else leaf for f, leaf in zip(floats, leaves, strict=True)]
        return jax.tree.unflatten(treedef, new)

    def call(values: Any) -> Any:
        return function(*merged(values))

    result, pull = jax.vjp(call, [leaf for f, leaf in zip(floats, leaves, strict=True) if f])
    return result, lambda cotangent: merged(pull(cotangent)[0])


def add_floats(one: Any, other: Any) -> Any:
    """Add two trees of cotangents, leaving what has no derivative as it is.

    Args:
        one: A tree.
        other: A tree of the same structure.

    Returns:
        The sum.
    """
    return jax.tree.map(lambda a, b: a + b if is_float(a) else a, one, other)


def zero_floats(tree: Any) -> Any:
    """Zero cotangents for a tree, with what has no derivative as it is.

    Args:
        tree: Any tree.

    Returns:
        A tree of the same structure.
    """
    return jax.tree.map(lambda leaf: jnp.zeros_like(leaf) if is_float(leaf) else leaf, tree)

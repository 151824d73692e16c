"""Gradients of a batch, a part of its rows at a time."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp


def accumulated(differentiate: Callable[..., Any], parts: int) -> Callable[..., Any]:
    """The mean of what a function gives for the parts of a batch, in the memory of one part.

    A part has every `parts`-th row, so that rows stay on the device that they lie on.

    Args:
        differentiate: A function of weights, fixed weights, a batch, a key and a step that gives
            a pytree of floating-point arrays, such as a loss and its gradient.
        parts: Number of parts.

    Returns:
        A function of the same arguments, whose parts have each a key of their own. It raises
        ValueError if the rows of the batch cannot be split so.
    """
    if parts == 1:
        return differentiate

    def call(trained: Any, fixed: Any, batch: Any, key: jax.Array, step: Any) -> Any:
        rows = jax.tree.leaves(batch)[0].shape[0]
        if rows % parts:
            raise ValueError(
                f"fit: a batch of {rows} rows cannot be split evenly into microbatches={parts}; "
                f"give a multiple of {parts} rows, on each device"
            )
        split = jax.tree.map(
            lambda leaf: jnp.swapaxes(leaf.reshape(rows // parts, parts, *leaf.shape[1:]), 0, 1),
            batch,
        )
        keys = jax.random.split(key, parts)

        def add(total: Any, part: Any) -> tuple[Any, None]:
            found = differentiate(trained, fixed, *part, step)
            return jax.tree.map(jnp.add, total, found), None

        one = jax.tree.map(lambda leaf: leaf[0], (split, keys))
        shapes = jax.eval_shape(differentiate, trained, fixed, *one, step)
        zero = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
        total, _ = jax.lax.scan(add, zero, (split, keys))
        return jax.tree.map(lambda leaf: leaf / parts, total)

    return call

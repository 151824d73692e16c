"""Many events a chunk at a time, for the processor's cache and for little memory."""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jinn.bijectors.shapes import Shape, batch_shape

CHUNK_ROWS = 2048
"""Events that are drawn, and on a CPU evaluated, at a time."""


def map_chunks(
    function: Callable[[Any, Any], Any],
    x: Any,
    condition: Any,
    *,
    event_shape: Shape,
    condition_shape: Shape | None,
) -> Any:
    """Evaluate `function(x, condition)`, on a CPU a chunk of the leading batch axis at a time.

    An accelerator takes the batch whole, and so does a CPU up to two chunks.

    Args:
        function: From events and conditions to arrays with the events' batch axes; each event's
            result may depend on that event and its condition only.
        x: Events with all batch axes.
        condition: Conditions whose batch broadcasts to the events', or None.
        event_shape: Shape of one event.
        condition_shape: Shape of one condition, or None.

    Returns:
        What the function returns for the whole batch.
    """
    batch = batch_shape(x, event_shape)
    if math.prod(batch) <= 2 * CHUNK_ROWS:
        return function(x, condition)
    rows = max(1, CHUNK_ROWS // math.prod(batch[1:]))
    leaves, treedef = jax.tree.flatten((x, condition))
    ranks = [*_ranks(event_shape), *_ranks(condition_shape)]
    follows = [
        leaf.ndim - rank == len(batch) and leaf.shape[0] == batch[0]
        for leaf, rank in zip(leaves, ranks, strict=True)
    ]

    def in_chunks(leaves: list[Any]) -> Any:
        def evaluate(parts: list[Any]) -> Any:
            rest = iter(parts)
            joined = [next(rest) if f else leaf for leaf, f in zip(leaves, follows, strict=True)]
            return function(*jax.tree.unflatten(treedef, joined))

        split = [leaf for leaf, f in zip(leaves, follows, strict=True) if f]
        whole = batch[0] - batch[0] % rows
        out = jax.lax.map(
            evaluate, [leaf[:whole].reshape(-1, rows, *leaf.shape[1:]) for leaf in split]
        )
        out = jax.tree.map(lambda a: a.reshape(whole, *a.shape[2:]), out)
        if whole == batch[0]:
            return out
        rest = evaluate([leaf[whole:] for leaf in split])
        return jax.tree.map(lambda a, b: jnp.concatenate([a, b]), out, rest)

    def at_once(leaves: list[Any]) -> Any:
        return function(*jax.tree.unflatten(treedef, leaves))

    return jax.lax.platform_dependent(leaves, cpu=in_chunks, default=at_once)


def _ranks(shape: Shape | None) -> list[int]:
    """Number of axes of each leaf of an event or condition, in the order of the leaves."""
    if shape is None:
        return []
    return [len(shape[name]) for name in sorted(shape)] if isinstance(shape, dict) else [len(shape)]

"""Many events a chunk at a time, for the processor's cache and for little memory."""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from jinn.bijectors.shapes import Shape, batch_shape, check_sample_shape
from jinn.bijectors.stack import varying_like
from jinn.networks.randomness import as_key

DRAWN_ROWS = 65536
"""Events that are drawn at a time."""
CHUNK_ROWS = 4096
"""Events that a CPU transforms at a time: what a layer makes of them stays in its cache."""


def map_chunks(
    function: Callable[[Any, Any], Any],
    x: Any,
    condition: Any,
    *,
    event_shape: Shape,
    condition_shape: Shape | None,
) -> Any:
    """Evaluate `function(x, condition)`, on a CPU a chunk of the leading batch axis at a time.

    An accelerator takes the batch whole, and so does a CPU up to `CHUNK_ROWS`.

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
    if math.prod(batch) <= CHUNK_ROWS:
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


def draw_in_chunks(
    generate: Callable[[jax.Array, tuple[int, ...]], Any],
    key: jax.Array,
    shape: tuple[int, ...],
    *,
    conditions: int,
    operands: Any,
) -> Any:
    """Call `generate(key, shape)` for a chunk of the sample axes at a time.

    The chunks are written into one result in place; the last one ends where the result does, and
    overwrites what it shares with the one before.

    Args:
        generate: Draws samples `(*shape, ...)`, a pytree, for a key and a shape.
        key: A JAX key.
        shape: Leading axes of the draw.
        conditions: Number of conditions that each row is drawn for.
        operands: What `generate` computes with, beside the key.

    Returns:
        The samples `(*shape, ...)`.

    Raises:
        ValueError: If the shape or the key is none.
    """
    key = as_key(key, "Flow: key")
    check_sample_shape(shape, "Flow")
    n = math.prod(shape)
    rows = max(1, DRAWN_ROWS // max(conditions, 1))
    if n <= rows:
        return generate(key, tuple(shape))

    def write(i: Array, result: Any) -> Any:
        chunk = generate(jax.random.fold_in(key, i), (rows,))
        start = jnp.minimum(i * rows, n - rows)
        return jax.tree.map(
            lambda whole, part: jax.lax.dynamic_update_slice_in_dim(whole, part, start, 0),
            result,
            chunk,
        )

    drawn = jax.eval_shape(lambda key: generate(key, (rows,)), key)
    empty = jax.tree.map(lambda part: jnp.zeros((n, *part.shape[1:]), part.dtype), drawn)
    empty = varying_like(empty, (operands, key))
    result = jax.lax.fori_loop(0, -(-n // rows), write, empty)
    return jax.tree.map(lambda a: a.reshape(*shape, *a.shape[1:]), result)


def _ranks(shape: Shape | None) -> list[int]:
    """Number of axes of each leaf of an event or condition, in the order of the leaves."""
    if shape is None:
        return []
    return [len(shape[name]) for name in sorted(shape)] if isinstance(shape, dict) else [len(shape)]

"""Many events a chunk at a time, for the processor's cache and for little memory."""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from jinn.bijectors.mesh_axes import event_ranks
from jinn.bijectors.shapes import Shape, batch_shape, event_size
from jinn.functional.loop import varying_like

DRAWN_ROWS = 65536
"""Events that are drawn at a time, if they are no larger than `SMALL_EVENT`."""
CHUNK_ROWS = 4096
"""Events that a CPU transforms at a time: what a layer makes of them stays in its cache."""
SMALL_EVENT = 256
"""Elements of an event; of larger ones, such as images, as many fewer are taken at a time."""


def map_chunks(
    function: Callable[[Any, Any], Any],
    x: Any,
    condition: Any,
    *,
    event_shape: Shape,
    condition_shape: Shape | None,
) -> Any:
    """Evaluate `function(x, condition)`, on a CPU a chunk of the batch at a time.

    An accelerator takes the batch whole, and so does a CPU up to `CHUNK_ROWS`, of large events
    fewer.

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
    leaves, treedef = jax.tree.flatten((x, condition))
    ranks = [*event_ranks(event_shape), *event_ranks(condition_shape)]
    most = fewer_rows(CHUNK_ROWS, event_shape)

    def at_once(leaves: list[Any]) -> Any:
        return function(*jax.tree.unflatten(treedef, leaves))

    def in_chunks(leaves: list[Any]) -> Any:
        return _chunked(at_once, leaves, ranks, batch, most)

    if math.prod(batch) <= most:
        return at_once(leaves)
    return jax.lax.platform_dependent(leaves, cpu=in_chunks, default=at_once)


def fewer_rows(rows: int, shape: Shape) -> int:
    """The number of rows to take of events of a shape.

    Args:
        rows: The number for events no larger than `SMALL_EVENT`.
        shape: Shape of one event.

    Returns:
        As many fewer as the event is larger, at least 1.
    """
    return max(1, rows * SMALL_EVENT // max(event_size(shape), SMALL_EVENT))


def _chunked(
    function: Callable[[list[Any]], Any],
    leaves: list[Any],
    ranks: list[int],
    batch: tuple[int, ...],
    most: int,
) -> Any:
    """Evaluate a function of leaves a chunk of the leading batch axis at a time.

    Where one entry of that axis is more than a chunk, the next axis is cut, for each entry anew.
    """
    if math.prod(batch) <= most:
        return function(leaves)
    rows = most // math.prod(batch[1:])
    chunks = -(-batch[0] // max(rows, 1))
    full = [leaf.ndim - rank == len(batch) for leaf, rank in zip(leaves, ranks, strict=True)]
    follows = [f and leaf.shape[0] == batch[0] for leaf, f in zip(leaves, full, strict=True)]
    split = [leaf for leaf, f in zip(leaves, follows, strict=True) if f]

    def evaluate(parts: list[Any]) -> Any:
        rest = iter(parts)
        joined = [next(rest) if f else leaf for leaf, f in zip(leaves, follows, strict=True)]
        if rows:
            return function(joined)
        still = [f and not g for f, g in zip(full, follows, strict=True)]  # of size 1 there
        joined = [leaf[0] if s else leaf for leaf, s in zip(joined, still, strict=True)]
        return _chunked(function, joined, ranks, batch[1:], most)

    if not rows:
        return jax.lax.map(evaluate, split)
    # Chunks of one size are one program: a few rows are evaluated twice rather than by another.
    each = -(-batch[0] // chunks)
    missing = each * chunks - batch[0]

    def cut(leaf: Any) -> Any:
        whole = jnp.concatenate([leaf, leaf[batch[0] - missing :]]) if missing else leaf
        return whole.reshape(chunks, each, *leaf.shape[1:])

    out = jax.lax.map(evaluate, [cut(leaf) for leaf in split])
    return jax.tree.map(lambda a: a.reshape(chunks * each, *a.shape[2:])[: batch[0]], out)


def draw_in_chunks(
    generate: Callable[[jax.Array, tuple[int, ...], Any], Any],
    key: jax.Array,
    shape: tuple[int, ...],
    condition: Any,
    *,
    event_shape: Shape,
    condition_shape: Shape | None,
    operands: Any,
) -> Any:
    """Call `generate(key, shape, condition)` for a chunk of the sample axes at a time.

    If there are more conditions than are drawn at a time, it is called for a chunk of these, as one
    batch axis. The chunks are written into one result in place; the last ones end where the result
    does, and overwrite what they share with those before. A key gives the same samples on every
    device.

    Args:
        generate: Draws samples `(*shape, *condition_batch, ...)`, a pytree, for a key and a shape.
        key: A JAX key.
        shape: Leading axes of the draw.
        condition: Conditions that each row is drawn for, or None.
        event_shape: Shape of one sample.
        condition_shape: Shape of one condition, or None.
        operands: What `generate` computes with, beside the key and the condition.

    Returns:
        The samples `(*shape, *condition_batch, ...)`.
    """
    n, batch = math.prod(shape), batch_shape(condition, condition_shape)
    conditions = math.prod(batch)
    most = fewer_rows(DRAWN_ROWS, event_shape)
    across = max(1, -(-conditions // most))
    columns = -(-conditions // across)
    rows = max(1, most // max(columns, 1))
    pieces = -(-n // rows)
    if pieces > 1:  # of equal size, but for whole chunks
        chunk = max(1, fewer_rows(CHUNK_ROWS, event_shape) // max(columns, 1))
        rows = min(rows, -(-n // (pieces * chunk)) * chunk)
    if n * conditions == 0 or (n <= rows and across == 1):
        return generate(key, tuple(shape), condition)
    axes = (n, *batch) if across == 1 else (n, conditions)

    def draw(i: Any, start: Any) -> Any:
        part = condition
        if across > 1:
            part = _take(condition, condition_shape, batch, start + jnp.arange(columns))
        return generate(jax.random.fold_in(key, i), (rows,), part)

    def write(i: Array, result: Any) -> Any:
        row = jnp.minimum(i // across * rows, n - rows)
        column = jnp.minimum(i % across * columns, conditions - columns)

        def update(whole: Array, part: Array) -> Array:
            starts = (row, column * (across > 1), *[0] * (whole.ndim - 2))[: whole.ndim]
            return jax.lax.dynamic_update_slice(whole, part, starts)

        return jax.tree.map(update, result, draw(i, column))

    drawn = jax.eval_shape(draw, 0, 0)
    drawn_axes = 1 + (len(batch) if across == 1 else 1)
    empty = jax.tree.map(lambda a: jnp.zeros((*axes, *a.shape[drawn_axes:]), a.dtype), drawn)
    empty = varying_like(empty, (operands, condition, key))
    result = jax.lax.fori_loop(0, -(-n // rows) * across, write, empty)
    return jax.tree.map(lambda a: a.reshape(*shape, *batch, *a.shape[drawn_axes:]), result)


def _take(condition: Any, shape: Shape | None, batch: tuple[int, ...], rows: Array) -> Any:
    """Conditions of some rows of the flattened batch; entries that all rows share stay one."""
    if isinstance(shape, dict):
        return {key: _take(condition[key], shape[key], batch, rows) for key in shape}
    own = batch_shape(condition, shape)
    if math.prod(own) == 1:
        return condition.reshape(condition.shape[len(own) :])
    places = jnp.unravel_index(rows, batch)[len(batch) - len(own) :]
    return condition[tuple(i * (size > 1) for i, size in zip(places, own, strict=True))]

"""Whether each device may take the loss over its own rows, with one all-reduce for all."""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from jinn.losses.schedule import takes_step
from jinn.training.placement import Placement
from jinn.training.processes import any_process
from jinn.training.sources import CompiledSource
from jinn.training.weights import Structure, Weights

PROBED_ROWS = 256
"""Of a loss that may be a mean over rows."""
ROW_PAIRS = 4
DISTURBANCES = (0.3, 0.1, 0.03)
"""Of the weights that it is probed at, times 1 / sqrt(inputs) for matrices; the first at which the
loss is finite, as that of a deep flow may not be."""


def goes_by_shards(
    placement: Placement,
    structure: Structure,
    loss: Callable[..., Any],
    model: Any,
    source: CompiledSource,
    key: jax.Array,
) -> bool:
    """Whether the mean over a batch is the mean of the devices' means, and can be computed so.

    It is probed at weights away from the first ones, at which much may vanish that does not later.
    A loss that changes with the step is left to JAX: what it is later no probe can tell.

    Args:
        placement: The devices.
        structure: The structure of the model.
        loss: The loss.
        model: The model.
        source: Where batches come from.
        key: A JAX key.

    Returns:
        Whether it does.
    """
    if placement.devices == 1 or takes_step(loss):
        return False
    weights = structure.weights(model)
    rows = source.sample(key, PROBED_ROWS)
    found = None
    for size in DISTURBANCES:
        disturbed = structure.model(_disturbed(weights, size, key))
        found = is_row_mean(lambda batch, key, at=disturbed: loss(at, batch, key), rows, key)
        if found is not None:
            break
    found = bool(found) and _can_be_split(placement, structure, loss, weights, rows, key)
    several = placement.mesh is not None and placement.mesh.is_multi_process
    return not any_process(not found) if several else found


def is_row_mean(loss: Callable[[Any, jax.Array], Any], batch: Any, key: jax.Array) -> bool | None:
    """Whether a loss is a mean over rows that uses no key, as far as one batch tells.

    Args:
        loss: ``loss(batch, key) -> (loss, metrics)``.
        batch: Some rows.
        key: A JAX key.

    Returns:
        True if the mean of its values on two halves, with other keys, is its value on the whole,
        also where each half is one row repeated; None if the first of these is not finite.
    """
    half = jax.tree.leaves(batch)[0].shape[0] // 2
    if half == 0:
        return False

    @jax.jit
    def both(halves: list[Any], key: jax.Array) -> tuple[Any, Any]:
        whole = jax.tree.map(lambda *parts: jnp.concatenate(parts), *halves)
        keys = jax.random.split(key, 3)
        value, *parts = (loss(rows, k) for rows, k in zip((whole, *halves), keys, strict=True))
        return value, jax.tree.map(lambda *leaves: sum(leaves) / 2, *parts)

    # Halves of one row each are as unlike as can be: what compares rows tells them apart.
    pairs = min(ROW_PAIRS, half)
    numbers = np.arange(2 * half).reshape(2, half)
    choices = [numbers, *(np.repeat(numbers[:, i : i + 1], half, 1) for i in range(pairs))]
    for choice in choices:
        try:
            found = both([jax.tree.map(lambda leaf, at=at: leaf[at], batch) for at in choice], key)
        except ValueError:  # a loss that wants more rows
            return False
        values, means = map(jax.tree.leaves, found)
        if choice is numbers and not all(np.isfinite(value).all() for value in values):
            return None
        both_ways = zip(values, means, strict=True)
        if not all(np.allclose(a, b, rtol=1e-4, atol=1e-5) for a, b in both_ways):
            return False
    return True


def _disturbed(weights: Weights, size: float, key: jax.Array) -> Weights:
    keys = jax.random.split(key, len(weights.trained))

    def noise(leaf: Any, key: jax.Array) -> Array:
        leaf = jnp.asarray(leaf)
        inputs = max(leaf.shape[-2], 1) if leaf.ndim > 1 else 1
        return leaf + size / math.sqrt(inputs) * jax.random.normal(key, leaf.shape, leaf.dtype)

    moved = [noise(leaf, key) for leaf, key in zip(weights.trained, keys, strict=True)]
    return Weights(moved, weights.fixed)


def _can_be_split(
    placement: Placement,
    structure: Structure,
    loss: Callable[..., Any],
    weights: Weights,
    rows: Any,
    key: jax.Array,
) -> bool:
    """Whether the gradient can be traced within a `shard_map`, as not all of diffrax's can."""

    def objective(
        trained: list[Any], fixed: list[Any], batch: Any, key: jax.Array, step: Array
    ) -> Any:
        return loss(structure.model(Weights(trained, fixed)), batch, key)

    batch = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct((placement.devices, *leaf.shape[1:]), leaf.dtype), rows
    )
    differentiate = placement.value_and_gradient(objective, by_shards=True)
    try:
        jax.eval_shape(differentiate, *weights, batch, key, 0)
    except Exception:  # one that is the loss's own comes again where JAX divides it
        return False
    return True

"""Densities and samples on several devices: the rows are split over a mesh."""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.core import Tracer
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array

from jinn.bijectors.shapes import Shape, batch_shape, broadcast_event
from jinn.flows.chunks import DRAWN_ROWS, fewer_rows

BLOCK = 1024
"""Most samples that are drawn with one key, if events are no larger than 256 elements."""


def check_mesh(mesh: Any, name: str) -> Mesh:
    """Check what a user gives as a mesh.

    Args:
        mesh: What was given.
        name: Who asks, for the error.

    Returns:
        The mesh, with axes along which JAX may divide computations by itself.

    Raises:
        ValueError: If it is none.
    """
    if not isinstance(mesh, Mesh):
        raise ValueError(
            f"{name}: expected mesh to be a jax.sharding.Mesh such as "
            f'jax.make_mesh((jax.device_count(),), ("data",)), got {type(mesh).__name__}'
        )
    return _divisible(mesh)


def divisible(tree: Any) -> Any:
    """Arrays along whose axes JAX may divide computations by itself.

    Those that lie on a mesh with explicit axes, which `jax.make_mesh` makes, are put on the same
    mesh without.

    Args:
        tree: A pytree of arrays.

    Returns:
        The same, where they are.
    """

    def put(leaf: Any) -> Any:
        sharding = None if isinstance(leaf, Tracer) else getattr(leaf, "sharding", None)
        if not isinstance(sharding, NamedSharding) or not isinstance(sharding.mesh, Mesh):
            return leaf
        if AxisType.Explicit not in sharding.mesh.axis_types:
            return leaf
        return jax.device_put(leaf, NamedSharding(_divisible(sharding.mesh), sharding.spec))

    return jax.tree.map(put, tree)


def _divisible(mesh: Mesh) -> Mesh:
    kinds = (AxisType.Auto,) * len(mesh.axis_names)
    return Mesh(mesh.devices, mesh.axis_names, axis_types=kinds)


def moved_to(mesh: Mesh | None, tree: Any) -> Any:
    """Arrays where they are, but those of other devices copied to all devices of a mesh.

    Args:
        mesh: The devices, or None to leave everything.
        tree: A pytree, as of a model that was trained on other devices.

    Returns:
        The same; traced arrays are left.
    """
    if mesh is None:
        return tree
    everywhere, devices = NamedSharding(mesh, PartitionSpec()), set(mesh.devices.flat)

    def move(leaf: Any) -> Any:
        elsewhere = isinstance(leaf, jax.Array) and not isinstance(leaf, Tracer)
        if not elsewhere or leaf.sharding.device_set == devices:
            return leaf
        return jax.device_put(leaf, everywhere)

    return jax.tree.map(move, tree)


def log_prob_on_mesh(model: Any, x: Any, condition: Any, mesh: Mesh) -> Array:
    """`model.log_prob(x, condition)`, each device taking an equal part of the events.

    Args:
        model: A flow, or a posterior.
        x: Checked events `(*batch, *event_shape)`.
        condition: Checked conditions whose batch broadcasts with that of x, or None.
        mesh: The devices; all its axes split the events.

    Returns:
        Log-densities of shape `(*batch,)`, batch being the broadcast of both.
    """
    event_shape, condition_shape = model.event_shape, model.condition_shape
    batch = jnp.broadcast_shapes(
        batch_shape(x, event_shape), batch_shape(condition, condition_shape)
    )
    rows = math.prod(batch)
    if rows == 0:
        return model.log_prob(x, condition)
    parts = _rows(x, event_shape, batch), _rows(condition, condition_shape, batch)

    def density(model: Any, parts: Any) -> Array:
        return model.log_prob(*parts)

    result = _split(density, mesh)(model, _padded(parts, rows, mesh.size))
    return result[:rows].reshape(batch)


def sample_on_mesh(
    model: Any, key: jax.Array, condition: Any, shape: tuple[int, ...], mesh: Mesh | None
) -> Any:
    """Samples of a model, each device taking an equal part of them.

    Every block of samples of one condition has a key of its own, so that the samples do not depend
    on the devices.

    Args:
        model: A flow, or a posterior.
        key: A JAX key.
        condition: Checked conditions, or None.
        shape: Leading axes of the draw.
        mesh: The devices, all whose axes split the blocks; None gives the same on one device.

    Returns:
        Samples of shape `(*shape, *condition_batch, *event_shape)`.
    """
    condition_shape, n = model.condition_shape, math.prod(shape)
    batch = batch_shape(condition, condition_shape)
    rows = math.prod(batch)
    if n * rows == 0:
        return model.sample(key, shape, condition)
    block = block_size(n, model.event_shape)
    blocks = -(-n // block)
    numbers = jnp.arange(rows * blocks)
    flat = _rows(condition, condition_shape, batch)
    drawn = draw_blocks(
        model, key, numbers, jax.tree.map(lambda leaf: leaf[numbers // blocks], flat), block, mesh
    )

    def arrange(leaf: Array) -> Array:
        samples = leaf.reshape(rows, blocks * block, *leaf.shape[2:])[:, :n]
        samples = jnp.moveaxis(samples, 0, 1)
        return samples.reshape(*shape, *batch, *samples.shape[2:])

    return jax.tree.map(arrange, drawn)


def block_size(n: int, event_shape: Shape) -> int:
    """Number of samples of a block, of n that are wanted for one condition.

    Args:
        n: The number.
        event_shape: Shape of one event.

    Returns:
        The size of each block, the last may be more than is wanted.
    """
    return min(n, fewer_rows(BLOCK, event_shape))


def draw_blocks(
    model: Any, key: jax.Array, numbers: Array, condition: Any, block: int, mesh: Mesh | None
) -> Any:
    """Draw blocks of samples.

    Args:
        model: A flow, or a posterior.
        key: A JAX key.
        numbers: Numbers of the blocks, whose keys are `fold_in(key, number)`.
        condition: The condition of each block, with one leading axis, or None.
        block: Samples of a block.
        mesh: The devices, or None for one.

    Returns:
        Samples of shape `(blocks, block, *event_shape)`.
    """
    at_once = max(1, fewer_rows(DRAWN_ROWS, model.event_shape) // block)

    def draw(operands: Any, parts: Any) -> Any:
        model, key = operands

        def of_block(part: Any) -> Any:
            number, condition = part
            return model.sample(jax.random.fold_in(key, number), (block,), condition)

        return jax.lax.map(of_block, parts, batch_size=at_once)

    parts, count = (numbers, condition), numbers.shape[0]
    if mesh is None:
        return draw((model, key), parts)
    drawn = _split(draw, mesh)((model, key), _padded(parts, count, mesh.size))
    return jax.tree.map(lambda leaf: leaf[:count], drawn)


def _split(function: Callable[[Any, Any], Any], mesh: Mesh) -> Callable[[Any, Any], Any]:
    """`function(operands, parts)` on each device's rows of the parts."""
    rows = PartitionSpec(mesh.axis_names)
    return jax.shard_map(
        function,
        mesh=mesh,
        in_specs=(PartitionSpec(), rows),
        out_specs=rows,
        check_vma=False,
    )


def _padded(parts: Any, rows: int, devices: int) -> Any:
    """Parts whose rows the devices divide, the last row repeated."""
    missing = -rows % devices
    if missing == 0:
        return parts
    return jax.tree.map(
        lambda leaf: jnp.concatenate([leaf, jnp.repeat(leaf[-1:], missing, axis=0)]), parts
    )


def _rows(event: Any, shape: Shape | None, batch: tuple[int, ...]) -> Any:
    """Events with one batch axis."""
    if event is None or shape is None:
        return None
    return jax.tree.map(
        lambda leaf: leaf.reshape(math.prod(batch), *leaf.shape[len(batch) :]),
        broadcast_event(event, shape, batch),
    )

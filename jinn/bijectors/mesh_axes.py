"""Events on meshes with explicit axes: what is computed with them is divided by JAX."""

from collections.abc import Callable
from typing import Any

import jax
from jax.sharding import NamedSharding, PartitionSpec, auto_axes

from jinn.bijectors.shapes import Shape


def apply(
    bijector: Any,
    x: Any,
    condition: Any,
    key: jax.Array | None,
    *,
    with_log_det: bool,
    inverse: bool,
) -> tuple[Any, Any]:
    """Map checked events in one direction, on any mesh.

    Args:
        bijector: A bijector.
        x: Events of the direction, with the call's batch.
        condition: Conditions, or None.
        key: A JAX key for a stochastic log-determinant, or None.
        with_log_det: Whether the log-determinant is wanted.
        inverse: Whether the direction is the inverse.

    Returns:
        The image, and the log-determinant or None.
    """

    def run(bijector: Any, x: Any, condition: Any, key: Any) -> tuple[Any, Any]:
        options = {"with_log_det": with_log_det, "inverse": inverse}
        return bijector._apply(x, condition, key=key, **options)[:2]

    events = (x, bijector.event_shape_out if inverse else bijector.event_shape)
    conditions = (condition, bijector.condition_shape)
    return on_automatic_axes(run, (bijector, x, condition, key), events, conditions)


def on_automatic_axes(
    function: Callable[..., Any],
    operands: tuple[Any, ...],
    *events: tuple[Any, Shape | None],
    lead: int = 0,
) -> Any:
    """Call `function(*operands)`, explicit axes of a mesh made automatic within.

    Arrays on a mesh that `jax.make_mesh` makes have the axes that split them in their types, and
    JAX refuses what it cannot divide without being told how. What is returned is split along its
    batch axes as the events are.

    Args:
        function: A pure function of arrays that returns arrays with the leading and batch axes.
        operands: Pytrees, all that it computes with.
        *events: Events or conditions among the operands, each with the shape of one; None with
            None.
        lead: Number of axes in front of the batch axes of what is returned.

    Returns:
        What the function returns.
    """
    split = [leaf for leaf in jax.tree.leaves(operands) if _is_split(leaf)]
    if not split:
        return function(*operands)
    axes: list[Any] = []  # from the last batch axis
    for event, shape in events:
        for leaf, rank in zip(jax.tree.leaves(event), event_ranks(shape), strict=True):
            own = list(jax.typeof(leaf).sharding.spec)[: leaf.ndim - rank][::-1]
            axes += [None] * (len(own) - len(axes))
            axes[: len(own)] = [a or b for a, b in zip(axes, own, strict=False)]
    mesh, spec = jax.typeof(split[0]).sharding.mesh, PartitionSpec(*[None] * lead, *axes[::-1])
    return auto_axes(function, out_sharding=NamedSharding(mesh, spec))(*operands)


def _is_split(leaf: Any) -> bool:
    return isinstance(leaf, jax.Array) and any(jax.typeof(leaf).sharding.spec)


def event_ranks(shape: Shape | None) -> list[int]:
    """Number of axes of each leaf of an event or condition, in the order of the leaves.

    Args:
        shape: Shape of one event or condition, or None for no condition.

    Returns:
        The numbers; none for None.
    """
    if shape is None:
        return []
    return [len(shape[name]) for name in sorted(shape)] if isinstance(shape, dict) else [len(shape)]

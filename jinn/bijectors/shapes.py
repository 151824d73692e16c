"""Shapes of events and conditions: tuples, or dicts of them for events that are dicts."""

import math
import operator
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

Shape = tuple[int, ...] | dict[str, tuple[int, ...]]
Event = Array | dict[str, Array]


class DictShape(dict):
    """A dict of shapes that does not change, so that it can be part of a jit key."""

    def __hash__(self) -> int:  # type: ignore[override]
        """Hash by content."""
        return hash(tuple(sorted(self.items())))


def freeze_shape(shape: Any, name: str) -> Shape:
    """Check a declared shape and make it hashable.

    Args:
        shape: A tuple or list of integers, an integer, or a dict of these.
        name: What to call it in an error.

    Returns:
        A tuple, or a `DictShape` of tuples.

    Raises:
        ValueError: If it is no shape.
    """
    if isinstance(shape, dict):
        return DictShape({key: _freeze(value, f"{name}[{key!r}]") for key, value in shape.items()})
    return _freeze(shape, name)


def array_shape(shape: Any, name: str) -> tuple[int, ...]:
    """Check the declared shape of events that are single arrays.

    Args:
        shape: A tuple or list of integers, or an integer.
        name: What to call it in an error.

    Returns:
        A tuple.

    Raises:
        ValueError: If it is no shape, or that of a dict.
    """
    if isinstance(shape, dict):
        raise ValueError(f"{name}: expected the shape of one array such as (4,), got {shape!r}")
    return _freeze(shape, name)


def _freeze(shape: Any, name: str) -> tuple[int, ...]:
    try:
        sizes = tuple(operator.index(n) for n in ((shape,) if isinstance(shape, int) else shape))
        if min(sizes, default=0) < 0:
            raise ValueError
    except (TypeError, ValueError):
        raise ValueError(
            f"{name}: expected a tuple of sizes such as (4,), or a dict of them, got {shape!r}"
        ) from None
    return sizes


def last_axis(shape: Shape, name: str) -> int:
    """Length of an event's last axis, for bijectors that mix it.

    Args:
        shape: Declared shape of one event.
        name: The bijector's name, for the error.

    Returns:
        The length, at least 1.

    Raises:
        ValueError: If events are dicts or single numbers, or the axis is empty.
    """
    if isinstance(shape, dict) or not shape or not shape[-1]:
        raise ValueError(f"{name}: expected an event with a last axis, got {shape}")
    return shape[-1]


def image_shape(shape: Any, name: str) -> tuple[int, int, int]:
    """Check the declared shape of events that are images.

    Args:
        shape: A tuple or list of integers.
        name: The bijector's name, for the error.

    Returns:
        Height, width and number of channels.

    Raises:
        ValueError: If these are not the event's axes, or one is empty.
    """
    sizes = array_shape(shape, f"{name} event_shape")
    if len(sizes) != 3 or 0 in sizes:
        raise ValueError(f"{name}: expected events (height, width, channels), got {sizes}")
    height, width, channels = sizes
    return height, width, channels


def as_event(
    value: Any, shape: Shape, name: str, dtype: jax.typing.DTypeLike | None = None
) -> Event:
    """Convert a user's value to floating arrays and check that it ends in the declared shape.

    Args:
        value: An array-like, or a dict of them where the shape is a dict.
        shape: Shape of one event or condition.
        name: What to call it in an error.
        dtype: Floating type to widen narrower ones to, or None. Types that are not floating
            become the default one.

    Returns:
        An array, or a dict of arrays whose leading batch axes broadcast.

    Raises:
        ValueError: If the value does not end in the declared shape.
    """
    if not isinstance(shape, dict):
        return _as_array(value, shape, name, dtype)
    if not isinstance(value, dict) or set(value) != set(shape):
        got = sorted(value) if isinstance(value, dict) else type(value).__name__
        raise ValueError(f"{name}: expected a dict with the keys {sorted(shape)}, got {got}")
    event = {
        key: _as_array(value[key], size, f"{name}[{key!r}]", dtype) for key, size in shape.items()
    }
    try:
        batch_shape(event, shape)
    except ValueError:
        shapes = {key: array.shape for key, array in event.items()}
        raise ValueError(
            f"{name}: the batch axes of its entries do not broadcast: got shapes {shapes} for "
            f"declared shapes {dict(shape)}"
        ) from None
    return event


def _as_array(
    value: Any, shape: tuple[int, ...], name: str, dtype: jax.typing.DTypeLike | None
) -> Array:
    if isinstance(value, dict):
        raise ValueError(f"{name}: expected an array of shape {batched(shape)}, got a dict")
    try:
        array = jnp.asarray(value)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"{name}: expected an array of shape {batched(shape)}, got a {type(value).__name__} "
            f"that makes none. It said: {error}"
        ) from error
    if jnp.issubdtype(array.dtype, jnp.complexfloating):
        raise ValueError(f"{name}: expected real numbers, got {array.dtype}")
    if not jnp.issubdtype(array.dtype, jnp.floating):
        array = array.astype(jnp.result_type(float))
    if dtype is not None:
        array = array.astype(jnp.promote_types(array.dtype, dtype))
    if array.ndim < len(shape) or array.shape[array.ndim - len(shape) :] != shape:
        raise ValueError(
            f"{name}: expected shape {batched(shape)}, got {array.shape}; "
            "batch axes go in front of the event's"
        )
    return array


def check_condition(
    condition: Any, shape: Shape | None, name: str, dtype: jax.typing.DTypeLike | None
) -> Event | None:
    """Check a condition against its declared shape and convert it.

    Args:
        condition: An array, a dict of arrays, or None.
        shape: The declared shape of one condition, or None where none is taken.
        name: What to call the thing in an error.
        dtype: The floating type to widen narrower ones to, or None.

    Returns:
        The condition as arrays, or None.

    Raises:
        ValueError: If a condition is missing, unexpected or of a wrong shape.
    """
    if shape is None:
        if condition is not None:
            raise ValueError(
                f"{name}: got a condition, but takes none (condition_shape is None); "
                "call it without, or build it with a condition_shape"
            )
        return None
    if condition is None:
        raise ValueError(
            f"{name}: the condition is missing; expected one of shape {batched(shape)}"
        )
    return as_event(condition, shape, f"{name}: condition", dtype)


def batched(shape: Shape) -> str:
    """Write a shape with its leading batch axes, such as `(*batch, 4)`.

    Args:
        shape: Shape of one event.

    Returns:
        The text.
    """
    if isinstance(shape, dict):
        return "{" + ", ".join(f"{key!r}: {batched(size)}" for key, size in shape.items()) + "}"
    return f"({', '.join(['*batch', *map(str, shape)])})"


def batch_shape(event: Any, shape: Shape | None) -> tuple[int, ...]:
    """Leading axes of events of a declared shape; those of a dict's entries broadcast.

    Args:
        event: Checked events or conditions, or None for none.
        shape: Shape of one of them.

    Returns:
        The batch axes.
    """
    if event is None:
        return ()
    if isinstance(shape, dict):
        return jnp.broadcast_shapes(*(batch_shape(event[key], shape[key]) for key in shape))
    return event.shape[: event.ndim - len(shape or ())]


def broadcast_event(event: Any, shape: Shape, batch: tuple[int, ...]) -> Any:
    """Broadcast the batch axes of events.

    Args:
        event: Checked events.
        shape: Shape of one event.
        batch: The batch axes wanted.

    Returns:
        Events of shape `(*batch, *shape)`.
    """
    if isinstance(shape, dict):
        return {key: jnp.broadcast_to(event[key], (*batch, *shape[key])) for key in shape}
    return jnp.broadcast_to(event, (*batch, *shape))


def match_batch(
    event: Any,
    condition: Any,
    event_shape: Shape,
    condition_shape: Shape | None,
    name: str,
    argument: str = "x",
) -> Any:
    """Broadcast events to the batch of a call, that of the events with that of the conditions.

    Args:
        event: Checked events.
        condition: Checked conditions, or None.
        event_shape: Shape of one event.
        condition_shape: Shape of one condition, or None.
        name: What to call the thing that is called in an error.
        argument: What to call the events there.

    Returns:
        Events of shape `(*batch, *event_shape)`.

    Raises:
        ValueError: If the two batches do not broadcast.
    """
    own, other = batch_shape(event, event_shape), batch_shape(condition, condition_shape)
    try:
        batch = jnp.broadcast_shapes(own, other)
    except ValueError:
        raise ValueError(
            f"{name}: the batch {own} of {argument} and the batch {other} of the "
            "condition do not broadcast; give them equal batch axes, or axes of size 1"
        ) from None
    return broadcast_event(event, event_shape, batch)


def check_result(
    result: Any, shape: Shape, batch: tuple[int, ...], name: str, *, with_log_det: bool
) -> None:
    """Check that a map gives events of the declared shape and a log-determinant for each of them.

    Args:
        result: What it returned: events, their log-determinant, and any more.
        shape: The declared shape of one event.
        batch: The batch axes of the call.
        name: What to call the map in an error.
        with_log_det: Whether the log-determinant was asked for, and is checked too.

    Raises:
        ValueError: If a shape is another, or the keys of a dict are, or something is missing.
    """
    if not isinstance(result, tuple | list) or len(result) < 2:
        raise ValueError(
            f"{name}: expected to return the events and their log-determinant, a tuple, got "
            f"{type(result).__name__}"
        )
    events, log_det = result[:2]
    sizes = shape if isinstance(shape, dict) else {"": shape}
    events = events if isinstance(shape, dict) else {"": events}
    if not isinstance(events, dict) or set(events) != set(sizes):
        got = sorted(events) if isinstance(events, dict) else type(events).__name__
        raise ValueError(
            f"{name}: expected to return a dict of the keys {sorted(sizes)}, got {got}"
        )
    for key, size in sizes.items():
        got = "a dict" if isinstance(events[key], dict) else jnp.shape(events[key])
        if got != (*batch, *size):
            raise ValueError(
                f"{name}: expected to return events{f' in {key!r}' if key else ''} of shape "
                f"{(*batch, *size)}, the batch {batch} and the declared {size}, got {got}"
            )
    got = "None" if log_det is None else jnp.shape(log_det)
    if with_log_det and got != batch:
        raise ValueError(
            f"{name}: expected to return a log_det of shape {batch}, one number for each event of "
            f"the batch, got {got}; sum it over the axes of an event, and over no others"
        )


def check_sample_shape(shape: Any, name: str) -> tuple[int, ...]:
    """Check the leading axes of a draw.

    Args:
        shape: What a user gave as the shape of a draw.
        name: What to call the thing that is sampled in the error.

    Returns:
        A tuple of integers.

    Raises:
        ValueError: If it is no tuple or list of sizes.
    """
    try:
        if not isinstance(shape, tuple | list):
            raise TypeError
        sizes = tuple(map(operator.index, shape))
        if min(sizes, default=0) < 0:
            raise ValueError
    except (TypeError, ValueError):
        raise ValueError(
            f"{name}: expected the shape of a draw to be a tuple such as (1000,), got {shape!r}"
        ) from None
    return sizes


def insert_axes(event: Any, shape: Shape | None, count: int) -> Any:
    """Insert axes of size 1 between the batch and the event.

    Args:
        event: Checked events or conditions.
        shape: Shape of one of them.
        count: Number of axes.

    Returns:
        Arrays of shape `(*batch, *[1] * count, *shape)`.
    """
    if isinstance(shape, dict):
        return {key: insert_axes(event[key], shape[key], count) for key in shape}
    end = event.ndim - len(shape or ())
    return event.reshape(*event.shape[:end], *[1] * count, *event.shape[end:])


def event_dtype(event: Any) -> jnp.dtype:
    """Common floating type of an event's arrays.

    Args:
        event: Checked events.

    Returns:
        The type.
    """
    return jnp.result_type(*jax.tree.leaves(event))


def event_size(shape: Shape) -> int:
    """Number of elements of one event.

    Args:
        shape: Shape of one event.

    Returns:
        The count.
    """
    sizes = shape.values() if isinstance(shape, dict) else [shape]
    return sum(math.prod(size) for size in sizes)

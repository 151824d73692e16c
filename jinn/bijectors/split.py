"""Events cut in named parts, and parts joined to one event."""

from collections.abc import Mapping
from itertools import accumulate
from numbers import Integral
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from jinn.bijectors.base import Bijector, zeros_log_det
from jinn.bijectors.shapes import array_shape, freeze_shape


class Split(Bijector):
    """Cut events in parts along an axis, `x -> {name: part}`; the log-determinant is 0.

    Args:
        event_shape: Shape of one event, of at least one axis.
        sizes: Length of each part along the axis, by the part's name, in the order in which they
            are cut off.
        axis: Axis of the event.

    Raises:
        ValueError: If there is no such axis, or the sizes do not add up to its length.
    """

    analytic_inverse = True

    def __init__(
        self, event_shape: tuple[int, ...], sizes: Mapping[str, int], *, axis: int = -1
    ) -> None:
        """See the class."""
        shape = array_shape(event_shape, "Split event_shape")
        self._axis = _axis_from_end(axis, len(shape), "Split")
        parts = _lengths(sizes)
        if sum(length for _, length in parts) != shape[self._axis]:
            raise ValueError(
                f"Split: expected sizes that add up to {shape[self._axis]}, the length of axis "
                f"{axis} of an event {shape}, got {dict(parts)}"
            )
        shapes = {name: _with(shape, self._axis, length) for name, length in parts}
        self._sizes = parts
        self._declare(shape, event_shape_out=shapes)

    def _forward(
        self, x: Any, condition: Any, *, key: jax.Array | None, with_log_det: bool
    ) -> tuple[dict[str, Array], Array | None]:
        return _cut(x, self._sizes, self._axis), zeros_log_det(x, self.event_shape)

    def _inverse(
        self, y: Any, condition: Any, *, key: jax.Array | None, with_log_det: bool
    ) -> tuple[Array, Array | None]:
        return _join(y, self._sizes, self._axis), zeros_log_det(y, self.event_shape_out)


class Concatenate(Bijector):
    """Join named parts along an axis, `{name: part} -> x`, the inverse of `Split`; log-det 0.

    Args:
        event_shape: Shape of each part, by its name, in the order in which they are joined.
        axis: Axis of the parts, in which alone their shapes may differ.

    Raises:
        ValueError: If there is no such axis, or the parts differ in another.
    """

    analytic_inverse = True

    def __init__(self, event_shape: Mapping[str, tuple[int, ...]], *, axis: int = -1) -> None:
        """See the class."""
        if not isinstance(event_shape, Mapping) or not event_shape:
            raise ValueError(
                "Concatenate: expected the shape of each part by its name, such as "
                f"{{'a': (2,), 'b': (1,)}}, got {event_shape!r}"
            )
        shapes: Any = freeze_shape(dict(event_shape), "Concatenate event_shape")
        first = next(iter(shapes.values()))
        self._axis = _axis_from_end(axis, len(first), "Concatenate")
        for shape in shapes.values():
            if _without(shape, self._axis) != _without(first, self._axis):
                raise ValueError(
                    f"Concatenate: expected parts whose shapes differ in axis {axis} alone, got "
                    f"{dict(shapes)}"
                )
        self._sizes = tuple((name, shape[self._axis]) for name, shape in shapes.items())
        total = sum(length for _, length in self._sizes)
        self._declare(shapes, event_shape_out=_with(first, self._axis, total))

    def _forward(
        self, x: Any, condition: Any, *, key: jax.Array | None, with_log_det: bool
    ) -> tuple[Array, Array | None]:
        return _join(x, self._sizes, self._axis), zeros_log_det(x, self.event_shape)

    def _inverse(
        self, y: Any, condition: Any, *, key: jax.Array | None, with_log_det: bool
    ) -> tuple[dict[str, Array], Array | None]:
        return _cut(y, self._sizes, self._axis), zeros_log_det(y, self.event_shape_out)


Sizes = tuple[tuple[str, int], ...]


def _axis_from_end(axis: int, rank: int, name: str) -> int:
    if not isinstance(axis, int) or not -rank <= axis < rank:
        raise ValueError(f"{name}: expected an axis of an event of {rank} axes, got {axis!r}")
    return axis % rank - rank


def _lengths(sizes: Any) -> Sizes:
    named = isinstance(sizes, Mapping) and len(sizes) > 0
    if not named or not all(isinstance(n, Integral) and int(n) > 0 for n in sizes.values()):
        raise ValueError(
            "Split: expected the positive size of each part by its name, such as "
            f"{{'a': 2, 'b': 1}}, got {sizes!r}"
        )
    return tuple((name, int(length)) for name, length in sizes.items())


def _with(shape: tuple[int, ...], axis: int, length: int) -> tuple[int, ...]:
    place = len(shape) + axis
    return (*shape[:place], length, *shape[place + 1 :])


def _without(shape: tuple[int, ...], axis: int) -> tuple[int, ...]:
    return _with(shape, axis, 0) if len(shape) >= -axis else ()


def _cut(x: Array, sizes: Sizes, axis: int) -> dict[str, Array]:
    ends = list(accumulate(length for _, length in sizes))
    parts = jnp.split(x, ends[:-1], axis)
    return {name: part for (name, _), part in zip(sizes, parts, strict=True)}


def _join(parts: dict[str, Array], sizes: Sizes, axis: int) -> Array:
    return jnp.concatenate([parts[name] for name, _ in sizes], axis)

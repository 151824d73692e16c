"""Composition of bijectors."""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any, cast, overload

import jax
from flax import nnx
from jaxtyping import Array

from jinn.bijectors.base import Bijector, FastDirection, Info
from jinn.bijectors.container import (
    Reporting,
    as_tuple,
    joint_condition_shape,
    member_condition,
    opposite,
)


class Chain(Reporting):
    """Apply bijectors one after the other in list order, `z = f_n(... f_1(x))`.

    `chain[i]` is a member, `chain[i:j]` the chain of a range, and `chain[::-1]` holds the members
    in reverse order; the inverse map is `Invert(chain)`.

    Args:
        bijectors: The members, at least one. A member's output shape is the next one's input
            shape, and all members that take a condition take the same.

    Raises:
        ValueError: If the list is empty, or neighbours or conditions do not fit.
    """

    def __init__(self, bijectors: Sequence[Bijector]) -> None:
        """See the class."""
        members = (bijectors,) if isinstance(bijectors, Bijector) else tuple(bijectors)
        if not members:
            raise ValueError("Chain: expected at least one bijector, got none")
        for i, member in enumerate(members):
            if not isinstance(member, Bijector):
                raise ValueError(f"Chain: expected bijectors, got {type(member).__name__} at {i}")
        for i, (first, second) in enumerate(pairwise(members)):
            if first.event_shape_out != second.event_shape:
                raise ValueError(
                    f"Chain: bijector {i} ({type(first).__name__}) gives events of shape "
                    f"{first.event_shape_out}, but bijector {i + 1} ({type(second).__name__}) "
                    f"expects {second.event_shape}"
                )
        self._declare(
            members[0].event_shape,
            event_shape_out=members[-1].event_shape_out,
            condition_shape=joint_condition_shape(members, "Chain"),
            fast_direction=_joint_fast_direction(members),
        )
        self.bijectors: tuple[Bijector, ...] = nnx.data(members)

    def __len__(self) -> int:
        """Number of members."""
        return len(self.bijectors)

    def __iter__(self) -> Iterator[Bijector]:
        """Iterate over the members in the order of `forward`."""
        return iter(self.bijectors)

    @overload
    def __getitem__(self, index: int) -> Bijector: ...
    @overload
    def __getitem__(self, index: slice) -> "Chain": ...
    def __getitem__(self, index: int | slice) -> Bijector:
        """Take a member by its index, or a range of members as a chain.

        Args:
            index: An integer or a slice.

        Returns:
            The member, or a chain that shares the members of the range.
        """
        if isinstance(index, slice):
            return Chain(self.bijectors[index])
        return self.bijectors[index]

    def _run(
        self, x: Any, condition: Any, key: jax.Array | None, *, with_log_det: bool, inverse: bool
    ) -> tuple[Any, Array | None, Info]:
        """Apply the members in turn and collect what their solves report."""
        total, infos = None, []
        members = list(zip(self.bijectors, _keys(key, len(self)), strict=True))
        for member, member_key in members[::-1] if inverse else members:
            c = member_condition(member, condition)
            x, log_det, info = member._apply(
                x, c, key=member_key, with_log_det=with_log_det, inverse=inverse
            )
            infos += as_tuple(info)
            if with_log_det:
                total = log_det if total is None else total + cast(Array, log_det)
        return x, total, tuple(infos)

    def _parts(self, name: str) -> list[tuple[str, Bijector]]:
        return [part for i, b in enumerate(self) for part in b._parts(f"{name}[{i}]")]

    def _initialize(self, x: Any, condition: Any, *, invert: bool) -> tuple[Bijector, Any]:
        new = []
        for member in reversed(self.bijectors) if invert else self.bijectors:
            member, x = member._initialize(x, member_condition(member, condition), invert=invert)
            new.append(member)
        return Chain(new[::-1] if invert else new), x


class Invert(Reporting):
    """Swap the directions of a bijector: `Invert(f).forward` is `f.inverse`.

    Args:
        bijector: The bijector to swap.

    Raises:
        ValueError: If it is no bijector.
    """

    def __init__(self, bijector: Bijector) -> None:
        """See the class."""
        if not isinstance(bijector, Bijector):
            raise ValueError(
                f"Invert: expected a Bijector, got {type(bijector).__name__}; "
                "of a flow, invert flow.bijector"
            )
        self._declare(
            bijector.event_shape_out,
            event_shape_out=bijector.event_shape,
            condition_shape=bijector.condition_shape,
            fast_direction=opposite(bijector.fast_direction),
        )
        self.bijector = bijector

    def _run(
        self, x: Any, condition: Any, key: jax.Array | None, *, with_log_det: bool, inverse: bool
    ) -> tuple[Any, Array | None, Info]:
        return self.bijector._apply(
            x, condition, key=key, with_log_det=with_log_det, inverse=not inverse
        )

    def _parts(self, name: str) -> list[tuple[str, Bijector]]:
        parts = self.bijector._parts(f"{name}.bijector")
        return [(reached, Invert(part)) for reached, part in reversed(parts)]

    def _initialize(self, x: Any, condition: Any, *, invert: bool) -> tuple[Bijector, Any]:
        new, x = self.bijector._initialize(x, condition, invert=not invert)
        return Invert(new), x


def _keys(key: jax.Array | None, n: int) -> list[jax.Array | None]:
    return [None] * n if key is None else list(jax.random.split(key, n))


def _joint_fast_direction(members: tuple[Bijector, ...]) -> FastDirection:
    """The direction that is fast for every member."""
    forward = all(member.fast_direction in ("both", "forward") for member in members)
    inverse = all(member.fast_direction in ("both", "inverse") for member in members)
    if forward:
        return "both" if inverse else "forward"
    return "inverse" if inverse else "neither"

"""Composition of bijectors."""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any, cast, overload

import jax
from flax import nnx
from jaxtyping import Array

from jinn.bijectors.base import Bijector, Info, Outputs
from jinn.bijectors.container import (
    Reporting,
    as_tuple,
    joint_condition_shape,
    joint_fast_direction,
    member_condition,
    opposite,
    split_key,
)
from jinn.bijectors.reversible import Backprop, check_backprop, run_reversibly
from jinn.functional.reversible import add_floats, zero_floats


class Chain(Reporting):
    """Apply bijectors one after the other in list order, `z = f_n(... f_1(x))`.

    `chain[i]` is a member, `chain[i:j]` the chain of a range, and `chain[::-1]` holds the members
    in reverse order; the inverse map is `Invert(chain)`.

    Args:
        bijectors: The members, at least one. A member's output shape is the next one's input
            shape, and all members that take a condition take the same.
        backprop: What reverse-mode differentiation keeps: "store" what JAX keeps, "remat" the
            members' inputs, "invert" the last member's output; see `Stack`.

    Raises:
        ValueError: If the list is empty, neighbours or conditions do not fit, or `backprop` is
            unknown.
    """

    def __init__(self, bijectors: Sequence[Bijector], *, backprop: Backprop = "store") -> None:
        """See the class."""
        check_backprop(backprop, "Chain")
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
            fast_direction=joint_fast_direction(members),
        )
        self.analytic_inverse = all(member.analytic_inverse for member in members)
        self.bijectors: tuple[Bijector, ...] = nnx.data(members)
        self.backprop: Backprop = backprop

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
            return Chain(self.bijectors[index], backprop=self.backprop)
        return self.bijectors[index]

    def _run(
        self, x: Any, condition: Any, key: jax.Array | None, *, with_log_det: bool, inverse: bool
    ) -> tuple[Any, Array | None, Info]:
        """Apply the members in turn and collect what their solves report."""
        if self.backprop == "invert":
            return run_reversibly(
                self, x, condition, key, with_log_det=with_log_det, inverse=inverse
            )

        def apply(member: Bijector, x: Any, condition: Any, key: Any) -> tuple[Any, Any, Info]:
            return member._apply(x, condition, key=key, with_log_det=with_log_det, inverse=inverse)

        if self.backprop == "remat":
            apply = jax.checkpoint(apply)
        total, infos = None, []
        members = list(zip(self.bijectors, split_key(key, len(self)), strict=True))
        for member, member_key in members[::-1] if inverse else members:
            c = member_condition(member, condition)
            x, log_det, info = apply(member, x, c, member_key)
            infos += as_tuple(info)
            if with_log_det:
                total = log_det if total is None else total + cast(Array, log_det)
        return x, total, tuple(infos)

    def _run_forgetful(
        self, x: Any, condition: Any, key: jax.Array | None, *, with_log_det: bool, inverse: bool
    ) -> tuple[Any, Array | None, Info, Any]:
        total, infos, kept = None, [], []
        members = list(zip(self.bijectors, split_key(key, len(self)), strict=True))
        for member, member_key in members[::-1] if inverse else members:
            c = member_condition(member, condition)
            x, log_det, info, own = member._run_forgetful(
                x, c, member_key, with_log_det=with_log_det, inverse=inverse
            )
            infos += as_tuple(info)
            kept.append(own)
            if with_log_det:
                total = log_det if total is None else total + cast(Array, log_det)
        return x, total, tuple(infos), tuple(kept)

    def _pull_back(
        self,
        y: Any,
        kept: Any,
        condition: Any,
        key: jax.Array | None,
        cotangents: tuple[Any, Array | None],
        *,
        inverse: bool,
    ) -> tuple[Any, tuple[Bijector, Any, Any]]:
        by_y, by_log_det = cotangents
        by_condition, new = zero_floats(condition), []
        members = list(zip(self.bijectors, split_key(key, len(self)), strict=True))
        members = members[::-1] if inverse else members
        for (member, member_key), own in reversed(list(zip(members, kept, strict=True))):
            c = member_condition(member, condition)
            y, (by_member, by_y, by_c) = member._pull_back(
                y, own, c, member_key, (by_y, by_log_det), inverse=inverse
            )
            new.append(by_member)
            if c is not None:
                by_condition = add_floats(by_condition, by_c)
        by_chain = Chain(new if inverse else new[::-1], backprop=self.backprop)
        return y, (by_chain, by_y, by_condition)

    def _outputs(self, name: str, x: Any, condition: Any, *, inverse: bool) -> Outputs:
        members = list(enumerate(self.bijectors))
        for i, member in members[::-1] if inverse else members:
            c = member_condition(member, condition)
            x = yield from member._outputs(f"{name}[{i}]", x, c, inverse=inverse)
        return x

    def _initialize(self, x: Any, condition: Any, *, invert: bool) -> tuple[Bijector, Any]:
        new = []
        for member in reversed(self.bijectors) if invert else self.bijectors:
            member, x = member._initialize(x, member_condition(member, condition), invert=invert)
            new.append(member)
        return Chain(new[::-1] if invert else new, backprop=self.backprop), x


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
        self.analytic_inverse = bijector.analytic_inverse
        self.bijector = bijector

    def _run(
        self, x: Any, condition: Any, key: jax.Array | None, *, with_log_det: bool, inverse: bool
    ) -> tuple[Any, Array | None, Info]:
        return self.bijector._apply(
            x, condition, key=key, with_log_det=with_log_det, inverse=not inverse
        )

    def _run_forgetful(
        self, x: Any, condition: Any, key: jax.Array | None, *, with_log_det: bool, inverse: bool
    ) -> tuple[Any, Array | None, Info, Any]:
        return self.bijector._run_forgetful(
            x, condition, key, with_log_det=with_log_det, inverse=not inverse
        )

    def _pull_back(
        self,
        y: Any,
        kept: Any,
        condition: Any,
        key: jax.Array | None,
        cotangents: tuple[Any, Array | None],
        *,
        inverse: bool,
    ) -> tuple[Any, tuple[Bijector, Any, Any]]:
        x, (by_bijector, by_x, by_condition) = self.bijector._pull_back(
            y, kept, condition, key, cotangents, inverse=not inverse
        )
        return x, (Invert(by_bijector), by_x, by_condition)

    def _outputs(self, name: str, x: Any, condition: Any, *, inverse: bool) -> Outputs:
        return self.bijector._outputs(f"{name}.bijector", x, condition, inverse=not inverse)

    def _initialize(self, x: Any, condition: Any, *, invert: bool) -> tuple[Bijector, Any]:
        new, x = self.bijector._initialize(x, condition, invert=not invert)
        return Invert(new), x

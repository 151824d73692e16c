"""A bijector between a change of coordinates and its inverse."""

from typing import Any, cast

import jax
from flax import nnx
from jaxtyping import Array

from jinn.bijectors.base import Bijector, Info, Outputs
from jinn.bijectors.container import (
    Reporting,
    as_tuple,
    joint_condition_shape,
    member_condition,
    split_key,
)


class Conjugate(Reporting):
    """Apply a bijector in other coordinates, `z = m(f(m^-1(x)))`, with one m for both places.

    In a `Chain` of `Invert(m)`, f and m the two copies of a learned m would be trained apart.

    Args:
        outer: The change of coordinates m. Its direction that is not fast, if there is one, makes
            both directions slow.
        inner: The bijector f, of events as they go into m, to the same shape.

    Raises:
        ValueError: If one is no bijector, or their events or conditions do not fit.
    """

    def __init__(self, outer: Bijector, inner: Bijector) -> None:
        """See the class."""
        for name, part in (("outer", outer), ("inner", inner)):
            if not isinstance(part, Bijector):
                raise ValueError(
                    f"Conjugate: expected {name} to be a Bijector, got {type(part).__name__}"
                )
        shapes = (inner.event_shape, inner.event_shape_out)
        if shapes != (outer.event_shape, outer.event_shape):
            raise ValueError(
                "Conjugate: expected inner to map events of the shape that goes into outer, "
                f"{outer.event_shape}, to that shape, got {shapes[0]} to {shapes[1]}"
            )
        self._declare(
            outer.event_shape_out,
            condition_shape=joint_condition_shape((outer, inner), "Conjugate"),
            fast_direction=inner.fast_direction if outer.fast_direction == "both" else "neither",
        )
        self.analytic_inverse = outer.analytic_inverse and inner.analytic_inverse
        self.outer, self.inner = outer, inner

    def _run(
        self, x: Any, condition: Any, key: jax.Array | None, *, with_log_det: bool, inverse: bool
    ) -> tuple[Any, Array | None, Info]:
        total, infos = None, []
        turns = zip(self._turns(inverse), split_key(key, 3), strict=True)
        for (part, backwards, _), part_key in turns:
            c = member_condition(part, condition)
            x, log_det, info = part._apply(
                x, c, key=part_key, with_log_det=with_log_det, inverse=backwards
            )
            infos += as_tuple(info)
            if with_log_det:
                total = log_det if total is None else total + cast(Array, log_det)
        return x, total, tuple(infos)

    def _outputs(self, name: str, x: Any, condition: Any, *, inverse: bool) -> Outputs:
        for part, backwards, place in self._turns(inverse):
            c = member_condition(part, condition)
            x = yield from part._outputs(f"{name}.{place}", x, c, inverse=backwards)
        return x

    def _turns(self, inverse: bool) -> tuple[tuple[Bijector, bool, str], ...]:
        """The parts in their order, whether each is inverted, and its name."""
        outer, inner = self.outer, self.inner
        return (outer, True, "outer"), (inner, inverse, "inner"), (outer, False, "outer")

    def _initialize(self, x: Any, condition: Any, *, invert: bool) -> tuple[Bijector, Any]:
        """Set the outer bijector on the way in, and the inner one from what it then gives."""
        new = nnx.clone(self)
        c = member_condition(self.outer, condition)
        new.outer, x = self.outer._initialize(x, c, invert=True)
        c = member_condition(self.inner, condition)
        new.inner, x = self.inner._initialize(x, c, invert=invert)
        c = member_condition(self.outer, condition)
        return new, new.outer._forward(x, c, key=None, with_log_det=False)[0]

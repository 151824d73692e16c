"""The exponential and powers as bijectors."""

from functools import partial
from numbers import Real
from typing import Any

import jax
from jaxtyping import Array

from jinn.bijectors.base import Bijector, apply_elementwise
from jinn.bijectors.shapes import array_shape
from jinn.functional.powers import (
    exp_forward,
    exp_inverse,
    is_exponent,
    power_forward,
    power_inverse,
)


class Exp(Bijector):
    """Make every element positive, `z = exp(x)`; `Invert(Exp(event_shape))` is the logarithm.

    In floating point the value saturates at 0 and at the largest number of the type; the inverse
    takes 0 as the smallest number that it can undo. The inverse's log-determinant of negative
    numbers is -inf.

    Args:
        event_shape: Shape of one event.
    """

    def __init__(self, event_shape: tuple[int, ...]) -> None:
        """See the class."""
        self._declare(array_shape(event_shape, "Exp event_shape"))
        self.event_shape: tuple[int, ...]

    def _forward(
        self, x: Any, condition: Any, *, key: jax.Array | None, with_log_det: bool
    ) -> tuple[Array, Array | None]:
        return apply_elementwise(exp_forward, x, self.event_shape)

    def _inverse(
        self, y: Any, condition: Any, *, key: jax.Array | None, with_log_det: bool
    ) -> tuple[Array, Array | None]:
        return apply_elementwise(exp_inverse, y, self.event_shape)


class Power(Bijector):
    """Raise every element to a fixed power, `z = x^exponent`; a map of the positive numbers.

    0 is taken as the smallest number that the map can undo, and powers that would leave the
    floating type saturate; see `jinn.functional.power_forward`. The log-determinant of negative
    numbers is -inf in both directions, so that a flow's density is 0 there.

    Args:
        event_shape: Shape of one event.
        exponent: The power, finite and not 0; it is not trained.

    Raises:
        ValueError: If the exponent is 0 or no finite number.
    """

    def __init__(self, event_shape: tuple[int, ...], exponent: float) -> None:
        """See the class."""
        self._declare(array_shape(event_shape, "Power event_shape"))
        self.event_shape: tuple[int, ...]
        if not isinstance(exponent, Real) or not is_exponent(exponent):
            raise ValueError(
                f"Power: expected a finite exponent other than 0, got {exponent!r}; "
                "its size can be 1e-37 to 1e37; for the logarithm use Invert(Exp(event_shape))"
            )
        self.exponent = float(exponent)

    def _forward(
        self, x: Any, condition: Any, *, key: jax.Array | None, with_log_det: bool
    ) -> tuple[Array, Array | None]:
        function = partial(power_forward, exponent=self.exponent)
        return apply_elementwise(function, x, self.event_shape)

    def _inverse(
        self, y: Any, condition: Any, *, key: jax.Array | None, with_log_det: bool
    ) -> tuple[Array, Array | None]:
        function = partial(power_inverse, exponent=self.exponent)
        return apply_elementwise(function, y, self.event_shape)

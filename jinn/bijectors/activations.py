"""Softplus, tanh and leaky ReLU as bijectors."""

import math
from functools import partial
from numbers import Real
from typing import Any

import jax
from jaxtyping import Array

from jinn.bijectors.base import Bijector, apply_elementwise
from jinn.bijectors.shapes import array_shape
from jinn.functional.activations import (
    leaky_relu_forward,
    leaky_relu_inverse,
    softplus_forward,
    softplus_inverse,
    tanh_forward,
    tanh_inverse,
)


class Softplus(Bijector):
    """Make every element positive, `z = log(1 + exp(x))`.

    In floating point the value saturates at 0; the inverse takes 0 as the smallest number that it
    can undo. The inverse's log-determinant of negative numbers is -inf.

    Args:
        event_shape: Shape of one event.
    """

    def __init__(self, event_shape: tuple[int, ...]) -> None:
        """See the class."""
        self._declare(array_shape(event_shape, "Softplus event_shape"))
        self.event_shape: tuple[int, ...]

    def _forward(
        self, x: Any, condition: Any, *, key: jax.Array | None, with_log_det: bool
    ) -> tuple[Array, Array | None]:
        return apply_elementwise(softplus_forward, x, self.event_shape)

    def _inverse(
        self, y: Any, condition: Any, *, key: jax.Array | None, with_log_det: bool
    ) -> tuple[Array, Array | None]:
        return apply_elementwise(softplus_inverse, y, self.event_shape)


class Tanh(Bijector):
    """Squash every element into (-1, 1), `z = tanh(x)`.

    In floating point the value saturates at -1 and 1; the inverse takes these as the closest
    numbers inside. Outside [-1, 1] the inverse's log-determinant is -inf.

    Args:
        event_shape: Shape of one event.
    """

    def __init__(self, event_shape: tuple[int, ...]) -> None:
        """See the class."""
        self._declare(array_shape(event_shape, "Tanh event_shape"))
        self.event_shape: tuple[int, ...]

    def _forward(
        self, x: Any, condition: Any, *, key: jax.Array | None, with_log_det: bool
    ) -> tuple[Array, Array | None]:
        return apply_elementwise(tanh_forward, x, self.event_shape)

    def _inverse(
        self, y: Any, condition: Any, *, key: jax.Array | None, with_log_det: bool
    ) -> tuple[Array, Array | None]:
        return apply_elementwise(tanh_inverse, y, self.event_shape)


class LeakyReLU(Bijector):
    """Scale negative elements, `z = x` where x >= 0 and `negative_slope * x` elsewhere.

    Args:
        event_shape: Shape of one event.
        negative_slope: The slope below 0, positive and finite; it is not trained.

    Raises:
        ValueError: If the slope is not positive and finite.
    """

    def __init__(self, event_shape: tuple[int, ...], negative_slope: float = 0.01) -> None:
        """See the class."""
        self._declare(array_shape(event_shape, "LeakyReLU event_shape"))
        self.event_shape: tuple[int, ...]
        if not isinstance(negative_slope, Real) or not 0 < negative_slope < math.inf:
            raise ValueError(
                f"LeakyReLU: expected a positive, finite negative_slope, got {negative_slope!r}"
            )
        self.negative_slope = float(negative_slope)

    def _forward(
        self, x: Any, condition: Any, *, key: jax.Array | None, with_log_det: bool
    ) -> tuple[Array, Array | None]:
        function = partial(leaky_relu_forward, negative_slope=self.negative_slope)
        return apply_elementwise(function, x, self.event_shape)

    def _inverse(
        self, y: Any, condition: Any, *, key: jax.Array | None, with_log_det: bool
    ) -> tuple[Array, Array | None]:
        function = partial(leaky_relu_inverse, negative_slope=self.negative_slope)
        return apply_elementwise(function, y, self.event_shape)

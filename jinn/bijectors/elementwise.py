"""Element-wise bijectors: affine, and maps between the real line and intervals."""

from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.core import Tracer
from jaxtyping import Array

from jinn.bijectors.base import Bijector, Buffer, apply_elementwise
from jinn.bijectors.shapes import array_shape
from jinn.bijectors.values import check_finite, fit_to_event
from jinn.functional.affine import affine_forward, affine_inverse
from jinn.functional.elementwise import (
    sigmoid_forward,
    sigmoid_inverse,
    unconstrain_forward,
    unconstrain_inverse,
)
from jinn.networks.options import floating_type


class Affine(Bijector):
    """Scale and shift every element, `z = x * scale + shift`, learned or fixed.

    Args:
        event_shape: Shape of one event.
        shift: Initial shift, broadcastable to the event.
        scale: Initial scale, positive, broadcastable to the event. Its logarithm is stored.
        learned: Whether shift and scale are trained; "scale" trains the scale alone.
        param_dtype: Type of the parameters.

    Raises:
        ValueError: If shift or scale do not fit the event or are not finite, a scale is not
            positive, or `learned` is something else.
    """

    analytic_inverse = True

    def __init__(
        self,
        event_shape: tuple[int, ...],
        *,
        shift: Any = 0.0,
        scale: Any = 1.0,
        learned: bool | Literal["scale"] = True,
        param_dtype: jax.typing.DTypeLike = jnp.float32,
    ) -> None:
        """See the class."""
        self._declare(array_shape(event_shape, "Affine event_shape"))
        self.event_shape: tuple[int, ...]
        param_dtype = floating_type(param_dtype, "Affine")
        shifts = fit_to_event(shift, self.event_shape, "Affine: shift", param_dtype)
        scales = fit_to_event(scale, self.event_shape, "Affine: scale", param_dtype)
        check_finite(shifts, "Affine: shift", shift)
        check_finite(scales, "Affine: scale", scale)
        if not isinstance(scales, Tracer) and not bool(jnp.all(scales > 0)):
            raise ValueError(f"Affine: expected positive scales, got {scale}")
        if learned not in (True, False, "scale"):
            raise ValueError(
                f'Affine: expected learned to be a boolean or "scale", got {learned!r}'
            )
        variable = nnx.Param if learned else Buffer
        self.shift = Buffer(shifts) if learned == "scale" else variable(shifts)
        self.log_scale = variable(jnp.log(scales))

    def _forward(
        self, x: Any, condition: Any, *, key: jax.Array | None, with_log_det: bool
    ) -> tuple[Array, Array | None]:
        return apply_elementwise(affine_forward, x, self.event_shape, self.shift, self.log_scale)

    def _inverse(
        self, y: Any, condition: Any, *, key: jax.Array | None, with_log_det: bool
    ) -> tuple[Array, Array | None]:
        return apply_elementwise(affine_inverse, y, self.event_shape, self.shift, self.log_scale)


class Sigmoid(Bijector):
    """Squash every element into (0, 1), `z = 1 / (1 + exp(-x))`.

    In floating point the value saturates at 0 and 1; the inverse takes these as the closest
    numbers inside. Outside [0, 1] the inverse's log-determinant is -inf.

    Args:
        event_shape: Shape of one event.
    """

    def __init__(self, event_shape: tuple[int, ...]) -> None:
        """See the class."""
        self._declare(array_shape(event_shape, "Sigmoid event_shape"))
        self.event_shape: tuple[int, ...]

    def _forward(
        self, x: Any, condition: Any, *, key: jax.Array | None, with_log_det: bool
    ) -> tuple[Array, Array | None]:
        return apply_elementwise(sigmoid_forward, x, self.event_shape)

    def _inverse(
        self, y: Any, condition: Any, *, key: jax.Array | None, with_log_det: bool
    ) -> tuple[Array, Array | None]:
        return apply_elementwise(sigmoid_inverse, y, self.event_shape)


class Logit(Bijector):
    """Spread every element of (0, 1) over the real line, `z = log(x / (1 - x))`.

    0 and 1 are taken as the closest numbers inside. Outside [0, 1] the log-determinant is -inf, so
    that a flow's density is 0 there.

    Args:
        event_shape: Shape of one event.
    """

    def __init__(self, event_shape: tuple[int, ...]) -> None:
        """See the class."""
        self._declare(array_shape(event_shape, "Logit event_shape"))
        self.event_shape: tuple[int, ...]

    def _forward(
        self, x: Any, condition: Any, *, key: jax.Array | None, with_log_det: bool
    ) -> tuple[Array, Array | None]:
        return apply_elementwise(sigmoid_inverse, x, self.event_shape)

    def _inverse(
        self, y: Any, condition: Any, *, key: jax.Array | None, with_log_det: bool
    ) -> tuple[Array, Array | None]:
        return apply_elementwise(sigmoid_forward, y, self.event_shape)


class Unconstrain(Bijector):
    """Map every element from its interval [low, high] to the real line.

    The logit between two finite bounds, a logarithm where one is infinite, the identity where
    both are. No value that the inverse gives leaves the intervals. Outside them the
    log-determinant is -inf, so that a flow's density is 0 there.

    Args:
        event_shape: Shape of one event.
        low: Lower bounds, broadcastable to the event, -inf for none.
        high: Upper bounds, broadcastable to the event, inf for none.

    Raises:
        ValueError: If the bounds do not fit the event, or a lower bound is not below its upper.
    """

    def __init__(self, event_shape: tuple[int, ...], low: Any, high: Any) -> None:
        """See the class."""
        self._declare(array_shape(event_shape, "Unconstrain event_shape"))
        self.event_shape: tuple[int, ...]
        dtype = jnp.result_type(float)
        self.low = Buffer(fit_to_event(low, self.event_shape, "Unconstrain: low", dtype))
        self.high = Buffer(fit_to_event(high, self.event_shape, "Unconstrain: high", dtype))
        if not np.all(np.asarray(low) < np.asarray(high)):
            raise ValueError(
                f"Unconstrain: expected low < high for every element, got {low} and {high}"
            )

    def _forward(
        self, x: Any, condition: Any, *, key: jax.Array | None, with_log_det: bool
    ) -> tuple[Array, Array | None]:
        return apply_elementwise(unconstrain_forward, x, self.event_shape, self.low, self.high)

    def _inverse(
        self, y: Any, condition: Any, *, key: jax.Array | None, with_log_det: bool
    ) -> tuple[Array, Array | None]:
        return apply_elementwise(unconstrain_inverse, y, self.event_shape, self.low, self.high)

"""Events in another shape."""

import math
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from jinn.bijectors.base import Bijector, zeros_log_det
from jinn.bijectors.shapes import array_shape


class Reshape(Bijector):
    """Give events another shape, elements in row-major order; the log-determinant is 0.

    Args:
        event_shape: Shape of one event, such as `(H, W, C)`.
        event_shape_out: Shape of one output event, of as many elements, such as `(H * W * C,)`.

    Raises:
        ValueError: If the two do not have the same number of elements.
    """

    def __init__(self, event_shape: tuple[int, ...], event_shape_out: tuple[int, ...]) -> None:
        """See the class."""
        shape = array_shape(event_shape, "Reshape event_shape")
        out = array_shape(event_shape_out, "Reshape event_shape_out")
        if math.prod(shape) != math.prod(out):
            raise ValueError(
                "Reshape: expected two shapes with the same number of elements, got "
                f"event_shape {shape} with {math.prod(shape)} and event_shape_out {out} with "
                f"{math.prod(out)}"
            )
        self._declare(shape, event_shape_out=out)
        self.event_shape: tuple[int, ...]
        self.event_shape_out: tuple[int, ...]

    def _forward(
        self, x: Any, condition: Any, *, key: jax.Array | None, with_log_det: bool
    ) -> tuple[Array, Array | None]:
        return _reshape(x, self.event_shape, self.event_shape_out)

    def _inverse(
        self, y: Any, condition: Any, *, key: jax.Array | None, with_log_det: bool
    ) -> tuple[Array, Array | None]:
        return _reshape(y, self.event_shape_out, self.event_shape)


def _reshape(x: Array, shape: tuple[int, ...], shape_out: tuple[int, ...]) -> tuple[Array, Array]:
    batch = x.shape[: x.ndim - len(shape)]
    return jnp.reshape(x, (*batch, *shape_out)), zeros_log_det(x, shape)

"""Events in another shape: reshaped, squeezed, or as wavelets."""

import math
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from jinn.bijectors.base import Bijector, zeros_log_det
from jinn.bijectors.shapes import array_shape, image_shape
from jinn.functional.reshape import (
    BandOrder,
    check_haar_options,
    haar_forward,
    haar_inverse,
    halved_shape,
    squeeze_forward,
    squeeze_inverse,
)


class Reshape(Bijector):
    """Give events another shape, elements in row-major order; the log-determinant is 0.

    `Reshape((H, W, C), (H * W * C,))` flattens an image, before fully connected blocks.

    Args:
        event_shape: Shape of one event, such as `(H, W, C)`.
        event_shape_out: Shape of one output event, of as many elements, such as `(H * W * C,)`.

    Raises:
        ValueError: If the two do not have the same number of elements.
    """

    analytic_inverse = True

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


class Haar(Bijector):
    """Haar wavelet transform, `(H, W, C) -> (H / 2, W / 2, 4 C)`: averages and details.

    By default orthonormal, with log-determinant 0. `Invert(Haar(...))` is the upsampling.

    Args:
        event_shape: Shape of one event, `(H, W, C)`, height and width even.
        averaging: Whether the average band is the mean of its four pixels, not twice that.
        rebalance: A positive factor of all bands.
        order: "band" puts the averages of all channels first, then the horizontal, vertical and
            diagonal details; "channel" keeps the four bands of a channel together. See
            `jinn.functional.haar_forward`.

    Raises:
        ValueError: If the event is no image, a side is odd, or an option is out of range.

    Reference:
        Guided Image Generation with Conditional Invertible Neural Networks (Ardizzone, Lüth,
        Kruse, Rother, Köthe, 2019), https://arxiv.org/abs/1907.02392
    """

    analytic_inverse = True

    def __init__(
        self,
        event_shape: tuple[int, ...],
        *,
        averaging: bool = False,
        rebalance: float = 1.0,
        order: BandOrder = "band",
    ) -> None:
        """See the class."""
        shape = image_shape(event_shape, "Haar")
        check_haar_options(rebalance, order, "Haar")
        self._declare(shape, event_shape_out=halved_shape(shape, "Haar"))
        self.averaging, self.rebalance = bool(averaging), float(rebalance)
        self.order: BandOrder = order

    def _forward(
        self, x: Any, condition: Any, *, key: jax.Array | None, with_log_det: bool
    ) -> tuple[Array, Array | None]:
        return haar_forward(x, averaging=self.averaging, rebalance=self.rebalance, order=self.order)

    def _inverse(
        self, y: Any, condition: Any, *, key: jax.Array | None, with_log_det: bool
    ) -> tuple[Array, Array | None]:
        return haar_inverse(y, averaging=self.averaging, rebalance=self.rebalance, order=self.order)


class Squeeze(Bijector):
    """Move blocks of 2 x 2 pixels into the channels, `(H, W, C) -> (H / 2, W / 2, 4 C)`; log-det 0.

    The four pixels of a block come one after the other, row by row, each with all its channels.

    Args:
        event_shape: Shape of one event, `(H, W, C)`, height and width even.

    Raises:
        ValueError: If the event is no image, or a side is odd.

    Reference:
        i-RevNet: Deep Invertible Networks (Jacobsen, Smeulders, Oyallon, 2018),
        https://arxiv.org/abs/1802.07088
    """

    analytic_inverse = True

    def __init__(self, event_shape: tuple[int, ...]) -> None:
        """See the class."""
        shape = image_shape(event_shape, "Squeeze")
        self._declare(shape, event_shape_out=halved_shape(shape, "Squeeze"))

    def _forward(
        self, x: Any, condition: Any, *, key: jax.Array | None, with_log_det: bool
    ) -> tuple[Array, Array | None]:
        return squeeze_forward(x)

    def _inverse(
        self, y: Any, condition: Any, *, key: jax.Array | None, with_log_det: bool
    ) -> tuple[Array, Array | None]:
        return squeeze_inverse(y)


def _reshape(x: Array, shape: tuple[int, ...], shape_out: tuple[int, ...]) -> tuple[Array, Array]:
    batch = x.shape[: x.ndim - len(shape)]
    return jnp.reshape(x, (*batch, *shape_out)), zeros_log_det(x, shape)

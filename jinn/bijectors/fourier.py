"""Convolutions with circular padding, as bijectors."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array

from jinn.bijectors.base import Bijector
from jinn.bijectors.shapes import array_shape
from jinn.functional.fourier import fourier_convolution_forward, fourier_convolution_inverse
from jinn.networks.options import floating_type, is_count
from jinn.networks.randomness import as_key


class FourierConvolution(Bijector):
    """Convolve a series or an image with circular padding, `z = x * kernel`, all channels mixed.

    Both directions and the log-determinant are exact, by Fourier transforms; see
    `jinn.functional.fourier_convolution_forward`. The kernel starts as a random orthogonal matrix
    of the channels in its middle, and 0 elsewhere. Nothing keeps an optimiser from a kernel that
    leaves a frequency out, but the log-determinant goes to -inf there.

    Args:
        event_shape: Shape of one event, `(length, channels)` or `(height, width, channels)`.
        kernel_size: Length of the kernel's side, or one for each axis of space; any size, even
            ones and ones larger than the event too.
        param_dtype: Type of the parameters.
        rngs: An int, a JAX key or `flax.nnx.Rngs`.

    Raises:
        ValueError: If the event has no axis of space or is empty, or a size is no positive integer.

    Reference:
        Invertible Convolutional Networks (Finzi, Izmailov, Maddox, Kirichenko, Wilson, 2019),
        https://invertibleworkshop.github.io/INNF_2019/accepted_papers/pdfs/INNF_2019_paper_26.pdf
    """

    def __init__(
        self,
        event_shape: tuple[int, ...],
        *,
        kernel_size: int | Sequence[int] = 3,
        param_dtype: jax.typing.DTypeLike = jnp.float32,
        rngs: int | jax.Array | nnx.Rngs,
    ) -> None:
        """See the class."""
        shape, sizes = convolution_shapes(event_shape, kernel_size, "FourierConvolution")
        self._declare(shape)
        self.event_shape: tuple[int, ...]
        param_dtype = floating_type(param_dtype, "FourierConvolution")
        wide = jnp.promote_types(param_dtype, jnp.float32)  # there is no QR in narrower types
        middle = jax.random.orthogonal(as_key(rngs), shape[-1], dtype=wide)
        kernel = jnp.zeros((*sizes, *middle.shape), param_dtype)
        place = tuple(n // 2 for n in sizes)
        self.kernel = nnx.Param(kernel.at[place].set(middle.astype(param_dtype)))

    def _forward(
        self, x: Any, condition: Any, *, key: jax.Array | None, with_log_det: bool
    ) -> tuple[Array, Array | None]:
        return fourier_convolution_forward(x, self.kernel[...])

    def _inverse(
        self, y: Any, condition: Any, *, key: jax.Array | None, with_log_det: bool
    ) -> tuple[Array, Array | None]:
        return fourier_convolution_inverse(y, self.kernel[...])


def convolution_shapes(
    event_shape: Any, kernel_size: Any, name: str
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Check the events of a convolution and the sizes of its kernel.

    Args:
        event_shape: Shape of one event, `(*space, channels)`.
        kernel_size: Length of the kernel's side, or one for each axis of space.
        name: The bijector's name, for the error.

    Returns:
        The event's shape, and the kernel's length along each axis of space.

    Raises:
        ValueError: If the event has no axis of space or is empty, or a size is no positive integer.
    """
    shape = array_shape(event_shape, f"{name} event_shape")
    if len(shape) < 2 or 0 in shape:
        raise ValueError(
            f"{name}: expected events (length, channels) or (height, width, channels), got {shape}"
        )
    axes = len(shape) - 1
    sizes = kernel_size if isinstance(kernel_size, tuple | list) else [kernel_size] * axes
    if len(sizes) != axes or not all(map(is_count, sizes)):
        raise ValueError(
            f"{name}: expected kernel_size to be a positive integer, or one for each of the {axes} "
            f"axes of space, got {kernel_size!r}"
        )
    return shape, tuple(map(int, sizes))

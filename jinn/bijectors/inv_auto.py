"""Layers of the invertible autoencoder: tied weights, invertible activations."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from jinn.bijectors.base import Bijector, Buffer, read
from jinn.bijectors.fourier import convolution_shapes
from jinn.bijectors.shapes import array_shape, last_axis
from jinn.functional.inv_auto import (
    orthogonality_error,
    orthogonality_penalty,
    tied_convolution_forward,
    tied_convolution_inverse,
    tied_convolution_matrices,
    tied_convolution_penalty,
    tied_linear_forward,
    tied_linear_inverse,
    two_slopes_forward,
    two_slopes_inverse,
)
from jinn.networks.options import floating_type, is_count, is_positive
from jinn.networks.randomness import as_key


class InvAutoDense(Bijector):
    """Multiply a vector by a free matrix, `z = W x + b`; the inverse is `x = W^T (z - b)`.

    It is one only as far as W is orthogonal: with `e = orthogonality_error()`, a round trip from x
    moves x by at most `e |x|` if the output is at least as long, and one from z moves z by at most
    `e |z - b|` if it is at most as long. W starts orthogonal; train with
    `jinn.losses.with_orthogonality`, or with a reconstruction loss, to keep it so. Both directions
    have the log-determinant `sum log s` over W's singular values s, which is exact for a square W:
    they sum to at most `min(m, n) |log(1 - e)|` in size.

    Args:
        event_shape: Shape of one event, `(n,)`.
        size_out: Length m of the output, or None for n. With another length the layer embeds or
            projects, and is no bijector.
        param_dtype: Type of the parameters.
        rngs: An int, a JAX key or `flax.nnx.Rngs`.

    Raises:
        ValueError: If the event is no vector, or the length is no positive integer.

    Reference:
        Invertible Autoencoder for domain adaptation (Teng, Choromanska, Bojarski, 2018),
        https://arxiv.org/abs/1802.06869
    """

    def __init__(
        self,
        event_shape: tuple[int, ...],
        *,
        size_out: int | None = None,
        param_dtype: jax.typing.DTypeLike = jnp.float32,
        rngs: int | jax.Array | nnx.Rngs,
    ) -> None:
        """See the class."""
        shape = array_shape(event_shape, "InvAutoDense event_shape")
        if len(shape) != 1 or not shape[0]:
            raise ValueError(
                f"InvAutoDense: expected events (n,) of at least one element, got {shape}"
            )
        m = _positive(shape[0] if size_out is None else size_out, "InvAutoDense: size_out")
        self._declare(shape, event_shape_out=(m,))
        param_dtype = floating_type(param_dtype, "InvAutoDense")
        self.matrix = nnx.Param(_orthonormal(as_key(rngs), m, shape[0], param_dtype))
        self.shift = nnx.Param(jnp.zeros((m,), param_dtype))

    def orthogonality_error(self) -> Float[Array, ""]:
        """The bound e of the round trip's error, the largest `|s^2 - 1|` over W's singular values.

        Returns:
            The bound, 0 for an orthogonal W; of a stack's blocks, the largest.
        """
        return orthogonality_error(_wide(self.matrix[...]))

    def orthogonality_penalty(self) -> Float[Array, ""]:
        """What a loss adds to make W orthogonal, the squared Frobenius norm of `W^T W - I`.

        Returns:
            The penalty; of a stack's blocks, the sum.
        """
        return jnp.sum(orthogonality_penalty(_wide(self.matrix[...])))

    def _forward(
        self, x: Any, condition: Any, *, key: jax.Array | None, with_log_det: bool
    ) -> tuple[Array, Array | None]:
        return tied_linear_forward(x, self.matrix[...], self.shift[...])

    def _inverse(
        self, y: Any, condition: Any, *, key: jax.Array | None, with_log_det: bool
    ) -> tuple[Array, Array | None]:
        return tied_linear_inverse(y, self.matrix[...], self.shift[...])


class InvAutoConv(Bijector):
    """Convolve with a free kernel, `z = C x + b`; the inverse is `x = C^T (z - b)`.

    The padding is circular. C starts orthogonal, and what is said of W in `InvAutoDense` holds of
    C: see there for the bounds of a round trip.

    Args:
        event_shape: Shape of one event, `(length, channels)` or `(height, width, channels)`.
        channels_out: Number of channels of the output, or None for as many.
        kernel_size: Length of the kernel's side, or one for each axis of space.
        param_dtype: Type of the parameters.
        rngs: An int, a JAX key or `flax.nnx.Rngs`.

    Raises:
        ValueError: If the event has no axis of space or is empty, or a size is no positive integer.

    Reference:
        Invertible Autoencoder for domain adaptation (Teng, Choromanska, Bojarski, 2018),
        https://arxiv.org/abs/1802.06869
    """

    def __init__(
        self,
        event_shape: tuple[int, ...],
        *,
        channels_out: int | None = None,
        kernel_size: int | Sequence[int] = 3,
        param_dtype: jax.typing.DTypeLike = jnp.float32,
        rngs: int | jax.Array | nnx.Rngs,
    ) -> None:
        """See the class."""
        shape, sizes = convolution_shapes(event_shape, kernel_size, "InvAutoConv")
        *space, channels = shape
        out = channels if channels_out is None else channels_out
        out = _positive(out, "InvAutoConv: channels_out")
        self._declare(shape, event_shape_out=(*space, out))
        self.event_shape: tuple[int, ...]
        param_dtype = floating_type(param_dtype, "InvAutoConv")
        middle = _orthonormal(as_key(rngs), channels, out, param_dtype)
        kernel = jnp.zeros((*sizes, channels, out), param_dtype)
        self.kernel = nnx.Param(kernel.at[tuple(size // 2 for size in sizes)].set(middle))
        self.shift = nnx.Param(jnp.zeros((out,), param_dtype))

    def orthogonality_error(self) -> Float[Array, ""]:
        """The bound e of the round trip's error, the largest `|s^2 - 1|` over C's singular values.

        Returns:
            The bound, 0 for an orthogonal C; of a stack's blocks, the largest.
        """
        return jnp.max(jax.vmap(lambda k: orthogonality_error(self._matrices(k)))(self._kernels()))

    def orthogonality_penalty(self) -> Float[Array, ""]:
        """What a loss adds to make C orthogonal: `|C^T C - I|^2`, Frobenius, a pixel.

        Returns:
            The penalty; of a stack's blocks, the sum.
        """
        space = self.event_shape[:-1]
        return jnp.sum(jax.vmap(lambda k: tied_convolution_penalty(k, space))(self._kernels()))

    def _matrices(self, kernel: Array) -> Array:
        return tied_convolution_matrices(kernel, self.event_shape[:-1])

    def _kernels(self) -> Array:
        """The kernel, or those of a stack, along a leading axis."""
        kernel = _wide(self.kernel[...])
        return kernel.reshape(-1, *kernel.shape[kernel.ndim - len(self.event_shape) - 1 :])

    def _forward(
        self, x: Any, condition: Any, *, key: jax.Array | None, with_log_det: bool
    ) -> tuple[Array, Array | None]:
        return tied_convolution_forward(x, self.kernel[...], self.shift[...])

    def _inverse(
        self, y: Any, condition: Any, *, key: jax.Array | None, with_log_det: bool
    ) -> tuple[Array, Array | None]:
        return tied_convolution_inverse(y, self.kernel[...], self.shift[...])


class InvAutoActivation(Bijector):
    """Scale by one slope above 0 and by another below, learned for each entry of the last axis.

    Args:
        event_shape: Shape of one event, `(n,)` or `(H, W, C)`.
        positive: Initial slope above 0, positive.
        negative: Initial slope below 0, positive. None ties it: it is 1 over the other slope.
        learned: Whether the slopes are trained; their logarithms are.
        param_dtype: Type of the parameters.

    Raises:
        ValueError: If the event has no last axis, or a slope is not positive and finite.

    Reference:
        Invertible Autoencoder for domain adaptation (Teng, Choromanska, Bojarski, 2018),
        https://arxiv.org/abs/1802.06869
    """

    def __init__(
        self,
        event_shape: tuple[int, ...],
        *,
        positive: float = 2.0,
        negative: float | None = None,
        learned: bool = True,
        param_dtype: jax.typing.DTypeLike = jnp.float32,
    ) -> None:
        """See the class."""
        self._declare(event_shape)
        self.event_shape: tuple[int, ...]
        n = last_axis(self.event_shape, "InvAutoActivation")
        for slope in (positive, 1.0 if negative is None else negative):
            if not is_positive(slope):
                raise ValueError(
                    f"InvAutoActivation: expected positive, finite slopes, got {slope!r}"
                )
        param_dtype = floating_type(param_dtype, "InvAutoActivation")
        variable = nnx.Param if learned else Buffer

        def logarithms(slope: float) -> Any:
            return variable(jnp.full((n,), math.log(slope), param_dtype))

        self.log_positive = logarithms(positive)
        self.log_negative = None if negative is None else logarithms(negative)

    def _forward(
        self, x: Any, condition: Any, *, key: jax.Array | None, with_log_det: bool
    ) -> tuple[Array, Array | None]:
        return self._run(two_slopes_forward, x)

    def _inverse(
        self, y: Any, condition: Any, *, key: jax.Array | None, with_log_det: bool
    ) -> tuple[Array, Array | None]:
        return self._run(two_slopes_inverse, y)

    def _run(self, function: Callable[..., tuple[Array, Array]], x: Array) -> tuple[Array, Array]:
        wide = jnp.promote_types(x.dtype, jnp.float32)
        positive = read(self.log_positive).astype(wide)
        negative = -positive if self.log_negative is None else read(self.log_negative).astype(wide)
        slopes = (slope.reshape(*[1] * (x.ndim - 1), -1) for slope in (positive, negative))
        y, log_slopes = function(x.astype(wide), *slopes)
        axes = tuple(range(x.ndim - len(self.event_shape), x.ndim))
        return y.astype(x.dtype), jnp.sum(log_slopes, axes)


def _positive(value: Any, name: str) -> int:
    if not is_count(value):
        raise ValueError(f"{name}: expected a positive integer, got {value!r}")
    return int(value)


def _wide(array: Array) -> Array:
    return array.astype(jnp.promote_types(array.dtype, jnp.float32))


def _orthonormal(key: jax.Array, m: int, n: int, dtype: Any) -> Array:
    """A random matrix `(m, n)` with orthonormal columns, or rows if it has fewer of these."""
    wide = jnp.promote_types(dtype, jnp.float32)  # there is no QR in narrower types
    square = jax.random.orthogonal(key, max(m, n), dtype=wide)
    return square[:m, :n].astype(dtype)

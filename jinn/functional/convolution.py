"""Convolutions of images with channels last."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero
from jaxtyping import Array, Float

Padding = tuple[tuple[int, int], tuple[int, int]]


def convolve(
    x: Float[Array, "*batch height width n_in"],
    kernel: Float[Array, "kh kw n_in n_out"],
    *,
    stride: int = 1,
) -> Float[Array, "*batch height_out width_out n_out"]:
    """Convolve images with a kernel, zeros around them: `y_p = sum_q x_(p+q) K_q`.

    Args:
        x: Images, channels last.
        kernel: The kernel, its middle at offset 0.
        stride: Keep one pixel in so many, along both axes.

    Returns:
        Images of the same size, or of the size divided by the stride and rounded up, in the type
        that the types of both promote to.
    """
    dtype = jnp.promote_types(x.dtype, kernel.dtype)
    x, kernel = x.astype(dtype), kernel.astype(dtype)
    batch, (height, width, channels) = x.shape[:-3], x.shape[-3:]
    if channels == 0:
        size = (-(-height // stride), -(-width // stride))
        return jnp.zeros((*batch, *size, kernel.shape[-1]), dtype)
    if kernel.shape[:2] == (1, 1) and stride == 1:
        pixels = x.reshape(math.prod(batch) * height * width, channels)
        return (pixels @ kernel[0, 0]).reshape(*x.shape[:-1], kernel.shape[-1])
    flat = x.reshape(math.prod(batch), height, width, channels)
    whole = height % stride == 0 and width % stride == 0 and flat.size and kernel.size
    if jax.default_backend() == "cpu" and whole:
        y = _convolve_on_cpu(*_without_stride(flat, kernel, stride))
    else:
        y = _convolve(flat, kernel, "SAME", stride)
    return y.reshape(*batch, *y.shape[1:])


def _without_stride(x: Array, kernel: Array, stride: int) -> tuple[Array, Array, Padding]:
    """The same convolution at stride 1, of squares of pixels with their pixels as channels.

    A pixel ``s p + q`` is the pixel r of the square p + d, where ``q = s d + r``.
    """
    n, height, width, channels = x.shape
    x = x.reshape(n, height // stride, stride, width // stride, stride, channels)
    x = x.transpose(0, 1, 3, 2, 4, 5).reshape(n, height // stride, width // stride, -1)
    (a, rows, before), (b, columns, left) = (_squares(k, stride) for k in kernel.shape[:2])
    kernel = jnp.pad(kernel, (rows, columns, (0, 0), (0, 0)))
    kernel = kernel.reshape(a, stride, b, stride, channels, -1).transpose(0, 2, 1, 3, 4, 5)
    return x, kernel.reshape(a, b, x.shape[-1], -1), (before, left)


def _squares(size: int, stride: int) -> tuple[int, tuple[int, int], tuple[int, int]]:
    """How many squares a kernel covers along an axis, its padding, and that of the squares."""
    before = max(size - stride, 0) // 2
    first = -(-before // stride)
    zeros = stride * first - before
    count = -(-(zeros + size) // stride)
    return count, (zeros, stride * count - zeros - size), (first, count - 1 - first)


def _convolve(x: Array, kernel: Array, padding: Any, stride: int = 1) -> Array:
    layout = ("NHWC", "HWIO", "NHWC")
    strides = (stride, stride)
    return jax.lax.conv_general_dilated(x, kernel, strides, padding, dimension_numbers=layout)


@partial(jax.custom_jvp, nondiff_argnums=(2,))
def _convolve_on_cpu(x: Array, kernel: Array, padding: Padding) -> Array:
    """A convolution of stride 1 whose gradients are convolutions in the same layout.

    The gradients that JAX derives are convolutions with other axes as batch and channels, for which
    XLA's CPU backend has no fast kernel within a loop: there they take more than ten times as long.
    """
    return _convolve(x, kernel, padding)


def _convolve_jvp(
    padding: Padding, primals: tuple[Array, Array], tangents: tuple[Any, Any]
) -> tuple[Array, Any]:
    """Writes the tangent as the transpose of the pullback, whose transpose is the pullback again.

    In reverse mode, all that is evaluated is the pullback, in the form that it has here.
    """
    x, kernel = primals
    y = _convolve_on_cpu(x, kernel, padding)
    behind = tuple(pair[::-1] for pair in padding)

    def to_x(cotangent: Array) -> Array:
        return _convolve(cotangent, kernel[::-1, ::-1].swapaxes(2, 3), behind)

    def to_kernel(cotangent: Array) -> Array:
        images, pixels = x.transpose(3, 1, 2, 0), cotangent.transpose(1, 2, 0, 3)
        return _convolve(images, pixels, padding).transpose(1, 2, 0, 3)

    pullbacks: tuple[Callable[[Array], Array], ...] = (to_x, to_kernel)
    parts = [
        jax.linear_transpose(pullback, y)(tangent)[0]
        for pullback, tangent in zip(pullbacks, tangents, strict=True)
        if not isinstance(tangent, SymbolicZero)
    ]
    return y, sum(parts[1:], parts[0])


_convolve_on_cpu.defjvp(_convolve_jvp, symbolic_zeros=True)

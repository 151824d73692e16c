"""Convolutions of images with channels last."""

import math
from collections.abc import Callable
from typing import Any

import jax
from jax.custom_derivatives import SymbolicZero
from jaxtyping import Array, Float


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
        Images of the same size, or of the size divided by the stride and rounded up.
    """
    batch, (height, width, channels) = x.shape[:-3], x.shape[-3:]
    if kernel.shape[:2] == (1, 1) and stride == 1:
        pixels = x.reshape(math.prod(batch) * height * width, channels)
        return (pixels @ kernel[0, 0]).reshape(*x.shape[:-1], kernel.shape[-1])
    flat = x.reshape(math.prod(batch), height, width, channels)
    odd = all(size % 2 for size in kernel.shape[:2])
    if jax.default_backend() == "cpu" and stride == 1 and odd and flat.size and kernel.size:
        y = _convolve_on_cpu(flat, kernel)
    else:
        y = _convolve(flat, kernel, "SAME", stride)
    return y.reshape(*batch, *y.shape[1:])


def _convolve(x: Array, kernel: Array, padding: Any, stride: int = 1) -> Array:
    layout = ("NHWC", "HWIO", "NHWC")
    strides = (stride, stride)
    return jax.lax.conv_general_dilated(x, kernel, strides, padding, dimension_numbers=layout)


@jax.custom_jvp
def _convolve_on_cpu(x: Array, kernel: Array) -> Array:
    """A convolution whose gradients are convolutions in the same layout.

    The gradients that JAX derives are convolutions with other axes as batch and channels, for which
    XLA's CPU backend has no fast kernel within a loop: there they take more than ten times as long.
    """
    return _convolve(x, kernel, "SAME")


def _convolve_jvp(primals: tuple[Array, Array], tangents: tuple[Any, Any]) -> tuple[Array, Any]:
    """Writes the tangent as the transpose of the pullback, whose transpose is the pullback again.

    In reverse mode, all that is evaluated is the pullback, in the form that it has here.
    """
    x, kernel = primals
    y = _convolve_on_cpu(x, kernel)
    padding = [(size // 2, size // 2) for size in kernel.shape[:2]]

    def to_x(cotangent: Array) -> Array:
        return _convolve(cotangent, kernel[::-1, ::-1].swapaxes(2, 3), padding)

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

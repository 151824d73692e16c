"""Convolutions of images with channels last."""

import math

import jax
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
    y = jax.lax.conv_general_dilated(
        flat, kernel, (stride, stride), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    return y.reshape(*batch, *y.shape[1:])

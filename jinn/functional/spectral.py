"""Spectral norms of linear maps: by power iteration, and certified by singular values."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

_UNROLLED = 5


def spectral_norm(
    linear: Callable[[Array, Array], Array],
    weights: Float[Array, "..."],
    vector: Float[Array, "..."],
    *,
    steps: int,
) -> tuple[Float[Array, ""], Float[Array, "..."]]:
    """Largest singular value `|A v|` of a linear map, by power iteration on `A^T A`.

    It approaches the norm from below. A vector that is kept from call to call stays close to the
    singular vector while A changes little, so that one step is enough. The gradient takes v as a
    constant.

    Args:
        linear: The map A, called as `linear(vector, weights)`.
        weights: The numbers that A is made of.
        vector: An approximation of the first right singular vector; of any length but 0.
        steps: Number of steps.

    Returns:
        The norm, and the improved vector of length 1.
    """
    tiny = jnp.finfo(vector.dtype).tiny
    fixed = jax.lax.stop_gradient(weights)
    transpose = jax.linear_transpose(lambda v: linear(v, fixed), vector)

    def unit(v: Array) -> Array:
        return v / jnp.sqrt(jnp.maximum(jnp.sum(jnp.square(v)), tiny))

    def step(_: Any, v: Array) -> Array:
        improved = transpose(unit(linear(v, fixed)))[0]
        return jnp.where(jnp.any(improved != 0), unit(improved), v)

    start = unit(jax.lax.stop_gradient(vector))
    unit_vector = jax.lax.fori_loop(0, steps, step, start, unroll=steps <= _UNROLLED)
    square = jnp.sum(jnp.square(linear(unit_vector, weights)))
    return jnp.sqrt(jnp.maximum(square, tiny)), unit_vector


def convolution_norm_bound(
    kernel: Float[Array, "kh kw n_in n_out"], size: tuple[int, int]
) -> Float[Array, ""]:
    """Upper bound of the spectral norm of `convolve` on images of a size.

    A convolution with zeros around the image is a part of the one that wraps around a larger image;
    that one's singular values are those of the kernel's Fourier transform, frequency by frequency.

    Args:
        kernel: The kernel.
        size: Height and width of the images.

    Returns:
        The bound; for large images it is close to the norm.

    Reference:
        The Singular Values of Convolutional Layers (Sedghi, Gupta, Long, 2019),
        https://arxiv.org/abs/1805.10408
    """
    padded = [length + taps - 1 for length, taps in zip(size, kernel.shape[:2], strict=True)]
    transform = jnp.fft.fft2(kernel, padded, axes=(0, 1))
    return jnp.max(jnp.linalg.norm(transform, 2, axis=(-2, -1)))

"""Convolutions on a circle or torus, inverted exactly in Fourier space."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float


def fourier_convolution_forward(
    x: Float[Array, "*batch_space channels"], kernel: Float[Array, "*size channels channels"]
) -> tuple[Float[Array, "*batch_space channels"], Float[Array, "*batch"]]:
    """Convolve with circular padding, `y[i] = sum_p x[i + p - size // 2] kernel[p]`.

    The sum runs over all positions p in the kernel, and indices wrap around the ends; that is what
    networks call a convolution, with `kernel[p]` a matrix from channels to channels. A kernel may
    be larger than x: it wraps around too. In Fourier space each frequency is multiplied by a
    matrix of its own, so that `log|det| = sum_w log|det K(w)|` over all frequencies w, at the cost
    of a Fourier transform. The kernel must leave no frequency out: where some `K(w)` is singular,
    the log-determinant is -inf, or very low by rounding, and the inverse is of no use.

    Args:
        x: Values, shape `(*batch, *space, channels)`; the space has as many axes as the kernel.
        kernel: Kernel, shape `(*size, channels, channels)`, the last axis that of the output.

    Returns:
        `y` in the shape and type of `x`, and the log-determinant in the batch's shape, float32 or
        wider.

    Raises:
        ValueError: If the shapes do not fit each other, or the kernel has no axis of space.

    Reference:
        Invertible Convolutional Networks (Finzi, Izmailov, Maddox, Kirichenko, Wilson, 2019),
        https://invertibleworkshop.github.io/INNF_2019/accepted_papers/pdfs/INNF_2019_paper_26.pdf;
        Emerging Convolutions for Generative Normalizing Flows (Hoogeboom, van den Berg, Welling,
        2019), section 3.2, https://arxiv.org/abs/1901.11137
    """
    _check(x, kernel)
    matrices, space = kernel_spectrum(kernel, x), _space(x, kernel)
    spectrum = to_frequencies(x, len(space))
    y = from_frequencies(mix_channels(spectrum, matrices), space)
    return y.astype(x.dtype), _sum_log_det(matrices, x, kernel)


def fourier_convolution_inverse(
    y: Float[Array, "*batch_space channels"], kernel: Float[Array, "*size channels channels"]
) -> tuple[Float[Array, "*batch_space channels"], Float[Array, "*batch"]]:
    """Undo `fourier_convolution_forward`: solve with one matrix a frequency.

    Args:
        y: Values, shape `(*batch, *space, channels)`.
        kernel: Kernel of the forward map, shape `(*size, channels, channels)`.

    Returns:
        `x` in the shape and type of `y`, and the log-determinant in the batch's shape, float32 or
        wider.

    Raises:
        ValueError: If the shapes do not fit each other, or the kernel has no axis of space.
    """
    _check(y, kernel)
    matrices, space = kernel_spectrum(kernel, y), _space(y, kernel)
    spectrum = to_frequencies(y, len(space))
    x = from_frequencies(mix_channels(spectrum, jnp.linalg.inv(matrices)), space)
    return x.astype(y.dtype), -_sum_log_det(matrices, y, kernel)


def _check(x: Array, kernel: Array) -> None:
    axes = kernel.ndim - 2
    channels = x.shape[-1:] * 2
    if axes < 1 or x.ndim <= axes or kernel.shape[axes:] != channels or 0 in kernel.shape:
        raise ValueError(
            "fourier_convolution: expected values (*batch, *space, channels) and a kernel (*size, "
            "channels, channels) with as many axes of size as of space, at least one, got values "
            f"of shape {x.shape} and a kernel of shape {kernel.shape}"
        )


def _space(x: Array, kernel: Array) -> tuple[int, ...]:
    return x.shape[x.ndim - kernel.ndim + 1 : -1]


def kernel_spectrum(kernel: Array, x: Array) -> Array:
    """The kernel's matrix from channels to channels at each frequency of half of the spectrum.

    Args:
        kernel: Kernel, shape `(*size, channels_in, channels_out)`.
        x: Values, shape `(*batch, *space, channels)`.

    Returns:
        Complex matrices `(*half_space, channels_in, channels_out)`.
    """
    space = _space(x, kernel)
    wide = jnp.promote_types(jnp.promote_types(kernel.dtype, x.dtype), jnp.float32)
    places = np.meshgrid(
        *(
            (np.arange(size) - size // 2) % n
            for size, n in zip(kernel.shape[:-2], space, strict=True)
        ),
        indexing="ij",
    )
    folded = jnp.zeros((*space, *kernel.shape[-2:]), wide)
    folded = folded.at[tuple(places)].add(kernel.astype(wide))
    return jnp.conj(jnp.fft.rfftn(folded, axes=range(len(space))))


def to_frequencies(x: Array, axes: int) -> Array:
    """Transform the axes of space.

    Args:
        x: Values, shape `(*batch, *space, channels)`.
        axes: Number of axes of space.

    Returns:
        Half of the spectrum, the other half being its mirror image.
    """
    wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    return jnp.fft.rfftn(wide, axes=range(x.ndim - 1 - axes, x.ndim - 1))


def from_frequencies(spectrum: Array, space: tuple[int, ...]) -> Array:
    """Undo `to_frequencies`.

    Args:
        spectrum: Half of a spectrum.
        space: Lengths of the axes of space.

    Returns:
        Values, shape `(*batch, *space, channels)`.
    """
    axes = range(spectrum.ndim - 1 - len(space), spectrum.ndim - 1)
    return jnp.fft.irfftn(spectrum, s=space, axes=axes)


def mix_channels(spectrum: Array, matrices: Array) -> Array:
    """Multiply the channels at each frequency by its matrix.

    Args:
        spectrum: Half of a spectrum, `(*batch, *half_space, channels_in)`.
        matrices: A matrix for each frequency, `(*half_space, channels_in, channels_out)`.

    Returns:
        The spectrum of the output.
    """
    return jnp.einsum("...i,...ij->...j", spectrum, matrices, precision="highest")


def frequency_counts(space: tuple[int, ...]) -> np.ndarray:
    """How many frequencies each one of half of the spectrum stands for: 1, or 2 if it is mirrored.

    Args:
        space: Lengths of the axes of space.

    Returns:
        Counts of the rank of space, along its last axis.
    """
    counts = np.full(space[-1] // 2 + 1, 2.0)
    counts[0] = 1.0
    if space[-1] % 2 == 0:
        counts[-1] = 1.0
    return counts.reshape(*[1] * (len(space) - 1), -1)


def _sum_log_det(matrices: Array, x: Array, kernel: Array) -> Array:
    """Sum `log|det K(w)|` over all frequencies."""
    _, logs = jnp.linalg.slogdet(matrices)
    total = jnp.sum(logs * jnp.asarray(frequency_counts(_space(x, kernel)), logs.dtype))
    return jnp.broadcast_to(total, x.shape[: x.ndim - kernel.ndim + 1])

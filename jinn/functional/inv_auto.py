"""Linear maps whose transpose stands for the inverse, which it is once they are orthogonal."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from jinn.functional.fourier import (
    frequency_counts,
    from_frequencies,
    kernel_spectrum,
    mix_channels,
    to_frequencies,
)
from jinn.functional.matrix import widen


def tied_linear_forward(
    x: Float[Array, "*batch n"], matrix: Float[Array, "m n"], shift: Float[Array, " m"]
) -> tuple[Float[Array, "*batch m"], Float[Array, "*batch"]]:
    """Multiply the last axis by a matrix and add a shift, `y = W x + shift`.

    Args:
        x: Vectors along the last axis.
        matrix: W, with orthonormal rows or columns once training has converged.
        shift: What is added.

    Returns:
        `y`, and the sum of the logarithms of W's singular values in the shape of the leading axes,
        which is `log|det W|` if W is square.

    Reference:
        Invertible Autoencoder for domain adaptation (Teng, Choromanska, Bojarski, 2018),
        https://arxiv.org/abs/1802.06869
    """
    wide, matrix, shift = widen(x, matrix, shift)
    y = jnp.matmul(wide, matrix.T, precision="highest") + shift
    return y.astype(x.dtype), jnp.full(x.shape[:-1], _log_volume(matrix))


def tied_linear_inverse(
    y: Float[Array, "*batch m"], matrix: Float[Array, "m n"], shift: Float[Array, " m"]
) -> tuple[Float[Array, "*batch n"], Float[Array, "*batch"]]:
    """Undo `tied_linear_forward` by the transpose, `x = W^T (y - shift)`.

    With `e = orthogonality_error(W)`: for m >= n, a round trip from x moves it by at most `e |x|`;
    for m <= n, one from y moves it by at most `e |y - shift|`.

    Args:
        y: Vectors along the last axis.
        matrix: W of the forward map.
        shift: Its shift.

    Returns:
        `x`, and the log-determinant of this map, the same as that of the forward map: both go to 0
        with the orthogonality error.
    """
    wide, matrix, shift = widen(y, matrix, shift)
    x = jnp.matmul(wide - shift, matrix, precision="highest")
    return x.astype(y.dtype), jnp.full(y.shape[:-1], _log_volume(matrix))


def tied_convolution_forward(
    x: Float[Array, "*batch_space channels"],
    kernel: Float[Array, "*size channels channels_out"],
    shift: Float[Array, " channels_out"],
) -> tuple[Float[Array, "*batch_space channels_out"], Float[Array, "*batch"]]:
    """Convolve with circular padding and add a shift, `y = C x + shift`.

    Padding with zeros, as usual, leaves no kernel but those of one pixel orthogonal.

    Args:
        x: Values, shape `(*batch, *space, channels)`.
        kernel: Kernel, shape `(*size, channels, channels_out)`, as in
            `fourier_convolution_forward`.
        shift: What is added to each channel.

    Returns:
        `y`, and the sum of the logarithms of C's singular values in the batch's shape.

    Reference:
        Invertible Autoencoder for domain adaptation (Teng, Choromanska, Bojarski, 2018),
        https://arxiv.org/abs/1802.06869
    """
    matrices, space, batch = _spectrum(x, kernel)
    y = from_frequencies(mix_channels(to_frequencies(x, len(space)), matrices), space)
    y = y + shift.astype(y.dtype).reshape(*[1] * (y.ndim - 1), -1)
    return y.astype(x.dtype), jnp.full(batch, _sum_log_volumes(matrices, space))


def tied_convolution_inverse(
    y: Float[Array, "*batch_space channels_out"],
    kernel: Float[Array, "*size channels channels_out"],
    shift: Float[Array, " channels_out"],
) -> tuple[Float[Array, "*batch_space channels"], Float[Array, "*batch"]]:
    """Undo `tied_convolution_forward` by the transposed convolution, `x = C^T (y - shift)`.

    The bounds are those of `tied_linear_inverse`, with the error of `tied_convolution_matrices`.

    Args:
        y: Values, shape `(*batch, *space, channels_out)`.
        kernel: Kernel of the forward map.
        shift: Its shift.

    Returns:
        `x`, and the log-determinant of this map, the same as that of the forward map.
    """
    matrices, space, batch = _spectrum(y, kernel)
    wide = y.astype(jnp.promote_types(y.dtype, jnp.float32))
    wide = wide - shift.astype(wide.dtype).reshape(*[1] * (y.ndim - 1), -1)
    transposed = jnp.conj(jnp.matrix_transpose(matrices))
    x = from_frequencies(mix_channels(to_frequencies(wide, len(space)), transposed), space)
    return x.astype(y.dtype), jnp.full(batch, _sum_log_volumes(matrices, space))


def two_slopes_forward(
    x: Float[Array, "*#shape"],
    log_positive: Float[Array, "*#shape"],
    log_negative: Float[Array, "*#shape"],
) -> tuple[Float[Array, "*shape"], Float[Array, "*shape"]]:
    """Scale by one slope above 0 and by another below, `y = x exp(s+)` or `x exp(s-)`.

    Args:
        x: Values, any shape.
        log_positive: Logarithms s+ of the slopes where x >= 0, broadcastable against `x`.
        log_negative: Logarithms s- of the slopes elsewhere.

    Returns:
        `y` and the log-derivative of each element.

    Reference:
        Invertible Autoencoder for domain adaptation (Teng, Choromanska, Bojarski, 2018),
        https://arxiv.org/abs/1802.06869
    """
    log_slope = jnp.where(x >= 0, log_positive, log_negative)
    return x * jnp.exp(log_slope), log_slope


def two_slopes_inverse(
    y: Float[Array, "*#shape"],
    log_positive: Float[Array, "*#shape"],
    log_negative: Float[Array, "*#shape"],
) -> tuple[Float[Array, "*shape"], Float[Array, "*shape"]]:
    """Undo `two_slopes_forward`, which leaves the sign.

    Args:
        y: Values, any shape.
        log_positive: Logarithms of the forward map's slopes above 0.
        log_negative: Those below.

    Returns:
        `x` and the log-derivative of each element.
    """
    return two_slopes_forward(y, -log_positive, -log_negative)


def orthogonality_error(matrices: Array) -> Float[Array, ""]:
    """Largest `|s^2 - 1|` over the singular values s of some matrices.

    Args:
        matrices: Real or complex matrices `(..., m, n)`; of a convolution, one for each frequency.

    Returns:
        The spectral norm of `W^T W - I` or of `W W^T - I`, whichever matrix is smaller: 0 for
        orthonormal columns or rows.
    """
    values = jnp.linalg.svd(matrices, compute_uv=False)
    return jnp.max(jnp.abs(values * values - 1), initial=0.0)


def orthogonality_penalty(matrix: Array) -> Float[Array, "*batch"]:
    """Squared Frobenius norm of `W^T W - I` or of `W W^T - I`, whichever is smaller.

    Args:
        matrix: Real or complex matrices `(*batch, m, n)`.

    Returns:
        One number a matrix, 0 where its columns or rows are orthonormal.
    """
    gram = _gram(matrix)
    difference = gram - jnp.broadcast_to(jnp.eye(gram.shape[-1], dtype=gram.dtype), gram.shape)
    return jnp.sum(jnp.square(difference.real) + jnp.square(difference.imag), (-2, -1))


def tied_convolution_penalty(
    kernel: Float[Array, "*size channels channels_out"], space: tuple[int, ...]
) -> Float[Array, ""]:
    """Mean of `orthogonality_penalty` over the frequencies of a convolution.

    Args:
        kernel: Kernel of `tied_convolution_forward`.
        space: Lengths of the axes of space.

    Returns:
        The squared Frobenius norm of `C^T C - I` or `C C^T - I`, by the number of pixels.
    """
    penalties = orthogonality_penalty(tied_convolution_matrices(kernel, space))
    counts = jnp.asarray(frequency_counts(space), penalties.dtype)
    return jnp.sum(penalties * counts) / jnp.prod(jnp.asarray(space, penalties.dtype))


def tied_convolution_matrices(
    kernel: Float[Array, "*size channels channels_out"], space: tuple[int, ...]
) -> Array:
    """The matrices, one a frequency, whose singular values are those of the convolution.

    Args:
        kernel: Kernel of `tied_convolution_forward`.
        space: Lengths of the axes of space.

    Returns:
        Complex matrices `(*half_space, channels, channels_out)`.
    """
    return kernel_spectrum(kernel, jnp.zeros((*space, 1), kernel.dtype))


def _spectrum(x: Array, kernel: Array) -> tuple[Array, tuple[int, ...], tuple[int, ...]]:
    """The kernel's matrices, the shape of space, and that of the batch."""
    split = x.ndim - kernel.ndim + 1
    return kernel_spectrum(kernel, x), x.shape[split:-1], x.shape[:split]


def _gram(matrices: Array) -> Array:
    """`W^H W` or `W W^H`, whichever is smaller."""
    adjoint = jnp.conj(jnp.matrix_transpose(matrices))
    m, n = matrices.shape[-2:]
    product = (adjoint, matrices) if m >= n else (matrices, adjoint)
    return jnp.matmul(*product, precision="highest")


def _log_volume(matrices: Array) -> Array:
    """Sums of the logarithms of singular values."""
    m, n = matrices.shape[-2:]
    if m == n:
        return jnp.linalg.slogdet(matrices)[1]
    return 0.5 * jnp.linalg.slogdet(_gram(matrices))[1]


def _sum_log_volumes(matrices: Array, space: tuple[int, ...]) -> Array:
    logs = _log_volume(matrices)
    return jnp.sum(logs * jnp.asarray(frequency_counts(space), logs.dtype))

"""Images at half the height and width, with four times the channels."""

import math
from numbers import Real
from typing import Literal

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

BandOrder = Literal["band", "channel"]
_SIGNS = np.array([1.0, -1.0])


def haar_forward(
    x: Float[Array, "*batch h w c"],
    *,
    averaging: bool = False,
    rebalance: float = 1.0,
    order: BandOrder = "band",
) -> tuple[Float[Array, "*batch h//2 w//2 4*c"], Float[Array, "*batch"]]:
    """Haar wavelet transform of every channel, one level: a block of 2 x 2 pixels becomes 4 bands.

    Of a block `[[p, q], [r, s]]` the bands are the average `(p + q + r + s) / 2` and the details
    horizontal `(p + q - r - s) / 2`, vertical `(p - q + r - s) / 2` and diagonal
    `(p - q - r + s) / 2`, in this order. The matrix is orthonormal, so the log-determinant is 0.

    Args:
        x: Images, height and width even.
        averaging: Whether the average band is halved, which makes it the mean of the four pixels
            and keeps it in their range. It costs log 2 for each block of each channel.
        rebalance: A positive factor of all four bands, with its logarithm for each element. 0.5
            makes the average band the mean, too, and halves the details with it.
        order: "band" puts the averages of all channels first, then all horizontal details, and so
            on: output channel `band * c + channel`. "channel" keeps the four bands of a channel
            together: `4 * channel + band`.

    Returns:
        The bands, and the log-determinant in the batch's shape, float32 or wider.

    Raises:
        ValueError: If an image has an odd side, or an option is out of range.

    Reference:
        A Theory for Multiresolution Signal Decomposition: The Wavelet Representation (Mallat,
        1989), https://doi.org/10.1109/34.192463; with `rebalance`, in a network: Guided Image
        Generation with Conditional Invertible Neural Networks (Ardizzone, Lüth, Kruse, Rother,
        Köthe, 2019), https://arxiv.org/abs/1907.02392
    """
    check_haar_options(rebalance, order, "haar_forward")
    halved_shape(x.shape, "haar_forward")
    x = _floating(x)
    y, zeros = squeeze_forward(x)
    pixels = jnp.reshape(y, (*y.shape[:-1], 2, 2, x.shape[-1]))
    bands = jnp.swapaxes(_butterflies(pixels), -3, -2) * (0.5 * rebalance)
    bands = bands * _average_scale(0.5, bands) if averaging else bands
    bands = bands if order == "band" else jnp.moveaxis(bands, -1, -3)
    return jnp.reshape(bands, y.shape), zeros + _log_det(x, averaging, rebalance)


def haar_inverse(
    y: Float[Array, "*batch h w c4"],
    *,
    averaging: bool = False,
    rebalance: float = 1.0,
    order: BandOrder = "band",
) -> tuple[Float[Array, "*batch 2*h 2*w c4//4"], Float[Array, "*batch"]]:
    """Undo `haar_forward`: four bands become a block of 2 x 2 pixels.

    Args:
        y: Bands, the number of channels a multiple of 4.
        averaging: As in the forward map.
        rebalance: As in the forward map.
        order: As in the forward map.

    Returns:
        The images, and the log-determinant of this map in the batch's shape, float32 or wider.

    Raises:
        ValueError: If the number of channels is no multiple of 4, or an option is out of range.
    """
    check_haar_options(rebalance, order, "haar_inverse")
    channels = doubled_shape(y.shape, "haar_inverse")[-1]
    y = _floating(y)
    if order == "band":
        bands = jnp.reshape(y, (*y.shape[:-1], 2, 2, channels))
    else:
        bands = jnp.moveaxis(jnp.reshape(y, (*y.shape[:-1], channels, 2, 2)), -3, -1)
    bands = bands * _average_scale(2.0, bands) if averaging else bands
    pixels = _butterflies(jnp.swapaxes(bands, -3, -2)) * (0.5 / rebalance)
    x, zeros = squeeze_inverse(jnp.reshape(pixels, y.shape))
    return x, zeros - _log_det(x, averaging, rebalance)


def squeeze_forward(
    x: Float[Array, "*batch h w c"],
) -> tuple[Float[Array, "*batch h//2 w//2 4*c"], Float[Array, "*batch"]]:
    """Move blocks of 2 x 2 pixels into the channels, `y[i, j, c(2a + b) + k] = x[2i+a, 2j+b, k]`.

    Args:
        x: Images, height and width even.

    Returns:
        The elements in another order, and zeros in the batch's shape: the log-determinant.

    Raises:
        ValueError: If an image has an odd side.

    Reference:
        i-RevNet: Deep Invertible Networks (Jacobsen, Smeulders, Oyallon, 2018),
        https://arxiv.org/abs/1802.07088
    """
    *batch, height, width, channels = halved_shape(x.shape, "squeeze_forward")
    blocks = jnp.reshape(x, (*batch, height, 2, width, 2, x.shape[-1]))
    y = jnp.reshape(jnp.swapaxes(blocks, -4, -3), (*batch, height, width, channels))
    return y, _zeros(x)


def squeeze_inverse(
    y: Float[Array, "*batch h w c4"],
) -> tuple[Float[Array, "*batch 2*h 2*w c4//4"], Float[Array, "*batch"]]:
    """Undo `squeeze_forward`: four channels become a block of 2 x 2 pixels.

    Args:
        y: Images, the number of channels a multiple of 4.

    Returns:
        The elements in the order they had, and zeros in the batch's shape: the log-determinant.

    Raises:
        ValueError: If the number of channels is no multiple of 4.
    """
    *batch, height, width, channels = doubled_shape(y.shape, "squeeze_inverse")
    blocks = jnp.reshape(y, (*y.shape[:-1], 2, 2, channels))
    x = jnp.reshape(jnp.swapaxes(blocks, -4, -3), (*batch, height, width, channels))
    return x, _zeros(y)


def halved_shape(shape: tuple[int, ...], name: str) -> tuple[int, ...]:
    """Shape of images after blocks of 2 x 2 pixels went into the channels.

    Args:
        shape: Shape `(*batch, height, width, channels)`.
        name: What to call the map in an error.

    Returns:
        `(*batch, height / 2, width / 2, 4 * channels)`.

    Raises:
        ValueError: If there are no such axes, or a side is odd.
    """
    if len(shape) < 3 or any(n % 2 for n in shape[-3:-1]):
        raise ValueError(
            f"{name}: expected images (height, width, channels) of even height and width, got "
            f"shape {tuple(shape)}; cut the last row or column of an odd side off, or repeat it "
            'by jnp.pad(..., mode="edge")'
        )
    *batch, height, width, channels = shape
    return (*batch, height // 2, width // 2, 4 * channels)


def doubled_shape(shape: tuple[int, ...], name: str) -> tuple[int, ...]:
    """Shape of images after groups of four channels became blocks of 2 x 2 pixels.

    Args:
        shape: Shape `(*batch, height, width, channels)`.
        name: What to call the map in an error.

    Returns:
        `(*batch, 2 * height, 2 * width, channels / 4)`.

    Raises:
        ValueError: If there are no such axes, or the number of channels is no multiple of 4.
    """
    if len(shape) < 3 or shape[-1] % 4:
        raise ValueError(
            f"{name}: expected images (height, width, channels) whose number of channels is a "
            f"multiple of 4, got shape {tuple(shape)}"
        )
    *batch, height, width, channels = shape
    return (*batch, 2 * height, 2 * width, channels // 4)


def check_haar_options(rebalance: float, order: str, name: str) -> None:
    """Check the options of the Haar transform.

    Args:
        rebalance: Factor of the bands.
        order: Order of the output's channels.
        name: What to call the map in an error.

    Raises:
        ValueError: If one is out of range.
    """
    number = isinstance(rebalance, Real) and not isinstance(rebalance, bool)
    if not number or not 0 < rebalance < math.inf:
        raise ValueError(f"{name}: expected a positive, finite rebalance, got {rebalance!r}")
    if order not in ("band", "channel"):
        raise ValueError(f'{name}: expected order to be "band" or "channel", got {order!r}')


def _butterflies(x: Array) -> Array:
    """Sums and differences along the third and the second axis from the end, each of length 2.

    Signs and reversals are their own transposes, so that gradients cost as little as values. A sum
    of broadcast slices is as fast on a CPU, but its gradient took fifteen times as long; two steps,
    one an axis, take twice as long with 16 channels and more.
    """
    rows, columns = _aligned(_SIGNS[:, None, None], x), _aligned(_SIGNS[:, None], x)
    both = rows * columns * x + jnp.flip(x, (-3, -2))
    return both + columns * jnp.flip(x, -3) + rows * jnp.flip(x, -2)


def _average_scale(scale: float, bands: Array) -> Array:
    """A factor of the average band, and 1 for the others."""
    return _aligned(np.array([[[scale], [1.0]], [[1.0], [1.0]]]), bands)


def _log_det(x: Array, averaging: bool, rebalance: float) -> float:
    """Log-determinant of the forward map for images x."""
    return math.prod(x.shape[-3:]) * (math.log(rebalance) - averaging * math.log(2.0) / 4)


def _aligned(array: np.ndarray, x: Array) -> Array:
    """An array in x's type with axes of size 1 in front."""
    return jnp.asarray(array.reshape(*[1] * (x.ndim - array.ndim), *array.shape), x.dtype)


def _floating(x: Array) -> Array:
    return x if jnp.issubdtype(x.dtype, jnp.inexact) else jnp.asarray(x, jnp.result_type(float))


def _zeros(x: Array) -> Array:
    return jnp.zeros(x.shape[:-3], jnp.promote_types(x.dtype, jnp.float32))

"""Photographs as lightness L and colours ab, in the units of the networks, and back.

CIE Lab of sRGB under daylight (D65), by scikit-image. Networks see (L - 47.5) / 25.6,
(a - 2.4) / 11.2 and (b - 7.4) / 16.8, the means and deviations of photographs at large.
"""

import warnings

import numpy as np
from jaxtyping import Float, Real
from skimage.color import lab2rgb, rgb2lab

OFFSET = np.array([47.5, 2.4, 7.4], np.float32)
SCALE = np.array([25.6, 11.2, 16.8], np.float32)

Rgb = Real[np.ndarray, "*batch height width 3"]
Lightness = Float[np.ndarray, "*batch height width 1"]
Colours = Float[np.ndarray, "*batch h w 2"]
Factors = Float[np.ndarray, "*batch"]


def to_networks(rgb: Rgb) -> tuple[Lightness, Float[np.ndarray, "*batch height width 2"]]:
    """Lightness and colours of photographs, in the networks' units.

    Args:
        rgb: Photographs in sRGB, values in [0, 255].

    Returns:
        L and ab, both at the photographs' size.

    Raises:
        ValueError: If values are outside of [0, 255], or not finite.
    """
    rgb = check_values(rgb)
    lab = (rgb2lab(rgb.astype(np.float32) / 255).astype(np.float32) - OFFSET) / SCALE
    return lab[..., :1], lab[..., 1:]


def check_values(pixels: np.ndarray) -> np.ndarray:
    """Gives pixels back if they are in [0, 255], and raises a `ValueError` if not."""
    low, high = float(np.min(pixels)), float(np.max(pixels))
    if not (low >= 0 and high <= 255):
        raise ValueError(
            f"expected values in [0, 255], got {low:g} to {high:g}; scale the picture, whose black "
            "is to be 0 and whose white 255"
        )
    return pixels


def to_rgb(lightness: Lightness, colours: Colours) -> Float[np.ndarray, "*out height width 3"]:
    """Photographs of lightness and colours in the networks' units.

    Args:
        lightness: L; its batch may be broadcast.
        colours: ab, of the same size or smaller, see `enlarge`.

    Returns:
        sRGB in [0, 1]. Colours that sRGB lacks are clipped, which may change their lightness.
    """
    return _rgb(_lab(lightness, colours))


def to_rgb_of_lightness(
    lightness: Lightness, colours: Colours
) -> Float[np.ndarray, "*out height width 3"]:
    """As `to_rgb`, but where sRGB lacks a colour, it is made paler until its lightness is kept."""
    lab = _lab(lightness, colours)
    rgb = _rgb(lab)
    outside = _wrong_lightness(lab, rgb)
    if not outside.any():
        return rgb
    kept = lab[outside]
    least, most = np.zeros(len(kept), np.float32), np.ones(len(kept), np.float32)
    for _ in range(8):
        middle = (least + most) / 2
        paler = kept * np.stack([np.ones_like(middle), middle, middle], -1)
        wrong = _wrong_lightness(paler, _rgb(paler))
        least, most = np.where(wrong, least, middle), np.where(wrong, middle, most)
    rgb[outside] = _rgb(kept * np.stack([np.ones_like(least), least, least], -1))
    return rgb


def develop(rgb: Rgb, exponents: Float[np.ndarray, "*batch 3"]) -> Rgb:
    """Other exposures and tints of photographs, each channel to the power of an exponent.

    Args:
        rgb: Photographs in sRGB, values in [0, 255].
        exponents: Those of each photograph's red, green and blue, darker above 1.

    Returns:
        Of the same shape and range, as real numbers.
    """
    share = rgb.astype(np.float32) / 255
    return 255 * share ** exponents[..., None, None, :]


def saturate(colours: Colours, factors: Factors) -> Colours:
    """Other saturations, ``s ab``, of photographs.

    Args:
        colours: ab in the networks' units.
        factors: The factor s of each photograph.

    Returns:
        ab in the networks' units.
    """
    ab = factors[..., None, None, None] * (colours * SCALE[1:] + OFFSET[1:])
    return (ab - OFFSET[1:]) / SCALE[1:]


def shrink(colours: Colours, factor: int) -> Colours:
    """Means of colours over squares of so many pixels."""
    *batch, height, width, channels = colours.shape
    squares = colours.reshape(*batch, height // factor, factor, width // factor, factor, channels)
    return squares.mean((-4, -2))


def enlarge(
    colours: Colours, height: int, width: int
) -> Float[np.ndarray, "*batch height width 2"]:
    """Interpolates colours linearly between the centres of their pixels."""
    rows = _weights(colours.shape[-3], height)
    columns = _weights(colours.shape[-2], width)
    return np.einsum("hi,...ijc,wj->...hwc", rows, colours, columns, optimize=True)


def _weights(n: int, m: int) -> Float[np.ndarray, "m n"]:
    """Linear interpolation of n values at m places; what is beyond the first and last is theirs."""
    places = np.clip((np.arange(m) + 0.5) * n / m - 0.5, 0, n - 1)
    return np.maximum(1 - np.abs(places[:, None] - np.arange(n)), 0).astype(np.float32)


def _lab(lightness: Lightness, colours: Colours) -> Float[np.ndarray, "*out height width 3"]:
    height, width = lightness.shape[-3:-1]
    if colours.shape[-3:-1] != (height, width):
        colours = enlarge(colours, height, width)
    batch = np.broadcast_shapes(lightness.shape[:-3], colours.shape[:-3])
    parts = [
        np.broadcast_to(part, (*batch, *part.shape[-3:])).astype(np.float32)
        for part in (lightness, colours)
    ]
    return np.concatenate(parts, -1) * SCALE + OFFSET


def _rgb(lab: np.ndarray) -> np.ndarray:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Conversion from CIE-LAB", UserWarning)
        return lab2rgb(lab).astype(np.float32)


def _wrong_lightness(lab: np.ndarray, rgb: np.ndarray) -> np.ndarray:
    return np.abs(rgb2lab(rgb)[..., 0] - lab[..., 0]) > 0.25

"""Colourising whole photographs of any size.

The lightness is squeezed into one patch, the size that the network was trained at, and its colours
are enlarged to the photograph's own lightness: there are no tiles, and so no seams.
"""

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt8
from PIL import Image

from experiments.colorize.colours import (
    Colours,
    Lightness,
    shrink,
    to_networks,
    to_rgb_of_lightness,
)
from experiments.colorize.settings import Settings

Photograph = UInt8[np.ndarray, "height width 3"]


def network_input(photograph: Photograph, settings: Settings) -> tuple[Lightness, Colours]:
    """Lightness and colours of a photograph at the network's sizes.

    Args:
        photograph: The pixels.
        settings: The network's settings.

    Returns:
        L and ab.
    """
    size = (settings.patch, settings.patch)
    small = Image.fromarray(photograph).resize(size, Image.Resampling.LANCZOS)
    lightness, colours = to_networks(np.asarray(small))
    return lightness, shrink(colours, settings.factor)


def latent_of(flow: Any, colours: Colours, lightness: Lightness) -> Any:
    """The latent of colours under their lightness."""
    return _forward(flow, colours, lightness)


def decode(flow: Any, latents: Any, lightness: Lightness) -> Float[np.ndarray, "n h w 2"]:
    """The colours of latents under a lightness."""
    return np.asarray(_inverse(flow, latents, lightness))


def draw_latents(flow: Any, key: Array, n: int, temperature: float = 1.0) -> Any:
    """So many latents of the base density, times the temperature."""
    return jax.tree.map(lambda z: temperature * z, flow.base.sample(key, (n,)))


def colorize(
    flow: Any,
    settings: Settings,
    photograph: Photograph,
    key: Array,
    *,
    samples: int,
    temperature: float = 1.0,
) -> Iterator[Float[np.ndarray, "height width 3"]]:
    """Samples of a photograph's colours, one after the other, as one of a large picture is large.

    Args:
        flow: The conditional flow, as trained.
        settings: Its settings.
        photograph: The pixels, of which the lightness is kept.
        key: A JAX key.
        samples: How many.
        temperature: Deviation of the latent.

    Yields:
        sRGB in [0, 1], of the photograph's size.
    """
    lightness, _ = network_input(photograph, settings)
    full, _ = to_networks(photograph)
    for colours in decode(flow, draw_latents(flow, key, samples, temperature), lightness):
        yield to_rgb_of_lightness(full, colours)


@jax.jit
def _forward(flow: Any, colours: Array, lightness: Array) -> Any:
    return flow.bijector.forward(jnp.asarray(colours), jnp.asarray(lightness))


@jax.jit
def _inverse(flow: Any, latents: Any, lightness: Array) -> Any:
    return flow.bijector.inverse(latents, jnp.asarray(lightness))

"""What is drawn of the trained models: the squares in the middle of photographs, coloured."""

from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments.colorize.colours import (
    OFFSET,
    SCALE,
    to_networks,
    to_rgb_of_lightness,
)
from experiments.colorize.photographs import Photographs, read_photograph
from experiments.colorize.settings import Settings
from experiments.colorize.whole import decode, draw_latents, latent_of, network_input

TEMPERATURES = (0.0, 0.7, 0.9, 1.0, 1.25)
"""Factors of one latent."""
DRAWN, SOURCES = 4, 3
"""The most photographs that are coloured, and photographs whose latents each of them gets."""
SIDE = 192
"""Pixels of the squares."""


class Coloured(NamedTuple):
    """A photograph that was held out, and what was made of its lightness, all in [0, 1].

    Attributes:
        name: Its name.
        truth: The photograph.
        gray: Its lightness.
        regression: By the regression.
        samples: By the flow.
        temperatures: Of one latent times each of `TEMPERATURES`.
        sources: Other photographs.
        transferred: Of those photographs' latents.
    """

    name: str
    truth: np.ndarray
    gray: np.ndarray
    regression: np.ndarray
    samples: np.ndarray
    temperatures: np.ndarray
    sources: list[np.ndarray]
    transferred: np.ndarray


def colour_squares(
    flow: Any, regression: Any, settings: Settings, photographs: Photographs, seed: int
) -> list[Coloured]:
    """Colours the photographs held out.

    Args:
        flow: The conditional flow.
        regression: The regression.
        settings: Their settings.
        photographs: The photographs.
        seed: Seed of the latents.

    Returns:
        What was made, for each of them.
    """
    shown = dict(list(photographs.test.items())[:DRAWN])
    others = list(photographs.training.values())
    predict = jax.jit(lambda model, lightness: model(lightness))
    made = []
    for number, (name, path) in enumerate(shown.items()):
        pixels = square(path)
        lightness, _ = network_input(pixels, settings)
        sources = [square(other) for other in [*shown.values(), *others] if other != path]
        sources = sources[:SOURCES]
        keys = jax.random.split(jax.random.fold_in(jax.random.key(seed), number))
        one = draw_latents(flow, keys[1], 1)
        latents = [draw_latents(flow, keys[0], settings.samples)]
        latents += [jax.tree.map(lambda z, t=t: t * z, one) for t in TEMPERATURES]
        for source in sources:
            light, colours = network_input(source, settings)
            latents.append(latent_of(flow, colours[None], light))
        joined = jax.tree.map(lambda *parts: jnp.concatenate(parts), *latents)
        full, _ = to_networks(pixels)
        coloured = to_rgb_of_lightness(full, decode(flow, joined, lightness))
        guess = np.asarray(predict(regression, jnp.asarray(lightness)[None]))
        n, end = settings.samples, settings.samples + len(TEMPERATURES)
        made.append(
            Coloured(
                name=name,
                truth=pixels / 255,
                gray=to_rgb_of_lightness(full, _neutral(full)),
                regression=to_rgb_of_lightness(full, guess)[0],
                samples=coloured[:n],
                temperatures=coloured[n:end],
                sources=[source / 255 for source in sources],
                transferred=coloured[end:],
            )
        )
    return made


def square(path: Path) -> np.ndarray:
    """The middle of a photograph."""
    pixels = read_photograph(path, SIDE)
    top, left = ((length - SIDE) // 2 for length in pixels.shape[:2])
    return pixels[top : top + SIDE, left : left + SIDE]


def _neutral(lightness: np.ndarray) -> np.ndarray:
    """Colours of gray."""
    return np.broadcast_to(-OFFSET[1:] / SCALE[1:], (*lightness.shape[:-1], 2))

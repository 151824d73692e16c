"""Patches of photographs: an endless stream to train on, and fixed ones to measure on."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import grain
import numpy as np
from jaxtyping import Float, Real, UInt8
from PIL import Image

from experiments.colorize.colours import develop, saturate, shrink, to_networks
from experiments.colorize.photographs import reader
from experiments.colorize.settings import Settings

Batch = tuple[Float[np.ndarray, "n h w 2"], Float[np.ndarray, "n height width 1"]]

KEPT_IN_MEMORY = 32
"""Decoded photographs."""


def stream(
    paths: Sequence[Path], settings: Settings, seed: int, *, lightness: bool = True
) -> Iterator[Any]:
    """Endless random patches: colours with dequantisation noise, and lightness.

    Each photograph that is visited gives `patches_per_photograph` patches: squares of random size
    and place, mirrored, turned, and of another exposure, tint and saturation. Grain reads ahead in
    threads.

    Args:
        paths: The photographs.
        settings: Sizes and noise.
        seed: Seed of the order and of the patches.
        lightness: Whether batches hold it.

    Returns:
        An iterator of batches (ab, L) or ab, in the networks' units, that can be set back.
    """
    read = reader(settings.side, KEPT_IN_MEMORY)

    def cut(index: int, rng: np.random.Generator) -> UInt8[np.ndarray, "n height width 3"]:
        pixels = read(paths[index])
        patches = [
            random_patch(pixels, settings.patch, rng)
            for _ in range(settings.patches_per_photograph)
        ]
        return np.stack([_augmented(patch, settings.turned, rng) for patch in patches])

    def convert(patches: np.ndarray, rng: np.random.Generator) -> Any:
        batch = noisy(patches.reshape(-1, *patches.shape[-3:]), settings, rng, varied=True)
        return batch if lightness else batch[0]

    visits = settings.batch_size // settings.patches_per_photograph
    data = grain.MapDataset.source(range(len(paths))).seed(seed).shuffle().repeat()
    data = data.random_map(cut).batch(visits).random_map(convert)
    reading = grain.ReadOptions(num_threads=4, prefetch_buffer_size=16)
    return iter(data.to_iter_dataset(reading))


def fixed(
    paths: Sequence[Path], settings: Settings, n: int, seed: int
) -> UInt8[np.ndarray, "n height width 3"]:
    """So many patches, as many of each photograph, of random size and place, always the same."""
    rng = np.random.default_rng(seed)
    read = reader(settings.side, 1)
    shares = np.bincount(np.arange(n) % len(paths), minlength=len(paths))
    return np.stack(
        [
            random_patch(read(path), settings.patch, rng)
            for path, share in zip(paths, shares, strict=True)
            for _ in range(share)
        ]
    )


def random_patch(
    pixels: UInt8[np.ndarray, "height width 3"], size: int, rng: np.random.Generator
) -> UInt8[np.ndarray, "size size 3"]:
    """A square of random size (log-uniform, up to the shorter side) and place, made so large."""
    height, width = pixels.shape[:2]
    shorter = min(height, width)
    side = round(np.exp(rng.uniform(np.log(min(size, shorter)), np.log(shorter))))
    top, left = rng.integers(height - side + 1), rng.integers(width - side + 1)
    square = Image.fromarray(pixels[top : top + side, left : left + side])
    return np.asarray(square.resize((size, size), Image.Resampling.LANCZOS))


def noisy(
    patches: Real[np.ndarray, "n height width 3"],
    settings: Settings,
    rng: np.random.Generator,
    *,
    varied: bool = False,
) -> Batch:
    """Colours with the noise that makes them real numbers, and lightness.

    They are as photographed, or of other exposures, tints and saturations.
    """
    if varied:
        exposure, tints = (rng.standard_normal((len(patches), n)) for n in (1, 3))
        exponents = np.exp(settings.exposure * exposure + settings.tint * tints)
        patches = develop(patches, exponents.astype(np.float32))
    lightness, colours = to_networks(patches)
    colours = shrink(colours, settings.factor)
    if varied:
        factors = np.exp(settings.saturation * rng.standard_normal(len(colours)))
        colours = saturate(colours, factors.astype(np.float32))
    noise = rng.standard_normal(colours.shape, np.float32)
    return colours + np.float32(settings.noise) * noise, lightness


def _augmented(patch: np.ndarray, turned: bool, rng: np.random.Generator) -> np.ndarray:
    patch = np.rot90(patch, int(rng.integers(4))) if turned else patch
    return patch[:, ::-1] if rng.integers(2) else patch

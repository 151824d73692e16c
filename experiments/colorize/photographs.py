"""Photographs: those that scikit-image and scikit-learn ship, or a folder of the user's."""

import os
import struct
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageOps
from rich.console import Console
from rich.progress import track

from experiments.colorize.colours import check_values

SHIPPED = {
    **{
        name: ("skimage.data", file)
        for name, file in {
            "astronaut": "astronaut.png",
            "chelsea": "chelsea.png",
            "coffee": "coffee.png",
            "rocket": "rocket.jpg",
            "hubble_deep_field": "hubble_deep_field.jpg",
            "retina": "retina.jpg",
            "ihc": "ihc.png",
            "motorcycle": "motorcycle_left.png",
        }.items()
    },
    "china": ("sklearn.datasets.images", "china.jpg"),
    "flower": ("sklearn.datasets.images", "flower.jpg"),
}
"""The package and file of each photograph."""
HELD_OUT = ("chelsea", "china")
"""Of the shipped photographs, those to test on. A cat in the browns of the coffee and its table,
and a temple before a sky, which the rocket has too."""
FOLDER_SHARE = 0.1
"""Share of a folder's photographs to test on, at least one."""
MOST_HELD_OUT = 50
COLOURLESS = 2.0
"""In a picture without colour no pixel's red, green and blue differ by more than this."""
LONGEST = 32
"""How many times its shorter side a picture may be long."""
_DAMAGED = (OSError, SyntaxError, EOFError, IndexError, RuntimeError, struct.error)
"""What Pillow raises on files that are no pictures, or damaged ones."""


@dataclass(frozen=True)
class Photographs:
    """Photographs to train on, and others to test on.

    Attributes:
        training: Their files by name.
        test: Those held out.
    """

    training: dict[str, Path]
    test: dict[str, Path]


def shipped(held_out: Sequence[str] = HELD_OUT) -> Photographs:
    """The photographs of scikit-image and scikit-learn.

    Args:
        held_out: Those to test on in place of `HELD_OUT`, which stay out of the training as well.

    Returns:
        The photographs.

    Raises:
        ValueError: If one is not there.
    """
    unknown = sorted(set(held_out) - set(SHIPPED))
    if unknown:
        raise ValueError(f"no photographs {unknown}; there are {sorted(SHIPPED)}")
    paths = {name: Path(str(files(package) / file)) for name, (package, file) in SHIPPED.items()}
    never = {*held_out, *HELD_OUT}
    return Photographs(
        {name: path for name, path in paths.items() if name not in never},
        {name: paths[name] for name in held_out},
    )


def in_folder(folder: Path, console: Console, side: int) -> Photographs:
    """The photographs of a folder and its subfolders; a tenth of them is to test on.

    Every file is decoded once. What cannot be, or has no colour, is reported and left out.

    Args:
        folder: The folder.
        console: Where this is said.
        side: The shorter side in pixels, for reading.

    Returns:
        The photographs. Which are to test on depends on the files' names only.

    Raises:
        ValueError: If the folder cannot be read, or holds fewer than two photographs.
    """
    try:
        names = sorted(
            str(Path(parent, file).relative_to(folder))
            for parent, _, inside in os.walk(folder, onerror=_raise)
            for file in inside
            if not file.startswith(".")
        )
    except OSError as error:
        raise ValueError(f"--images {folder}: cannot read the folder: {error}") from error
    kinds = Image.registered_extensions()
    names = [name for name in names if kinds.get(Path(name).suffix.lower()) in Image.OPEN]
    if not names:
        raise ValueError(f"--images {folder}: no pictures in it; expected files such as .jpg, .png")
    with ThreadPoolExecutor() as pool:
        faults = pool.map(lambda name: _fault(folder / name, side), names)
        shown = track(faults, "Reading the photographs", len(names), console=console)
        found = dict(zip(names, shown, strict=True))
    for name, fault in found.items():
        if fault:
            words = printable(f"{folder / name} is left out: {fault}")
            console.print(words, markup=False)
    good = [name for name, fault in found.items() if not fault]
    if len(good) < 2:
        raise ValueError(
            f"--images {folder}: {len(good)} of its {len(names)} pictures can be used; expected at "
            "least 2, one to train on and one to test on, and many more for a good model"
        )
    held = min(max(1, round(FOLDER_SHARE * len(good))), MOST_HELD_OUT)
    order = np.random.default_rng(0).permutation(len(good))
    test = sorted(good[i] for i in order[:held])
    return Photographs(
        {name: folder / name for name in good if name not in test},
        {name: folder / name for name in test},
    )


def read_photograph(path: Path, side: int | None = None) -> UInt8[np.ndarray, "height width 3"]:
    """Decodes a picture of any kind: turned as its camera says, what is transparent on white.

    Args:
        path: The file.
        side: Size of its shorter side, or None as it is.

    Returns:
        The pixels, sRGB.

    Raises:
        ValueError: If the file is none that Pillow can read, is damaged, or has values outside of
            [0, 255].
    """
    try:
        with Image.open(path) as opened:
            if side is not None:
                opened.draft("RGB", (2 * side, 2 * side))
            picture = _as_rgb(ImageOps.exif_transpose(opened))
    except (*_DAMAGED, Image.DecompressionBombError) as error:
        raise ValueError(f"{path}: cannot be read as a picture: {error}") from error
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    if side is not None:
        if max(picture.size) > LONGEST * min(picture.size):
            raise ValueError(
                f"{path}: expected a picture that is at most {LONGEST} times as long as wide, got "
                f"{picture.size[0]} x {picture.size[1]} pixels"
            )
        scale = side / min(picture.size)
        width, height = (max(side, round(length * scale)) for length in picture.size)
        picture = picture.resize((width, height), Image.Resampling.LANCZOS)
    return np.asarray(picture)


def reader(side: int, kept: int) -> Callable[[Path], UInt8[np.ndarray, "height width 3"]]:
    """`read_photograph` that keeps so many of the last photographs in memory."""
    return lru_cache(kept)(lambda path: read_photograph(path, side))


def _as_rgb(picture: Image.Image) -> Image.Image:
    if picture.mode.startswith("I") or picture.mode == "F":  # one channel of 16 or 32 bits
        pixels = np.asarray(picture, np.float32)
        if picture.mode == "F":
            pixels = 255 * pixels if pixels.min() >= 0 and pixels.max() <= 1 else pixels
        elif pixels.max() > 255:  # of 16 bits
            pixels = pixels / 257
        picture = Image.fromarray(np.rint(check_values(pixels)).astype(np.uint8))
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        white = Image.new("RGBA", picture.size, "white")
        picture = Image.alpha_composite(white, picture)
    return picture.convert("RGB")


def _fault(path: Path, side: int) -> str | None:
    """Why a picture cannot be used to learn from, or None."""
    try:
        pixels = read_photograph(path, side).astype(int)
    except ValueError as error:
        return str(error).removeprefix(f"{path}: ")
    return None if np.ptp(pixels, axis=-1).max() > COLOURLESS else "it has no colour"


def printable(text: str) -> str:
    """A file's name with what no console can print, as bytes that are no UTF-8, replaced."""
    return text.encode(errors="replace").decode()


def _raise(error: OSError) -> None:
    raise error

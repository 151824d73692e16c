"""Simulated sets on disk, made a file at a time: what is there is not made again."""

import time
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console

from experiments.tissue import problem
from experiments.tissue.outside import dyed, under_film, under_pool
from experiments.tissue.settings import Data

SETS: dict[str, Callable[[jax.Array], jax.Array]] = {
    "training": problem.forward,
    "unseen": problem.forward,
    "reference": problem.forward,
    "scene": problem.forward,
    "fourth layer": under_film,
    "other absorber": dyed,
    "thick fourth layer": under_pool,
}
"""What gives the spectra of each set, (13,) -> (8,); each has keys of its own."""
MEASURED, VALIDATION = ("unseen", "scene"), 10_000
"""Sets that are drawn by another key to tune on, and that key."""
OUTSIDE = ("fourth layer", "thick fourth layer", "other absorber")


class Pairs(NamedTuple):
    """Tissues and their spectra, without noise.

    Attributes:
        x: Parameters, (n, 13).
        spectra: Reflectances, (n, 8).
        seconds: What simulating them took.
    """

    x: jax.Array
    spectra: jax.Array
    seconds: float


def sizes(data: Data) -> dict[str, int]:
    """Number of spectra in each set."""
    return {
        "training": data.training,
        "unseen": data.unseen,
        "reference": data.reference,
        "scene": data.side**2,
        "fourth layer": data.outside,
        "other absorber": data.outside,
        "thick fourth layer": data.outside,
    }


def simulated(folder: Path, name: str, data: Data, console: Console) -> Pairs:
    """Gives a set, simulating what the folder lacks of it; after Ctrl-C the same call goes on.

    Args:
        folder: Where the sets are kept.
        name: One of `SETS`.
        data: Its size, the spectra in a file, and the seed.
        console: Where progress is shown.

    Returns:
        The set.
    """
    n = sizes(data)[name]
    part = min(data.part, n)
    folder.mkdir(parents=True, exist_ok=True)
    key = jax.random.fold_in(jax.random.key(data.seed), list(SETS).index(name))
    stem = f"{name.replace(' ', '-')}-seed{data.seed}-{part}"
    if data.validation and name in MEASURED:
        key, stem = jax.random.fold_in(key, VALIDATION), f"validation-{stem}"
    count, found = -(-n // part), []
    for index in range(count):
        path = folder / f"{stem}-{index:03d}.npz"
        if not path.exists():
            start = time.perf_counter()
            x = problem.prior(jax.random.fold_in(key, index), part)
            spectra = spectra_of(x, SETS[name])
            seconds = time.perf_counter() - start
            unfinished = path.with_suffix(".part")
            with unfinished.open("wb") as file:
                np.savez(file, x=x, spectra=spectra, seconds=seconds)
            unfinished.replace(path)
            console.print(f"Simulated {name}, part {index + 1} of {count}, {seconds:.0f} s")
        with np.load(path) as file:
            found.append((file["x"], file["spectra"], float(file["seconds"])))
    x, spectra, seconds = zip(*found, strict=True)
    return Pairs(
        jnp.asarray(np.concatenate(x)[:n]), jnp.asarray(np.concatenate(spectra)[:n]), sum(seconds)
    )


def spectra_of(
    x: jax.Array, forward: Callable[[jax.Array], jax.Array] = problem.forward
) -> np.ndarray:
    """Simulates tissues, `CHUNK` at a time by one compiled function: (n, 13) -> (n, 8)."""
    solve, size = _solver(forward), problem.CHUNK
    rows = np.asarray(x)
    padded = np.concatenate([rows, np.repeat(rows[-1:], -len(rows) % size, axis=0)])
    found = [solve(padded[start : start + size]) for start in range(0, len(rows), size)]
    return np.concatenate(found)[: len(rows)]


@lru_cache
def _solver(forward: Callable[[jax.Array], jax.Array]) -> Callable[[np.ndarray], jax.Array]:
    return jax.jit(jax.vmap(forward))


def all_simulated(folder: Path, data: Data, console: Console) -> dict[str, Pairs]:
    """Gives all sets by name, see `simulated`."""
    return {name: simulated(folder, name, data, console) for name in SETS}

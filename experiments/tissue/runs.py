"""The runs of the experiment: what is in the data, ABC, and a network with a seed."""

import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import jax
import numpy as np
from rich.console import Console

from experiments.tissue.emulator import emulate, emulator_error, train_emulator
from experiments.tissue.measure import (
    accuracy,
    map_scene,
    monte_carlo_noise,
    observed,
    perfect_calibration,
    typicality,
)
from experiments.tissue.posteriors import train
from experiments.tissue.problem import NAMES
from experiments.tissue.reference import Nearest, Weighted
from experiments.tissue.settings import Data, Settings
from experiments.tissue.simulations import Pairs, all_simulated
from experiments.trust import judge

Outcome = tuple[dict[str, Any], dict[str, np.ndarray]]


class Runs:
    """Makes runs by name, from simulations that are read once.

    Args:
        out: Folder of the results, which keeps the simulations too.
        console: Where progress is shown.
    """

    def __init__(self, out: Path, console: Console) -> None:
        """See the class."""
        self.out, self.console = out, console
        self.sets: dict[Data, dict[str, Pairs]] = {}

    def __call__(self, name: str, settings: Any) -> Outcome | None:
        """Makes the run "data", "abc" or "METHOD/seedN", see `experiments.runs.keep_runs`."""
        data = settings if isinstance(settings, Data) else settings.data
        if data not in self.sets:
            self.sets[data] = all_simulated(self.out / "simulations", data, self.console)
        sets = self.sets[data]
        if isinstance(settings, Data):
            return describe(sets, data)
        if settings.method == "abc":
            return run_abc(sets, settings)
        seed = int(name.split("/seed")[1])
        page = self.out / f"{name.replace('/', '-')}-diagnostics.html"
        return run_network(sets, settings, seed, page)


def describe(sets: dict[str, Pairs], data: Data) -> Outcome:
    """What the simulations took, their noise, and what the typicality check flags of them."""
    _, y = observed(sets, "unseen", data)
    off = np.asarray(y) - np.log(np.asarray(sets["unseen"].spectra))
    return {
        "settings": asdict(data),
        "simulation_seconds": {name: pairs.seconds for name, pairs in sets.items()},
        "camera_noise": float(np.mean(np.sqrt(np.mean(off**2, axis=1)))),
        "monte_carlo": monte_carlo_noise(sets, data),
        "typicality": typicality(sets, data),
    }, {"log_spectra": np.asarray(y)}


def run_abc(sets: dict[str, Pairs], settings: Settings) -> Outcome | None:
    """The emulator, and the two posteriors that are made of its simulations."""
    data = settings.data
    keys = jax.random.split(jax.random.key(data.seed), 4)
    x, y = observed(sets, "unseen", data)
    result = train_emulator(keys[0], sets["training"], settings)
    if result.interrupted:
        return None
    emulator = result.flow
    many, log_spectra, noisy = emulate(
        keys[1], emulator, settings.simulations, data.signal_to_noise
    )
    weighted = Weighted(many, log_spectra, data.signal_to_noise)
    nearest, _ = accuracy(Nearest(many, noisy, settings.nearest), keys[2], x, y, settings)
    by_weight, panel = accuracy(weighted, keys[3], x, y, settings)
    quantiles = np.quantile(weighted.effective, (0.05, 0.5))
    return {
        "settings": asdict(settings),
        "emulator": emulator_error(emulator, sets["unseen"], data.signal_to_noise),
        "nearest": nearest,
        "weighted": by_weight | {"effective": dict(zip(("5 %", "median"), quantiles, strict=True))},
    }, panel


def run_network(
    sets: dict[str, Pairs], settings: Settings, seed: int, page: Path
) -> Outcome | None:
    """Trains a network and measures its posterior."""
    start = time.perf_counter()
    keys = jax.random.split(jax.random.key(seed), 5)
    trained = train(keys[0], sets["training"], settings)
    if trained is None:
        return None
    posterior, facts = trained
    x, y = observed(sets, "unseen", settings.data)
    measured, panel = accuracy(posterior, keys[1], x, y, settings)
    judged, maps = map_scene(posterior, keys[2], sets, settings)
    perfect = perfect_calibration(posterior, keys[4], y, settings)
    options: dict[str, Any] = {"samples": settings.ranks, "level": settings.level}
    judgements = judge(page, posterior, keys[3], x, y, labels=NAMES, **options)
    return {
        "settings": asdict(settings),
        "seed": seed,
        **facts,
        **measured,
        "perfect": perfect,
        "trust": judgements,
        "scene": judged,
        "seconds": time.perf_counter() - start,
    }, {**panel, **maps}

"""How good a posterior is on unseen spectra, on the scene, and whether it can be trusted."""

import time
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.tissue.parameters import cut, seen, standardized, uncut
from experiments.tissue.problem import to_tissue
from experiments.tissue.scene import arrange, judge_map, oxygenation_map
from experiments.tissue.settings import Data, Settings
from experiments.tissue.simulations import OUTSIDE, SETS, Pairs, spectra_of
from experiments.tissue.transport import simulate
from jinn.inference import calibration_error
from jinn.inference.chunks import SamplesPosterior, draw_in_chunks
from jinn.inference.diagnostics import typicality_rates

NOISE = 1000
"""Keys from here on are those of noise, smaller ones those of simulations."""
BANDWIDTH = 0.3
"""Of the kernel density whose highest sample is the MAP, in standard deviations of the prior."""


def observed(sets: dict[str, Pairs], name: str, data: Data) -> tuple[jax.Array, jax.Array]:
    """Gives a set's parameters before the cut and what the camera sees: the same in every run."""
    keys = jax.random.split(
        jax.random.fold_in(jax.random.key(data.seed), NOISE + list(SETS).index(name))
    )
    pairs = sets[name]
    return uncut(keys[0], pairs.x), seen(keys[1], pairs.spectra, data.signal_to_noise)


def accuracy(
    posterior: SamplesPosterior,
    key: jax.Array,
    x: jax.Array,
    y: jax.Array,
    settings: Settings,
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Measures the calibration, the MAP and its re-simulation; gives the first spectrum's samples.

    The MAP of all parameters is the sample of highest kernel density, that of the oxygenation the
    same of its marginal distribution.
    """
    best, best_oxygenation, drawn = [], [], []
    for chunk in draw_in_chunks("accuracy", posterior, key, settings.samples, x, y):
        drawn.append(chunk.draws)
        draws = jnp.moveaxis(chunk.draws, 1, 0)[: chunk.kept]
        best.append(jax.lax.map(_densest, draws))
        best_oxygenation.append(jax.lax.map(_densest_oxygenation, draws))
    x_map, oxygenation = jnp.concatenate(best), jnp.concatenate(best_oxygenation)
    error = np.abs(np.asarray(oxygenation - x[:, 0]))
    simulated = np.log(spectra_of(cut(x_map)))
    resimulation = np.sqrt(np.mean((simulated - np.asarray(y)) ** 2, axis=1))
    rms = np.sqrt(np.mean(np.square(standardized(x_map) - standardized(x)), axis=1))
    measured = {
        "calibration_error": float(
            calibration_error(_Drawn(iter(drawn)), x, y, samples=settings.samples)
        ),
        "oxygenation_error": {"median": float(np.median(error)), "mean": float(error.mean())},
        "parameter_error": float(rms.mean()),
        "resimulation_error": float(resimulation.mean()),
    }
    return measured, {"samples": np.asarray(drawn[0][:, 0]), "truth": np.asarray(x[0])}


class _Drawn:
    """Gives samples that were drawn before, chunk by chunk."""

    def __init__(self, chunks: Iterator[jax.Array]) -> None:
        self.chunks = chunks

    def sample(self, key: jax.Array, shape: tuple[int, ...], y: jax.Array) -> jax.Array:
        return next(self.chunks)


@jax.jit
def _densest(draws: jax.Array) -> jax.Array:
    """The sample (13,) of highest kernel density among (samples, 13)."""
    scaled = standardized(draws)
    squares = jnp.sum(scaled**2, axis=1)
    distances = squares[:, None] + squares[None] - 2 * scaled @ scaled.T
    # In 13 dimensions a kernel this narrow would see none but itself: it widens with their root.
    width = BANDWIDTH * np.sqrt(draws.shape[1])
    return draws[jnp.argmax(jnp.sum(jnp.exp(-0.5 * distances / width**2), axis=1))]


@jax.jit
def _densest_oxygenation(draws: jax.Array) -> jax.Array:
    """The mode of the oxygenation's kernel density, which is reflected at its bounds."""
    values, grid = draws[:, 0], jnp.linspace(0, 1, 201)
    width = jnp.maximum(0.5 * jnp.std(values) * len(values) ** -0.2, 2e-3)
    density = sum(
        jnp.sum(jnp.exp(-0.5 * ((grid[:, None] - mirrored[None]) / width) ** 2), axis=1)
        for mirrored in (values, -values, 2 - values)
    )
    return grid[jnp.argmax(density)]


def perfect_calibration(
    posterior: SamplesPosterior, key: jax.Array, y: jax.Array, settings: Settings
) -> list[float]:
    """Calibration errors of a perfect posterior, over as many spectra: it is the truth itself."""
    found = []
    for k in jax.random.split(key, settings.perfect):
        truth_key, error_key = jax.random.split(k)
        truth = posterior.sample(truth_key, (1,), y)[0]
        error = calibration_error(posterior, truth, y, samples=settings.ranks, key=error_key)
        found.append(float(error))
    return found


def typicality(sets: dict[str, Pairs], data: Data) -> dict[str, Any]:
    """How often spectra of the prior and from outside of it are flagged, at 1 % false alarms."""
    known, reference = (observed(sets, name, data)[1] for name in ("unseen", "reference"))
    return {
        name: typicality_rates(known, observed(sets, name, data)[1], reference)._asdict()
        for name in OUTSIDE
    }


def map_scene(
    posterior: SamplesPosterior, key: jax.Array, sets: dict[str, Pairs], settings: Settings
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Maps the oxygenation of the scene and judges the map; gives both, and the truth."""
    x, y = observed(sets, "scene", settings.data)
    rows = arrange(np.asarray(x), settings.data.side)
    truth = np.asarray(x)[rows, 0]
    start = time.perf_counter()
    found = oxygenation_map(posterior, key, y[rows], settings.pixel_samples)
    seconds = time.perf_counter() - start
    return {**judge_map(found, truth), "seconds": seconds}, {**found, "oxygenation": truth}


def monte_carlo_noise(sets: dict[str, Pairs], data: Data) -> dict[str, float]:
    """The Monte Carlo's own noise, and its distance from the surrogate, as relative errors."""
    pairs = sets["unseen"]
    count = data.monte_carlo
    light = simulate(jax.random.key(data.seed), to_tissue(pairs.x[:count]), photons=data.photons)
    relative = np.asarray(light.reflectance_error / light.reflectance)
    off = np.log(np.asarray(light.reflectance)) - np.log(np.asarray(pairs.spectra[:count]))
    return {
        "photons": data.photons,
        "tissues": count,
        "noise": float(np.sqrt(np.mean(relative**2))),
        "from surrogate": float(np.sqrt(np.mean(off**2))),
    }

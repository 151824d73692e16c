"""Trains one model, and measures it on photographs that training has not seen."""

import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

import jinn
from experiments.colorize.colours import shrink, to_networks, to_rgb
from experiments.colorize.metrics import best_of, judge
from experiments.colorize.networks import build, save, squared_error
from experiments.colorize.patches import fixed, noisy, stream
from experiments.colorize.photographs import Photographs
from experiments.colorize.settings import Settings
from experiments.record import parameter_count
from jinn.functional import bits_per_dimension
from jinn.losses import negative_log_likelihood

NOISE_SIZES = (0.0, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.65, 0.8, 1.0, 1.25, 1.6, 2.0, 2.5, 3.2)
"""Deviations of noise on the regression, in the networks' units, of which the best is taken."""


class Patches:
    """Fixed patches to measure on.

    Args:
        paths: The photographs.
        settings: Sizes and number.
        seed: Seed of their places and of the noise on their colours.

    Attributes:
        lightness: L of the patches.
        colours: ab at the network's size.
        truth: The patches with these colours, sRGB in [0, 1].
        noisy: The same with the noise of the training.
    """

    def __init__(self, paths: Sequence[Path], settings: Settings, seed: int) -> None:
        """See the class."""
        pixels = fixed(paths, settings, settings.test_patches, seed)
        self.lightness, colours = to_networks(pixels)
        self.colours = shrink(colours, settings.factor)
        self.truth = to_rgb(self.lightness, self.colours)
        self.noisy, _ = noisy(pixels, settings, np.random.default_rng(seed))

    def judge(self, colours: Float[np.ndarray, "samples n h w 2"]) -> dict[str, float]:
        """Measures samples of these patches' colours."""
        return judge(to_rgb(self.lightness, colours), self.truth)


def run(
    model: str,
    settings: Settings,
    photographs: Photographs,
    seed: int,
    file: Path,
    checkpoints: Path,
) -> dict[str, Any] | None:
    """Trains a model, measures it and keeps it in a file.

    Args:
        model: One of `MODELS`.
        settings: The settings.
        photographs: What to train and to test on.
        seed: Seed of everything random but the patches to measure on.
        file: Where the trained model goes, in the end.
        checkpoints: Folder of the training's checkpoints, from which it goes on.

    Returns:
        The record for JSON, or None if Ctrl-C ended the training.
    """
    keys = jax.random.split(jax.random.key(seed), 4)
    training = list(photographs.training.values())
    network = build(model, settings, keys[0])
    data = stream(training, settings, seed, lightness=model != "unconditional")
    started = time.perf_counter()
    result = jinn.fit(
        keys[1],
        network,
        data,
        loss=squared_error if model == "regression" else negative_log_likelihood,
        steps=settings.steps,
        learning_rate=settings.learning_rate,
        ema_decay=settings.ema_decay,
        validation=None,
        checkpoint_dir=checkpoints,
    )
    if result.interrupted:
        return None
    jax.block_until_ready(result.flow)
    seconds = time.perf_counter() - started
    test = Patches(list(photographs.test.values()), settings, seed=1)
    record = {
        "model": model,
        "seed": seed,
        "settings": asdict(settings),
        "training": sorted(photographs.training),
        "test": sorted(photographs.test),
        "parameters": parameter_count(network),
        "training_seconds": seconds,
        "skipped_steps": result.skipped_steps,
        "history": {name: values.tolist() for name, values in result.history.items()},
    }
    if model == "regression":
        seen = Patches(training, settings, seed=2)
        record |= measure_regression(result.flow, seen, test, settings.samples, seed)
    else:
        record["measured"] = measure_flow(result.flow, test, keys[2], settings.samples)
        record["bits_on_training"] = bits(result.flow, Patches(training, settings, seed=2))
    save(file, result.flow, model, settings, seed)
    return record


def measure_flow(flow: Any, test: Patches, key: Array, samples: int) -> dict[str, float]:
    """Measures a flow, conditional or not."""
    if flow.condition_shape is None:
        colours = flow.sample(key, (samples, len(test.truth)))
    else:
        colours = flow.sample(key, (samples,), jnp.asarray(test.lightness))
    return test.judge(np.asarray(colours)) | {"bits": bits(flow, test)}


def bits(flow: Any, patches: Patches) -> float:
    """Bits per dimension of ab with the training's noise, in the networks' units."""
    condition = None if flow.condition_shape is None else jnp.asarray(patches.lightness)
    log_prob = flow.log_prob(jnp.asarray(patches.noisy), condition)
    return float(jnp.mean(bits_per_dimension(log_prob, patches.noisy[0].size)))


def measure_regression(
    model: Any, seen: Patches, test: Patches, samples: int, seed: int
) -> dict[str, Any]:
    """Measures the regression, itself with noise, and the mean colour.

    Args:
        model: The trained network.
        seen: Patches of the photographs that it was trained on, for which the noise is the best.
        test: Patches of the others.
        samples: How many noisy predictions for each patch.
        seed: Seed of the noise.

    Returns:
        "measured", "noisy" and "mean"; and "noise", the deviation.
    """
    predict = jax.jit(lambda model, lightness: model(lightness))
    noise = best_noise(np.asarray(predict(model, seen.lightness)), seen, samples, seed)
    predicted = np.asarray(predict(model, test.lightness))
    drawn = with_noise(predicted, noise, samples, np.random.default_rng(seed))
    mean = np.broadcast_to(seen.colours.mean((0, 1, 2)), test.colours.shape)
    return {
        "measured": test.judge(predicted[None]),
        "noise": noise,
        "noisy": test.judge(drawn),
        "mean": test.judge(mean[None]),
    }


def best_noise(predicted: np.ndarray, seen: Patches, samples: int, seed: int) -> float:
    """The deviation of Gaussian noise on predictions that makes best-of-n least."""
    found = {}
    for size in NOISE_SIZES:
        drawn = with_noise(predicted, size, samples, np.random.default_rng(seed))
        found[size] = best_of(to_rgb(seen.lightness, drawn), seen.truth)
    return min(found, key=found.__getitem__)


def with_noise(
    predicted: Float[np.ndarray, "n h w 2"], size: float, samples: int, rng: np.random.Generator
) -> Float[np.ndarray, "samples n h w 2"]:
    """Predictions with independent noise at every pixel."""
    noise = rng.standard_normal((samples, *predicted.shape), np.float32)
    return predicted + np.float32(size) * noise

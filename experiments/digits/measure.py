"""Trains the flow, and measures what it draws and the digits it has not seen."""

import math
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import jax
import numpy as np
import optax
from sklearn.neighbors import NearestNeighbors
from sklearn.svm import SVC

import jinn
from experiments.digits.data import CLASSES, Digits
from experiments.digits.model import draw, make_model, number_count, one_hot, transfer
from experiments.digits.settings import Settings
from experiments.record import parameter_count
from jinn.functional import bits_per_dimension

CLASSIFIER_ROWS = 10_000
"""The most training digits that the classifier and the search for nearest digits take."""
INITIALIZATION_ROWS = 4096
CHUNK = 500
DRAWN = 16
"""Pictures of each class that are drawn."""
TRANSFERRED = 360
"""The most held-out digits whose latents are decoded as every class."""


class Judge:
    """A classifier trained on real digits, and their neighbourhoods.

    Args:
        digits: The digits; the training digits alone are used to train it.

    Attributes:
        accuracy: Share of held-out real digits that it recognises.
        neighbour: Median distance of held-out digits from the nearest training digit, as the root
            mean square over pixels, in levels.
    """

    def __init__(self, digits: Digits) -> None:
        """See the class."""
        self.brightest = digits.levels - 1
        x = self._rows(digits.x[:CLASSIFIER_ROWS])
        self.classifier = SVC(C=10.0, gamma="scale").fit(x, digits.y[:CLASSIFIER_ROWS])
        self.neighbours = NearestNeighbors(n_neighbors=1, algorithm="brute").fit(x)
        test = digits.x_test[:CLASSIFIER_ROWS], digits.y_test[:CLASSIFIER_ROWS]
        self.accuracy = float(np.mean(self.classify(test[0]) == test[1]))
        self.neighbour = self.distance(test[0])

    def classify(self, x: np.ndarray) -> np.ndarray:
        """Classes of pictures `(*batch, height, width)`, of shape `(*batch,)`."""
        return self.classifier.predict(self._rows(x)).reshape(x.shape[:-2])

    def distance(self, x: np.ndarray) -> float:
        """Median distance of pictures from the nearest training digit."""
        rows = self._rows(x)
        distances, _ = self.neighbours.kneighbors(rows)
        return float(np.median(distances)) * self.brightest / rows.shape[1] ** 0.5

    def drawn(self, samples: np.ndarray) -> dict[str, Any]:
        """What is measured of pictures `(n, classes, height, width)` drawn for the classes."""
        right = self.classify(samples) == np.arange(CLASSES)
        return {
            "accuracy": float(np.mean(right)),
            "by_class": [float(share) for share in right.mean(0)],
            "neighbour": self.distance(samples.reshape(-1, *samples.shape[-2:])[:CLASSIFIER_ROWS]),
        }

    def _rows(self, x: np.ndarray) -> np.ndarray:
        return x.reshape(-1, x.shape[-2] * x.shape[-1]) / self.brightest

    def record(self) -> dict[str, Any]:
        """What is to be known of it."""
        return {
            "classifier": "SVC(C=10, gamma='scale')",
            "accuracy": self.accuracy,
            "neighbour": self.neighbour,
        }


def run(
    digits: Digits, judge: Judge, settings: Settings, seed: int, checkpoints: Path
) -> tuple[dict[str, Any], dict[str, np.ndarray]] | None:
    """Trains the flow and measures it.

    Args:
        digits: The digits.
        judge: What judges pictures.
        settings: The model and its training.
        seed: Seed of everything random.
        checkpoints: Folder of the training's checkpoints, from which it goes on.

    Returns:
        The record for JSON, and the arrays of the pictures; None if Ctrl-C ended the training.
    """
    keys = jax.random.split(jax.random.key(seed), 6)
    model = make_model(settings, digits, keys[0])
    size = digits.x[0].size
    pictures = (digits.x[..., None], one_hot(digits.y))
    model = jinn.initialize(model, *(part[:INITIALIZATION_ROWS] for part in pictures))
    untrained = {
        "bits": mean(bits(model, digits.x_test, digits.y_test, keys[3], settings.draws)),
        "drawn": judge.drawn(draw(model, keys[2], settings.samples, 1.0)),
    }
    started = time.perf_counter()
    result = jinn.fit(
        keys[1],
        model,
        pictures,
        optimizer=_optimizer(settings),
        steps=settings.steps,
        batch_size=settings.batch_size,
        ema_decay=settings.ema_decay,
        validation=0,
        checkpoint_dir=checkpoints,
    )
    if result.interrupted:
        return None
    model = jax.block_until_ready(result.flow)
    seconds = time.perf_counter() - started
    drawn = {
        name: draw(model, keys[2], settings.samples, temperature)
        for name, temperature in (("samples", 1.0), ("cooler", settings.temperature))
    }
    styles = digits.x_test[:TRANSFERRED], digits.y_test[:TRANSFERRED]
    transferred = np.asarray(transfer(model, *styles))
    own = transferred[np.arange(len(styles[1])), styles[1]]
    other = np.arange(CLASSES) != styles[1][:, None]
    recognised = judge.classify(transferred) == np.arange(CLASSES)
    record = {
        "seed": seed,
        "settings": asdict(settings),
        "digits": [len(digits.x), len(digits.x_test)],
        "parameters": number_count(model),
        "trained_parameters": parameter_count(model),
        "training_seconds": seconds,
        "skipped_steps": result.skipped_steps,
        "training_losses": (result.history["loss"] / (size * math.log(2))).tolist(),
        "bits": mean(bits(model, digits.x_test, digits.y_test, keys[3], settings.draws)),
        "untrained": untrained,
        "training_bits": mean(
            bits(model, digits.x[:CHUNK], digits.y[:CHUNK], keys[4], settings.draws)
        ),
        "real": judge.record(),
        "drawn": judge.drawn(drawn["samples"]),
        "drawn_cooler": judge.drawn(drawn["cooler"]),
        "transferred": {
            "returned": float(np.mean(own == styles[0])),
            "accuracy": float(np.mean(recognised[other])),
        },
    }
    first = [int(np.flatnonzero(styles[1] == label)[0]) for label in np.unique(styles[1])]
    pictures = {name: samples[:DRAWN] for name, samples in drawn.items()}
    return record, pictures | {"styles": styles[0][first], "transferred": transferred[first]}


def bits(model: Any, x: np.ndarray, y: np.ndarray, key: jax.Array, draws: int) -> np.ndarray:
    """Bits per dimension of each digit, by the bound of so many draws."""
    parts = []
    for i in range(0, len(x), CHUNK):
        rows = slice(i, i + CHUNK)
        key_here = jax.random.fold_in(key, i)
        log_p = _log_prob(model, x[rows, ..., None], one_hot(y[rows]), key_here, draws)
        parts.append(np.asarray(bits_per_dimension(log_p, x[0].size), np.float64))
    return np.concatenate(parts)


@jax.jit(static_argnums=4)
def _log_prob(model: Any, x: Any, condition: Any, key: jax.Array, draws: int) -> jax.Array:
    return model.log_prob(x, condition, key=key, samples=draws)


def mean(values: np.ndarray) -> dict[str, float]:
    """Mean and its standard error."""
    return {
        "mean": float(values.mean()),
        "standard_error": float(values.std(ddof=1) / len(values) ** 0.5),
    }


def _optimizer(settings: Settings) -> optax.GradientTransformation:
    rate, steps = settings.learning_rate, settings.steps
    schedule = optax.warmup_cosine_decay_schedule(rate / 100, rate, min(steps // 10, 500), steps)
    adam = optax.adamw(schedule, weight_decay=settings.weight_decay)
    return optax.chain(optax.clip_by_global_norm(5.0), adam)

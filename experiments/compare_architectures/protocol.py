"""One protocol for all methods: the same pairs, the same observations, the same measurements."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console

from experiments.ballistics import experiment as ballistics
from experiments.compare_architectures.methods import METHODS, Data, Method, Task, train, width_for
from experiments.compare_architectures.settings import Protocol
from experiments.comparison import ground_truth, measure, mismatch
from experiments.kinematics import experiment as kinematics
from experiments.settings import Settings
from jinn.flows import INN
from jinn.inference import check_latent
from jinn.inference.metrics import calibration_curve

TRUTH_SEED = 2021
"""Observations and ground truth are the same for every method and every seed."""


def _task(problem: Any, presets: Mapping[str, Settings]) -> Task:
    """The problem with the noise and the tolerance of its own experiment's default."""
    settings = next(iter(presets.values()))
    return Task(problem, settings.y_noise, settings.tolerance)


TASKS = {
    "kinematics": _task(kinematics.PROBLEM, kinematics.PRESETS),
    "ballistics": _task(ballistics.PROBLEM, ballistics.PRESETS),
}


@dataclass(frozen=True, kw_only=True)
class RunSettings:
    """What one run depends on, but for the seed: a run is made again where these differ.

    Architectures and losses are the code's; of them a run's record has the commit.

    Attributes:
        method: Name of the method, or of a reference row.
        protocol: The protocol, with the method's own steps, batch size and learning rate filled in.
        ema_decay: The method's.
    """

    method: str
    protocol: Protocol
    ema_decay: float | None = None

    @classmethod
    def of(cls, name: str, protocol: Protocol) -> "RunSettings":
        """Those of a method."""
        method = METHODS[name]
        filled = {
            "steps": protocol.steps or method.steps,
            "batch_size": protocol.batch_size or method.batch_size,
            "learning_rate": protocol.learning_rate or method.learning_rate,
        }
        return cls(method=name, protocol=replace(protocol, **filled), ema_decay=method.ema_decay)

    @classmethod
    def of_reference(cls, name: str, protocol: Protocol) -> "RunSettings":
        """Those of a reference row, which is not trained."""
        untrained = Protocol(observations=protocol.observations, samples=protocol.samples)
        return cls(method=name, protocol=untrained)


class Truth:
    """Observations of a problem and their exact posteriors.

    Args:
        task: The inverse problem.
        protocol: Numbers of observations and samples.

    Attributes:
        y: The observations, the problem's example last, (n, dim_y).
        complete: Which of them are compared, (n,).
        samples: "ABC", "ABC again" and "prior", each (samples, n, dim_x).
    """

    def __init__(self, task: Task, protocol: Protocol) -> None:
        """See the class."""
        self.task = task
        self.y, self.complete, self.samples = ground_truth(
            jax.random.split(jax.random.key(TRUTH_SEED), 4),
            task.problem,
            observations=protocol.observations,
            samples=protocol.samples,
            tolerance=task.tolerance,
        )

    def errors(self, samples: jax.Array) -> dict[str, dict[str, float]]:
        """Means and spreads over the observations of all errors of samples (n, n_obs, dim_x)."""
        problem, complete = self.task.problem, self.complete
        truth, samples = self.samples["ABC"][:, complete], samples[:, complete]
        found = measure(problem, samples, truth, self.y[complete])
        if problem.integers:
            rounded = mismatch(problem.rounded(samples), truth)
            found |= {f"{name}, rounded": values for name, values in rounded.items()}
        return {name: _summary(values) for name, values in found.items()}

    def reference(self, name: str) -> tuple[dict[str, Any], np.ndarray]:
        """The errors of "ABC", a second exact draw, or of "prior", and samples for the example."""
        samples = self.samples["ABC again" if name == "ABC" else name]
        record = {
            "errors": self.errors(samples),
            "left_out": len(self.complete) - 1 - int(self.complete.sum()),
        }
        return record, np.asarray(self.samples[name][:, -1], np.float32)


def run(
    method: Method, truth: Truth, settings: RunSettings, seed: int, console: Console
) -> tuple[dict[str, Any], np.ndarray] | None:
    """Trains a method and measures it.

    Args:
        method: The method.
        truth: What it is compared with.
        settings: The method's settings.
        seed: Seed of the pairs, of the weights and of the samples.
        console: Where progress is shown.

    Returns:
        The record for JSON and the samples for the problem's example (samples, dim_x); None if
        Ctrl-C ended the training.
    """
    task, problem, protocol = truth.task, truth.task.problem, settings.protocol
    keys = jax.random.split(jax.random.key(seed), 6)
    data = Data(*problem.simulate(keys[0], protocol.pairs))
    width, parameters = width_for(method, task, data, protocol.parameters)
    started = time.perf_counter()
    model, interrupted = train(
        method,
        task,
        data,
        protocol,
        width=width,
        key=keys[1],
    )
    if interrupted:
        return None
    jax.block_until_ready(model)
    seconds = time.perf_counter() - started
    with console.status("Comparing the posteriors"):
        samples = model.sample(keys[2], (protocol.samples,), truth.y)
        errors = truth.errors(samples)
    with console.status("Measuring the calibration"):
        curve = calibration_curve(
            model,
            *problem.simulate(keys[3], protocol.calibration_observations),
            samples=protocol.calibration_samples,
            key=keys[4],
        )
    record = {
        "errors": errors,
        "calibration_error": float(np.median(np.abs(curve.inliers - curve.confidence))),
        "samples_not_finite": int(jnp.sum(~jnp.isfinite(samples).all(-1))),
        "parameters": parameters,
        "width": width,
        "training_seconds": seconds,
        "milliseconds_per_1000_samples": 1000 * _seconds(model, truth.y[:10]),
    }
    inn = model if isinstance(model, INN) else None
    if inn is not None:
        rows = protocol.latent_rows
        pairs = problem.simulate(keys[5], 20 * rows)
        record |= {"latent": latent_figures(inn, *pairs, mmd_rows=rows)}
    return record, np.asarray(samples[:, -1], np.float32)


def latent_figures(model: INN, x: jax.Array, y: jax.Array, *, mmd_rows: int) -> dict[str, float]:
    """How normal z is, how independent of y, and how good the forward process is.

    Args:
        model: The INN.
        x: New parameters (n, dim_x).
        y: Their observations (n, dim_y).
        mmd_rows: How many of them are used for the MMDs.

    Returns:
        The figures of `jinn.inference.check_latent`, and "forward_error": the root mean square of
        the predicted y's error over the standard deviation of y, of the worst element of y.
    """
    check = check_latent(model, x, y, mmd_rows=mmd_rows)
    error = jnp.sqrt(jnp.mean((model.predict(x) - y) ** 2, 0)) / jnp.std(y, 0)
    return {name: float(value) for name, value in check._asdict().items()} | {
        "forward_error": float(jnp.max(error))
    }


def _summary(values: np.ndarray) -> dict[str, float]:
    values = np.asarray(values, np.float64)
    return {
        "mean": float(values.mean()),
        "standard_error": float(values.std() / np.sqrt(len(values))),
        "median": float(np.median(values)),
    }


def _seconds(model: Any, y: jax.Array) -> float:
    """Median time of 1000 samples for one observation, compilation aside."""
    times = []
    for seed, one in enumerate(y):
        started = time.perf_counter()
        jax.block_until_ready(model.sample(jax.random.key(seed), (1000,), one))
        times.append(time.perf_counter() - started)
    return float(np.median(times[1:]))

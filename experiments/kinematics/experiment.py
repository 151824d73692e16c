"""Trains a conditional flow on the arm and measures its posterior against exact samples."""

import time
from dataclasses import dataclass, field, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console

import jinn
from experiments.kinematics.problem import DIM_X, DIM_Y, forward, simulate
from experiments.kinematics.reference import sample_reference
from jinn import flows
from jinn.inference.metrics import calibration_curve, posterior_mismatch, resimulation_error

EXAMPLE_Y = (1.5, 0.0)
"""The end point of the pictures, one that few poses of the prior reach."""


@dataclass(frozen=True)
class Settings:
    """What is trained and how it is measured.

    Attributes:
        flow: Name of the architecture in `jinn.flows`.
        flow_options: Its options.
        steps: Training steps, each on fresh simulations.
        batch_size: Simulations a step.
        learning_rate: Highest learning rate.
        y_noise: Standard deviation of the Gaussian noise on y in training, in metres. Without any,
            the posterior lies on a surface and the likelihood has no upper bound.
        tolerance: Standard deviation of the ground truth's Gaussian tolerance on y, in metres.
        observations: Unseen observations that are compared with the ground truth.
        samples: Posterior samples for each of them.
        calibration_observations: Observations for the calibration error.
        calibration_samples: Posterior samples for each of those.
        timed_samples: Samples of one posterior that are drawn to measure speed.
        seed: Seed of everything random.
    """

    flow: str = "neural_spline_flow"
    flow_options: dict[str, Any] = field(default_factory=lambda: {"depth": 8, "hidden": (128, 128)})
    steps: int = 13_000
    batch_size: int = 512
    learning_rate: float = 3e-3
    y_noise: float = 0.004
    tolerance: float = 0.01
    observations: int = 100
    samples: int = 1000
    calibration_observations: int = 1000
    calibration_samples: int = 1000
    timed_samples: int = 100_000
    seed: int = 0


PRESETS = {
    "neural_spline_flow": Settings(),
    "real_nvp": Settings(
        flow="real_nvp", flow_options={"depth": 12, "hidden": (128, 128)}, steps=8_000
    ),
}


def smoke(settings: Settings) -> Settings:
    """Shrinks the settings to what takes seconds and proves nothing but that all parts run."""
    return replace(
        settings,
        flow_options=settings.flow_options | {"depth": 2, "hidden": (32, 32)},
        steps=100,
        batch_size=128,
        observations=5,
        samples=200,
        calibration_observations=50,
        calibration_samples=100,
        timed_samples=1000,
    )


@dataclass(frozen=True)
class Outcome:
    """What a run has measured, and the poses that its pictures show.

    Attributes:
        network: Number of parameters, training seconds, samples a second.
        errors: By sampler, then by metric: one value for each observation.
        calibration: Share of true parameters in credible intervals minus the intervals' mass, for
            masses 0.01, 0.02, ..., 1.
        y: The observations that were compared, shape (n, 2).
        left_out: Number of observations whose ground truth fell short of its samples.
        example: By sampler: poses for the end point `EXAMPLE_Y`, shape (samples, 4).
    """

    network: dict[str, float]
    errors: dict[str, dict[str, np.ndarray]]
    calibration: np.ndarray
    y: np.ndarray
    left_out: int
    example: dict[str, np.ndarray]

    @property
    def calibration_error(self) -> float:
        """Median over the masses of the absolute calibration error."""
        return float(np.median(np.abs(self.calibration)))


def run(settings: Settings, console: Console) -> Outcome:
    """Trains, draws the ground truth twice, and measures."""
    keys = iter(jax.random.split(jax.random.key(settings.seed), 9))
    console.print(f"Training {settings.flow} for {settings.steps} steps")
    posterior, network = train(next(keys), settings)

    with console.status("Sampling the ground truth"):
        _, y = simulate(next(keys), settings.observations)
        y = jnp.concatenate([y, jnp.array([EXAMPLE_Y])])
        truths = [
            sample_reference(
                next(keys), y, tolerance=settings.tolerance, n_samples=settings.samples
            )
            for _ in range(2)
        ]
    with console.status("Comparing the posteriors"):
        prior, _ = simulate(next(keys), settings.samples)
        posteriors = {
            "network": posterior.sample(next(keys), (settings.samples,), y),
            "ABC": jnp.moveaxis(truths[0].samples, 1, 0),
            "ABC again": jnp.moveaxis(truths[1].samples, 1, 0),
            "prior": jnp.broadcast_to(prior[:, None], (len(prior), len(y), DIM_X)),
        }
        complete = np.array(truths[0].complete & truths[1].complete)
        complete[-1] = False  # the example is no unseen observation
        if not complete.any():
            raise RuntimeError("kinematics: no observation has its samples of the ground truth.")
        errors = {
            name: compare(samples[:, complete], posteriors["ABC"][:, complete], y[complete])
            for name, samples in posteriors.items()
            if name != "ABC"
        }
    with console.status("Measuring the calibration"):
        curve = calibration_curve(
            posterior,
            *simulate(next(keys), settings.calibration_observations),
            samples=settings.calibration_samples,
            key=next(keys),
        )
    with console.status("Measuring the sampling speed"):
        network["samples_per_second"] = _samples_per_second(posterior, settings.timed_samples)
    return Outcome(
        network=network,
        errors=errors,
        calibration=np.asarray(curve.inliers - curve.confidence),
        y=np.asarray(y[complete]),
        left_out=settings.observations - int(np.sum(complete)),
        example={name: np.asarray(samples[:, -1]) for name, samples in posteriors.items()},
    )


def train(key: jax.Array, settings: Settings) -> tuple[Any, dict[str, float]]:
    """Fits the posterior; gives it with its number of parameters and the seconds it took."""

    def simulate_with_noise(key: jax.Array, n: int) -> tuple[jax.Array, jax.Array]:
        simulate_key, noise_key = jax.random.split(key)
        x, y = simulate(simulate_key, n)
        return x, y + settings.y_noise * jax.random.normal(noise_key, y.shape)

    flow_key, fit_key = jax.random.split(key)
    build = getattr(flows, settings.flow)
    flow = build(DIM_X, condition_dim=DIM_Y, rngs=flow_key, **settings.flow_options)
    leaves = zip(jax.tree.leaves(flow), jax.tree.leaves(jinn.trainable(flow)), strict=True)
    parameters = sum(leaf.size for leaf, trained in leaves if trained)
    start = time.perf_counter()
    posterior = jinn.fit_posterior(
        fit_key,
        simulate_with_noise,
        flow=flow,
        steps=settings.steps,
        batch_size=settings.batch_size,
        learning_rate=settings.learning_rate,
    )
    seconds = time.perf_counter() - start
    return posterior, {"parameters": parameters, "training_seconds": seconds}


def compare(samples: jax.Array, truth: jax.Array, y: jax.Array) -> dict[str, np.ndarray]:
    """Gives the benchmark's errors for each observation; samples and truth are (n, n_obs, 4)."""
    errors = {
        "Err_post": posterior_mismatch(samples, truth),
        "Err_post biased": posterior_mismatch(samples, truth, unbiased=False),
        "Err_resim": resimulation_error(forward, samples, y),
    }
    return {name: np.asarray(values) for name, values in errors.items()}


def _samples_per_second(posterior: Any, n: int) -> float:
    """Speed of drawing n samples for one observation, compilation aside."""
    y = jnp.array(EXAMPLE_Y)
    for seed in range(2):
        start = time.perf_counter()
        jax.block_until_ready(posterior.sample(jax.random.key(seed), (n,), y))
        seconds = time.perf_counter() - start
    return n / seconds

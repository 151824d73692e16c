"""Trains a conditional flow on an inverse problem; measures its posterior against exact samples."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console

import jinn
from experiments.inverse_problem import InverseProblem
from experiments.record import parameter_count
from experiments.settings import Settings
from experiments.trust import judge
from jinn import flows
from jinn.inference.metrics import calibration_curve, posterior_mismatch, resimulation_error
from jinn.losses import distillation


@dataclass(frozen=True)
class Outcome:
    """What a run has measured, and the samples that its pictures show.

    Attributes:
        network: Number of parameters, training seconds, samples a second.
        errors: By sampler, then by metric: one value for each observation. "network, rounded" has
            the whole-numbered parameters rounded, and its mismatch only.
        counts: By what is counted, then by sampler: the number of such samples.
        calibration: Share of true parameters in credible intervals minus the intervals' mass, for
            masses 0.01, 0.02, ..., 1.
        y: The observations that were compared, shape (n, dim_y).
        left_out: Number of observations whose ground truth fell short of its samples.
        trust: What `experiments.trust.judge` found; empty if it was not asked.
        example: By sampler: samples for the problem's example, shape (samples, dim_x).
    """

    network: dict[str, float]
    errors: dict[str, dict[str, np.ndarray]]
    counts: dict[str, dict[str, int]]
    calibration: np.ndarray
    y: np.ndarray
    left_out: int
    trust: dict[str, Any]
    example: dict[str, np.ndarray]

    @property
    def calibration_error(self) -> float:
        """Median over the masses of the absolute calibration error."""
        return float(np.median(np.abs(self.calibration)))


def run(
    problem: InverseProblem, settings: Settings, console: Console, *, page: Path | None = None
) -> Outcome:
    """Trains, draws the ground truth twice, and measures.

    With a page, the posterior's diagnostics are made and written there. Their observations have
    the noise of the training, since the network's posterior is that of noisy ones.
    """
    keys = iter(jax.random.split(jax.random.key(settings.seed), 9))
    trust_keys = jax.random.split(jax.random.fold_in(jax.random.key(settings.seed), 1), 3)
    after = ""
    if settings.teacher is not None:
        after = f", after {settings.teacher.title} for {settings.teacher.steps}"
    console.print(f"Training {settings.title} for {settings.steps} steps{after}")
    posterior, network = train(next(keys), problem, settings)

    with console.status("Sampling the ground truth"):
        y, complete, posteriors = ground_truth(
            [next(keys) for _ in range(4)],
            problem,
            observations=settings.observations,
            samples=settings.samples,
            tolerance=settings.tolerance,
        )
    with console.status("Comparing the posteriors"):
        posteriors = {
            "network": posterior.sample(next(keys), (settings.samples,), y),
            **posteriors,
        }
        compared = {name: samples[:, complete] for name, samples in posteriors.items()}
        truth = compared["ABC"]
        errors = {
            name: measure(problem, samples, truth, y[complete])
            for name, samples in compared.items()
            if name != "ABC"
        }
        if problem.integers:
            errors["network, rounded"] = mismatch(problem.rounded(compared["network"]), truth)
        counts = {
            what: {name: int(jnp.sum(tell(samples))) for name, samples in compared.items()}
            for what, tell in problem.counted.items()
        }
    with console.status("Measuring the calibration"):
        curve = calibration_curve(
            posterior,
            *problem.simulate(next(keys), settings.calibration_observations),
            samples=settings.calibration_samples,
            key=next(keys),
        )
    trust: dict[str, Any] = {}
    if page is not None:
        with console.status("Testing the posterior"):
            x_known, y_known = problem.simulate(trust_keys[0], settings.calibration_observations)
            noise = jax.random.normal(trust_keys[1], y_known.shape)
            trust = judge(
                page,
                posterior,
                trust_keys[2],
                x_known,
                y_known + settings.y_noise * noise,
                labels=problem.parameters,
                samples=settings.ranks,
            )
    with console.status("Measuring the sampling speed"):
        example_y = jnp.array(problem.example_y)
        network["samples_per_second"] = _samples_per_second(
            posterior, example_y, settings.timed_samples
        )
        if isinstance(posterior, jinn.Posterior) and isinstance(posterior.flow, jinn.Flow):
            evaluations = _evaluations(posterior.flow, posterior, y[complete])
            network |= {"evaluations_per_sample": evaluations} if evaluations else {}
    return Outcome(
        network=network,
        errors=errors,
        counts=counts,
        calibration=np.asarray(curve.inliers - curve.confidence),
        y=np.asarray(y[complete]),
        left_out=settings.observations - int(np.sum(complete)),
        trust=trust,
        example={name: np.asarray(samples[:, -1]) for name, samples in posteriors.items()},
    )


def train(
    key: jax.Array, problem: InverseProblem, settings: Settings
) -> tuple[Any, dict[str, float]]:
    """Fits the posterior; gives it with its number of parameters and the seconds it took.

    A teacher is trained with the same key, so that both standardise y alike, and its seconds count.
    """
    options: dict[str, Any] = {}
    seconds = 0.0
    if settings.teacher is not None:
        teacher, network = train(key, problem, settings.teacher)
        loss = distillation(teacher.flow, likelihood_weight=settings.likelihood_weight)
        options, seconds = {"loss": loss}, network["training_seconds"]
    width = settings.dequantization * problem.is_integer

    def simulate_with_noise(key: jax.Array, n: int) -> tuple[jax.Array, jax.Array]:
        simulate_key, noise_key, integer_key = jax.random.split(key, 3)
        x, y = problem.simulate(simulate_key, n)
        if width.any():
            x += width[None] * jax.random.uniform(integer_key, x.shape, x.dtype, -1.0, 1.0)
        return x, y + settings.y_noise * jax.random.normal(noise_key, y.shape)

    flow_key, fit_key = jax.random.split(key)
    build = getattr(flows, settings.flow)
    flow = build(problem.dim_x, condition_dim=problem.dim_y, rngs=flow_key, **settings.flow_options)
    parameters = parameter_count(flow)
    start = time.perf_counter()
    posterior = jinn.fit_posterior(
        fit_key,
        simulate_with_noise,
        flow=flow,
        steps=settings.steps,
        batch_size=settings.batch_size,
        learning_rate=settings.learning_rate,
        ema_decay=settings.ema_decay,
        method=settings.method,
        support=problem.support,
        **options,
    )
    seconds += time.perf_counter() - start
    return posterior, {"parameters": parameters, "training_seconds": seconds}


def ground_truth(
    keys: Sequence[jax.Array] | jax.Array,
    problem: InverseProblem,
    *,
    observations: int,
    samples: int,
    tolerance: float,
) -> tuple[jax.Array, np.ndarray, dict[str, jax.Array]]:
    """Draws observations, their exact posteriors twice, and the prior.

    Args:
        keys: Keys for the observations, both draws of the posteriors, and the prior.
        problem: The inverse problem.
        observations: Number of unseen observations; the problem's example comes after them.
        samples: Samples for each.
        tolerance: Standard deviation of the posteriors' tolerance on y.

    Returns:
        The observations (observations + 1, dim_y), which of the unseen ones have all their samples
        (observations + 1,), and the samples "ABC", "ABC again" and "prior", each
        (samples, observations + 1, dim_x).

    Raises:
        RuntimeError: If no observation has all its samples.
    """
    _, y = problem.simulate(keys[0], observations)
    y = jnp.concatenate([y, jnp.array([problem.example_y])])
    truths = [
        problem.sample_reference(key, y, tolerance=tolerance, n_samples=samples)
        for key in keys[1:3]
    ]
    complete = np.array(truths[0].complete & truths[1].complete)
    complete[-1] = False  # the example is no unseen observation
    if not complete.any():
        raise RuntimeError(f"{problem.name}: no observation has its samples of the ground truth.")
    prior, _ = problem.simulate(keys[3], samples)
    return (
        y,
        complete,
        {
            "ABC": jnp.moveaxis(truths[0].samples, 1, 0),
            "ABC again": jnp.moveaxis(truths[1].samples, 1, 0),
            "prior": jnp.broadcast_to(prior[:, None], (len(prior), len(y), problem.dim_x)),
        },
    )


def measure(
    problem: InverseProblem, samples: jax.Array, truth: jax.Array, y: jax.Array
) -> dict[str, np.ndarray]:
    """Gives the errors for each observation; samples and truth are (n, n_obs, dim_x)."""
    resimulated = np.asarray(resimulation_error(problem.forward, samples, y))
    return {**mismatch(samples, truth), "Err_resim": resimulated}


def mismatch(samples: jax.Array, truth: jax.Array) -> dict[str, np.ndarray]:
    """Gives MMD^2 for each observation; samples and truth are (n, n_obs, dim_x)."""
    return {
        "Err_post": np.asarray(posterior_mismatch(samples, truth)),
        "Err_post biased": np.asarray(posterior_mismatch(samples, truth, unbiased=False)),
    }


def _samples_per_second(posterior: Any, y: jax.Array, n: int) -> float:
    """Speed of drawing n samples for one observation, compilation aside."""
    for seed in range(2):
        start = time.perf_counter()
        jax.block_until_ready(posterior.sample(jax.random.key(seed), (n,), y))
        seconds = time.perf_counter() - start
    return n / seconds


def _evaluations(flow: jinn.Flow, posterior: jinn.Posterior, y: jax.Array) -> float:
    """Mean number of evaluations of a network in the solves for a sample, 0 without solves."""
    z = flow.base.sample(jax.random.key(0), (len(y),))
    condition = (y - posterior.y_mean[...][None]) / posterior.y_scale[...][None]
    *_, infos = jax.jit(flow.bijector.inverse_with_info)(z, condition)
    return float(sum(jnp.mean(info.evaluations) for info in infos))

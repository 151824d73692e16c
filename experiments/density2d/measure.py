"""Trains one flow on one density, and measures it."""

import time
from dataclasses import asdict
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console

import jinn
from experiments.density2d.integral import integrate
from experiments.density2d.problems import Problem
from experiments.density2d.settings import Settings
from experiments.record import parameter_count
from jinn import flows
from jinn.bijectors import Affine, Chain

BOUND = 8.0
"""The integral is over [-BOUND, BOUND]^2, or more where samples leave it."""
VIEW = 4.6
"""The pictures show [-VIEW, VIEW]^2."""
PIXELS = 128
CHUNK = 4096

_log_prob = jax.jit(lambda flow, x: flow.log_prob(x))
_sample = jax.jit(lambda flow, key, n: flow.sample(key, (n,)), static_argnums=2)


def run(
    problem: Problem, settings: Settings, seed: int, console: Console
) -> tuple[dict[str, Any], dict[str, np.ndarray]] | None:
    """Trains a flow and measures it.

    Args:
        problem: The density.
        settings: The flow and its training.
        seed: Seed of everything random.
        console: Where progress is shown.

    Returns:
        The record for JSON, and the samples and the density of the picture; None if Ctrl-C ended
        the training.
    """
    flow_key, fit_key, held_out_key, sample_key = jax.random.split(jax.random.key(seed), 4)
    flow = build(problem, settings, flow_key)
    parameters = parameter_count(flow)
    likelihood = jinn.losses.negative_log_likelihood
    started = time.perf_counter()
    result = jinn.fit(
        fit_key,
        flow,
        problem.sample,
        loss=jinn.losses.flow_matching() if settings.matching else likelihood,
        steps=settings.steps,
        batch_size=settings.batch_size,
        learning_rate=settings.learning_rate,
        ema_decay=settings.ema_decay,
        validation=0,
    )
    if result.interrupted:
        return None
    jax.block_until_ready(result.flow)
    seconds = time.perf_counter() - started
    flow = result.flow
    if settings.evaluation:
        flow = flows.with_solver(flow, **settings.evaluation)
    started = time.perf_counter()
    with console.status("Measuring"):
        measured, picture = measure(problem, settings, flow, held_out_key, sample_key)
    return {
        "problem": problem.name,
        "seed": seed,
        "settings": asdict(settings),
        "parameters": parameters,
        "training_seconds": seconds,
        "skipped_steps": result.skipped_steps,
        "measuring_seconds": time.perf_counter() - started,
        **measured,
    }, picture


def build(problem: Problem, settings: Settings, key: jax.Array) -> jinn.Flow:
    """Builds the flow, behind a fixed scaling of the points to unit deviation."""
    flow = getattr(flows, settings.builder)(2, rngs=key, **settings.options)
    scale = [1 / deviation for deviation in problem.deviation]
    return jinn.Flow(Chain([Affine((2,), scale=scale, learned=False), flow.bijector]), flow.base)


def measure(
    problem: Problem, settings: Settings, flow: Any, held_out_key: jax.Array, sample_key: jax.Array
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Measures likelihood, divergence and integral of a flow, and draws from it."""
    x = np.asarray(problem.sample(held_out_key, settings.held_out))
    modelled, exact = log_density(flow, x), chunked(problem.log_prob, x)
    samples = np.asarray(_sample(flow, sample_key, settings.samples))
    integral = integrate(
        lambda points: np.exp(log_density(flow, points)),
        bound=BOUND,
        reach=float(np.max(np.abs(samples), where=np.isfinite(samples), initial=0.0)),
        tolerance=settings.tolerance,
        max_points=settings.max_points,
    )
    middles = VIEW * ((2 * np.arange(PIXELS) + 1) / PIXELS - 1)
    grid = np.stack(np.meshgrid(middles, middles, indexing="xy"), axis=-1).astype(np.float32)
    density = np.exp(log_density(flow, grid.reshape(-1, 2))).reshape(PIXELS, PIXELS)
    root = np.sqrt(len(x))
    record = {
        "negative_log_likelihood": -modelled.mean(),
        "negative_log_likelihood_standard_error": modelled.std() / root,
        "entropy": -exact.mean(),
        "kl_divergence": (exact - modelled).mean(),
        "kl_divergence_standard_error": (exact - modelled).std() / root,
        "integral": integral.value,
        "integral_error_estimate": integral.error,
        "integral_bound": integral.bound,
        "integral_points": integral.points,
        "integral_spacing": integral.spacing,
        "integral_points_not_finite": integral.not_finite,
        "samples_outside": int(np.sum(~(np.abs(samples) <= integral.bound).all(axis=1))),
        "samples_not_finite": int(np.sum(~np.isfinite(samples).all(axis=1))),
    }
    plain = {
        name: value.item() if isinstance(value, np.generic) else value
        for name, value in record.items()
    }
    return plain, {"samples": samples[:5000], "density": density.astype(np.float32)}


def log_density(flow: Any, x: np.ndarray) -> np.ndarray:
    """Log-densities of points `(n, 2)`, in float64, with one compilation for all n."""
    return chunked(lambda part: _log_prob(flow, part), x)


def chunked(log_prob: Any, x: np.ndarray) -> np.ndarray:
    """Evaluates a log-density on equal parts of the points."""
    padded = np.concatenate([x, np.repeat(x[-1:], -len(x) % CHUNK, axis=0)])
    parts = [log_prob(jnp.asarray(padded[i : i + CHUNK])) for i in range(0, len(padded), CHUNK)]
    return np.concatenate([np.asarray(part, np.float64) for part in parts])[: len(x)]

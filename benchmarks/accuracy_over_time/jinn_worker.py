"""jinn's defaults or one small flow, for a number of steps that is given or to their end."""

import sys
import time
from typing import Any

import jax
import numpy as np

import jinn
from benchmarks.accuracy_over_time.worker import Answer, answer

ONE_FLOW: dict[str, Any] = {"depth": 6, "hidden": (64, 64)}


def train(request: dict[str, Any], x: np.ndarray, y: np.ndarray, observed: np.ndarray) -> Answer:
    """Trains and samples."""
    key, support = jax.random.key(request["seed"]), request["support"]
    options: dict[str, Any] = {"support": support, "steps": request["budget"], "progress": False}
    began = time.perf_counter()
    if request["one_flow"]:
        sizes = {"event_dim": x.shape[1], "condition_dim": y.shape[1]}
        flow = jinn.flows.neural_spline_flow(**sizes, **ONE_FLOW, rngs=key)
        options |= {"flow": flow, "batch_size": 256, "learning_rate": 3e-3}
    posterior = jinn.fit_posterior(key, (x, y), **options)
    jax.block_until_ready(posterior)
    trained = time.perf_counter()
    samples = np.asarray(posterior.sample(key, request["samples"], observed))
    sampled = time.perf_counter()
    jax.block_until_ready(posterior.sample(key, request["many"], observed[0]))
    drawn = time.perf_counter()
    jax.block_until_ready(posterior.sample(key, request["many"], observed[1]))
    again = time.perf_counter() - drawn
    return Answer(samples, trained - began, sampled - trained, drawn - sampled, again)


if __name__ == "__main__":
    answer(train, sys.argv[1:], ("jinn", "jax", "flax"))

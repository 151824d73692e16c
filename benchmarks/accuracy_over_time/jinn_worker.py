"""jinn's defaults, for a number of steps that is given or for as many as they take."""

import sys
import time
from typing import Any

import jax
import numpy as np

import jinn
from benchmarks.accuracy_over_time.worker import Answer, answer


def train(request: dict[str, Any], x: np.ndarray, y: np.ndarray, observed: np.ndarray) -> Answer:
    """Trains and samples."""
    key, support = jax.random.key(request["seed"]), request["support"]
    began = time.perf_counter()
    posterior = jinn.fit_posterior(
        key, (x, y), support=support, steps=request["budget"], progress=False
    )
    jax.block_until_ready(posterior)
    trained = time.perf_counter()
    samples = np.asarray(posterior.sample(key, request["samples"], observed))
    sampled = time.perf_counter()
    many = posterior.sample(key, request["many"], observed[0])
    jax.block_until_ready(many)
    ended = time.perf_counter()
    return Answer(samples, trained - began, sampled - trained, ended - sampled)


if __name__ == "__main__":
    answer(train, sys.argv[1:], ("jinn", "jax", "flax"))

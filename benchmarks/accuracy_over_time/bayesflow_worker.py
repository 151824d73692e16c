"""BayesFlow's default coupling flow, for a number of epochs."""

# pyright: reportMissingImports=false

import os
import sys
import time
from typing import Any

import numpy as np

os.environ.setdefault("KERAS_BACKEND", "torch")

import bayesflow
import keras

from benchmarks.accuracy_over_time.worker import Answer, answer

BATCH = 64
EPOCHS = 100
"""Without a budget: BayesFlow has no default."""


def train(request: dict[str, Any], x: np.ndarray, y: np.ndarray, observed: np.ndarray) -> Answer:
    """Trains and samples."""
    keras.utils.set_random_seed(request["seed"])
    adapter = bayesflow.Adapter()
    if request["support"] is not None:
        low, high = request["support"]
        adapter = adapter.constrain("x", lower=low, upper=high)
    adapter = adapter.rename("x", "inference_variables").rename("y", "inference_conditions")
    began = time.perf_counter()
    workflow = bayesflow.BasicWorkflow(
        adapter=adapter,
        inference_network=bayesflow.networks.CouplingFlow(),
        standardize="all",
    )
    held_out = len(x) // 10
    data = {"x": x, "y": y}
    workflow.fit_offline(
        {name: value[held_out:] for name, value in data.items()},
        epochs=request["budget"] or EPOCHS,
        batch_size=BATCH,
        validation_data={name: value[:held_out] for name, value in data.items()},
        verbose=0,
    )
    trained = time.perf_counter()

    def draw(n: int, rows: np.ndarray) -> np.ndarray:
        return np.asarray(workflow.sample(num_samples=n, conditions={"y": rows})["x"])

    samples = np.moveaxis(draw(request["samples"], observed), 0, 1)
    sampled = time.perf_counter()
    draw(request["many"], observed[:1])
    drawn = time.perf_counter()
    draw(request["many"], observed[1:2])
    again = time.perf_counter() - drawn
    return Answer(samples, trained - began, sampled - trained, drawn - sampled, again)


if __name__ == "__main__":
    answer(train, sys.argv[1:], ("bayesflow", "keras", "torch"))

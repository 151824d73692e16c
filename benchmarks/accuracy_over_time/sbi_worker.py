"""sbi's NPE with its neural spline flow and its defaults, for a number of epochs or to its end."""

# pyright: reportMissingImports=false

import sys
import time
from typing import Any

import numpy as np
import torch
from sbi.inference import NPE
from sbi.utils import BoxUniform

from benchmarks.accuracy_over_time.worker import Answer, answer


def train(request: dict[str, Any], x: np.ndarray, y: np.ndarray, observed: np.ndarray) -> Answer:
    """Trains and samples."""
    torch.manual_seed(request["seed"])
    prior = None
    if request["support"] is not None:
        low, high = (torch.as_tensor(np.asarray(bound, "f4")) for bound in request["support"])
        prior = BoxUniform(low.expand(x.shape[1]), high.expand(x.shape[1]))
    budget = {} if request["budget"] is None else {"max_num_epochs": request["budget"]}
    began = time.perf_counter()
    inference = NPE(prior, density_estimator="nsf", show_progress_bars=False)
    inference.append_simulations(torch.as_tensor(x), torch.as_tensor(y)).train(**budget)
    posterior = inference.build_posterior()
    trained = time.perf_counter()

    def draw(n: int, row: np.ndarray) -> np.ndarray:
        return posterior.sample((n,), x=torch.as_tensor(row), show_progress_bars=False).numpy()

    samples = np.stack([draw(request["samples"], row) for row in observed], axis=1)
    sampled = time.perf_counter()
    draw(request["many"], observed[0])
    drawn = time.perf_counter()
    draw(request["many"], observed[1])
    again = time.perf_counter() - drawn
    return Answer(samples, trained - began, sampled - trained, drawn - sampled, again)


if __name__ == "__main__":
    answer(train, sys.argv[1:], ("sbi", "torch"))

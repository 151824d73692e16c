"""The processes that train: arrays and a request in, samples and seconds out. Imports no JAX."""

import json
import time
from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np


class Answer(NamedTuple):
    """What a library gives for one budget.

    Attributes:
        samples: Samples for each observation, (samples, observations, dim).
        training_seconds: Seconds of training, with compilation.
        sampling_seconds: Of these samples, with compilation.
        many_seconds: Of many samples for the first observation, with compilation.
        again_seconds: Of as many once more.
    """

    samples: np.ndarray
    training_seconds: float
    sampling_seconds: float
    many_seconds: float
    again_seconds: float


Train = Callable[[dict[str, Any], np.ndarray, np.ndarray, np.ndarray], Answer]


def answer(train: Train, arguments: Sequence[str], packages: Sequence[str]) -> None:
    """Reads a request, trains, and writes the answer.

    Args:
        train: From the request, x, y and the observations to an answer.
        arguments: The folder with `request.json` and `data.npz`.
        packages: Those whose versions are told.
    """
    folder, began = Path(arguments[0]), time.perf_counter()
    request = json.loads((folder / "request.json").read_text())
    with np.load(folder / "data.npz") as data:
        found = train(request, data["x"], data["y"], data["observed"])
    seconds = {name: value for name, value in found._asdict().items() if name != "samples"}
    np.save(folder / "samples.npy", found.samples)
    record = seconds | {
        "process_seconds": time.perf_counter() - began,
        "versions": {name: _version(name) for name in packages},
    }
    (folder / "answer.json").write_text(json.dumps(record))


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "?"

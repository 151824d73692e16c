"""flowjax's Real NVP on the same digits, trained by another process, if need be another Python."""

import json
import os
import subprocess
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from experiments.digits.data import Digits
from experiments.digits.measure import DRAWN, Judge, mean
from experiments.digits.settings import Peer

WORKER = Path(__file__).with_name("flowjax_worker.py")
NEEDED = ("flowjax", "equinox", "optax", "jax", "numpy")


def missing(python: str) -> str | None:
    """Says why this interpreter cannot train flowjax's flow, or gives None if it can."""
    find = f"from importlib.util import find_spec; print([n for n in {NEEDED} if not find_spec(n)])"
    try:
        answer = subprocess.run([python, "-c", find], capture_output=True, text=True)
    except OSError as error:
        return f"{python} cannot be run: {error.strerror}"
    if answer.returncode:
        return f"{python} ended with status {answer.returncode}"
    lacking = answer.stdout.strip()
    return None if lacking == "[]" else f"{python} lacks {lacking}"


def run_peer(
    digits: Digits, judge: Judge, settings: Peer, seed: int, python: str
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Trains flowjax's flow and measures it, as `experiments.digits.measure.run` does jinn's.

    Args:
        digits: The digits.
        judge: What judges pictures.
        settings: The flow and its training.
        seed: Seed of everything random.
        python: The interpreter.

    Returns:
        The record for JSON, and the pictures drawn.

    Raises:
        RuntimeError: If the process fails; the text has the last line of what it said.
    """
    size = digits.x.shape[1:]
    with tempfile.TemporaryDirectory() as folder:
        arrays, answer = Path(folder, "arrays.npz"), Path(folder, "answer.npz")
        np.savez(
            arrays,
            x=digits.x.reshape(len(digits.x), -1),
            y=digits.y,
            x_test=digits.x_test.reshape(len(digits.x_test), -1),
            y_test=digits.y_test,
            levels=np.array(digits.levels),
        )
        request = json.dumps({**asdict(settings), "seed": seed})
        ended = subprocess.run(
            [python, str(WORKER), request, str(arrays), str(answer)],
            capture_output=True,
            text=True,
            env={"JAX_PLATFORMS": "cpu", **os.environ},
        )
        if ended.returncode:
            said = ended.stderr.strip().splitlines() or [f"status {ended.returncode}"]
            raise RuntimeError(f"flowjax's process failed: {said[-1]}")
        with np.load(answer) as file:
            found = dict(file)
    samples = found["samples"].reshape(settings.samples, -1, *size)
    record = {
        "seed": seed,
        "settings": asdict(settings),
        "digits": [len(digits.x), len(digits.x_test)],
        "parameters": int(found["parameters"]),
        "width": int(found["width"]),
        "training_seconds": float(found["training_seconds"]),
        "training_losses": found["train_losses"].tolist(),
        "bits": mean(found["bits"]),
        "real": judge.record(),
        "drawn": judge.drawn(samples),
        "versions": {name: str(found[name]) for name in ("flowjax", "equinox", "jax")},
    }
    return record, {"samples": samples[:DRAWN]}

"""What every result keeps of the machine, of the code that made it and of the model."""

import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import jax

from jinn import trainable


def environment() -> dict[str, Any]:
    """Gives versions, device, number of CPU cores and the checkout's commit."""
    return {
        **{package: _version(package) for package in ("jinn", "jax", "flax", "optax")},
        "python": platform.python_version(),
        "device": jax.devices()[0].device_kind,
        "cpus": os.cpu_count(),
        "commit": _commit(),
    }


def parameter_count(model: Any) -> int:
    """Number of parameters of a model that are trained.

    Args:
        model: A flow or any pytree that holds some, or one of `jax.eval_shape`.

    Returns:
        The number.
    """
    leaves = zip(jax.tree.leaves(model), jax.tree.leaves(trainable(model)), strict=True)
    return sum(leaf.size for leaf, trained in leaves if trained)


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _commit() -> str | None:
    """The checkout's commit, with a mark where files differ from it; None without git."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=40"]
    try:
        return subprocess.run(
            command, cwd=Path(__file__).parent, check=True, capture_output=True, text=True
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None

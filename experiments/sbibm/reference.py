"""Observations and reference posteriors, read from the published wheel of sbibm."""

import bz2
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

CACHE = Path("results/sbibm/download")


class Reference(NamedTuple):
    """One observation of a problem.

    Attributes:
        y: The observation, shape (dim_y,).
        samples: Samples of its exact posterior, shape (10000, dim).
    """

    y: npt.NDArray[np.float64]
    samples: npt.NDArray[np.float64]


def find_wheel(cache: Path = CACHE) -> Path:
    """Downloads the wheel without its dependencies, once.

    Args:
        cache: The folder that keeps it.

    Returns:
        Its path.

    Raises:
        RuntimeError: If it cannot be downloaded.
    """
    if not list(cache.glob("sbibm-*.whl")):
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
        result = subprocess.run(
            [*command, "--dest", str(cache), "sbibm"], capture_output=True, text=True
        )
        if result.returncode:
            raise RuntimeError(
                f"sbibm's wheel holds the reference posteriors and could not be downloaded: "
                f"{result.stderr.strip()}; put it into {cache} yourself"
            )
    return sorted(cache.glob("sbibm-*.whl"))[-1]


def read_reference(wheel: Path, problem: str, observation: int) -> Reference:
    """Reads one observation.

    Args:
        wheel: Path of sbibm's wheel.
        problem: The problem's name.
        observation: Its number, 1 to 10.

    Returns:
        The observation and the samples of its posterior.
    """
    folder = f"sbibm/tasks/{problem}/files/num_observation_{observation}"
    with zipfile.ZipFile(wheel) as archive:
        y = archive.read(f"{folder}/observation.csv").decode()
        samples = bz2.decompress(
            archive.read(f"{folder}/reference_posterior_samples.csv.bz2")
        ).decode()
    rows = [
        np.loadtxt(text.splitlines(), delimiter=",", skiprows=1, ndmin=2) for text in (y, samples)
    ]
    return Reference(rows[0][0], rows[1])

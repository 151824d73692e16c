"""The record of a training: losses and metrics, one entry an interval."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jaxtyping import Array


class History:
    """Collects an entry for every interval between two validations.

    Attributes:
        columns: For each name, its values so far.
    """

    def __init__(self, metrics: list[str]) -> None:
        """Start with no entries.

        Args:
            metrics: Names of the loss's metrics.
        """
        names = ["step", "loss", "validation_loss", *metrics]
        self.columns: dict[str, list[float]] = {name: [] for name in names}

    @property
    def last_step(self) -> int:
        """Step of the last entry, 0 before the first."""
        return int(self.columns["step"][-1]) if self.columns["step"] else 0

    def restore(self, columns: Mapping[str, Sequence[Any]]) -> None:
        """Take the entries of an earlier training of the same metrics.

        Args:
            columns: Its `columns`.
        """
        self.columns = {name: list(columns[name]) for name in self.columns}

    def add(self, step: int, totals: dict[str, Array], validation_loss: float) -> None:
        """Add an entry.

        Args:
            step: Number of steps done.
            totals: Sums over the finite steps of the interval, see `means`.
            validation_loss: The validation loss after it, or NaN.
        """
        entry = {"step": step, "validation_loss": validation_loss, **means(totals)}
        for name, column in self.columns.items():
            column.append(entry[name])

    def arrays(self) -> dict[str, np.ndarray]:
        """The entries as arrays of one length, ``step`` as integers.

        Returns:
            A dict of arrays.
        """
        return {
            name: np.asarray(column, dtype=np.int64 if name == "step" else np.float64)
            for name, column in self.columns.items()
        }


def means(totals: dict[str, Array]) -> dict[str, float]:
    """Means of the loss and the metrics over the finite steps, NaN if there were none.

    Args:
        totals: Sums by name, and the number of steps as "count".

    Returns:
        The means by name.
    """
    sums = {name: float(value) for name, value in jax.device_get(totals).items()}
    count = sums.pop("count")
    return {name: value / count if count else float("nan") for name, value in sums.items()}

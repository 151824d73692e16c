"""Whether numbers are uniform on [0, 1]: an exact test, and the band that shows it."""

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from scipy.special import bdtr, bdtrc

from jinn.inference.diagnostics.pictures import drawable_label, new_axes

_MOST_POINTS = 50
_LEAST_SIMULATIONS = 1999


class UniformityTest(NamedTuple):
    """A diagnostic whose values are uniform on [0, 1] for an exact posterior, and its verdict.

    The test compares the empirical distribution function with the diagonal: at each of K points
    the count of values below is binomial, the statistic is the smallest two-sided binomial tail
    over the points, and its null distribution is simulated. So the p-values are exact at any n,
    and the band is simultaneous over the points. Over the columns the level is divided by their
    number (Bonferroni, valid under any dependence), so a posterior that is exact in all of them
    fails in a share of at most ``level`` of cases.

    Attributes:
        name: What was tested.
        passed: Whether every column's p-value is above ``level / columns``.
        level: False-alarm rate of ``passed`` as a whole.
        p_values: One for each column, not adjusted, shape (columns,).
        values: The values, uniform for an exact posterior, shape (n, columns).
        labels: Name of each column.
        points: Where the distribution functions are compared, shape (K,).
        ecdf: Share of values at most each point, shape (K, columns).
        lower: Lower end of the simultaneous band of the share, shape (K,).
        upper: Upper end of it, shape (K,).
        samples: Posterior samples for each observation.
    """

    name: str
    passed: bool
    level: float
    p_values: np.ndarray
    values: np.ndarray
    labels: tuple[str, ...]
    points: np.ndarray
    ecdf: np.ndarray
    lower: np.ndarray
    upper: np.ndarray
    samples: int

    def histogram(self, bins: int = 20) -> tuple[np.ndarray, int, int]:
        """Count the values in bins of equal width, with a binomial band for each bin alone.

        Args:
            bins: Number of bins.

        Returns:
            Counts of shape (bins, columns), and the ends of the pointwise band: a count leaves it
            in a share of at most ``level`` of cases, and some of many will.

        Raises:
            ValueError: If there is no bin.
        """
        if bins < 1:
            raise ValueError(f"histogram: expected at least 1 bin, got {bins}.")
        n = len(self.values)
        cells = np.minimum((self.values * bins).astype(int), bins - 1)
        counts = np.stack([np.bincount(cell, minlength=bins) for cell in cells.T], axis=1)
        inside = np.flatnonzero(_tails(n, np.array([1 / bins]))[0] > self.level)
        return counts, int(inside[0]), int(inside[-1])

    def draw(self, ax: Any = None) -> Any:
        """Draw the distribution functions less the diagonal, in their simultaneous band.

        Args:
            ax: Axes of matplotlib, or None for a new figure.

        Returns:
            The axes.

        Raises:
            ImportError: If matplotlib is not installed.
        """
        ax = new_axes() if ax is None else ax
        shift = self.points
        ax.fill_between(shift, self.lower - shift, self.upper - shift, color="0.85", lw=0)
        for label, column in zip(self.labels, self.ecdf.T, strict=True):
            ax.plot(shift, column - shift, lw=1, label=drawable_label(label))
        ax.set(xlabel="expected share", ylabel="found - expected", title=self.name)
        if len(self.labels) <= 10:
            ax.legend(fontsize="small")
        return ax

    def draw_histogram(self, ax: Any = None) -> Any:
        """Draw the rank histograms, with the pointwise binomial band of a bin.

        Args:
            ax: Axes of matplotlib, or None for a new figure.

        Returns:
            The axes.

        Raises:
            ImportError: If matplotlib is not installed.
        """
        ax = new_axes() if ax is None else ax
        counts, low, high = self.histogram()
        ax.axhspan(low, high, color="0.85", lw=0)
        edges = np.linspace(0, 1, len(counts) + 1)
        for label, column in zip(self.labels, counts.T, strict=True):
            ax.stairs(column, edges, label=drawable_label(label))
        ax.set(xlabel="rank / samples", ylabel="observations", title=f"{self.name}: histogram")
        return ax


def check_uniformity(
    name: str,
    values: np.ndarray,
    labels: tuple[str, ...],
    *,
    samples: int,
    level: float,
    seed: int,
) -> UniformityTest:
    """Tests whether the columns of values are uniform on [0, 1], rows being independent.

    Args:
        name: What is tested.
        values: Numbers in [0, 1], shape (n, columns).
        labels: Name of each column.
        samples: Posterior samples behind each value; at most that many points are compared.
        level: False-alarm rate over all columns.
        seed: Seed of the simulated null distribution.

    Returns:
        The `UniformityTest`.

    Reference:
        Graphical Test for Discrete Uniformity and its Applications in Goodness of Fit Evaluation
        and Multiple Sample Comparison. Säilynoja, Bürkner, Vehtari, 2022.
        https://arxiv.org/abs/2103.10522
    """
    n, columns = values.shape
    k = min(_MOST_POINTS, samples + 1)
    share = level / columns
    simulations = max(_LEAST_SIMULATIONS, int(np.ceil(20 / share)) - 1)
    points = np.arange(1, k) / k
    tails, null = _null(n, k, simulations, seed)
    counts = np.stack([np.sum(values <= point, axis=0) for point in points])
    found = np.min(np.take_along_axis(tails, counts, axis=1), axis=0)
    p_values = (1 + np.searchsorted(null, found, side="right")) / (simulations + 1)
    threshold = null[int(np.floor(share * (simulations + 1) + 1e-9)) - 1]
    inside = tails >= threshold
    lower = np.argmax(inside, axis=1) / n
    upper = (n - np.argmax(inside[:, ::-1], axis=1)) / n
    passed = bool(np.all(found >= threshold))
    return UniformityTest(
        name, passed, level, p_values, values, labels, points, counts / n, lower, upper, samples
    )


@lru_cache(maxsize=4)
def _null(n: int, k: int, simulations: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Two-sided tails of every count at every point, and the sorted simulated statistics."""
    tails = _tails(n, np.arange(1, k) / k)
    cells = np.random.default_rng(seed).multinomial(n, np.full(k, 1 / k), size=simulations)
    counts = np.cumsum(cells, axis=1)[:, :-1].T
    return tails, np.sort(np.min(np.take_along_axis(tails, counts, axis=1), axis=0))


def _tails(n: int, shares: np.ndarray) -> np.ndarray:
    """Two-sided tail probabilities of Binomial(n, share) at 0, ..., n: (len(shares), n + 1)."""
    count = np.arange(n + 1)
    p = shares[:, None]
    below, above = bdtr(count, n, p), bdtrc(count - 1, n, p)
    return np.minimum(1.0, 2 * np.minimum(below, above))

"""Whether observations are like those that a network was trained on."""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import numpy as np
from jax.typing import ArrayLike
from scipy.special import gammaln

from jinn.inference.diagnostics.calibration import check_level
from jinn.inference.diagnostics.pictures import new_axes

_NEIGHBOURS = 5
_MOST_NEIGHBOURS_FROM = 2000
_EIGENVALUE_FLOOR = 1e-6

Score = Literal["neighbours", "norm"] | Callable[[Any], ArrayLike]


class TypicalityCheck(NamedTuple):
    """Which observations are unlike the reference.

    Attributes:
        name: What was tested.
        passed: Whether no more are flagged than chance explains: the number of false alarms is
            beta-binomial, and its tail probability is above ``level``.
        level: False-alarm rate, of each flag and of ``passed``.
        flagged: Whether an observation is unlike the reference, shape (n,).
        p_values: Conformal p-value of each, shape (n,); a flag is one of at most ``level``.
        scores: Score of each, shape (n,).
        reference_scores: Scores of the rows of the reference that calibrate, shape (m,).
    """

    name: str
    passed: bool
    level: float
    flagged: np.ndarray
    p_values: np.ndarray
    scores: np.ndarray
    reference_scores: np.ndarray

    def draw(self, ax: Any = None) -> Any:
        """Draw the scores of the observations over those of the reference.

        Args:
            ax: Axes of matplotlib, or None for a new figure.

        Returns:
            The axes.

        Raises:
            ImportError: If matplotlib is not installed.
        """
        ax = new_axes() if ax is None else ax
        ax.hist(self.reference_scores, bins=40, density=True, color="0.8", label="reference")
        for score, flag in zip(self.scores[:200], self.flagged[:200], strict=True):
            ax.axvline(score, lw=0.8, color="C3" if flag else "C0")
        ax.set(xlabel="score", title=self.name)
        ax.legend(fontsize="small")
        return ax


class TypicalityRates(NamedTuple):
    """How often a typicality check flags.

    Attributes:
        false_alarm_rate: Share of in-distribution observations that are flagged.
        power: Share of the others that are flagged.
        false_alarm_error: Binomial standard error of the first.
        power_error: Binomial standard error of the second.
    """

    false_alarm_rate: float
    power: float
    false_alarm_error: float
    power_error: float


def check_typicality(
    y: ArrayLike, reference: ArrayLike, *, score: Score = "neighbours", level: float = 0.01
) -> TypicalityCheck:
    """Flags observations that are unlike those of the training, at a stated false-alarm rate.

    The even rows of the reference fit the score and the odd rows calibrate it (a split conformal
    test), so an observation of the reference's distribution is flagged in a share of at most
    ``level`` of cases, whatever that distribution is. An observation that is not flagged may
    still be one that the simulator gets wrong: only differences that the score sees are found.

    Args:
        y: Observations to judge, shape (n, ...).
        reference: Observations of the simulator in random order, not used in training where the
            score is made by the network, shape (m, ...).
        score: "neighbours", the mean distance to the 5 nearest of (at most 2000) fitting rows,
            whitened; "norm", for latents z: how far ``|z|`` is from its median in the fitting
            rows, to both sides; or a callable from rows to one number each, large for unlike ones,
            such as ``lambda y: -flow.log_prob(y)``.
        level: False-alarm rate.

    Returns:
        A `TypicalityCheck`.

    Raises:
        ValueError: Rows of different shapes, NaN, too few reference rows for the level, or an
            unknown score.

    Reference:
        Testing for Outliers with Conformal p-values. Bates, Candès, Lei, Romano, Sesia, 2023.
        https://arxiv.org/abs/2104.08279; Detecting Model Misspecification in Amortized Bayesian
        Inference with Neural Networks. Schmitt, Bürkner, Köthe, Radev, 2021.
        https://arxiv.org/abs/2112.08866
    """
    name = "check_typicality"
    check_level(name, level)
    y, reference = (
        _real_rows(name, what, rows) for what, rows in (("y", y), ("reference", reference))
    )
    if y.ndim < 1 or y.shape[1:] != reference.shape[1:] or 0 in y.shape:
        raise ValueError(
            f"{name}: expected y (n, ...) and reference (m, ...) with rows of one shape, got "
            f"{y.shape} and {reference.shape}; a single observation is y[None]."
        )
    least = 2 * max(int(np.ceil(1 / level - 1e-9)), _NEIGHBOURS + 1)
    if len(reference) < least:
        raise ValueError(
            f"{name}: expected at least {least} reference rows at level {level}, got "
            f"{len(reference)}; simulate more."
        )
    for what, rows in (("y", y), ("reference", reference)):
        bad = int((~np.isfinite(rows.reshape(len(rows), -1))).any(axis=1).sum())
        if bad:
            raise ValueError(
                f"{name}: {bad} of {len(rows)} rows of {what} are NaN or infinite; expected none."
            )
    if isinstance(score, str) and score not in ("neighbours", "norm"):
        raise ValueError(
            f"{name}: expected score to be 'neighbours', 'norm' or a callable, got {score!r}."
        )
    measure = _fitted(score, reference[::2]) if isinstance(score, str) else score
    scores, own = (np.asarray(measure(rows), np.float64) for rows in (y, reference[1::2]))
    if scores.shape != y.shape[:1] or own.shape != reference[1::2].shape[:1]:
        raise ValueError(
            f"{name}: expected score(rows) to give one number a row, shape {y.shape[:1]}, got "
            f"{scores.shape}."
        )
    if np.isnan(scores).any() or np.isnan(own).any():
        raise ValueError(f"{name}: score gave NaN; expected numbers (infinite ones are allowed).")
    own = np.sort(own)
    m = len(own)
    p_values = (1 + m - np.searchsorted(own, scores, side="left")) / (m + 1)
    flagged = p_values <= level
    rank = int(np.floor(level * (m + 1) + 1e-9))
    chance = _false_alarm_tail(int(flagged.sum()), len(y), rank, m)
    return TypicalityCheck("typicality", chance > level, level, flagged, p_values, scores, own)


def typicality_rates(
    in_distribution: ArrayLike,
    other: ArrayLike,
    reference: ArrayLike,
    *,
    score: Score = "neighbours",
    level: float = 0.01,
) -> TypicalityRates:
    """Measures the false-alarm rate and the power of `check_typicality`.

    Args:
        in_distribution: Observations of the reference's distribution, shape (n, ...).
        other: Observations of another, shape (k, ...).
        reference: As for `check_typicality`, shape (m, ...).
        score: As for `check_typicality`.
        level: The false-alarm rate that is promised.

    Returns:
        The `TypicalityRates`. Over one reference set of m rows the false-alarm rate itself varies
        by about ``sqrt(2 level / m)``.

    Raises:
        ValueError: As `check_typicality`.
    """
    rates = [
        float(check_typicality(rows, reference, score=score, level=level).flagged.mean())
        for rows in (in_distribution, other)
    ]
    errors = [
        float(np.sqrt(rate * (1 - rate) / len(np.asarray(rows))))
        for rate, rows in zip(rates, (in_distribution, other), strict=True)
    ]
    return TypicalityRates(*rates, *errors)


def _real_rows(name: str, what: str, rows: ArrayLike) -> np.ndarray:
    found = np.asarray(rows)
    if not (
        np.issubdtype(found.dtype, np.number) or found.dtype == bool or found.dtype.kind == "V"
    ):
        raise ValueError(
            f"{name}: expected {what} to be an array of numbers, got {type(rows).__name__} of "
            f"{found.dtype}; give the arrays of a dict one by one."
        )
    if np.iscomplexobj(found):
        raise ValueError(
            f"{name}: expected real numbers in {what}, got {found.dtype}; give real and imaginary "
            "parts side by side."
        )
    return found


def _fitted(score: str, rows: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    flat = rows.reshape(len(rows), -1).astype(np.float64)
    if score == "norm":
        middle = np.median(_norms(rows))
        return lambda y: np.abs(_norms(y) - middle)
    mean = flat.mean(axis=0)
    _, singular, axes = np.linalg.svd(flat - mean, full_matrices=False)
    deviation = singular / np.sqrt(len(flat))
    floor = np.sqrt(_EIGENVALUE_FLOOR) * (deviation[0] if deviation[0] > 0 else 1.0)
    whiten = axes.T / np.maximum(deviation, floor)
    near = (flat[:_MOST_NEIGHBOURS_FROM] - mean) @ whiten

    def distance(y: np.ndarray) -> np.ndarray:
        found = []
        for start in range(0, len(y), 500):
            centred = y[start : start + 500].reshape(-1, flat.shape[1]) - mean
            outside = ((centred - centred @ axes.T @ axes) / floor) ** 2  # of the rows' span
            part = centred @ whiten
            own = (part**2).sum(1) + outside.sum(1)
            squares = own[:, None] + (near**2).sum(1) - 2 * part @ near.T
            least = np.partition(np.maximum(squares, 0), _NEIGHBOURS - 1, axis=1)
            found.append(np.sqrt(least[:, :_NEIGHBOURS]).mean(axis=1))
        return np.concatenate(found)

    return distance


def _norms(rows: np.ndarray) -> np.ndarray:
    return np.linalg.norm(rows.reshape(len(rows), -1).astype(np.float64), axis=1)


def _false_alarm_tail(flags: int, n: int, rank: int, m: int) -> float:
    """P(at least ``flags`` of n new scores exceed the ``rank``-th largest of m exchangeable)."""

    def choose(a: Any, b: Any) -> Any:
        return gammaln(a + 1) - gammaln(b + 1) - gammaln(a - b + 1)

    j = np.arange(flags, n + 1)
    ways = choose(j + rank - 1, j) + choose(n - j + m - rank, n - j) - choose(n + m, n)
    return float(min(1.0, np.exp(ways).sum()))

"""What `check_bijector` found: one result a check, and a readable table of them."""

from dataclasses import dataclass

import numpy as np

LAWS = {
    1: "shapes",
    2: "round trip",
    3: "log_det",
    4: "transforms",
    5: "gradients",
    6: "extremes",
    7: "errors",
}


MOST_ALLOWED = 0.05
"""A row whose round-off may be more than this part of 1 + the number's size says nothing."""


class BijectorLawError(AssertionError):
    """A bijector breaks a law; the text is the report, which `report` holds.

    Args:
        report: The report of `check_bijector`.
    """

    def __init__(self, report: "BijectorReport") -> None:
        """See the class."""
        super().__init__(str(report))
        self.report = report


@dataclass(frozen=True)
class LawResult:
    """One check of one law.

    Attributes:
        law: Number of the law, 1 to 7.
        check: What was checked.
        passed: Whether it holds.
        error: The measured error where a number was compared, in the unit of that number (that
            of the event, or nats for log-determinants), at the row closest to its tolerance.
        tolerance: The error that would have been allowed in that row.
        message: What went wrong and what to do; empty where the check passed.
    """

    law: int
    check: str
    passed: bool
    error: float | None = None
    tolerance: float | None = None
    message: str = ""


@dataclass(frozen=True)
class BijectorReport:
    """All results of `check_bijector`; true where every law holds.

    Attributes:
        subject: What was checked: the bijector's name, its shapes and the floating type.
        results: One entry a check, in the order of the laws.
    """

    subject: str
    results: tuple[LawResult, ...]

    @property
    def passed(self) -> bool:
        """Whether every check passed."""
        return all(result.passed for result in self.results)

    @property
    def failures(self) -> tuple[LawResult, ...]:
        """The checks that did not pass."""
        return tuple(result for result in self.results if not result.passed)

    def raise_if_failed(self) -> None:
        """Raise if a law is broken.

        Raises:
            BijectorLawError: If some check did not pass.
        """
        if not self.passed:
            raise BijectorLawError(self)

    def __bool__(self) -> bool:
        """Whether every check passed."""
        return self.passed

    def __str__(self) -> str:
        """A table of the checks, with an explanation below each that failed."""
        failed = len(self.failures)
        verdict = f"{failed} of {len(self.results)} checks FAILED" if failed else "all laws hold"
        width = max((len(result.check) for result in self.results), default=0)
        lines = [
            f"{self.subject}: {verdict}",
            f"  {'law':<12}  {'check':<{width}}  {'error':>8}  {'allowed':>8}",
        ]
        for result in self.results:
            numbers = "  ".join(f"{_number(n):>8}" for n in (result.error, result.tolerance))
            verdict = "ok" if result.passed else "FAILED"
            law = f"{result.law} {LAWS[result.law]}"
            lines.append(f"  {law:<12}  {result.check:<{width}}  {numbers}  {verdict}")
            lines += [f"      {line}" for line in result.message.splitlines()]
        return "\n".join(lines)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.1e}"


def verdict(law: int, check: str, problem: str) -> LawResult:
    """Make a result of a check that compares no numbers.

    Args:
        law: Number of the law.
        check: What was checked.
        problem: What went wrong, empty if nothing did.

    Returns:
        The result.
    """
    return LawResult(law, check, not problem, message=problem)


def compare(
    law: int,
    check: str,
    got: np.ndarray,
    expected: np.ndarray,
    allowed: np.ndarray,
    explanation: str = "",
) -> LawResult:
    """Compare numbers row by row, and judge the row whose error is closest to what is allowed.

    Rows where round-off alone may spoil the result must be finite and are not judged further.

    Args:
        law: Number of the law.
        check: What was checked.
        got: Values of shape `(rows,)` or `(rows, n)`.
        expected: What they should be, in the same shape.
        allowed: Largest absolute error of each row, shape `(rows,)`.
        explanation: What a failure means.

    Returns:
        The result.
    """
    got, expected = (a.reshape(a.shape[0], -1) for a in (got, expected))
    errors = np.abs(got - expected).max(axis=1, initial=0.0)
    finite = np.isfinite(errors)
    most = MOST_ALLOWED * (1 + np.abs(expected).max(axis=1, initial=0.0))
    judged = (allowed <= most) | ~finite
    if not judged.any():
        return verdict(
            law,
            check,
            f"the map is too close to singular here: round-off alone may give {allowed.min():.1e}; "
            "check in float64, at other x, or with a smaller perturbation",
        )
    ratios = np.where(finite, errors / allowed, np.inf)
    row = int(np.argmax(np.where(judged, ratios, -1.0)))
    passed = bool(ratios[row] <= 1)
    message = ""
    if not passed:
        message = f"{explanation}\nin row {row}: got {_show(got[row])}, expected "
        message = (message + _show(expected[row])).strip()
    return LawResult(law, check, passed, float(errors[row]), float(allowed[row]), message)


def _show(values: np.ndarray) -> str:
    flat = np.ravel(values)
    dots = ", ..." if flat.size > 6 else ""
    return "[" + ", ".join(f"{value:.6g}" for value in flat[:6]) + dots + "]"

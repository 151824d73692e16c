"""Times programs in turn, so that all see the same machine."""

import os
import statistics
import time
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Protocol

TURN_SECONDS = 0.05
"""A program runs about so long at a time."""
PAUSE_SECONDS = 0.005
"""Between two turns, in which the threads of the one before go to sleep."""


class Timed(Protocol):
    """Something that can be run a number of times."""

    def run(self, calls: int) -> float:
        """Runs it, and returns the seconds that one call took."""
        ...


class Skipped(Exception):
    """A program that cannot be made or run; says why in a word."""


def time_in_turn(
    programs: Mapping[str, Timed], repeats: int
) -> tuple[dict[str, list[float]], dict[str, str]]:
    """Gives each program's seconds in every round, and why some have none; the order alternates."""
    calls, skipped = {}, {}
    for key, program in programs.items():
        try:
            seconds = program.run(1)
            if seconds < 100 * TURN_SECONDS:  # the first call compiles
                seconds = min(program.run(1) for _ in range(2))
        except Skipped as reason:
            skipped[key] = str(reason)
            continue
        calls[key] = max(1, int(TURN_SECONDS / seconds))
    rounds: dict[str, list[float]] = {key: [] for key in calls}
    for i in range(repeats):
        for key in list(calls)[:: 1 if i % 2 else -1]:
            time.sleep(PAUSE_SECONDS)
            rounds[key].append(programs[key].run(calls[key]))
    return rounds, skipped


def paired_ratio(times: list[float], others: list[float]) -> dict[str, float]:
    """Median and quartiles of the rounds' ratios."""
    ratios = [a / b for a, b in zip(times, others, strict=True)]
    low, _, high = statistics.quantiles(ratios * 2, n=4, method="inclusive")
    return {"median": statistics.median(ratios), "p25": low, "p75": high}


def fastest_peer(ratios: Mapping[str, Mapping[str, float]]) -> str | None:
    """The peer of whose time jinn takes the largest part; None where there is none."""
    return max(ratios, key=lambda peer: ratios[peer]["median"]) if ratios else None


def milliseconds(seconds: float) -> str:
    """Three digits, and no exponent."""
    value = 1e3 * seconds
    return f"{value:.0f}" if value >= 99.95 else f"{value:#.3g}"


def ratio_words(ratio: Mapping[str, float]) -> str:
    """A ratio's median and quartiles."""
    return "{median:.2f} ({p25:.2f}-{p75:.2f})".format(**ratio)


def skipped(results: list[dict[str, Any]]) -> dict[str, dict[str, list[str]]]:
    """For each library the reasons why it was skipped, and in which cases."""
    words: dict[str, dict[str, list[str]]] = {}
    for result in results:
        for library, reason in result["skipped"].items():
            cases = words.setdefault(library, {}).setdefault(reason, [])
            if result["case"] not in cases:
                cases.append(result["case"])
    return words


def installed(package: str) -> str | None:
    """A package's version, or None where it is absent."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def threads() -> int:
    """Cores that this process may use: as many threads for torch as for JAX."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1

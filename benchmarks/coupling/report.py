"""Medians, ratios and verdicts of the rounds, as tables and as a picture."""

import statistics
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
from rich import box
from rich.table import Table

from benchmarks.coupling.cases import CASES, Case
from benchmarks.coupling.libraries import PEERS
from benchmarks.timing import fastest_peer, milliseconds, paired_ratio, ratio_words

PEER_TARGET = 0.9
"""log_prob and sampling: at most this fraction of the fastest peer's time, or ..."""
FLOOR_TARGET = 1.25
"""... at most so many times the matrix products alone."""
COLORS = dict(zip(("jinn", *PEERS), plt.get_cmap("tab10").colors, strict=False))  # pyright: ignore[reportAttributeAccessIssue]


def summarise(result: dict[str, Any]) -> dict[str, Any]:
    """Gives medians, jinn's ratios to the floor and to the fastest peer, and the verdict.

    A ratio is the median of the rounds' ratios; the fastest peer is the one with the largest.
    """
    seconds = result["seconds"]
    to_floor = {key: paired_ratio(times, seconds["floor"]) for key, times in seconds.items()}
    ratios = {
        peer: paired_ratio(seconds["jinn"], seconds[peer]) for peer in PEERS if peer in seconds
    }
    fastest = fastest_peer(ratios)
    of_peer = ratios[fastest]["median"] if fastest else None
    case = CASES[result["case"]]
    return {
        "median_seconds": {key: statistics.median(times) for key, times in seconds.items()},
        "to_floor": to_floor,
        "jinn_to_peer": ratios,
        "fastest_peer": fastest,
        "target": target(case, result["program"]),
        "met": verdict(case, result["program"], to_floor["jinn"]["median"], of_peer),
    }


def only_peer_counts(case: Case, program: str) -> bool:
    """Whether the floor is no target: in training steps, and for a million samples."""
    return program == "step" or case.points > 10_000


def target(case: Case, program: str) -> str:
    """The target in words."""
    if only_peer_counts(case, program):
        return f"<= {case.target} peer"
    return f"<= {PEER_TARGET} peer or <= {FLOOR_TARGET} floor"


def verdict(case: Case, program: str, of_floor: float, of_peer: float | None) -> bool | None:
    """Whether the target is met; None where that needs a peer and there is none."""
    if only_peer_counts(case, program):
        return None if of_peer is None else of_peer <= case.target
    if of_floor <= FLOOR_TARGET:
        return True
    return None if of_peer is None else of_peer <= PEER_TARGET


def make_tables(results: list[dict[str, Any]], libraries: tuple[str, ...]) -> list[Table]:
    """Lays out the medians, and jinn's ratios beside the targets."""
    style: dict[str, Any] = {"title_justify": "left", "box": box.SIMPLE_HEAD, "padding": (0, 1)}
    times = Table("", title="Median milliseconds", **style)
    for name in ("floor", *libraries):
        times.add_column(name, justify="right")
    ratios = Table("", title="jinn's time, median and quartiles of the rounds' ratios", **style)
    for name in ("/ floor", "/ fastest peer", "target"):
        ratios.add_column(name)
    for result in results:
        summary, medians = result["summary"], result["summary"]["median_seconds"]
        names = ("floor", *libraries)
        cells = [milliseconds(medians[name]) if name in medians else "-" for name in names]
        times.add_row(label(result), *cells)
        fastest = summary["fastest_peer"]
        peer = f"{ratio_words(summary['jinn_to_peer'][fastest])} {fastest}" if fastest else "-"
        word = {True: "met", False: "missed", None: "no peer"}[summary["met"]]
        of_floor = ratio_words(summary["to_floor"]["jinn"])
        ratios.add_row(label(result), of_floor, peer, f"{summary['target']}: {word}")
    return [times, ratios]


def label(result: dict[str, Any]) -> str:
    """The case and what is timed."""
    return f"{result['case']} {result['program']}"


def draw(path: Path, results: list[dict[str, Any]]) -> None:
    """Draws each library's time as a multiple of the floor's."""
    figure, axis = plt.subplots(figsize=(8, 0.62 * len(results) + 1.4), layout="constrained")
    for row, result in enumerate(results):
        ratios = result["summary"]["to_floor"]
        for library, color in COLORS.items():
            if library in ratios:
                ratio = ratios[library]
                axis.plot([ratio["p25"], ratio["p75"]], [row, row], color=color, lw=1, alpha=0.6)
                jinn = library == "jinn"
                axis.plot(
                    ratio["median"],
                    row,
                    marker="D" if jinn else "o",
                    ms=7 if jinn else 6,
                    zorder=4 if jinn else 3,
                    ls="",
                    color=color,
                    label=library,
                )
    axis.axvline(1, color="0.4", lw=1)
    axis.set_xscale("log")
    ticks = [t for t in (1, 1.5, 2, 3, 5, 10, 20, 50) if t <= 1.3 * axis.get_xlim()[1]]
    axis.set_xticks(ticks, [f"{t:g}" for t in ticks])
    axis.minorticks_off()
    axis.set_yticks(range(len(results)), [label(r) for r in results])
    axis.invert_yaxis()
    axis.grid(axis="y", color="0.9")
    axis.set_xlabel("time / time of the matrix products alone (line: quartiles of the rounds)")
    handles, labels = axis.get_legend_handles_labels()
    unique = dict(zip(labels, handles, strict=True))
    order = [name for name in COLORS if name in unique]
    figure.legend(
        [unique[name] for name in order],
        order,
        loc="outside upper center",
        ncols=len(order),
        frameon=False,
    )
    axis.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=150)
    plt.close(figure)

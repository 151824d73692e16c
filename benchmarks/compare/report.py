"""Medians and ratios of all workloads, as one table and one picture."""

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
from rich import box
from rich.table import Table

from benchmarks.compare.workloads import PEERS, WORKLOADS
from benchmarks.timing import fastest_peer, milliseconds, paired_ratio, ratio_words

TARGETS = {"largest": 1.0, "median": 0.75, "floor": 1.3}
"""At most: jinn's time in the fastest peer's in every row and in the median row, and in that of the
matrix products alone where the hidden layers have 256 units."""
SIDE = ("floor", "convolutions", "convolutions, JAX's")
"""Programs that are no flows."""


def summarise(seconds: dict[str, list[float]]) -> dict[str, Any]:
    """Medians, and jinn's ratios to each peer and to the floor; variants of jinn are left out."""
    peers = [name for name in seconds if not name.startswith("jinn") and name not in SIDE]
    ratios = {peer: paired_ratio(seconds["jinn"], seconds[peer]) for peer in peers}
    floor = paired_ratio(seconds["jinn"], seconds["floor"]) if "floor" in seconds else None
    return {
        "median_seconds": {
            name: statistics.median(seconds[name]) for name in ("jinn", *peers) if name in seconds
        },
        "jinn_to_peer": ratios,
        "fastest_peer": fastest_peer(ratios),
        "jinn_to_floor": floor,
    }


def figures(results: Sequence[dict[str, Any]]) -> dict[str, float]:
    """What the targets are about, as far as it was measured."""
    found = [r["jinn_to_peer"][r["fastest_peer"]]["median"] for r in results if r["fastest_peer"]]
    floors = [
        result["jinn_to_floor"]["median"]
        for result in results
        if result["jinn_to_floor"] and WORKLOADS[result["case"]].floor
    ]
    named: dict[str, float] = {}
    if found:
        named |= {"largest": max(found), "median": statistics.median(found)}
        named["rows won"] = sum(ratio < 1 for ratio in found) / len(found)
    if floors:
        named["floor"] = max(floors)
    return named


def rows(results: Sequence[dict[str, Any]]) -> list[list[str]]:
    """Cells: the row's name, medians in ms, ratios with quartiles."""
    found = []
    for result in results:
        medians, fastest = result["median_seconds"], result["fastest_peer"]
        peer = f"{ratio_words(result['jinn_to_peer'][fastest])} {fastest}" if fastest else "–"
        floor = ratio_words(result["jinn_to_floor"]) if result["jinn_to_floor"] else "–"
        times = [milliseconds(medians[name]) if name in medians else "–" for name in columns()]
        found.append([_label(result), *times, peer, floor])
    return found


def columns() -> tuple[str, ...]:
    """Libraries of the table."""
    return ("jinn", *PEERS)


def make_tables(results: list[dict[str, Any]]) -> list[Table]:
    """The table for a terminal, in two parts."""
    style: dict[str, Any] = {"title_justify": "left", "box": box.SIMPLE_HEAD, "padding": (0, 1)}
    times = Table("", title="Median milliseconds", **style)
    for name in columns():
        times.add_column(name, justify="right")
    ratios = Table("", "/ fastest peer", "/ floor", title="jinn's time, quartiles", **style)
    for label, *cells in rows(results):
        times.add_row(label, *cells[:-2])
        ratios.add_row(label, *cells[-2:])
    words = [
        f"{name} {value:.2f}" + (f" (target {TARGETS[name]:g})" if name in TARGETS else "")
        for name, value in figures(results).items()
    ]
    ratios.caption = ", ".join(words)
    return [times, ratios]


def write(path: Path, results: list[dict[str, Any]]) -> None:
    """Writes the table as Markdown beside the picture, which it draws."""
    heads = ["ms, medians", *columns(), "jinn / fastest peer", "jinn / floor"]
    lines = [heads, ["---"] * len(heads), *rows(results)]
    text = "".join(f"| {' | '.join(line)} |\n" for line in lines)
    path.with_suffix(".md").write_text(text)
    draw(path, results)


def draw(path: Path, results: Sequence[dict[str, Any]]) -> None:
    """Draws every peer's time as a multiple of jinn's, with quartiles."""
    figure, axis = plt.subplots(figsize=(8, 0.26 * len(results) + 1.4), layout="constrained")
    seen = set()
    for row, result in enumerate(results):
        for i, peer in enumerate(PEERS):
            ratio = result["jinn_to_peer"].get(peer)
            if ratio is None:
                continue
            axis.plot([1 / ratio["p75"], 1 / ratio["p25"]], [row, row], f"C{i}-", alpha=0.5)
            label = None if peer in seen else peer
            axis.plot(1 / ratio["median"], row, f"C{i}o", ms=5, label=label)
            seen.add(peer)
    axis.axvline(1, color="0.3", lw=1)
    axis.set_xscale("log")
    axis.set_xlabel("time / jinn's time (line: quartiles of the rounds)")
    axis.set_yticks(range(len(results)), [_label(result) for result in results], fontsize=7)
    axis.invert_yaxis()
    if seen:
        figure.legend(loc="outside upper center", ncols=len(seen), frameon=False)
    axis.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=150)
    plt.close(figure)


def _label(result: dict[str, Any]) -> str:
    return f"{result['case']}, {result['program']}, {result['batch']}"

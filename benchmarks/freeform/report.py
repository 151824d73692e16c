"""Medians, ratios and verdicts, as tables and as a picture."""

import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from rich import box
from rich.table import Table

from benchmarks.freeform.cases import TARGETS
from benchmarks.freeform.libraries import PEERS, VARIANTS
from benchmarks.freeform.memory import TARGET, growth
from benchmarks.timing import fastest_peer, milliseconds, paired_ratio, ratio_words

LIBRARIES = ("jinn", *(name for case in VARIANTS.values() for name in case), *PEERS)
COLORS = dict(zip(LIBRARIES, plt.get_cmap("tab10").colors, strict=False))  # pyright: ignore[reportAttributeAccessIssue]


def summarise(result: Mapping[str, Any]) -> dict[str, Any]:
    """Gives medians, jinn's ratios to the others, and the verdict.

    The fastest peer is the one of whose time jinn takes the largest part. A target for estimates
    holds only if jinn's standard error is at most that of the fastest peer.
    """
    seconds, facts = result["seconds"], result["facts"]
    ratios = {
        key: paired_ratio(seconds["jinn"], times) for key, times in seconds.items() if key != "jinn"
    }
    fastest = fastest_peer({key: ratio for key, ratio in ratios.items() if key in PEERS})
    target = TARGETS[result["case"], result["program"]]
    met = None
    if fastest is not None:
        errors = [facts[key].get("standard_error", 0.0) for key in ("jinn", fastest)]
        met = ratios[fastest]["median"] <= target and errors[0] <= errors[1]
    return {
        "median_seconds": {key: statistics.median(times) for key, times in seconds.items()},
        "jinn_to": ratios,
        "fastest_peer": fastest,
        "variants_to_fastest_peer": {
            key: paired_ratio(seconds[key], seconds[fastest])
            for key in VARIANTS[result["case"]]
            if fastest is not None and key in seconds
        },
        "target": target,
        "met": met,
        "apart": _apart(facts),
    }


def _apart(facts: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
    """Root mean square difference of each library's log_prob from jinn's, events by events."""
    reference = facts["jinn"].get("log_prob")
    if reference is None:
        return {}
    return {
        key: float(np.sqrt(np.mean(np.subtract(found["log_prob"], reference) ** 2)))
        for key, found in facts.items()
    }


def make_tables(results: list[dict[str, Any]]) -> list[Table]:
    """Times with what was reached in them, and jinn's ratios beside the targets."""
    style: dict[str, Any] = {"title_justify": "left", "box": box.SIMPLE_HEAD}
    times = Table(title="Times, and what was reached in them", **style)
    for name in ("", " "):
        times.add_column(name, no_wrap=True)
    for name in ("ms", "jinn /", "calls", "std err", "apart", "round trip"):
        times.add_column(name, justify="right")
    verdicts = Table("", title="jinn's time, median and quartiles of the rounds' ratios", **style)
    for name in ("/ fastest peer", "target"):
        verdicts.add_column(name)
    for result in results:
        summary, facts = result["summary"], result["facts"]
        for key, seconds in summary["median_seconds"].items():
            ratio = summary["jinn_to"].get(key)
            times.add_row(
                label(result) if key == "jinn" else "",
                key,
                milliseconds(seconds),
                "" if ratio is None else f"{ratio['median']:.2f}",
                _number(facts[key].get("evaluations")),
                _number(facts[key].get("standard_error")),
                _number(summary["apart"].get(key)),
                _number(facts[key].get("round_trip")),
            )
        fastest = summary["fastest_peer"]
        peer = f"{ratio_words(summary['jinn_to'][fastest])} {fastest}" if fastest else "-"
        word = {True: "met", False: "missed", None: "no peer"}[summary["met"]]
        verdicts.add_row(label(result), peer, f"<= {summary['target']}: {word}")
        for key, ratio in summary["variants_to_fastest_peer"].items():
            verdicts.add_row(f"- {key}", f"{ratio_words(ratio)} {fastest}", "")
    return [times, verdicts]


def memory_table(memory: Mapping[str, Mapping[str, Mapping[int, int]]]) -> Table:
    """Megabytes of temporaries, and how they grow."""
    title = "Temporary memory of a gradient, MB"
    table = Table("", title=title, title_justify="left", box=box.SIMPLE_HEAD)
    for name in ("fewest", "", "", "most", "most / fewest"):
        table.add_column(name, justify="right")
    for kind, unit in (("series", "terms"), ("adjoints", "steps")):
        for name, found in memory[kind].items():
            cells = [f"{count / 1e6:.2f} ({n})" for n, count in sorted(found.items())]
            cells[1:1] = [""] * (4 - len(cells))
            grown = growth(dict(found))
            target = ""
            if kind == "series":
                target = f", <= {TARGET}: {'met' if grown <= TARGET else 'missed'}"
            table.add_row(f"{name} ({unit})", *cells, f"{grown:.3f}{target}")
    return table


def label(result: Mapping[str, Any]) -> str:
    """The case and what is timed."""
    return f"{result['case']} {result['program']}"


def draw(path: Path, results: list[dict[str, Any]], memory: Mapping[str, Any] | None) -> None:
    """Draws the times of all libraries, and the memory of the adjoints."""
    figure, axes = plt.subplots(
        1, 2, figsize=(10, 3.6), layout="constrained", width_ratios=(3, 2), squeeze=False
    )
    times, bytes_axis = axes[0]
    for row, result in enumerate(results):
        for library, rounds in result["seconds"].items():
            low, middle, high = np.quantile(1e3 * np.asarray(rounds), [0.25, 0.5, 0.75])
            color = COLORS[library]
            times.plot([low, high], [row, row], color=color, lw=1, alpha=0.6)
            jinn = library == "jinn"
            marker = "D" if jinn else "o"
            times.plot(middle, row, marker, color=color, label=library, ms=7 if jinn else 6)
    times.set_xscale("log")
    times.set_yticks(range(len(results)), [label(r) for r in results])
    times.invert_yaxis()
    times.set_xlabel("ms (line: quartiles of the rounds)")
    handles, labels = times.get_legend_handles_labels()
    unique = dict(zip(labels, handles, strict=True))
    figure.legend(
        unique.values(), unique.keys(), loc="outside upper left", ncols=len(unique), frameon=False
    )
    for name, found in (memory or {"adjoints": {}})["adjoints"].items():
        bytes_axis.plot(list(found), [n / 1e6 for n in found.values()], "o-", label=name)
    if memory:
        bytes_axis.set_xscale("log", base=2)
        bytes_axis.set_yscale("log")
        bytes_axis.set_xlabel("steps of the solve")
        bytes_axis.set_ylabel("temporary memory of a gradient, MB")
        bytes_axis.legend(frameon=False)
    else:
        bytes_axis.set_axis_off()
    for axis in (times, bytes_axis):
        axis.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=150)
    plt.close(figure)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}"

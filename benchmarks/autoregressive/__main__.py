"""``python -m benchmarks.autoregressive``: MAFs of jinn against those of other libraries."""

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
from rich import box
from rich.console import Console
from rich.table import Table

from benchmarks.autoregressive.cases import COMPARISONS, GROWTH, smoke
from benchmarks.autoregressive.measure import PEERS, compare, grow, torch_process
from benchmarks.program import carry_out, make_parser
from benchmarks.timing import milliseconds, ratio_words

CASES = (*COMPARISONS, "growth")
ROUNDS = 12


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Reads the command line."""
    parser = make_parser("autoregressive", __doc__, rounds=ROUNDS)
    parser.add_argument("--cases", nargs="+", choices=CASES, default=CASES)
    parser.add_argument("--peers", nargs="*", choices=PEERS, default=list(PEERS))
    return parser.parse_args(arguments)


def run(options: argparse.Namespace, console: Console) -> Iterator[dict[str, Any]]:
    """Measures every case."""
    libraries, process = ("jinn", *options.peers), torch_process()
    rounds = options.repeats or (2 if options.smoke else ROUNDS)
    try:
        for name in options.cases:
            if name == "growth":
                console.print("growth: samples at event sizes " + ", ".join(map(str, GROWTH)))
                cases = {n: smoke(c) if options.smoke else c for n, c in GROWTH.items()}
                yield grow(cases, rounds, process)
                continue
            comparison = COMPARISONS[name]
            case = smoke(comparison.case) if options.smoke else comparison.case
            console.print(f"{name}: {case.title}")
            yield compare(comparison, case, libraries, rounds, process)
    finally:
        process.close()


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the benchmark as the command line says; Ctrl-C keeps what is measured."""
    options, console = parse(arguments), Console()
    carry_out(
        "autoregressive",
        arguments,
        options,
        run(options, console),
        console,
        cases={name: asdict(comparison) for name, comparison in COMPARISONS.items()},
        peers=("torch", *PEERS),
        tables=lambda results: make_tables(results, ("jinn", *options.peers)),
        draw=draw,
    )


def make_tables(results: list[dict[str, Any]], libraries: tuple[str, ...]) -> list[Table]:
    """Lays out the medians and jinn's ratios beside the targets, and the growth."""
    style: dict[str, Any] = {"title_justify": "left", "box": box.SIMPLE_HEAD, "padding": (0, 1)}
    times = Table("", *libraries, "/ fastest peer", "target", title="Median milliseconds", **style)
    sizes = Table("event", "ms", "an element / at half the event", title="Growth", **style)
    for result in results:
        medians = result["median_seconds"]
        word = {True: "met", False: "missed", None: "no peer"}[result["met"]]
        if result["case"] == "growth":
            for event, seconds in medians.items():
                ratio = result["an_element_to_smaller_event"].get(event)
                sizes.add_row(event, milliseconds(seconds), ratio_words(ratio) if ratio else "-")
            sizes.caption = f"at most {result['target']}: {word}"
            continue
        fastest = result["fastest_peer"]
        ratio = f"{ratio_words(result['jinn_to_peer'][fastest])} {fastest}" if fastest else "-"
        cells = [milliseconds(medians[name]) if name in medians else "-" for name in libraries]
        times.add_row(result["case"], *cells, ratio, f"<= {result['target']} peer: {word}")
    return [table for table in (times, sizes) if table.row_count]


def draw(path: Path, results: list[dict[str, Any]]) -> None:
    """Draws each library's time as a multiple of jinn's, and jinn's time over the event size."""
    figure, axes = plt.subplots(1, 2, figsize=(9, 3), layout="constrained")
    compared = [result for result in results if result["case"] != "growth"]
    for row, result in enumerate(compared):
        for i, peer in enumerate(PEERS):
            if peer in result["jinn_to_peer"]:
                ratio = 1 / result["jinn_to_peer"][peer]["median"]
                label = peer if row == 0 else None
                axes[0].plot(ratio, row, "o", color=f"C{i}", label=label)
    axes[0].axvline(1, color="0.4", lw=1)
    axes[0].set(xscale="log", xlabel="time / jinn's time")
    axes[0].set_yticks(range(len(compared)), [result["case"] for result in compared])
    axes[0].invert_yaxis()
    if any(result["jinn_to_peer"] for result in compared):
        axes[0].legend(frameon=False)
    for result in results:
        if result["case"] == "growth":
            medians = result["median_seconds"]
            events, times = list(map(int, medians)), [1e3 * t for t in medians.values()]
            axes[1].loglog(events, times, "o-", label="jinn")
            axes[1].loglog(events, [times[0] * n / events[0] for n in events], "k:", label="linear")
            axes[1].set_xticks(events, list(medians))
            axes[1].minorticks_off()
            axes[1].set(xlabel="event size", ylabel="ms for a draw")
            axes[1].legend(frameon=False)
    figure.savefig(path, dpi=150)
    plt.close(figure)


if __name__ == "__main__":
    main()

"""``python -m benchmarks.images``: multi-scale flows and Haar beside other libraries."""

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
from rich import box
from rich.console import Console
from rich.table import Table

from benchmarks.images.cases import CASES, DEPTHS, PEERS, WAVELETS, Wavelets, smoke
from benchmarks.images.measure import compare, memory, torch_process, transform
from benchmarks.program import carry_out, make_parser
from benchmarks.timing import milliseconds, ratio_words

CHOICES = (*CASES, "haar", "memory")
ROUNDS = 12


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Reads the command line."""
    parser = make_parser("images", __doc__, rounds=ROUNDS)
    parser.add_argument("--cases", nargs="+", choices=CHOICES, default=CHOICES)
    return parser.parse_args(arguments)


def run(options: argparse.Namespace, console: Console) -> Iterator[dict[str, Any]]:
    """Measures every case."""
    process = torch_process()
    rounds = options.repeats or (2 if options.smoke else ROUNDS)
    try:
        for name in options.cases:
            if name == "haar":
                wavelets = Wavelets(4, 8, 3) if options.smoke else WAVELETS
                console.print(f"haar: {wavelets}")
                yield transform(wavelets, rounds, process)
                continue
            case = CASES.get(name, CASES["conditional"])
            case = smoke(case) if options.smoke else case
            console.print(f"{name}: {case.title}")
            if name == "memory":
                yield memory(case, (1, 2) if options.smoke else DEPTHS)
                continue
            for program in ("step", "sample"):
                yield compare(case, program, rounds, process)
    finally:
        process.close()


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the benchmark as the command line says; Ctrl-C keeps what is measured."""
    options, console = parse(arguments), Console()
    carry_out(
        "images",
        arguments,
        options,
        run(options, console),
        console,
        cases={name: asdict(case) for name, case in CASES.items()},
        peers=("torch", *sorted(set(PEERS.values()))),
        tables=make_tables,
        draw=draw,
    )


def make_tables(results: list[dict[str, Any]]) -> list[Table]:
    """Lays out the medians, the ratios beside the targets, and the memory."""
    style: dict[str, Any] = {"title_justify": "left", "box": box.SIMPLE_HEAD, "padding": (0, 1)}
    columns = ("", "median ms", "jinn's time in others'", "target")
    times = Table(*columns, title="Times", **style)
    sizes = Table("", title="MB of temporaries of a gradient, by blocks a scale", **style)
    for result in results:
        if result["case"] == "memory":
            for i, (backprop, found) in enumerate(result["bytes"].items()):
                if i == 0:
                    for depth in found:
                        sizes.add_column(str(depth), justify="right")
                sizes.add_row(backprop, *(f"{n / 1e6:.1f}" for n in found.values()))
            continue
        medians = ", ".join(
            f"{name} {milliseconds(seconds)}" for name, seconds in result["median_seconds"].items()
        )
        ratios = "\n".join(f"{name}: {ratio_words(r)}" for name, r in result["ratios"].items())
        word = {True: "met", False: "missed", None: "no peer"}[result["met"]]
        targets = [f"{name} <= {limit}" for name, limit in result["targets"].items()]
        times.add_row(result["case"], medians, ratios, "\n".join([*targets, word]))
    return [table for table in (times, sizes) if table.row_count]


def draw(path: Path, results: list[dict[str, Any]]) -> None:
    """Draws jinn's time as a multiple of the others', and the memory."""
    figure, axes = plt.subplots(1, 2, figsize=(9, 3), layout="constrained")
    rows = [
        (f"{result['case']}: {name}", ratio)
        for result in results
        for name, ratio in result.get("ratios", {}).items()
    ]
    for row, (_, ratio) in enumerate(rows):
        axes[0].plot([ratio["p25"], ratio["p75"]], [row, row], color="C0")
        axes[0].plot(ratio["median"], row, "o", color="C0")
    axes[0].axvline(1, color="0.4", lw=1)
    axes[0].set_yticks(range(len(rows)), [name for name, _ in rows], fontsize=8)
    axes[0].set(xlabel="ratio of times, with quartiles")
    axes[0].invert_yaxis()
    for result in results:
        for backprop, found in result.get("bytes", {}).items():
            axes[1].plot(list(found), [n / 1e6 for n in found.values()], "o-", label=backprop)
    if axes[1].lines:
        axes[1].legend(frameon=False)
    axes[1].set(xlabel="blocks a scale", ylabel="MB of temporaries", ylim=(0, None))
    figure.savefig(path, dpi=150)
    plt.close(figure)


if __name__ == "__main__":
    main()

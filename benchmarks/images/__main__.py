"""``python -m benchmarks.images``: multi-scale flows and Haar beside other libraries."""

import argparse
import json
import shlex
import sys
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
from benchmarks.timing import installed, milliseconds, ratio_words, skipped, threads
from experiments.record import environment

CHOICES = (*CASES, "haar", "memory")


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.images", description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="seconds, to see that it runs")
    parser.add_argument("--cases", nargs="+", choices=CHOICES, default=CHOICES)
    parser.add_argument("--repeats", type=int, help="rounds, 12")
    parser.add_argument("--out", type=Path, default=Path("results/images"))
    options = parser.parse_args(arguments)
    if options.repeats is not None and options.repeats < 1:
        parser.error(f"expected --repeats of at least 1, got {options.repeats}")
    return options


def run(options: argparse.Namespace, console: Console) -> Iterator[dict[str, Any]]:
    """Measures every case."""
    process = torch_process()
    rounds = options.repeats or (2 if options.smoke else 12)
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
    words = sys.argv[1:] if arguments is None else arguments
    options = parse(words)
    console = Console()
    options.out.mkdir(parents=True, exist_ok=True)
    stem = "images-smoke" if options.smoke else "images"
    files = [options.out / f"{stem}.json", options.out / f"{stem}.png"]
    results: list[dict[str, Any]] = []
    record = {
        "benchmark": "images",
        "command": shlex.join(["python", "-m", "benchmarks.images", *words]),
        "cases": {name: asdict(case) for name, case in CASES.items()},
        "results": results,
        "threads": threads(),
        "peers": {name: installed(name) for name in ("torch", *sorted(set(PEERS.values())))},
        "environment": environment(),
    }
    try:
        for result in run(options, console):
            results.append(result)
            files[0].write_text(json.dumps(record, indent=1) + "\n")
    except KeyboardInterrupt:
        console.print("interrupted: what follows is what was measured until then")
    if not results:
        return
    for table in make_tables(results):
        console.print(table)
    for library, reasons in skipped(results).items():
        for reason, cases in reasons.items():
            console.print(f"skipped: {library} in {', '.join(cases)}: {reason}")
    draw(files[1], results)
    console.print("Wrote", *map(str, files))


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

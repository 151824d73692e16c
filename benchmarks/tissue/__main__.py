"""``python -m benchmarks.tissue``: the tissue's forward process, beside other libraries."""

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import matplotlib.pyplot as plt
from rich import box
from rich.console import Console
from rich.table import Table

from benchmarks.program import carry_out, make_parser
from benchmarks.timing import threads
from benchmarks.tissue.measure import PEERS, memory, photons_a_second, spectra_a_second

CASES = ("photons", "memory", "spectra")
ROUNDS = 3


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Reads the command line."""
    parser = make_parser("tissue", __doc__, rounds=ROUNDS)
    parser.add_argument("--cases", nargs="+", choices=CASES, default=CASES)
    parser.add_argument("--photons", type=int, default=10**6)
    parser.add_argument("--python", default=sys.executable, help="interpreter that has the peers")
    return parser.parse_args(arguments)


def run(options: argparse.Namespace, console: Console) -> Iterator[dict[str, Any]]:
    """Measures every case."""
    rounds = options.repeats or (1 if options.smoke else ROUNDS)
    photons = 2000 if options.smoke else options.photons
    for name in options.cases:
        console.print(f"{name} ...")
        if name == "photons":
            yield photons_a_second(photons, rounds, options.python, smoke=options.smoke)
        elif name == "memory":
            yield memory((1000, photons))
        else:
            yield spectra_a_second(2 if options.smoke else 64, rounds)


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the benchmark as the command line says; Ctrl-C keeps what is measured."""
    options, console = parse(arguments), Console()
    if "JAX_NUM_CPU_DEVICES" not in os.environ:  # one for each core, before JAX starts
        jax.config.update("jax_num_cpu_devices", threads())
    carry_out(
        "tissue",
        arguments,
        options,
        run(options, console),
        console,
        cases=CASES,
        peers=PEERS,
        tables=make_tables,
        draw=draw,
    )


def make_tables(results: list[dict[str, Any]]) -> list[Table]:
    """Lays the figures out."""
    style: dict[str, Any] = {"title_justify": "left", "box": box.SIMPLE_HEAD, "padding": (0, 1)}
    tables = []
    for result in results:
        if result["case"] == "photons":
            columns = ("", "photons", "seconds", "CPU seconds", "photons/s")
            table = Table(*columns, title="MCML's three layers", **style)
            for name, found in result["programs"].items():
                speed = f"{found['photons_a_second']:,.0f}"
                seconds = (f"{found[unit]:.3g}" for unit in ("seconds", "cpu_seconds"))
                table.add_row(name, f"{found['photons']:,}", *seconds, speed)
            words = "" if result["met"] is None else ("met" if result["met"] else "missed")
            table.caption = f"target: {result['target_seconds']:g} s, {words}"
        elif result["case"] == "memory":
            table = Table("photons", "MB", title="Arrays of the simulation", **style)
            for count, size in result["bytes"].items():
                table.add_row(f"{int(count):,}", f"{size / 1e6:.2f}")
        else:
            columns = ("tissues", "seconds", "CPU seconds", "spectra/s")
            table = Table(*columns, title="Surrogate, eight bands", **style)
            seconds = (f"{result[unit]:.3g}" for unit in ("seconds", "cpu_seconds"))
            table.add_row(str(result["tissues"]), *seconds, f"{result['spectra_a_second']:,.0f}")
        tables.append(table)
    return tables


def draw(path: Path, results: list[dict[str, Any]]) -> None:
    """Draws photons a second."""
    found = next((r["programs"] for r in results if r["case"] == "photons"), {})
    figure, axes = plt.subplots(figsize=(6, 2.5), layout="constrained")
    axes.barh(list(found), [result["photons_a_second"] for result in found.values()])
    if found:
        axes.set_xscale("log")
    axes.set_xlabel("photons a second, MCML's three layers")
    figure.savefig(path, dpi=120)
    plt.close(figure)


if __name__ == "__main__":
    main()

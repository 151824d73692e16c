"""The command lines that compare libraries: options, results that are kept, a report."""

import argparse
import json
import os
import shlex
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.timing import installed, skipped, threads
from experiments.record import environment

Results = list[dict[str, Any]]


def make_parser(name: str, description: str | None, *, rounds: int) -> argparse.ArgumentParser:
    """Options that all have: --smoke, --repeats and --out.

    Args:
        name: The benchmark's.
        description: What it does.
        rounds: How many there are without --repeats.

    Returns:
        The parser.
    """
    parser = argparse.ArgumentParser(prog=f"python -m benchmarks.{name}", description=description)
    parser.add_argument("--smoke", action="store_true", help="seconds, to see that it runs")
    parser.add_argument("--repeats", type=_positive, help=f"rounds, {rounds}")
    parser.add_argument("--out", type=Path, default=Path("results") / name)
    return parser


def _positive(word: str) -> int:
    if not word.isdecimal() or int(word) < 1:
        raise argparse.ArgumentTypeError(f"expected at least 1, got {word}")
    return int(word)


def carry_out(
    name: str,
    arguments: Sequence[str] | None,
    options: argparse.Namespace,
    measured: Iterable[dict[str, Any]],
    console: Console,
    *,
    cases: Any,
    peers: Iterable[str],
    tables: Callable[[Results], Iterable[Table]],
    draw: Callable[[Path, Results], None],
) -> None:
    """Takes one result after the other, keeps each, then reports; Ctrl-C keeps what is measured.

    Args:
        name: The benchmark's.
        arguments: The words of the command line, or None for those of this process.
        options: What they mean.
        measured: Gives a result, with "case" and "skipped", when it is measured.
        console: Where the report goes.
        cases: What the cases are, for JSON.
        peers: The packages whose versions the record holds.
        tables: Lays the results out.
        draw: Draws them.
    """
    options.out.mkdir(parents=True, exist_ok=True)
    stem = options.out / (f"{name}-smoke" if options.smoke else name)
    words = sys.argv[1:] if arguments is None else arguments
    results: Results = []
    record = {
        "benchmark": name,
        "command": shlex.join(["python", "-m", f"benchmarks.{name}", *words]),
        "cases": cases,
        "results": results,
        "threads": threads(),
        "load_average": {"start": os.getloadavg()},
        "peers": {package: installed(package) for package in peers},
        "environment": environment(),
    }
    try:
        for result in measured:
            results.append(result)
            record["load_average"]["end"] = os.getloadavg()
            stem.with_suffix(".json").write_text(json.dumps(record, indent=1) + "\n")
    except KeyboardInterrupt:
        console.print("interrupted: what follows is what was measured until then")
    if not results:
        return
    for table in tables(results):
        console.print(table)
    for library, reasons in skipped(results).items():
        for reason, names in reasons.items():
            console.print(f"skipped: {library} in {', '.join(names)}: {reason}")
    draw(stem.with_suffix(".png"), results)
    console.print("Wrote", *(str(stem.with_suffix(suffix)) for suffix in (".json", ".png")))

"""``python -m benchmarks.coupling``: coupling flows of jinn against those of other libraries."""

import argparse
import json
import shlex
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks.coupling import report
from benchmarks.coupling.cases import CASES, smoke
from benchmarks.coupling.libraries import PEERS, torch_process
from benchmarks.coupling.timing import measure
from benchmarks.timing import installed, skipped, threads
from experiments.record import environment

PROGRAMS = ("step", "log_prob", "sample")
SMOKE_CASES = ("a-512", "c", "d-b")
MILLION_REPEATS = 3


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.coupling", description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="seconds, to see that it runs")
    parser.add_argument("--cases", nargs="+", choices=CASES, metavar="CASE", help=", ".join(CASES))
    parser.add_argument("--programs", nargs="+", choices=PROGRAMS, default=PROGRAMS)
    parser.add_argument("--peers", nargs="*", choices=PEERS, default=list(PEERS))
    parser.add_argument(
        "--repeats", type=int, help=f"rounds, 20; for a million samples {MILLION_REPEATS}"
    )
    parser.add_argument("--out", type=Path, default=Path("results/coupling"))
    options = parser.parse_args(arguments)
    if options.repeats is not None and options.repeats < 1:
        parser.error(f"expected --repeats of at least 1, got {options.repeats}")
    options.cases = options.cases or (SMOKE_CASES if options.smoke else tuple(CASES))
    return options


def run(options: argparse.Namespace, console: Console) -> Iterator[dict[str, Any]]:
    """Measures every program of every case."""
    libraries = ("jinn", *options.peers)
    process = torch_process()
    try:
        for case in (CASES[name] for name in options.cases):
            repeats = options.repeats or (20 if case.points <= 10_000 else MILLION_REPEATS)
            timed, rounds = (smoke(case), 2) if options.smoke else (case, repeats)
            for program in case.programs:
                if program in options.programs:
                    console.print(f"{case.name} {program}: {case.title}")
                    result = measure(timed, program, libraries, rounds, process)
                    yield result | {"summary": report.summarise(result)}
    finally:
        process.close()


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the benchmark as the command line says; Ctrl-C keeps what is measured."""
    words = sys.argv[1:] if arguments is None else arguments
    options = parse(words)
    console = Console()
    options.out.mkdir(parents=True, exist_ok=True)
    stem = "coupling-smoke" if options.smoke else "coupling"
    files = [options.out / f"{stem}.json", options.out / f"{stem}.png"]
    results: list[dict[str, Any]] = []
    record = {
        "benchmark": "coupling",
        "command": shlex.join(["python", "-m", "benchmarks.coupling", *words]),
        "cases": {name: asdict(CASES[name]) for name in options.cases},
        "results": results,
        "threads": threads(),
        "peers": {name: installed(name) for name in ("torch", *PEERS)},
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
    for table in report.make_tables(results, ("jinn", *options.peers)):
        console.print(table)
    for library, reasons in skipped(results).items():
        for reason, cases in reasons.items():
            console.print(f"skipped: {library} in {', '.join(cases)}: {reason}")
    report.draw(files[1], results)
    console.print("Wrote", *map(str, files))


if __name__ == "__main__":
    main()

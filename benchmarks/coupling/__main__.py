"""``python -m benchmarks.coupling``: coupling flows of jinn against those of other libraries."""

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from rich.console import Console

from benchmarks.coupling import report
from benchmarks.coupling.cases import CASES, smoke
from benchmarks.coupling.libraries import PEERS, torch_process
from benchmarks.coupling.timing import measure
from benchmarks.program import carry_out, make_parser

PROGRAMS = ("step", "log_prob", "sample")
SMOKE_CASES = ("a-512", "c", "d-b")
ROUNDS, MILLION_REPEATS = 20, 3
"""Rounds, and those of a million samples."""


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Reads the command line."""
    parser = make_parser("coupling", __doc__, rounds=ROUNDS)
    parser.add_argument("--cases", nargs="+", choices=CASES, metavar="CASE", help=", ".join(CASES))
    parser.add_argument("--programs", nargs="+", choices=PROGRAMS, default=PROGRAMS)
    parser.add_argument("--peers", nargs="*", choices=PEERS, default=list(PEERS))
    options = parser.parse_args(arguments)
    options.cases = options.cases or (SMOKE_CASES if options.smoke else tuple(CASES))
    return options


def run(options: argparse.Namespace, console: Console) -> Iterator[dict[str, Any]]:
    """Measures every program of every case."""
    libraries = ("jinn", *options.peers)
    process = torch_process()
    try:
        for case in (CASES[name] for name in options.cases):
            repeats = options.repeats or (ROUNDS if case.points <= 10_000 else MILLION_REPEATS)
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
    options, console = parse(arguments), Console()
    carry_out(
        "coupling",
        arguments,
        options,
        run(options, console),
        console,
        cases={name: asdict(CASES[name]) for name in options.cases},
        peers=("torch", *PEERS),
        tables=lambda results: report.make_tables(results, ("jinn", *options.peers)),
        draw=report.draw,
    )


if __name__ == "__main__":
    main()

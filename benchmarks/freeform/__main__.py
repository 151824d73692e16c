"""``python -m benchmarks.freeform``: residual and continuous flows against other libraries."""

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.freeform import memory, report
from benchmarks.freeform.cases import CASES, PROGRAMS, Case, smoke
from benchmarks.freeform.libraries import PEERS, measure, torch_process
from benchmarks.program import Results, carry_out, make_parser

ROUNDS = 20


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Reads the command line."""
    parser = make_parser("freeform", __doc__, rounds=ROUNDS)
    parser.add_argument("--cases", nargs="*", choices=CASES, default=list(CASES))
    parser.add_argument("--peers", nargs="*", choices=PEERS, default=list(PEERS))
    parser.add_argument("--no-memory", dest="memory", action="store_false", help="leave it out")
    return parser.parse_args(arguments)


def run(
    cases: dict[str, Case], options: argparse.Namespace, console: Console
) -> Iterator[dict[str, Any]]:
    """Measures every program of every case, and the memory at last."""
    process = torch_process()
    rounds = options.repeats or (2 if options.smoke else ROUNDS)
    try:
        for case in (cases[name] for name in options.cases):
            for program in PROGRAMS[case.name]:
                console.print(f"{case.name} {program}: {case.title}")
                result = measure(case, program, options.peers, rounds, process)
                yield result | {"summary": report.summarise(result)}
    finally:
        process.close()
    if options.memory:
        console.print("memory: compiling gradients")
        yield measure_memory(cases, small=options.smoke)


def measure_memory(cases: dict[str, Case], *, small: bool) -> dict[str, Any]:
    """Compiles the gradients."""
    terms, steps = ((3, 6), (2,)) if small else (memory.TERMS, memory.STEPS)
    residual: Any = cases["residual"]
    continuous: Any = cases["continuous"]
    return {
        "case": "memory",
        "series": memory.series_memory(residual, terms),
        "adjoints": memory.adjoint_memory(continuous, steps),
        "skipped": {},
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the benchmark as the command line says; Ctrl-C keeps what is measured."""
    options, console = parse(arguments), Console()
    cases = {name: smoke(case) if options.smoke else case for name, case in CASES.items()}
    carry_out(
        "freeform",
        arguments,
        options,
        run(cases, options, console),
        console,
        cases={name: asdict(cases[name]) for name in options.cases},
        peers=("torch", *(name for name in PEERS if " " not in name)),
        tables=make_tables,
        draw=draw,
    )


def make_tables(results: Results) -> list[Table]:
    """Times and verdicts, and the memory."""
    timed, memories = _parted(results)
    tables = report.make_tables(timed) if timed else []
    return [*tables, *map(report.memory_table, memories)]


def draw(path: Path, results: Results) -> None:
    """Draws the times of all libraries, and the memory of the adjoints."""
    timed, memories = _parted(results)
    report.draw(path, timed, memories[0] if memories else None)


def _parted(results: Results) -> tuple[Results, Results]:
    """The results of timed programs, and of memory."""
    memories = [result for result in results if result["case"] == "memory"]
    return [result for result in results if result["case"] != "memory"], memories


if __name__ == "__main__":
    main()

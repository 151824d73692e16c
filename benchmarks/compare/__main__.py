"""``python -m benchmarks.compare``: jinn against every library that is installed, in one table."""

import argparse
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import asdict
from typing import Any

from rich.console import Console

from benchmarks.compare import report
from benchmarks.compare.workloads import PEERS, PROCESSES, SMOKE, WORKLOADS, Workload, smoke
from benchmarks.program import carry_out, make_parser

ROUNDS = 12


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Reads the command line."""
    parser = make_parser("compare", __doc__, rounds=ROUNDS)
    parser.add_argument("--workloads", nargs="+", choices=WORKLOADS, metavar="NAME")
    options = parser.parse_args(arguments)
    options.workloads = options.workloads or (SMOKE if options.smoke else tuple(WORKLOADS))
    return options


def run(workloads: Sequence[Workload], rounds: int, console: Console) -> Iterator[dict[str, Any]]:
    """Measures every program of every workload at every batch size."""
    with ExitStack() as stack:
        processes = {
            family: stack.enter_context(closing(PROCESSES[family]()))
            for family in dict.fromkeys(workload.family for workload in workloads)
        }
        for workload in workloads:
            for batch in workload.batches:
                for program in workload.programs:
                    console.print(f"{workload.name}: {program} of {batch}")
                    process = processes[workload.family]
                    found = workload.measure(program, batch, rounds, process)
                    yield {
                        "case": workload.name,
                        "program": program,
                        "batch": batch,
                        "skipped": found["skipped"],
                        "seconds": found["seconds"],
                        **report.summarise(found["seconds"]),
                    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the benchmark as the command line says; Ctrl-C keeps what is measured."""
    options, console = parse(arguments), Console()
    workloads = [WORKLOADS[name] for name in options.workloads]
    if options.smoke:
        workloads = [smoke(workload) for workload in workloads]
    rounds = options.repeats or (2 if options.smoke else ROUNDS)
    carry_out(
        "compare",
        arguments,
        options,
        run(workloads, rounds, console),
        console,
        cases={workload.name: asdict(workload) for workload in workloads},
        peers=("torch", *PEERS),
        tables=report.make_tables,
        draw=report.write,
    )


if __name__ == "__main__":
    main()

"""``python -m benchmarks.freeform``: residual and continuous flows against other libraries."""

import argparse
import json
import os
import shlex
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks.freeform import memory, report
from benchmarks.freeform.cases import CASES, PROGRAMS, Case, smoke
from benchmarks.freeform.libraries import PEERS, measure, torch_process
from benchmarks.timing import installed, skipped, threads
from experiments.record import environment


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.freeform", description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="seconds, to see that it runs")
    parser.add_argument("--cases", nargs="*", choices=CASES, default=list(CASES))
    parser.add_argument("--peers", nargs="*", choices=PEERS, default=list(PEERS))
    parser.add_argument("--repeats", type=int, default=20, help="rounds, 20")
    parser.add_argument("--no-memory", dest="memory", action="store_false", help="leave it out")
    parser.add_argument("--out", type=Path, default=Path("results/freeform"))
    options = parser.parse_args(arguments)
    if options.repeats < 1:
        parser.error(f"expected --repeats of at least 1, got {options.repeats}")
    return options


def run(
    cases: dict[str, Case], options: argparse.Namespace, console: Console
) -> Iterator[dict[str, Any]]:
    """Measures every program of every case."""
    process = torch_process()
    try:
        for case in cases.values():
            for program in PROGRAMS[case.name]:
                console.print(f"{case.name} {program}: {case.title}")
                repeats = 2 if options.smoke else options.repeats
                result = measure(case, program, options.peers, repeats, process)
                yield result | {"summary": report.summarise(result)}
    finally:
        process.close()


def measure_memory(cases: dict[str, Case], *, small: bool) -> dict[str, Any]:
    """Compiles the gradients."""
    terms, steps = ((3, 6), (2,)) if small else (memory.TERMS, memory.STEPS)
    residual: Any = cases["residual"]
    continuous: Any = cases["continuous"]
    return {
        "series": memory.series_memory(residual, terms),
        "adjoints": memory.adjoint_memory(continuous, steps),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the benchmark as the command line says; Ctrl-C keeps what is measured."""
    words = sys.argv[1:] if arguments is None else arguments
    options = parse(words)
    console = Console()
    options.out.mkdir(parents=True, exist_ok=True)
    stem = "freeform-smoke" if options.smoke else "freeform"
    files = [options.out / f"{stem}.json", options.out / f"{stem}.png"]
    cases = {name: smoke(case) if options.smoke else case for name, case in CASES.items()}
    results: list[dict[str, Any]] = []
    record: dict[str, Any] = {
        "benchmark": "freeform",
        "command": shlex.join(["python", "-m", "benchmarks.freeform", *words]),
        "cases": {name: asdict(cases[name]) for name in options.cases},
        "results": results,
        "memory": None,
        "threads": threads(),
        "load_average": {"start": os.getloadavg()},
        "peers": {name: installed(name) for name in ("torch", *PEERS) if " " not in name},
        "environment": environment(),
    }

    def write() -> None:
        record["load_average"]["end"] = os.getloadavg()
        files[0].write_text(json.dumps(record, indent=1) + "\n")

    try:
        for result in run({name: cases[name] for name in options.cases}, options, console):
            results.append(result)
            write()
        if options.memory:
            console.print("memory: compiling gradients")
            record["memory"] = measure_memory(cases, small=options.smoke)
            write()
    except KeyboardInterrupt:
        console.print("interrupted: what follows is what was measured until then")
    for table in report.make_tables(results) if results else []:
        console.print(table)
    if record["memory"]:
        console.print(report.memory_table(record["memory"]))
    for library, reasons in skipped(results).items():
        for reason, names in reasons.items():
            console.print(f"skipped: {library} in {', '.join(names)}: {reason}")
    if results or record["memory"]:
        report.draw(files[1], results, record["memory"])
        console.print("Wrote", *map(str, files))


if __name__ == "__main__":
    main()

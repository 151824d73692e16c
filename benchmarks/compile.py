"""``python -m benchmarks.compile``: seconds of tracing and compiling against depth.

Flows of `benchmarks.coupling`, at depths of their own, of jinn and of the JAX libraries that are
installed; jinn's layers written out in a `Chain` stand beside its `Stack`.
"""

import argparse
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import jax
import matplotlib.pyplot as plt
from rich import box
from rich.console import Console
from rich.table import Table

import jinn
from benchmarks.compiled import Program
from benchmarks.coupling import jinn_flow, libraries
from benchmarks.coupling.cases import CASES, Case, smoke
from benchmarks.coupling.model import Model, make_program
from benchmarks.program import Results, carry_out, make_parser
from benchmarks.timing import Skipped
from jinn.bijectors import Chain

FLOWS = {"affine": CASES["a-512"], "spline": CASES["c"]}
PEERS = ("flowjax", "bijx", "distrax")
LIBRARIES = ("jinn", "jinn, Chain", *PEERS)
PROGRAMS = ("step", "sample")
DEPTHS = (4, 16, 64)
WRITTEN_OUT, DEEPEST = ("jinn, Chain", "distrax"), 16
"""Those whose layers are not scanned, and their deepest flow: what is deeper takes minutes."""
TARGET = 1.3
"""At most: jinn's seconds at the largest depth to those at the smallest."""
ROUNDS = 3


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Reads the command line."""
    parser = make_parser("compile", __doc__, rounds=ROUNDS)
    parser.add_argument("--flows", nargs="+", choices=FLOWS, default=list(FLOWS))
    parser.add_argument("--libraries", nargs="+", choices=LIBRARIES, default=list(LIBRARIES))
    return parser.parse_args(arguments)


def written_out(case: Case) -> Model:
    """jinn's flow with its layers in a `Chain`."""
    flow: Any = jinn_flow.make_flow(case)
    return jinn_flow.split(jinn.Flow(Chain(list(flow.bijector)), flow.base))


def make(library: str, case: Case, name: str) -> Program:
    """Makes a program of a library, or of jinn's layers written out."""
    if library == "jinn, Chain":
        return make_program(case, written_out(case), name)
    program: Any = libraries.make(library, case, name, libraries.torch_process())[0]
    return program


def compile_anew(library: str, case: Case, name: str) -> dict[str, float]:
    """Seconds of tracing to a jaxpr, lowering to StableHLO, and compiling by XLA.

    Raises:
        Skipped: If the library is absent.
    """
    jax.clear_caches()
    program = make(library, case, name)
    arguments = program.constants if program.state is None else (program.state, *program.constants)
    stages, found = ("trace", "lower", "compile"), {}
    stage: Any = program.function
    for name in stages:
        began = time.perf_counter()
        stage = getattr(stage, name)(*(arguments if name == "trace" else ()))
        found[name] = time.perf_counter() - began
    return found


def run(
    options: argparse.Namespace, depths: Sequence[int], rounds: int, console: Console
) -> Iterator[dict[str, Any]]:
    """Measures every program at every depth, the libraries in turn."""
    for flow in options.flows:
        for program in PROGRAMS:
            for depth in depths:
                case = replace(smoke(FLOWS[flow]) if options.smoke else FLOWS[flow], depth=depth)
                seconds: dict[str, list[dict[str, float]]] = {}
                skipped: dict[str, str] = {}
                console.print(f"{flow} {program}, depth {depth}")
                for _ in range(rounds):
                    for library in options.libraries:
                        if library in skipped or (library in WRITTEN_OUT and depth > DEEPEST):
                            continue
                        try:
                            found = compile_anew(library, case, program)
                        except Skipped as reason:
                            skipped[library] = str(reason)
                            continue
                        seconds.setdefault(library, []).append(found)
                yield {
                    "case": f"{flow} {program}",
                    "depth": depth,
                    "skipped": skipped,
                    "seconds": seconds,
                    "median_seconds": {name: _medians(found) for name, found in seconds.items()},
                }


def _medians(rounds: list[dict[str, float]]) -> dict[str, float]:
    return {stage: statistics.median(found[stage] for found in rounds) for stage in rounds[0]}


def growth(results: Results) -> dict[str, float]:
    """jinn's seconds at the largest depth to those at the smallest, by case."""
    found = {}
    for case in dict.fromkeys(result["case"] for result in results):
        mine = [r for r in results if r["case"] == case and "jinn" in r["median_seconds"]]
        few, many = (_total(mine[i]["median_seconds"]["jinn"]) for i in (0, -1))
        found[case] = many / few
    return found


def _total(stages: dict[str, float]) -> float:
    return sum(stages.values())


def make_tables(results: Results) -> list[Table]:
    """Seconds of tracing with lowering, and of compiling, and the growth."""
    table = Table(
        "",
        "depth",
        title="Seconds of tracing and lowering + of compiling",
        title_justify="left",
        box=box.SIMPLE_HEAD,
    )
    for library in LIBRARIES:
        table.add_column(library, justify="right")
    for result in results:
        cells = []
        for library in LIBRARIES:
            found = result["median_seconds"].get(library)
            cells.append(
                f"{found['trace'] + found['lower']:.2f} + {found['compile']:.2f}" if found else "–"
            )
        table.add_row(result["case"], str(result["depth"]), *cells)
    ratios = ", ".join(f"{case} {ratio:.2f}" for case, ratio in growth(results).items())
    table.caption = f"jinn, deepest / shallowest (at most {TARGET:g}): {ratios}"
    return [table]


def draw(path: Path, results: Results) -> None:
    """Draws seconds against depth for every case."""
    cases = list(dict.fromkeys(result["case"] for result in results))
    figure, axes = plt.subplots(
        1, len(cases), figsize=(3 * len(cases), 3), layout="constrained", squeeze=False, sharey=True
    )
    for axis, case in zip(axes[0], cases, strict=True):
        for i, library in enumerate(LIBRARIES):
            points = [
                (result["depth"], _total(result["median_seconds"][library]))
                for result in results
                if result["case"] == case and library in result["median_seconds"]
            ]
            if points:
                axis.semilogx(*zip(*points, strict=True), f"C{i}o-", label=library)
        depths = sorted({result["depth"] for result in results})
        axis.set_xticks(depths, list(map(str, depths)))
        axis.minorticks_off()
        axis.set(title=case, xlabel="depth")
        axis.set_ylim(bottom=0)
        axis.spines[["top", "right"]].set_visible(False)
    axes[0, 0].set_ylabel("seconds to trace and compile")
    axes[0, 0].legend(frameon=False, fontsize=8)
    figure.savefig(path, dpi=150)
    plt.close(figure)


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the benchmark as the command line says; Ctrl-C keeps what is measured."""
    options, console = parse(arguments), Console()
    depths, rounds = (DEPTHS, options.repeats or ROUNDS) if not options.smoke else ((2, 4), 1)
    if options.smoke:
        options.flows = options.flows[:1]
    carry_out(
        "compile",
        arguments,
        options,
        run(options, depths, rounds, console),
        console,
        cases={name: asdict(FLOWS[name]) for name in options.flows} | {"depths": depths},
        peers=PEERS,
        tables=make_tables,
        draw=draw,
    )


if __name__ == "__main__":
    main()

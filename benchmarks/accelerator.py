"""``python -m benchmarks.accelerator``: how well a flow uses the device, in float32 and bfloat16.

A training step, densities and samples of an affine conditional flow: seconds, rows a second, the
part of the device's speed in matrix products that the flow's own products reach, and memory. On a
CPU the flow is small, and the figures say little of accelerators.
"""

import argparse
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
from rich import box
from rich.console import Console
from rich.table import Table

import jinn
from benchmarks.compiled import Program
from benchmarks.coupling import jinn_flow
from benchmarks.coupling.model import make_program
from benchmarks.program import Results, carry_out, make_parser
from benchmarks.timing import milliseconds, time_in_turn

DTYPES = ("float32", "bfloat16")
PROGRAMS = ("step", "log_prob", "sample")
ROUNDS = 10


@dataclass(frozen=True)
class Settings:
    """An affine conditional flow, and a matrix product that stands for the device's speed."""

    event: int = 64
    condition: int = 8
    hidden: tuple[int, ...] = (1024, 1024)
    depth: int = 16
    batch: int = 16384
    points: int = 262_144
    product: int = 8192


ON_CPU = Settings(hidden=(256, 256), depth=8, batch=1024, points=4096, product=1024)
SMOKE = replace(ON_CPU, event=4, hidden=(8, 8), depth=2, batch=16, points=32, product=32)


def products(settings: Settings) -> int:
    """Multiplications with additions of the conditioners' matrix products, for one row."""
    half = settings.event // 2
    sizes = (half + settings.condition, *settings.hidden, 2 * (settings.event - half))
    return settings.depth * sum(a * b for a, b in pairwise(sizes))


def operations(settings: Settings, program: str) -> int:
    """Floating-point operations of those products: forward once, and twice as many backward."""
    if program == "step":
        return 6 * products(settings) * settings.batch
    return 2 * products(settings) * settings.points


def make_product(settings: Settings, dtype: str) -> Program:
    """A product of two square matrices."""
    size = settings.product
    matrix = jax.random.normal(jax.random.key(0), (size, size), dtype)
    return Program(jax.jit(lambda a, b: a @ b), None, (matrix, matrix))


def make(settings: Settings, dtype: str, program: str) -> Program:
    """A program of the flow, whose conditioners compute in this type."""
    flow = jinn.flows.real_nvp(
        settings.event,
        condition_dim=settings.condition,
        depth=settings.depth,
        hidden=settings.hidden,
        dtype=jnp.dtype(dtype),
        rngs=0,
    )
    return make_program(settings, jinn_flow.split(flow), program)


def memory(program: Program) -> int:
    """Bytes of temporaries, arguments and results, those that are donated once."""
    function: Any = program.function
    arguments = program.constants if program.state is None else (program.state, *program.constants)
    found = function.lower(*arguments).compile().memory_analysis()
    total = found.temp_size_in_bytes + found.argument_size_in_bytes + found.output_size_in_bytes
    return total - found.alias_size_in_bytes


def run(settings: Settings, rounds: int, console: Console) -> Iterator[dict[str, Any]]:
    """Measures every program in every type."""
    for name in PROGRAMS:
        console.print(name)
        programs = {dtype: make(settings, dtype, name) for dtype in DTYPES}
        bytes_of = {dtype: memory(program) for dtype, program in programs.items()}
        squares = {f"product {dtype}": make_product(settings, dtype) for dtype in DTYPES}
        seconds, skipped = time_in_turn(programs | squares, rounds)
        medians = {key: statistics.median(times) for key, times in seconds.items()}
        rows = settings.batch if name == "step" else settings.points
        figures = {}
        for dtype in DTYPES:
            peak = 2 * settings.product**3 / medians[f"product {dtype}"]
            rate = operations(settings, name) / medians[dtype]
            figures[dtype] = {
                "seconds": medians[dtype],
                "rows_a_second": rows / medians[dtype],
                "flops": rate,
                "product_flops": peak,
                "utilisation": rate / peak,
                "bytes": bytes_of[dtype],
            }
        yield {"case": name, "skipped": skipped, "seconds": seconds, "figures": figures}


def make_tables(results: Results) -> list[Table]:
    """Time, speed and memory."""
    table = Table(
        "",
        "type",
        "ms",
        "rows a second",
        "TFLOP/s",
        "of a large product's",
        "MB",
        title=f"An affine flow on {jax.devices()[0].device_kind}",
        title_justify="left",
        box=box.SIMPLE_HEAD,
    )
    for result in results:
        for dtype, found in result["figures"].items():
            table.add_row(
                result["case"],
                dtype,
                milliseconds(found["seconds"]),
                f"{found['rows_a_second']:.3g}",
                f"{found['flops'] / 1e12:.3g}",
                f"{100 * found['utilisation']:.0f} %",
                f"{found['bytes'] / 1e6:.3g}",
            )
    if jax.default_backend() == "cpu":
        table.caption = "On a CPU, with a small flow: these say little of accelerators."
    return [table]


def draw(path: Path, results: Results) -> None:
    """Draws the part of the device's speed, and rows a second."""
    figure, axes = plt.subplots(1, 2, figsize=(7, 3), layout="constrained")
    scales = (
        ("utilisation", "part of a large product's speed"),
        ("rows_a_second", "rows a second"),
    )
    for axis, (key, label) in zip(axes, scales, strict=True):
        for i, dtype in enumerate(DTYPES):
            places = [row + 0.38 * (i - 0.5) for row in range(len(results))]
            heights = [result["figures"][dtype][key] for result in results]
            axis.bar(places, heights, 0.36, color=f"C{i}", label=dtype)
        axis.set_xticks(range(len(results)), [result["case"] for result in results])
        axis.set_ylabel(label)
        axis.spines[["top", "right"]].set_visible(False)
    axes[1].set_yscale("log")
    axes[0].legend(frameon=False, fontsize=8)
    figure.savefig(path, dpi=150)
    plt.close(figure)


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the benchmark as the command line says; Ctrl-C keeps what is measured."""
    options: argparse.Namespace = make_parser("accelerator", __doc__, rounds=ROUNDS).parse_args(
        arguments
    )
    console = Console()
    settings = ON_CPU if jax.default_backend() == "cpu" else Settings()
    settings = SMOKE if options.smoke else settings
    rounds = options.repeats or (2 if options.smoke else ROUNDS)
    carry_out(
        "accelerator",
        arguments,
        options,
        run(settings, rounds, console),
        console,
        cases=asdict(settings),
        peers=(),
        tables=make_tables,
        draw=draw,
    )


if __name__ == "__main__":
    main()

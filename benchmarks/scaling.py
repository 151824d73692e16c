"""``python -m benchmarks.scaling``: what a training step on several devices sends between them.

The programs of `jinn.fit` are compiled for emulated CPU devices and read, not run.
"""

import argparse
import json
import os
import shlex
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

if "JAX_NUM_CPU_DEVICES" not in os.environ:  # before JAX starts
    os.environ["JAX_NUM_CPU_DEVICES"] = "8"

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
from rich import box
from rich.console import Console
from rich.table import Table

import jinn
from benchmarks.collectives import KINDS, executed_collectives
from experiments.record import environment, parameter_count
from jinn.losses import negative_log_likelihood
from jinn.training.optimizer import default_optimizer
from jinn.training.placement import make_placement
from jinn.training.sources import ArraySource
from jinn.training.step import make_run, start
from jinn.training.weights import structure_of

WAYS = {"fit": (False, True), "fit, shard_parameters": (True, True), "left to jit": (False, False)}
"""Whether parameters are split, and whether gradients are taken by shards: the last is what `fit`
does for losses that are no mean over rows."""


@dataclass(frozen=True)
class Settings:
    """An affine conditional flow, and the devices."""

    event: int = 64
    condition: int = 8
    hidden: tuple[int, ...] = (256, 256)
    depth: int = 32
    batch: int = 2048
    devices: tuple[int, ...] = (1, 2, 4, 8)


SMOKE = Settings(event=4, condition=2, hidden=(8,), depth=4, batch=16, devices=(1, 2))


def measure(settings: Settings, way: str, devices: int) -> dict[str, Any]:
    """Compiles the training loop and reads what a step executes."""
    split, by_shards = WAYS[way]
    mesh = jax.make_mesh((devices,), ("data",), devices=jax.devices()[:devices])
    placement = make_placement(mesh, split)
    flow = jinn.flows.real_nvp(
        settings.event,
        condition_dim=settings.condition,
        depth=settings.depth,
        hidden=settings.hidden,
        rngs=0,
    )
    key, rows = jax.random.key(0), 2 * settings.batch
    data = (jnp.zeros((rows, settings.event)), jnp.zeros((rows, settings.condition)))
    source = ArraySource(data, jnp.arange(rows), settings.batch)
    structure, optimizer = structure_of(flow), default_optimizer(1e-3, 1000, weight_decay=0.0)
    loss = negative_log_likelihood
    run = make_run(structure, loss, optimizer, 20, None, placement, by_shards)
    state = start(structure, flow, loss, optimizer, source, key, placement=placement)
    source, key = placement.put_everywhere((source, key))
    compiled: Any = run.lower(state, source, key, jnp.int32(1)).compile()
    found = executed_collectives(compiled.as_text())
    return {
        "way": way,
        "devices": devices,
        "counts": found.counts,
        "bytes": found.bytes,
        "parameter_bytes": 4 * parameter_count(flow),
        "temporary_bytes": compiled.memory_analysis().temp_size_in_bytes,
        "argument_bytes": compiled.memory_analysis().argument_size_in_bytes,
    }


def make_table(results: list[dict[str, Any]]) -> Table:
    """Collectives executed in a step."""
    title = "Collectives that a training step executes, times loops' trip counts"
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=0)
    table.add_column("", no_wrap=True)
    for column in ("devices", *(kind.replace("-", "-\n") for kind in KINDS[:3]), "others"):
        table.add_column(column, justify="right")
    for column in ("MB\nsent", "MB of\nparams.", "MB kept\na device"):
        table.add_column(column, justify="right")
    for result in results:
        counts = result["counts"]
        table.add_row(
            result["way"],
            str(result["devices"]),
            *(str(counts.get(kind, 0)) for kind in KINDS[:3]),
            str(sum(counts.get(kind, 0) for kind in KINDS[3:])),
            *(
                f"{result[name] / 1e6:.2f}"
                for name in ("bytes", "parameter_bytes", "argument_bytes")
            ),
        )
    return table


def draw(path: Path, results: list[dict[str, Any]]) -> None:
    """Draws collectives and bytes of a step against the number of devices."""
    figure, axes = plt.subplots(1, 2, figsize=(8, 3.2), layout="constrained")
    for way, marker in zip(WAYS, "osx", strict=True):
        rows = [result for result in results if result["way"] == way]
        devices = [row["devices"] for row in rows]
        axes[0].plot(
            devices, [sum(row["counts"].values()) for row in rows], f"{marker}-", label=way
        )
        axes[1].plot(devices, [row["bytes"] / 1e6 for row in rows], f"{marker}-")
    for axis, label in zip(axes, ("collectives a step", "MB a step"), strict=True):
        axis.set_yscale("symlog", linthresh=1)
        axis.set_xticks(devices)
        axis.set_xlabel("devices")
        axis.set_ylabel(label)
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].legend(frameon=False, fontsize=8)
    figure.savefig(path, dpi=150)
    plt.close(figure)


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the benchmark as the command line says."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scaling", description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="seconds, to see that it runs")
    parser.add_argument("--out", type=Path, default=Path("results/scaling"))
    options = parser.parse_args(arguments)
    settings = SMOKE if options.smoke else Settings()
    console = Console()
    options.out.mkdir(parents=True, exist_ok=True)
    stem = options.out / ("scaling-smoke" if options.smoke else "scaling")
    words = sys.argv[1:] if arguments is None else arguments
    results: list[dict[str, Any]] = []
    record = {
        "benchmark": "scaling",
        "command": shlex.join(["python", "-m", "benchmarks.scaling", *words]),
        "settings": asdict(settings),
        "environment": environment(),
        "results": results,
    }
    for way in WAYS:
        for devices in settings.devices:
            if devices > jax.device_count():
                console.print(f"{way}: {devices} devices are more than the {jax.device_count()}")
                continue
            results.append(measure(settings, way, devices))
            stem.with_suffix(".json").write_text(json.dumps(record, indent=1) + "\n")
            console.print(f"{way}, {devices} devices: {results[-1]['counts']}")
    console.print(make_table(results))
    draw(stem.with_suffix(".png"), results)
    console.print("Wrote", *(str(stem.with_suffix(suffix)) for suffix in (".json", ".png")))


if __name__ == "__main__":
    main()

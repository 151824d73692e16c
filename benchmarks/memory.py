"""``python -m benchmarks.memory``: what a gradient keeps, for each `backprop` of a flow.

Memory is that of the compiled programs, which are not run. With ``--time`` training steps are timed
too, interleaved, and a deep flow is trained; that wants a machine that does nothing else.
"""

import argparse
import json
import resource
import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table

import jinn
from benchmarks.compiled import Program, training_step
from benchmarks.timing import paired_ratio, ratio_words, time_in_turn
from experiments.record import environment
from jinn.bijectors import reconstruction_drift
from jinn.flows import multiscale_flow, real_nvp

BACKPROPS = ("store", "remat", "invert")
TARGETS = {
    "growth_of_vectors": 1.1,
    "part_of_stored": 0.05,
    "growth_of_images": 1.2,
    "deepest_gigabytes": 4.0,
    "gradient_difference": 1e-4,
    "gradient_difference_float64": 1e-9,
    "step_ratio": 1.15,
}
"""At most: "invert" at the largest depth to that at the smallest, and to "store"; all memory of a
gradient of the deepest flow with Adam's moments; gradients against "store"; a step to one of it."""


@dataclass(frozen=True)
class Settings:
    """Affine flows of vectors with a condition, and 3-scale flows of images."""

    event: int = 64
    condition: int = 8
    hidden: tuple[int, ...] = (256, 256)
    batch: int = 2048
    depths: tuple[int, ...] = (8, 32, 128)
    depth: int = 32
    batches: tuple[int, ...] = (512, 2048, 8192)
    events: tuple[int, ...] = (16, 64, 256)
    deepest: int = 512
    image: tuple[int, ...] = (32, 32, 3)
    image_hidden: tuple[int, ...] = (64, 64)
    image_batch: int = 32
    image_depths: tuple[int, ...] = (4, 32)
    compared_depth: int = 64
    compared_batch: int = 64
    steps: int = 16
    rounds: int = 15


SMOKE = Settings(
    event=4,
    condition=2,
    hidden=(8,),
    batch=8,
    depths=(2, 4),
    depth=2,
    batches=(8,),
    events=(4,),
    deepest=4,
    image=(8, 8, 1),
    image_hidden=(4,),
    image_batch=2,
    image_depths=(1, 2),
    compared_depth=2,
    compared_batch=16,
    steps=2,
    rounds=2,
)


def vectors(settings: Settings, backprop: Any, depth: int, **changes: int) -> tuple[Any, ...]:
    """A flow of vectors with a batch of events and conditions."""
    sizes = {"event": settings.event, "batch": settings.batch} | changes
    flow = real_nvp(
        sizes["event"],
        condition_dim=settings.condition,
        depth=depth,
        hidden=settings.hidden,
        backprop=backprop,
        rngs=0,
    )
    keys = jax.random.split(jax.random.key(1))
    x = jax.random.normal(keys[0], (sizes["batch"], sizes["event"]))
    return flow, x, jax.random.normal(keys[1], (sizes["batch"], settings.condition))


def images(settings: Settings, backprop: Any, depth: int) -> tuple[Any, ...]:
    """A flow of images of three scales, with a batch of them."""
    hidden = settings.image_hidden
    flow = multiscale_flow(settings.image, depth=depth, hidden=hidden, backprop=backprop, rngs=0)
    x = jax.random.normal(jax.random.key(1), (settings.image_batch, *settings.image))
    return flow, x, None


def loss(flow: jinn.Flow, x: jax.Array, c: jax.Array | None) -> jax.Array:
    """Mean negative log-likelihood."""
    return -flow.log_prob(x, c).mean()


def gradient_bytes(make: Callable[[], tuple[Any, ...]]) -> dict[str, int]:
    """Bytes of the loss and its gradient, compiled but not run; nothing is donated.

    Args:
        make: Makes a flow with a batch of events and conditions, of which only the shapes are used.

    Returns:
        The bytes of temporaries, arguments and results.
    """
    found: Any = jax.jit(jax.value_and_grad(loss)).lower(*jax.eval_shape(make)).compile()
    found = found.memory_analysis()
    return {
        "bytes": found.temp_size_in_bytes,
        "argument_bytes": found.argument_size_in_bytes,
        "result_bytes": found.output_size_in_bytes,
    }


def cases(settings: Settings) -> Iterator[tuple[dict[str, Any], Callable[[], tuple[Any, ...]]]]:
    """What is compiled: its description, and a function that makes it."""

    def of_vectors(depth: int, event: int, batch: int, backprop: str) -> Any:
        case = {"flow": "vectors", "depth": depth, "event": event, "batch": batch}
        make = partial(vectors, settings, backprop, depth, event=event, batch=batch)
        return case | {"backprop": backprop}, make

    event, batch = settings.event, settings.batch
    sizes = [(depth, event, batch) for depth in settings.depths]
    more = [(settings.depth, event, batch) for batch in settings.batches]
    more += [(settings.depth, event, batch) for event in settings.events]
    yield from (of_vectors(*size, backprop) for size in sizes for backprop in BACKPROPS)
    yield of_vectors(settings.deepest, event, batch, "invert")
    for depth in settings.image_depths:
        case = {"flow": "images", "depth": depth, "batch": settings.image_batch}
        for backprop in BACKPROPS:
            yield case | {"backprop": backprop}, partial(images, settings, backprop, depth)
    more = [size for size in dict.fromkeys(more) if size not in sizes]
    yield from (of_vectors(*size, backprop) for size in more for backprop in BACKPROPS)


def compare_gradients(settings: Settings, dtype: str) -> dict[str, Any]:
    """How far gradients of "invert" are from those of "store", relative to each leaf's largest.

    Parameters are moved from their start, which is the identity, by normal noise of a deviation of
    0.2, divided by the root of the last axis for kernels and by 10 for all else; with more, some
    flows so deep overflow.

    Args:
        settings: Sizes of the flow.
        dtype: Type of parameters and data, "float32" or "float64".

    Returns:
        The difference, with the loss and the largest reconstruction drift.
    """
    depth, batch = settings.compared_depth, settings.compared_batch
    found = []
    with jax.enable_x64(dtype == "float64"):
        for backprop in ("store", "invert"):
            flow, x, c = vectors(settings, backprop, depth, batch=batch)
            flow, x, c = jax.tree.map(lambda leaf: leaf.astype(dtype), (_moved(flow), x, c))
            found.append(jax.jit(jax.value_and_grad(loss, argnums=(0, 1, 2)))(flow, x, c))
        drift = jax.jit(lambda flow, x, c: reconstruction_drift(flow.bijector, x, c))(flow, x, c)
        drift, found = jax.device_get((drift, found))
    values, gradients = zip(*found, strict=True)
    pairs = zip(*map(jax.tree.leaves, gradients), strict=True)
    differences = [
        np.max(np.abs(one - other)) / np.maximum(np.max(np.abs(one)), 1e-30) for one, other in pairs
    ]
    return {
        "dtype": dtype,
        "depth": depth,
        "batch": batch,
        "loss": float(values[0]),
        "gradient_difference": float(np.max(differences)),  # of numpy, which tells NaNs
        "drift": float(drift.max()),
    }


def _moved(flow: jinn.Flow) -> jinn.Flow:
    rng = np.random.default_rng(2)

    def move(leaf: Any, learns: bool) -> jax.Array:
        size = 0.2 / np.sqrt(leaf.shape[-1]) if leaf.ndim > 2 else 0.02
        noise = size * rng.normal(size=leaf.shape) * learns
        return leaf + jnp.asarray(noise, leaf.dtype)

    return jax.tree.map(move, flow, jinn.trainable(flow))


def make_step(settings: Settings, backprop: str, depth: int) -> Program:
    """A training step of a flow of vectors, with donated parameters."""
    flow, x, c = vectors(settings, backprop, depth)
    leaves, treedef = jax.tree.flatten(flow)
    learned = jax.tree.leaves(jinn.trainable(flow))
    params = [leaf for leaf, learns in zip(leaves, learned, strict=True) if learns]
    buffers = [leaf for leaf, learns in zip(leaves, learned, strict=True) if not learns]

    def log_prob(params: Any, buffers: Any, x: jax.Array, c: jax.Array) -> jax.Array:
        parts = {True: iter(params), False: iter(buffers)}
        flow = jax.tree.unflatten(treedef, [next(parts[learns]) for learns in learned])
        return flow.log_prob(x, c)

    return training_step(log_prob, params, (buffers, x, c), 1e-4)


def time_steps(settings: Settings) -> dict[str, Any]:
    """Trains the deepest flow a little, then times training steps in turn."""
    program = make_step(settings, "invert", settings.deepest)
    losses, seconds = [], []
    for _ in range(settings.steps):
        seconds.append(program.run(1))
        losses.append(float(program.state[2]))
    deepest = {
        "losses": losses,
        "seconds": seconds,  # the first with compiling
        "resident_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        * (1 if sys.platform == "darwin" else 1024),
    }
    del program
    programs = {b: make_step(settings, b, settings.depth) for b in BACKPROPS}
    times, _ = time_in_turn(programs, settings.rounds)
    return {
        "deepest": deepest,
        "depth": settings.depth,
        "seconds": times,
        "ratios": {b: paired_ratio(times[b], times["store"]) for b in BACKPROPS},
    }


def summarise(settings: Settings, results: list[dict[str, Any]]) -> dict[str, float]:
    """The figures that have a target."""

    def found(flow: str, backprop: str, depth: int) -> dict[str, Any]:
        wanted = {"flow": flow, "backprop": backprop, "depth": depth}
        if flow == "vectors":
            wanted |= {"event": settings.event, "batch": settings.batch}
        return next(result for result in results if wanted.items() <= result.items())

    def growth(flow: str, depths: tuple[int, ...]) -> float:
        few, many = (found(flow, "invert", d)["bytes"] for d in (min(depths), max(depths)))
        return many / few

    invert, store = (found("vectors", b, max(settings.depths)) for b in ("invert", "store"))
    deepest = found("vectors", "invert", settings.deepest)
    moments = 2 * deepest["result_bytes"]
    training = deepest["bytes"] + deepest["argument_bytes"] + deepest["result_bytes"] + moments
    return {
        "growth_of_vectors": growth("vectors", settings.depths),
        "part_of_stored": invert["bytes"] / store["bytes"],
        "growth_of_images": growth("images", settings.image_depths),
        "deepest_gigabytes": training / 1e9,
    }


def make_table(results: list[dict[str, Any]]) -> Table:
    """Megabytes of temporaries."""
    table = Table(title="Temporaries of a gradient, MB", title_justify="left", box=box.SIMPLE_HEAD)
    for column in ("flow", "depth", "event", "batch", *BACKPROPS):
        table.add_column(column, justify="left" if column == "flow" else "right")
    rows: dict[tuple[Any, ...], dict[str, int]] = {}
    for result in results:
        case = tuple(result.get(key, "") for key in ("flow", "depth", "event", "batch"))
        rows.setdefault(case, {})[result["backprop"]] = result["bytes"]
    for case, found in sorted(rows.items(), key=str):
        cells = [f"{found[b] / 1e6:.1f}" if b in found else "" for b in BACKPROPS]
        table.add_row(*map(str, case), *cells)
    return table


def draw(path: Path, settings: Settings, results: list[dict[str, Any]]) -> None:
    """Draws memory against depth, batch and event."""
    colors = dict(zip(BACKPROPS, ("#c7c7c7", "#1f77b4", "#d62728"), strict=True))
    figure, axes = plt.subplots(1, 4, figsize=(12, 3.2), layout="constrained", sharey=True)
    fixed = {"flow": "vectors", "depth": settings.depth}
    fixed |= {"event": settings.event, "batch": settings.batch}
    for axis, varied in zip(axes, ("depth", "batch", "event", "images"), strict=True):
        key = "depth" if varied == "images" else varied
        same = {name: value for name, value in fixed.items() if name != key}
        if varied == "images":
            same = {"flow": "images"}
        for backprop, color in colors.items():
            wanted = same | {"backprop": backprop}
            points = sorted((r[key], r["bytes"]) for r in results if wanted.items() <= r.items())
            sizes, found = zip(*points, strict=True)
            axis.loglog(sizes, [b / 1e6 for b in found], "o-", color=color, label=backprop)
        ticks = sorted({r[key] for r in results if same.items() <= r.items()})
        axis.set_xticks(ticks, [str(tick) for tick in ticks])
        axis.set_xticks([], minor=True)
        label = "depth of each scale, images" if varied == "images" else f"{varied}, vectors"
        axis.set_xlabel(label)
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].set_ylabel("temporaries of a gradient, MB")
    axes[0].legend(frameon=False, fontsize=8)
    figure.savefig(path, dpi=150)
    plt.close(figure)


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the benchmark as the command line says."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.memory", description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="seconds, to see that it runs")
    parser.add_argument("--time", action="store_true", help="time steps and train, too")
    parser.add_argument("--out", type=Path, default=Path("results/memory"))
    options = parser.parse_args(arguments)
    settings = SMOKE if options.smoke else Settings()

    console = Console()
    options.out.mkdir(parents=True, exist_ok=True)
    stem = options.out / ("memory-smoke" if options.smoke else "memory")
    words = sys.argv[1:] if arguments is None else arguments
    results: list[dict[str, Any]] = []
    record: dict[str, Any] = {
        "benchmark": "memory",
        "command": shlex.join(["python", "-m", "benchmarks.memory", *words]),
        "settings": asdict(settings),
        "targets": TARGETS,
        "environment": environment(),
        "results": results,
    }

    def keep() -> None:
        stem.with_suffix(".json").write_text(json.dumps(record, indent=1) + "\n")

    if options.time:  # first, since the resident memory is the largest of the process so far
        record["time"] = time_steps(settings)
        keep()
    for case, make in cases(settings):
        results.append(case | gradient_bytes(make))
        console.print(*(f"{key} {value}," for key, value in case.items()), results[-1]["bytes"])
        keep()
    figures = summarise(settings, results)
    record["comparisons"] = [compare_gradients(settings, dtype) for dtype in ("float32", "float64")]
    single, double = (found["gradient_difference"] for found in record["comparisons"])
    figures |= {"gradient_difference": single, "gradient_difference_float64": double}
    if options.time:
        figures["step_ratio"] = record["time"]["ratios"]["invert"]["median"]
    record["figures"] = figures
    keep()
    console.print(make_table(results))
    for name, value in figures.items():
        console.print(f"{name}: {value:.3g}, target {TARGETS[name]:g}")
    if options.time:
        for backprop, ratio in record["time"]["ratios"].items():
            console.print(f"step of {backprop} / store: {ratio_words(ratio)}")
    draw(stem.with_suffix(".png"), settings, results)
    console.print("Wrote", *(str(stem.with_suffix(suffix)) for suffix in (".json", ".png")))


if __name__ == "__main__":
    main()

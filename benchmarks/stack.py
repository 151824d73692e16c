"""``python -m benchmarks.stack``: a `Stack` against the unrolled `Chain` of the same blocks."""

import argparse
import json
import shlex
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import jax
import matplotlib.pyplot as plt
import optax
from rich import box
from rich.console import Console
from rich.table import Table

import jinn
from experiments.record import environment
from jinn.bijectors import Bijector, Chain, Coupling, Permute, Stack, half_mask
from jinn.distributions import StandardNormal

TARGETS = {"step_ratio": 1.05, "compile_ratio": 1.3}
"""At most: a step of the Stack to one of the Chain, compiling 64 blocks to compiling 8."""


@dataclass(frozen=True)
class Settings:
    """What is built and how often it is timed."""

    event: int = 4
    conditions: tuple[int, ...] = (0, 2)
    hidden: tuple[int, ...] = (256, 256)
    batch: int = 512
    depth: int = 32
    stack_depths: tuple[int, ...] = (8, 32, 64)
    chain_depths: tuple[int, ...] = (8, 32)
    rounds: int = 40
    steps: int = 3
    compile_rounds: int = 5
    seed: int = 0


SMOKE = Settings(
    conditions=(2,),
    hidden=(16,),
    batch=32,
    depth=2,
    stack_depths=(2, 4),
    chain_depths=(2,),
    rounds=3,
    compile_rounds=1,
)


@dataclass
class Program:
    """A training step with its arguments; parameters and optimiser state are donated."""

    step: Callable[..., Any]
    state: tuple[Any, Any]
    constants: tuple[Any, ...]
    leaves: int

    def run(self, steps: int) -> float:
        """Takes some steps and returns the seconds that one took."""
        start = time.perf_counter()
        for _ in range(steps):
            *state, _ = self.step(*self.state, *self.constants)
            self.state = tuple(state)
        jax.block_until_ready(self.state)
        return (time.perf_counter() - start) / steps

    def compile(self) -> tuple[float, int]:
        """Traces and compiles, and returns the seconds and the bytes of temporaries."""
        start = time.perf_counter()
        compiled = self.step.lower(*self.state, *self.constants).compile()
        seconds = time.perf_counter() - start
        return seconds, compiled.memory_analysis().temp_size_in_bytes


def make_stack(settings: Settings, condition_dim: int, depth: int) -> Stack:
    """Builds affine couplings with random permutations between them."""
    event_shape, mask = (settings.event,), half_mask(settings.event)

    def make_block(key: jax.Array) -> Bijector:
        permutation_key, coupling_key = jax.random.split(key)
        coupling = Coupling(
            event_shape,
            mask=mask,
            condition_shape=(condition_dim,) if condition_dim else None,
            hidden=settings.hidden,
            rngs=coupling_key,
        )
        return Chain([Permute(event_shape, leaving=mask, rngs=permutation_key), coupling])

    return Stack(make_block, depth, rngs=settings.seed)


def make_program(settings: Settings, bijector: Bijector) -> Program:
    """Makes the training step of a flow with this bijector: Adam on the mean NLL, over leaves."""
    flow = jinn.Flow(bijector, StandardNormal((settings.event,)))
    leaves, treedef = jax.tree.flatten(flow)
    learned = jax.tree.leaves(jinn.trainable(flow))
    # Copies, since the arrays are donated and another program may hold the same ones.
    params = [leaf.copy() for leaf, learns in zip(leaves, learned, strict=True) if learns]
    buffers = [leaf for leaf, learns in zip(leaves, learned, strict=True) if not learns]
    optimizer = optax.adam(1e-4)
    x_key, condition_key = jax.random.split(jax.random.key(settings.seed))
    x = jax.random.normal(x_key, (settings.batch, settings.event))
    condition = None
    if isinstance(flow.condition_shape, tuple):
        condition = jax.random.normal(condition_key, (settings.batch, *flow.condition_shape))

    @partial(jax.jit, donate_argnums=(0, 1))
    def step(params: Any, state: Any, buffers: Any, x: Any, condition: Any) -> Any:
        def loss(params: Any) -> jax.Array:
            parts = {True: iter(params), False: iter(buffers)}
            flow = jax.tree.unflatten(treedef, [next(parts[learns]) for learns in learned])
            return -flow.log_prob(x, condition).mean()

        value, gradient = jax.value_and_grad(loss)(params)
        updates, state = optimizer.update(gradient, state, params)
        return optax.apply_updates(params, updates), state, value

    state = (params, optimizer.init(params))
    return Program(step, state, (buffers, x, condition), len(leaves))


def time_steps(settings: Settings, programs: dict[str, Program]) -> dict[str, list[float]]:
    """Times both programs in turn, so that both see the same machine; the order alternates."""
    for program in programs.values():
        program.run(2)
    seconds: dict[str, list[float]] = {name: [] for name in programs}
    for i in range(settings.rounds):
        for name in list(programs)[:: 1 if i % 2 else -1]:
            seconds[name].append(programs[name].run(settings.steps))
    return seconds


def measure(settings: Settings, condition_dim: int, console: Console) -> dict[str, Any]:
    """Measures steps, leaves, compile times and memory for one size of the condition."""
    stack = make_stack(settings, condition_dim, settings.depth)
    console.print(f"condition {condition_dim}: training steps at depth {settings.depth}")
    programs = {
        "Chain": make_program(settings, Chain(list(stack))),
        "Stack": make_program(settings, stack),
    }
    seconds = time_steps(settings, programs)
    ratios = [s / c for s, c in zip(seconds["Stack"], seconds["Chain"], strict=True)]
    result: dict[str, Any] = {
        "condition": condition_dim,
        "step_seconds": {name: statistics.median(times) for name, times in seconds.items()},
        "step_ratio": _summary(ratios),
        "leaves": {name: {settings.depth: p.leaves} for name, p in programs.items()},
        "compile_seconds": {},
        "temporary_bytes": {},
    }
    del programs
    cases = [("Stack", depth) for depth in settings.stack_depths]
    cases += [("Chain", depth) for depth in settings.chain_depths]
    times: dict[tuple[str, int], list[float]] = {case: [] for case in cases}
    for i in range(settings.compile_rounds + 1):
        for name, depth in cases:
            if i > 1 and name == "Chain":
                continue  # takes long, and needs no precision
            console.print(f"condition {condition_dim}: compiling the {name} of {depth}")
            bijector: Bijector = make_stack(settings, condition_dim, depth)
            program = make_program(settings, Chain(list(bijector)) if name == "Chain" else bijector)
            taken, temporary = program.compile()
            if i:  # the first round fills JAX's own caches
                times[name, depth].append(taken)
            result["leaves"][name][depth] = program.leaves
            result["temporary_bytes"].setdefault(name, {})[depth] = temporary
    for (name, depth), taken in times.items():
        result["compile_seconds"].setdefault(name, {})[depth] = statistics.median(taken)
    few, *_, many = (times["Stack", depth] for depth in settings.stack_depths)
    result["compile_ratio"] = _summary([m / f for m, f in zip(many, few, strict=True)])
    return result


def make_table(settings: Settings, results: list[dict[str, Any]]) -> Table:
    """Lays the figures out beside their targets."""
    shape = f"event {settings.event}, hidden {'x'.join(map(str, settings.hidden))}"
    title = f"A Stack against the Chain of its blocks: {shape}, batch {settings.batch}"
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD)
    table.add_column("")
    for result in results:
        table.add_column(f"condition {result['condition']}", justify="right")

    def row(label: str, cell: Callable[[dict[str, Any]], str]) -> None:
        table.add_row(label, *map(cell, results))

    def ratio(name: str) -> Callable[[dict[str, Any]], str]:
        return lambda r: "{median:.2f} ({p10:.2f} to {p90:.2f})".format(**r[name])

    names = ("Stack", "Chain")
    depth = settings.depth
    for name in names:
        row(
            f"step in ms, {name} of {depth}",
            lambda r, n=name: f"{1e3 * r['step_seconds'][n]:.1f}",
        )
    row(f"  Stack / Chain, target {TARGETS['step_ratio']}", ratio("step_ratio"))
    few, *_, many = settings.stack_depths
    cases = [(name, d) for name in names for d in getattr(settings, f"{name.lower()}_depths")]
    for name, d in cases:
        row(
            f"compiling in s, {name} of {d}",
            lambda r, n=name, d=d: f"{r['compile_seconds'][n][d]:.2f}",
        )
    row(f"  {many} / {few}, target {TARGETS['compile_ratio']}", ratio("compile_ratio"))
    for name, d in cases:
        row(f"leaves, {name} of {d}", lambda r, n=name, d=d: str(r["leaves"][n][d]))
    for name, d in cases:
        row(
            f"temporaries in MB, {name} of {d}",
            lambda r, n=name, d=d: f"{r['temporary_bytes'][n][d] / 1e6:.1f}",
        )
    return table


def draw(path: Path, settings: Settings, results: list[dict[str, Any]]) -> None:
    """Draws step times, compile times and memory as bars."""
    colors = {"Stack": "#1f77b4", "Chain": "#c7c7c7"}
    figure, axes = plt.subplots(1, 3, figsize=(10, 3.2), layout="constrained")
    for i, result in enumerate(results):
        for j, name in enumerate(colors):
            place = i + 0.38 * (j - 0.5)
            label = name if i == 0 else None
            height = 1e3 * result["step_seconds"][name]
            bars = axes[0].bar(place, height, 0.36, color=colors[name], label=label)
            axes[0].bar_label(bars, fmt="%.0f", fontsize=8)
    axes[0].set_xticks(range(len(results)), [f"condition {r['condition']}" for r in results])
    axes[0].set_title(f"training step at depth {settings.depth}, ms", fontsize=10)
    axes[0].legend(frameon=False, fontsize=8)
    last = results[-1]
    cases = [
        (name, depth) for name in colors for depth in getattr(settings, f"{name.lower()}_depths")
    ]
    for axis, key, scale, title in (
        (axes[1], "compile_seconds", 1.0, "compiling the step, s"),
        (axes[2], "temporary_bytes", 1e-6, "temporaries of the step, MB"),
    ):
        heights = [scale * last[key][name][depth] for name, depth in cases]
        bars = axis.bar(range(len(cases)), heights, 0.7, color=[colors[name] for name, _ in cases])
        axis.bar_label(bars, fmt="%.1f", fontsize=8)
        axis.set_xticks(range(len(cases)), [f"{name}\nof {depth}" for name, depth in cases])
        axis.set_title(f"{title} (condition {last['condition']})", fontsize=10)
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
        axis.margins(y=0.15)
    figure.savefig(path, dpi=150)
    plt.close(figure)


def _summary(ratios: list[float]) -> dict[str, float]:
    pair = ratios if len(ratios) > 1 else ratios * 2
    low, *_, high = statistics.quantiles(pair, n=10, method="inclusive")
    return {"median": statistics.median(ratios), "p10": low, "p90": high, "rounds": len(ratios)}


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the benchmark as the command line says."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.stack", description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--smoke", action="store_true", help="seconds, to see that it runs")
    parser.add_argument("--out", type=Path, default=Path("results/stack"))
    options = parser.parse_args(arguments)
    settings = replace(SMOKE if options.smoke else Settings(), seed=options.seed)

    console = Console()
    results = [measure(settings, condition, console) for condition in settings.conditions]
    console.print(make_table(settings, results))
    words = sys.argv[1:] if arguments is None else arguments
    record = {
        "benchmark": "stack",
        "command": shlex.join(["python", "-m", "benchmarks.stack", *words]),
        "settings": asdict(settings),
        "targets": TARGETS,
        "results": results,
        "environment": environment(),
    }
    options.out.mkdir(parents=True, exist_ok=True)
    stem = "stack-smoke" if options.smoke else "stack"
    files = [options.out / f"{stem}.json", options.out / f"{stem}.png"]
    files[0].write_text(json.dumps(record, indent=1) + "\n")
    draw(files[1], settings, results)
    console.print("Wrote", *map(str, files))


if __name__ == "__main__":
    main()

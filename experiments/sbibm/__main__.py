"""``python -m experiments.sbibm``: how far the default posteriors are from sbibm's references."""

import argparse
import json
import shlex
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

import jinn
from experiments.record import environment
from experiments.sbibm.plots import draw_accuracies
from experiments.sbibm.problems import PROBLEMS, Problem
from experiments.sbibm.reference import CACHE, Reference, find_wheel, read_reference
from jinn.inference import c2st

SAMPLES = 10_000
METHODS = ("likelihood", "flow_matching")


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs what the command line asks for; results of earlier runs are kept and not made again."""
    parser = argparse.ArgumentParser(prog="python -m experiments.sbibm", description=__doc__)
    parser.add_argument("--problems", nargs="+", choices=PROBLEMS, default=list(PROBLEMS))
    parser.add_argument("--simulations", nargs="+", type=int, default=[1000, 10_000, 100_000])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1])
    parser.add_argument("--observations", nargs="+", type=int, default=[1, 2, 3, 4, 5])
    parser.add_argument("--method", choices=METHODS, default=METHODS[0])
    parser.add_argument("--smoke", action="store_true", help="seconds, to see that it runs")
    parser.add_argument("--out", type=Path, default=Path("results/sbibm"))
    options = parser.parse_args(arguments)
    console = Console()
    words = sys.argv[1:] if arguments is None else arguments
    command = shlex.join(["python", "-m", "experiments.sbibm", *words])
    if options.smoke:
        options.simulations, options.seeds, options.observations = [300], [0], [1]
    try:
        wheel = find_wheel()
    except RuntimeError as error:
        if not options.smoke:
            raise SystemExit(str(error)) from error
        console.print(f"Left out: {error}")
        return
    options.out.mkdir(parents=True, exist_ok=True)
    runs = []
    for name in options.problems:
        references = {i: read_reference(wheel, name, i) for i in options.observations}
        for n in options.simulations:
            for seed in options.seeds:
                stem = "" if options.method == METHODS[0] else f"{options.method}-"
                path = options.out / f"{stem}{name}-{n}-seed{seed}.json"
                done = json.loads(path.read_text()) if path.exists() else None
                if done is None or sorted(done["c2st"]) != sorted(map(str, references)):
                    console.print(f"{name}, {n} simulations, seed {seed}")
                    done = run(
                        PROBLEMS[name], n, seed, references, options.method, smoke=options.smoke
                    )
                    done |= {"command": command, "environment": environment()}
                    path.write_text(json.dumps(done, indent=1))
                runs.append(done)
    console.print(make_table(runs))
    picture = options.out / "c2st.png"
    draw_accuracies(picture, runs)
    console.print(f"Wrote {options.out}/*.json and {picture}; references: {CACHE}")


def run(
    problem: Problem,
    n: int,
    seed: int,
    references: dict[int, Reference],
    method: Literal["likelihood", "flow_matching"] = "likelihood",
    *,
    smoke: bool = False,
) -> dict[str, Any]:
    """Trains one posterior with the defaults, and judges it on every observation.

    Args:
        problem: The problem.
        n: Number of simulations.
        seed: Seed of simulations, training and samples.
        references: The observations and their exact posteriors, by number.
        method: How `jinn.fit_posterior` trains.
        smoke: Train for a moment only, and judge few samples.

    Returns:
        The record for JSON.
    """
    data_key, fit_key, sample_key = jax.random.split(jax.random.key(seed), 3)
    pairs = jax.block_until_ready(problem.pairs(data_key, n))
    support = (-problem.bound, problem.bound)
    started = time.perf_counter()
    options: dict[str, Any] = {"steps": 20, "ensemble": 2} if smoke else {}
    posterior = jinn.fit_posterior(fit_key, pairs, support=support, method=method, **options)
    seconds = time.perf_counter() - started
    count = 200 if smoke else SAMPLES
    started = time.perf_counter()
    samples = [
        np.asarray(posterior.sample(jax.random.fold_in(sample_key, i), (count,), reference.y))
        for i, reference in references.items()
    ]
    sampling_seconds = (time.perf_counter() - started) / len(samples)
    exact = [reference.samples[:count] for reference in references.values()]
    with ProcessPoolExecutor(mp_context=get_context("spawn")) as pool:
        accuracies = dict(zip(map(str, references), pool.map(c2st, samples, exact), strict=True))
    return {
        "problem": problem.name,
        "simulations": n,
        "seed": seed,
        "c2st": accuracies,
        "method": method,
        "training_seconds": seconds,
        "sampling_seconds": sampling_seconds,
        "steps": int(posterior.training.history["step"][-1]),
        "published": problem.published.get(n),
    }


def make_table(runs: list[dict[str, Any]]) -> Table:
    """Tabulates the accuracies of each run beside the published ones."""
    numbers = sorted({int(i) for run in runs for i in run["c2st"]})
    title = "C2ST of each observation (0.5 is exact, 1 is apart), beside the published NPE; seconds"
    table = Table(title=title, box=SIMPLE, padding=0)
    names = ["problem", "pairs", "seed", *map(str, numbers), "mean", "NPE", "train"]
    for name in names:
        table.add_column(name, justify="left" if name == "problem" else "right")
    for run in runs:
        values = [run["c2st"].get(str(i)) for i in numbers]
        published = run["published"]
        table.add_row(
            run["problem"],
            f"{run['simulations']:,}",
            str(run["seed"]),
            *("" if value is None else f"{value:.3f}" for value in values),
            f"{np.mean(list(run['c2st'].values())):.3f}",
            "" if published is None else f"{published:.3f}",
            f"{run['training_seconds']:.0f}",
        )
    return table


if __name__ == "__main__":
    main()

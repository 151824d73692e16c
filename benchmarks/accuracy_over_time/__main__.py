"""``python -m benchmarks.accuracy_over_time``: time to a posterior of given quality.

Every library trains on the same simulations, anew for each budget, in a process of its own. Peers
run in the interpreter that ``--python`` names, which need have nothing of jinn.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from itertools import product
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

import jax
import matplotlib.pyplot as plt
import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table

from benchmarks.program import Results, carry_out, make_parser
from experiments.compare_architectures.protocol import TASKS, Truth
from experiments.compare_architectures.settings import Protocol
from experiments.sbibm.problems import PROBLEMS as SBIBM
from experiments.sbibm.reference import find_wheel, read_reference
from jinn.inference import c2st, posterior_mismatch

LIBRARIES = ("jinn", "jinn-one-flow", "sbi", "bayesflow")
BUDGETS: dict[str, tuple[int | None, ...]] = {
    "jinn": (100, 300, 1000, 3000, None),
    "jinn-one-flow": (300, 1000, 3000, None),
    "sbi": (5, 20, 60, None),
    "bayesflow": (5, 20, 60),
}
"""Steps of jinn's flows, epochs of the others; None is the library's own end. jinn's default is the
better of two kinds of flow, four of it; beside it one small flow, of about the size of sbi's."""
BRIEF: dict[str, tuple[int | None, ...]] = {"jinn-one-flow": (1000,), "sbi": (None,)}
"""The two that the target compares."""
PROBLEMS = ("two_moons", "kinematics")
PAIRS = 10_000
SAMPLES, MANY = 10_000, 100_000
OBSERVATIONS = {"two_moons": 5, "kinematics": 20}
WANTED = {"two_moons": 0.6, "kinematics": 0.02}
"""The quality whose time is compared: mean C2ST; mean MMD^2, unbiased."""
TIME_TARGET, MANY_TARGET = 0.1, 0.2
"""jinn's time to that quality on two moons, and for many samples, in sbi's: at most."""
LIMIT_SECONDS = 3600
ROOT = Path(__file__).parents[2]


class Exam(NamedTuple):
    """Pairs to train on, and what the posteriors are compared with.

    Attributes:
        x: Parameters, (pairs, dim).
        y: Their observations, (pairs, dim_y).
        support: Bounds of the prior, or None.
        observed: Observations, (n, dim_y).
        exact: Samples of their exact posteriors, (samples, n, dim).
    """

    x: np.ndarray
    y: np.ndarray
    support: tuple[Any, Any] | None
    observed: np.ndarray
    exact: np.ndarray


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Reads the command line."""
    parser = make_parser("accuracy_over_time", __doc__, rounds=1)
    parser.add_argument("--problems", nargs="+", choices=PROBLEMS, default=list(PROBLEMS))
    parser.add_argument("--libraries", nargs="+", choices=LIBRARIES, default=list(LIBRARIES))
    parser.add_argument("--samples", type=int, default=SAMPLES, help="for each observation")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--brief", action="store_true", help="the budgets of the target alone")
    parser.add_argument("--python", default=sys.executable, help="interpreter that has the peers")
    return parser.parse_args(arguments)


def make_exam(problem: str, seed: int, options: argparse.Namespace) -> Exam:
    """Simulates the pairs and brings the exact posteriors."""
    pairs, samples, count = PAIRS, options.samples, OBSERVATIONS[problem]
    if options.smoke:
        pairs, samples, count = 300, 100, 2
    key = jax.random.key(seed)
    if problem == "two_moons":
        moons, wheel = SBIBM["two_moons"], find_wheel()
        x, y = moons.pairs(key, pairs)
        found = [read_reference(wheel, "two_moons", i + 1) for i in range(count)]
        observed = np.stack([np.ravel(reference.y) for reference in found])
        exact = np.stack([reference.samples[:samples] for reference in found], axis=1)
        support = (-moons.bound, moons.bound)
    else:
        task = TASKS[problem]
        x, y = task.problem.simulate(key, pairs)
        truth = Truth(task, Protocol(observations=count - 1, samples=min(samples, 1000)))
        observed, exact, support = truth.y, truth.samples["ABC"], task.problem.support
    arrays = (np.asarray(array, np.float32) for array in (x, y, observed, exact))
    x, y, observed, exact = arrays
    return Exam(x, y, support, observed, exact)


def judge(problem: str, samples: np.ndarray, exact: np.ndarray) -> list[float]:
    """The quality for each observation: C2ST, or MMD^2."""
    if problem == "kinematics":
        return np.asarray(posterior_mismatch(samples, exact)).tolist()
    rows = range(samples.shape[1])
    parts = [samples[:, i] for i in rows], [exact[:, i] for i in rows]
    with ProcessPoolExecutor(mp_context=get_context("spawn")) as pool:
        return list(pool.map(c2st, *parts))


def take(library: str, python: str, request: dict[str, Any], exam: Exam) -> dict[str, Any]:
    """Trains and samples in a process of its own.

    Returns:
        Its record and samples, or the reason why there are none, as "skipped".
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)
        (path / "request.json").write_text(json.dumps(request))
        np.savez(path / "data.npz", x=exam.x, y=exam.y, observed=exam.observed)
        package = library.partition("-")[0]
        module = f"benchmarks.accuracy_over_time.{package}_worker"
        command = [sys.executable if package == "jinn" else python, "-m", module, folder]
        try:
            done = subprocess.run(
                command,
                cwd=folder,  # where sbi leaves logs
                env=os.environ | {"PYTHONPATH": str(ROOT)},
                capture_output=True,
                text=True,
                timeout=LIMIT_SECONDS,
            )
        except subprocess.TimeoutExpired:
            return {"skipped": f"more than {LIMIT_SECONDS} s"}
        if done.returncode:
            lines = done.stderr.strip().splitlines()
            return {"skipped": lines[-1] if lines else f"status {done.returncode}"}
        record = json.loads((path / "answer.json").read_text())
        return record | {"samples": np.load(path / "samples.npy")}


def run(options: argparse.Namespace, console: Console) -> Iterator[dict[str, Any]]:
    """Trains every library for every budget on every problem, with every seed."""
    budgets = BRIEF if options.brief or options.smoke else BUDGETS
    for problem, seed in product(options.problems, options.seeds):
        try:
            exam = make_exam(problem, seed, options)
        except RuntimeError as error:  # no references
            yield {"case": problem, "skipped": dict.fromkeys(options.libraries, str(error))}
            continue
        for library in [name for name in options.libraries if name in budgets]:
            for budget in (2,) if options.smoke else budgets[library]:
                console.print(f"{problem}, seed {seed}: {library}, budget {budget or 'its own'}")
                request = {
                    "seed": seed,
                    "one_flow": library == "jinn-one-flow",
                    "budget": budget,
                    "support": exam.support,
                    "samples": len(exam.exact),
                    "many": 200 if options.smoke else MANY,
                }
                found = take(library, options.python, request, exam)
                result = {"case": problem, "seed": seed, "library": library, "budget": budget}
                if "skipped" in found:
                    yield result | {"skipped": {library: found["skipped"]}}
                    break
                values = judge(problem, found.pop("samples"), exam.exact)
                console.print(f"  {found['training_seconds']:.1f} s: {np.mean(values):.4f}")
                yield result | found | {
                    "skipped": {}, "quality": values, "mean": float(np.mean(values)),
                }  # fmt: skip


def times_to(results: Results, problem: str, library: str) -> list[float]:
    """For each seed the least training seconds of those budgets that reach the quality wanted."""
    times: dict[int, list[float]] = {}
    for result in results:
        same = (result["case"], result.get("library")) == (problem, library)
        if same and result.get("mean", np.inf) <= WANTED[problem]:
            times.setdefault(result["seed"], []).append(result["training_seconds"])
    return [min(seconds) for seconds in times.values()]


def make_tables(results: Results) -> list[Table]:
    """Quality and seconds of every budget, and times to the quality that is wanted."""
    style: dict[str, Any] = {"title_justify": "left", "box": box.SIMPLE_HEAD, "padding": (0, 1)}
    columns = (
        "",
        "seed",
        "library",
        "budget",
        "training s",
        "mean quality",
        "many samples, s",
        "again",
    )
    table = Table(*columns, title="Quality over time: mean C2ST, mean MMD² (unbiased)", **style)
    for result in results:
        if "mean" not in result:
            continue
        table.add_row(
            result["case"],
            str(result["seed"]),
            result["library"],
            str(result["budget"] or "its own"),
            f"{result['training_seconds']:.1f}",
            f"{result['mean']:.4f}",
            f"{result['many_seconds']:.2f}",
            f"{result['again_seconds']:.2f}",
        )
    words = []
    for problem in dict.fromkeys(result["case"] for result in results):
        times = {library: times_to(results, problem, library) for library in LIBRARIES}
        reached = [
            f"{name} {', '.join(f'{value:.1f}' for value in values)} s"
            for name, values in times.items()
            if values
        ]
        words.append(f"{problem} to {WANTED[problem]}: {', '.join(reached) or 'none'}")
    table.caption = "\n".join(words)
    return [table]


def draw(path: Path, results: Results) -> None:
    """Draws quality against training seconds."""
    problems = list(dict.fromkeys(result["case"] for result in results))
    size = (4 * len(problems), 3)
    figure, axes = plt.subplots(1, len(problems), figsize=size, layout="constrained", squeeze=False)
    for axis, problem in zip(axes[0], problems, strict=True):
        for i, library in enumerate(LIBRARIES):
            points = sorted(
                (result["training_seconds"], result["mean"])
                for result in results
                if (result["case"], result.get("library")) == (problem, library)
                and "mean" in result
            )
            if points:
                axis.plot(*zip(*points, strict=True), f"C{i}o-", label=library)
        axis.axhline(WANTED[problem], color="0.6", lw=1, ls=":")
        axis.set(title=problem, xlabel="training seconds, with compilation", xscale="log")
        axis.spines[["top", "right"]].set_visible(False)
    axes[0, 0].set_ylabel("mean C2ST, mean MMD²")
    if axes[0, 0].lines[1:]:
        axes[0, 0].legend(frameon=False)
    figure.savefig(path, dpi=150)
    plt.close(figure)


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the benchmark as the command line says; Ctrl-C keeps what is measured."""
    options, console = parse(arguments), Console()
    carry_out(
        "accuracy_over_time",
        arguments,
        options,
        run(options, console),
        console,
        cases={"budgets": BUDGETS, "pairs": PAIRS, "wanted": WANTED},
        peers=(),
        tables=make_tables,
        draw=draw,
    )


if __name__ == "__main__":
    main()

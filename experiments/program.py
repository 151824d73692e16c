"""The command line of the experiments on inverse problems."""

import argparse
import inspect
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from experiments.arguments import at_least_one, positive
from experiments.comparison import run
from experiments.inverse_problem import InverseProblem
from experiments.plots import draw_marginals, draw_panels
from experiments.report import make_table, save_json
from experiments.settings import Settings, smoke
from jinn import flows

DTYPES = ("float32", "bfloat16")


def main(
    problem: InverseProblem,
    presets: Mapping[str, Settings],
    arguments: Sequence[str] | None = None,
) -> None:
    """Runs the experiment as the command line says.

    Args:
        problem: The inverse problem.
        presets: Settings by architecture; the first are the default.
        arguments: The words of the command line, in place of the process's own.
    """
    program = f"python -m experiments.{problem.name}"
    parser = argparse.ArgumentParser(
        prog=program, description=f"``{program}``: train, compare with the ground truth, draw."
    )
    parser.add_argument("--flow", choices=presets, default=next(iter(presets)))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=at_least_one, help="in place of the preset's")
    parser.add_argument("--batch-size", type=at_least_one, help="simulations a step")
    parser.add_argument("--learning-rate", type=positive, help="highest learning rate")
    parser.add_argument("--y-noise", type=float, help="noise on y in training")
    if problem.integers:
        words = "half-width of uniform noise on whole-numbered parameters in training"
        parser.add_argument("--dequantization", type=float, help=words)
    words = "test the posterior by simulation-based calibration, coverage and TARP, on an HTML page"
    parser.add_argument("--diagnostics", action="store_true", help=words)
    words = "type in which the networks compute; log-determinants keep float32"
    parser.add_argument("--dtype", choices=DTYPES, help=words)
    parser.add_argument("--smoke", action="store_true", help="seconds, to see that it runs")
    parser.add_argument("--out", type=Path, default=Path("results") / problem.name)
    options = parser.parse_args(arguments)

    settings = presets[options.flow]
    if options.smoke:
        settings = smoke(settings)
    given = {
        name: value
        for name, value in vars(options).items()
        if value is not None and name not in ("flow", "diagnostics", "dtype", "smoke", "out")
    }
    if options.dtype is not None:
        if "dtype" not in inspect.signature(getattr(flows, settings.flow)).parameters:
            parser.error(f"--dtype: {settings.flow} has no such option; take --flow real_nvp")
        given["flow_options"] = settings.flow_options | {"dtype": options.dtype}
    settings = replace(settings, **given)

    console = Console()
    options.out.mkdir(parents=True, exist_ok=True)
    name = options.flow if options.dtype is None else f"{options.flow}-{options.dtype}"
    stem = f"{name}-seed{options.seed}" + ("-smoke" if options.smoke else "")
    page = options.out / f"{stem}-diagnostics.html"
    outcome = run(problem, settings, console, page=page if options.diagnostics else None)
    words = sys.argv[1:] if arguments is None else arguments
    command = shlex.join(["python", "-m", f"experiments.{problem.name}", *words])
    ends = (".json", f"-{problem.picture}.png", "-marginals.png")
    files = [options.out / f"{stem}{end}" for end in ends]
    save_json(files[0], problem, outcome, settings, command)
    console.print(make_table(problem, outcome, settings))
    draw_panels(files[1], problem, outcome.example)
    draw_marginals(files[2], problem, outcome.example)
    files += [page] if options.diagnostics else []
    console.print("Wrote", *(str(file) for file in files))

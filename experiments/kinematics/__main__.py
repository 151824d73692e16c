"""``python -m experiments.kinematics``: train, compare with the ground truth, draw."""

import argparse
import shlex
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from experiments.kinematics.experiment import EXAMPLE_Y, PRESETS, run, smoke
from experiments.kinematics.plots import draw_arms, draw_marginals
from experiments.kinematics.report import make_table, save_json


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the experiment as the command line says."""
    parser = argparse.ArgumentParser(prog="python -m experiments.kinematics", description=__doc__)
    parser.add_argument("--flow", choices=PRESETS, default="neural_spline_flow")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, help="training steps, in place of the preset's")
    parser.add_argument("--batch-size", type=int, help="simulations a step")
    parser.add_argument("--learning-rate", type=float, help="highest learning rate")
    parser.add_argument("--y-noise", type=float, help="noise on y in training")
    parser.add_argument("--smoke", action="store_true", help="seconds, to see that it runs")
    parser.add_argument("--out", type=Path, default=Path("results/kinematics"))
    options = parser.parse_args(arguments)

    settings = PRESETS[options.flow]
    if options.smoke:
        settings = smoke(settings)
    given = {
        name: getattr(options, name)
        for name in ("seed", "steps", "batch_size", "learning_rate", "y_noise")
        if getattr(options, name) is not None
    }
    settings = replace(settings, **given)

    console = Console()
    outcome = run(settings, console)
    words = sys.argv[1:] if arguments is None else arguments
    command = shlex.join(["python", "-m", "experiments.kinematics", *words])
    options.out.mkdir(parents=True, exist_ok=True)
    stem = f"{options.flow}-seed{options.seed}" + ("-smoke" if options.smoke else "")
    files = [options.out / f"{stem}{end}" for end in (".json", "-arms.png", "-marginals.png")]
    save_json(files[0], outcome, settings, command)
    console.print(make_table(outcome, settings))
    draw_arms(files[1], outcome.example, EXAMPLE_Y)
    draw_marginals(files[2], outcome.example, EXAMPLE_Y)
    console.print("Wrote", *(str(file) for file in files))


if __name__ == "__main__":
    main()

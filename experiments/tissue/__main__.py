"""``python -m experiments.tissue``: the posterior of tissue, given what a camera sees of it.

A cINN and an INN beside ABC, on spectra of the surrogate with a camera's noise. Simulations and
runs are kept; the same command goes on.
"""

import argparse
import shlex
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from experiments.runs import keep_runs, panel_file
from experiments.tissue import tables
from experiments.tissue.plots import draw_correlations, draw_marginals, draw_scene
from experiments.tissue.runs import Runs
from experiments.tissue.settings import METHODS, TRAINED, Data, smoke


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs what the command line asks for; results of earlier runs are kept and not made again."""
    program = "python -m experiments.tissue"
    parser = argparse.ArgumentParser(prog=program, description=__doc__)
    parser.add_argument("--method", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2], help="of networks")
    parser.add_argument("--data-seed", type=int, default=0, help="of simulations")
    parser.add_argument("--validation", action="store_true", help="unseen spectra to tune on")
    words = "of each band, as simulated anew in every step"
    parser.add_argument("--signal-to-noise", type=float, default=Data.signal_to_noise, help=words)
    parser.add_argument("--steps", type=int, help="training steps, in place of each method's own")
    parser.add_argument("--smoke", action="store_true", help="seconds, to see that it runs")
    parser.add_argument("--out", type=Path, default=Path("results/tissue"))
    options = parser.parse_args(arguments)
    if options.smoke:
        options.seeds = options.seeds[:1]
    console = Console()
    words = sys.argv[1:] if arguments is None else arguments
    path = options.out / ("smoke.json" if options.smoke else "posterior.json")
    if options.validation:
        path = path.with_stem(f"{path.stem}-validation")
    command = shlex.join([*program.split(), *words])
    runs, unfinished = keep_runs(
        path, wanted_runs(options), Runs(options.out, console), command=command, console=console
    )
    show(runs, console)
    for seed in sorted({run["seed"] for run in runs.values() if "seed" in run}):
        for file in draw(path, runs, seed):
            console.print(f"Drew {file}")
    console.print(f"Wrote {path}")
    if unfinished:
        raise SystemExit(unfinished)


def wanted_runs(options: argparse.Namespace) -> dict[str, Any]:
    """The settings of each run by its name, as the command line says."""
    chosen = {}
    for name in options.method:
        settings = smoke(METHODS[name]) if options.smoke else METHODS[name]
        data = replace(
            settings.data,
            seed=options.data_seed,
            signal_to_noise=options.signal_to_noise,
            validation=options.validation,
        )
        settings = replace(settings, data=data)
        if options.steps is not None:
            settings = replace(settings, steps=options.steps)
        chosen[name] = settings
    wanted: dict[str, Any] = {"data": next(iter(chosen.values())).data}
    if "abc" in chosen:
        wanted["abc"] = chosen["abc"]
    for seed in options.seeds:
        wanted |= {f"{name}/seed{seed}": chosen[name] for name in TRAINED if name in chosen}
    return wanted


def show(runs: dict[str, dict[str, Any]], console: Console) -> None:
    """Prints the tables of what is there."""
    console.print(tables.accuracy_table(runs))
    console.print(tables.scene_table(runs))
    console.print(tables.trust_table(runs))
    if "data" in runs:
        console.print(tables.typicality_table(runs))


def draw(path: Path, runs: dict[str, dict[str, Any]], seed: int) -> list[Path]:
    """Draws the pictures of a seed, and gives their files."""
    panels = {}
    for method in METHODS:
        name = method if method in runs else f"{method}/seed{seed}"
        if name in runs and panel_file(path, name).exists():
            panels[method] = np.load(panel_file(path, name))
    files = [path.with_name(f"{path.stem}-marginals-seed{seed}.png")]
    draw_marginals(files[0], panels)
    for method in TRAINED:
        if method in panels:
            stem = f"{path.stem}-{method}-seed{seed}"
            found = [path.with_name(f"{stem}-{kind}.png") for kind in ("correlations", "scene")]
            draw_correlations(found[0], panels[method]["samples"])
            draw_scene(found[1], panels[method])
            files += found
    return files


if __name__ == "__main__":
    main()

"""``python -m experiments.gaussian_mixture``: eight modes found from their labels, INN and cINN."""

import argparse
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from experiments.arguments import at_least_one
from experiments.gaussian_mixture.measure import picture, run
from experiments.gaussian_mixture.plots import draw
from experiments.gaussian_mixture.problem import LABELINGS, exact_samples
from experiments.gaussian_mixture.settings import METHODS, Settings, smoke
from experiments.runs import is_drawable, keep_runs, of_settings, read_panels


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs what the command line asks for; results of earlier runs are kept and not made again."""
    program = "python -m experiments.gaussian_mixture"
    parser = argparse.ArgumentParser(prog=program, description=__doc__)
    parser.add_argument("--method", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--labeling", nargs="+", choices=LABELINGS, default=list(LABELINGS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--steps", type=at_least_one, help="in place of each method's own")
    parser.add_argument("--smoke", action="store_true", help="seconds, to see that it runs")
    parser.add_argument("--out", type=Path, default=Path("results/gaussian_mixture"))
    options = parser.parse_args(arguments)
    console = Console()
    words = sys.argv[1:] if arguments is None else arguments
    if options.smoke:
        options.labeling = options.labeling[:1]
        options.method = [name for name in options.method if name in ("inn", "cinn")]
    path = options.out / ("smoke.json" if options.smoke else "runs.json")
    wanted = {
        f"{labeling}/{method}/seed{seed}": chosen(method, options.steps, smoke_run=options.smoke)
        for seed in options.seeds
        for labeling in options.labeling
        for method in options.method
    }

    def make(name: str, settings: Settings) -> Any:
        labeling, _, seed = name.split("/")
        return run(labeling, settings, int(seed.removeprefix("seed")))

    command = shlex.join([*program.split(), *words])
    kept, unfinished = keep_runs(path, wanted, make, command=command, console=console)

    def settings_now(name: str) -> Settings | None:
        method = name.partition("/")[2].partition("/")[0]
        known = method in METHODS
        return chosen(method, options.steps, smoke_run=options.smoke) if known else None

    runs = of_settings(kept, settings_now, console)
    if runs:
        console.print(make_table(runs))
        panels = read_panels(path, runs, console)
        for seed in sorted({measured["seed"] for measured in runs.values()}):
            file = path.with_name(f"{path.stem}-seed{seed}.png")
            names = [name for name in runs if name.endswith(f"/seed{seed}")]
            shown = {name: panels[name] for name in names if name in panels}
            missing = [name for name in names if name not in panels]
            if is_drawable(file, shown, missing, console):
                draw_samples(file, shown, seed)
                console.print(f"Drew {file}", soft_wrap=True)
        console.print(f"Wrote {path}")
    if unfinished:
        raise SystemExit(unfinished)


def chosen(method: str, steps: int | None, *, smoke_run: bool) -> Settings:
    """The settings of a method, with what the command line says."""
    settings = smoke(METHODS[method]) if smoke_run else METHODS[method]
    return settings if steps is None else replace(settings, steps=steps)


def make_table(runs: Mapping[str, Mapping[str, Any]]) -> Table:
    """Tabulates the measured figures, for 80 columns."""
    title = (
        "Samples of p(x | label) against exact ones: MMD^2 and its floor, and the\n"
        "share outside of the label's modes, means over labels by their\n"
        "probability; modes covered; labels predicted; MMD^2 of z over its\n"
        "bootstrap threshold, its largest correlation with the label"
    )
    table = Table(title=title, title_justify="left", box=SIMPLE, padding=0)
    for column in ("labels", "method", "seed"):
        table.add_column(column, no_wrap=True)
    for column in (
        "MMD^2\n",
        "floor\n",
        "out-\nside",
        "modes\n",
        "accu-\nracy",
        "MMD\nof z",
        "corr.\nof z",
        "train.\nsec.",
        "param-\neters",
    ):
        table.add_column(column, justify="right", no_wrap=True)
    previous = None
    for labeling in LABELINGS:
        for method in METHODS:
            prefix = f"{labeling}/{method}/"
            names = sorted(name for name in runs if name.startswith(prefix))
            for name in names:
                table.add_row(*_row(labeling if labeling != previous else "", method, runs[name]))
                previous = labeling
    return table


def _row(labeling: str, method: str, measured: Mapping[str, Any]) -> list[str]:
    latent = measured.get("latent")
    return [
        labeling,
        method,
        str(measured["seed"]),
        f"{measured['mmd']:.4f}",
        f"{measured['exact']['mmd']:.4f}",
        f"{measured['outside']:.1%}",
        f"{measured['covered']:.0%}",
        f"{measured['accuracy']:.1%}" if latent else "",
        f"{latent['mmd'] / latent['mmd_threshold']:.1f}" if latent else "",
        f"{latent['correlation']:.3f}" if latent else "",
        f"{measured['training_seconds']:.0f}",
        f"{measured['parameters']:,}",
    ]


def draw_samples(file: Path, kept: dict[str, dict[str, np.ndarray]], seed: int) -> None:
    """Draws exact samples beside those that are kept of runs with this seed."""
    labelings = [name for name in LABELINGS if any(run.startswith(f"{name}/") for run in kept)]
    methods = [name for name in METHODS if any(run.split("/")[1] == name for run in kept)]
    panels: dict[tuple[str, str], Any] = {}
    for labeling in labelings:
        exact = exact_samples(jax.random.key(seed), 2000, labeling)
        panels[labeling, "exact"] = picture(exact, labeling)
        for method in methods:
            panels[labeling, method] = kept.get(f"{labeling}/{method}/seed{seed}")
    draw(file, labelings, ["exact", *methods], panels)


if __name__ == "__main__":
    main()

"""``python -m experiments.digits``: digits drawn by their class, and bits per dimension."""

import argparse
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import jax
import numpy as np
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from experiments.arguments import at_least_one
from experiments.digits.data import digest, mnist, small_digits, validation_split
from experiments.digits.measure import Judge, run
from experiments.digits.model import make_model, number_count
from experiments.digits.peer import missing, run_peer
from experiments.digits.plots import draw_samples, draw_transfer
from experiments.digits.settings import DIGITS, MNIST, Peer, Settings, peer_of, plain, smoke
from experiments.runs import checkpoint_folder, keep_runs, of_settings, read_panels

METHODS = {
    "jinn": "multi-scale",
    "plain": "alone",
    "flowjax": "Real NVP",
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs what the command line asks for; results of earlier runs are kept and not made again."""
    program = "python -m experiments.digits"
    parser = argparse.ArgumentParser(prog=program, description=__doc__)
    parser.add_argument("--method", nargs="+", choices=METHODS, default=["jinn", "flowjax"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--steps", type=at_least_one, help="in place of the method's own")
    parser.add_argument(
        "--mnist", type=Path, metavar="FILE", help="MNIST: Keras's .npz, or a folder of IDX files"
    )
    parser.add_argument(
        "--tune", action="store_true", help="judge by a part of the training digits"
    )
    parser.add_argument(
        "--peer-python",
        default=sys.executable,
        metavar="PYTHON",
        help="the interpreter that has flowjax, if this one has not",
    )
    parser.add_argument("--smoke", action="store_true", help="seconds, to see that it runs")
    parser.add_argument("--out", type=Path, default=Path("results/digits"))
    options = parser.parse_args(arguments)
    console = Console()
    words = sys.argv[1:] if arguments is None else arguments
    try:
        digits = mnist(options.mnist) if options.mnist else small_digits()
    except ValueError as error:
        parser.error(str(error))
    if options.tune:
        digits = validation_split(digits)
    methods = options.method
    if "flowjax" in methods and (reason := missing(options.peer_python)):
        methods = [name for name in methods if name != "flowjax"]
        console.print(f"Without flowjax's Real NVP: {reason}; see --peer-python", soft_wrap=True)
    seeds = options.seeds[:1] if options.smoke else options.seeds
    settings = MNIST if options.mnist else DIGITS
    settings = smoke(settings) if options.smoke else settings
    parameters = number_count(make_model(settings, digits, jax.random.key(0)))
    chosen: dict[str, Any] = {
        "jinn": settings,
        "plain": plain(settings),
        "flowjax": peer_of(settings, parameters),
    }
    if options.steps is not None:
        chosen = {name: replace(each, steps=options.steps) for name, each in chosen.items()}
    stem = f"mnist-{digest(digits)}" if options.mnist else "digits"
    stem += "-smoke" * options.smoke + "-tuning" * options.tune
    path = options.out / f"{stem}.json"
    judge = cache(lambda: Judge(digits))

    def make(name: str, settings: Settings | Peer) -> Any:
        seed = int(name.rpartition("seed")[2])
        if isinstance(settings, Peer):
            return run_peer(digits, judge(), settings, seed, options.peer_python)
        return run(digits, judge(), settings, seed, checkpoint_folder(path, name, settings))

    wanted = {f"{name}/seed{seed}": chosen[name] for seed in seeds for name in methods}
    command = shlex.join([*program.split(), *words])
    runs, unfinished = keep_runs(path, wanted, make, command=command, console=console)
    runs = of_settings(runs, lambda name: chosen.get(name.partition("/")[0]), console)
    if runs:
        console.print(make_table(runs))
        for name, arrays in read_panels(path, runs, console).items():
            for file in draw_pictures(path, name, arrays):
                console.print(f"Drew {file}", soft_wrap=True)
        console.print(f"Wrote {path}", soft_wrap=True)
    if unfinished:
        raise SystemExit(unfinished)


def make_table(runs: Mapping[str, Mapping[str, Any]]) -> Table:
    """Tabulates the measured figures, for 80 columns."""
    real = next(iter(runs.values()))["real"]
    title = (
        "Bits per dimension of held-out digits, and the share of drawn digits that a\n"
        f"classifier, right on {real['accuracy']:.1%} of held-out ones, sees as their class"
    )
    table = Table(title=title, title_justify="left", box=SIMPLE, padding=0)
    for column in ("method", "seed"):
        table.add_column(column, no_wrap=True)
    for column in (
        "bits/\ndim.",
        "on\ntrain.",
        "un-\ntrained",
        "right\n",
        "right,\ncooler",
        "right,\nstyles",
        "train.\nsec.",
        "param-\neters",
    ):
        table.add_column(column, justify="right", no_wrap=True)
    previous = None
    for method, title in METHODS.items():
        names = sorted(name for name in runs if name.startswith(f"{method}/"))
        for name in names:
            table.add_row(title if method != previous else "", *_row(runs[name]))
            previous = method
    return table


def _row(measured: Mapping[str, Any]) -> list[str]:
    bits, ours = measured["bits"], "transferred" in measured
    return [
        str(measured["seed"]),
        f"{bits['mean']:.3f}",
        f"{measured['training_bits']['mean']:.3f}" if ours else "",
        f"{measured['untrained']['bits']['mean']:.3f}" if ours else "",
        f"{measured['drawn']['accuracy']:.1%}",
        f"{measured['drawn_cooler']['accuracy']:.1%}" if ours else "",
        f"{measured['transferred']['accuracy']:.1%}" if ours else "",
        f"{measured['training_seconds']:.0f}",
        f"{measured['parameters']:,}",
    ]


def draw_pictures(path: Path, name: str, arrays: dict[str, np.ndarray]) -> list[Path]:
    """Draws what a run has kept for its pictures, and gives their files."""
    start = f"{path.stem}-{name.replace('/', '-')}"
    samples = path.with_name(f"{start}-samples.png")
    if "transferred" not in arrays:
        draw_samples(samples, {"Real NVP of flowjax": arrays["samples"]})
        return [samples]
    draw_samples(samples, {"drawn": arrays["samples"], "drawn cooler": arrays["cooler"]})
    styles = path.with_name(f"{start}-styles.png")
    draw_transfer(styles, arrays["styles"], arrays["transferred"])
    return [samples, styles]


if __name__ == "__main__":
    main()

"""``python -m experiments.colorize``: grayscale photographs in colour by a conditional INN."""

import argparse
import hashlib
import json
import shlex
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
from PIL import Image
from rich.console import Console

from experiments.arguments import at_least_one, positive
from experiments.colorize.draw import (
    draw_samples,
    draw_temperatures,
    draw_transfers,
    make_table,
    seeds_of,
    verdict,
)
from experiments.colorize.measure import run
from experiments.colorize.networks import is_of, load
from experiments.colorize.photographs import (
    HELD_OUT,
    SHIPPED,
    Photographs,
    in_folder,
    printable,
    read_photograph,
    shipped,
)
from experiments.colorize.pictures import colour_squares
from experiments.colorize.settings import MODELS, PRESETS, SMOKE, Settings
from experiments.colorize.whole import colorize
from experiments.runs import checkpoint_folder, keep_runs, of_settings

PROGRAM = "python -m experiments.colorize"


def main(arguments: Sequence[str] | None = None) -> None:
    """Trains, measures and draws what the command line asks for, or colours photographs."""
    options = _parser().parse_args(arguments)
    words = sys.argv[1:] if arguments is None else arguments
    console = Console()
    try:
        if options.colorize:
            colour_files(options, console)
        else:
            unfinished = train(options, shlex.join([*PROGRAM.split(), *words]), console)
            if unfinished:
                raise SystemExit(unfinished)
    except ValueError as error:
        raise SystemExit(f"{PROGRAM}: {error}") from error


def train(options: argparse.Namespace, command: str, console: Console) -> str | None:
    """Makes the runs that are not there, tabulates and draws; says what went wrong, if anything."""
    settings, photographs = chosen(options, console)
    prefix, path = _prefix(options), options.out / f"{_stem(options)}.json"
    seeds = options.seeds[:1] if options.smoke else options.seeds
    wanted = {f"{prefix}/{model}/seed{seed}": settings for seed in seeds for model in options.model}

    def make(name: str, settings: Settings) -> Any:
        _, model, seed = name.split("/")
        number = int(seed.removeprefix("seed"))
        file, checkpoints = (
            model_file(options, model, number),
            checkpoint_folder(path, name, settings),
        )
        record = run(model, settings, photographs, number, file, checkpoints)
        if record is None:
            return None
        history = {name: np.asarray(values) for name, values in record.pop("history").items()}
        return record, history

    runs, unfinished = keep_runs(path, wanted, make, command=command, console=console)
    of_prefix = f"{prefix}/"
    runs = of_settings(runs, lambda name: settings if name.startswith(of_prefix) else None, console)
    if not runs:
        return unfinished
    console.print(make_table(runs, prefix, settings.samples))
    for seed in seeds_of(runs, prefix):
        words = verdict(runs, prefix, seed, settings.samples)
        if words:
            console.print(words)
    for seed in seeds:
        files = [model_file(options, model, seed) for model in ("cinn", "regression")]
        if unfinished or not all(file.exists() and is_of(file, settings) for file in files):
            continue
        flow, regression = load(files[0], "cinn", settings), load(files[1], "regression", settings)
        made = colour_squares(flow, regression, settings, photographs, seed)
        for name, draw in (
            ("samples", draw_samples),
            ("temperatures", draw_temperatures),
            ("transfers", draw_transfers),
        ):
            picture = path.with_name(f"{path.stem}-{name}-seed{seed}.jpg")
            draw(picture, made)
            console.print(f"Drew {picture}")
    console.print(f"Wrote {path}")
    return unfinished


def colour_files(options: argparse.Namespace, console: Console) -> None:
    """Colours the photographs of the command line by a trained model.

    A photograph that cannot be read is reported, and the others are coloured.
    """
    settings, _ = _settings(options)
    stems = [photograph.stem for photograph in options.colorize]
    same = sorted({stem for stem in stems if stems.count(stem) > 1})
    if same:
        raise ValueError(
            f"--colorize: several photographs are called {', '.join(same)}, and their pictures "
            "would replace each other; give each an --out of its own"
        )
    file = options.checkpoint or model_file(options, "cinn", options.seeds[0])
    flow = load(file, "cinn", settings)
    options.out.mkdir(parents=True, exist_ok=True)
    faults = []
    for photograph in options.colorize:
        try:
            pixels = read_photograph(photograph)
        except ValueError as error:
            faults.append(str(error))
            continue
        coloured = colorize(
            flow,
            settings,
            pixels,
            jax.random.key(options.seeds[0]),
            samples=options.samples or settings.samples,
            temperature=options.temperature,
        )
        for number, image in enumerate(coloured, start=1):
            path = options.out / f"{photograph.stem}-colour{number}.png"
            Image.fromarray(np.rint(255 * image).astype(np.uint8)).save(path)
            console.print(f"Wrote {path}")
    if faults:
        raise ValueError("; ".join(faults))


def chosen(options: argparse.Namespace, console: Console) -> tuple[Settings, Photographs]:
    """The settings and the photographs that the command line asks for."""
    settings, validate = _settings(options)
    if options.images is None:
        return settings, shipped(validate or HELD_OUT)
    if validate:
        raise ValueError("--validate names shipped photographs; leave it or --images out")
    photographs = in_folder(options.images, console, settings.side)
    files = {"training": photographs.training, "test": photographs.test}
    sizes = {
        part: [(name, file.stat().st_size) for name, file in found.items()]
        for part, found in files.items()
    }
    digest = hashlib.sha256(json.dumps(sizes).encode()).hexdigest()[:12]
    settings = replace(
        settings,
        photographs=f"{options.images}, {digest}",
        held_out=tuple(map(printable, photographs.test)),
    )
    return settings, photographs


def model_file(options: argparse.Namespace, model: str, seed: int) -> Path:
    """Where a trained model is kept."""
    return options.out / f"{_stem(options)}-models" / f"{_prefix(options)}-{model}-seed{seed}.npz"


def _settings(options: argparse.Namespace) -> tuple[Settings, tuple[str, ...]]:
    settings = SMOKE if options.smoke else PRESETS[options.preset]
    validate = tuple(options.validate)
    settings = replace(
        settings,
        photographs="shipped" if options.images is None else str(options.images),
        held_out=validate or (HELD_OUT if options.images is None else ()),
    )
    names = ("steps", "batch_size", "learning_rate", "samples", "test_patches")
    given = {name: vars(options)[name] for name in names if vars(options)[name] is not None}
    settings, one = replace(settings, **given), settings.patches_per_photograph
    if settings.batch_size % one or settings.batch_size < 2 * one:
        raise ValueError(
            f"--batch-size: expected a multiple of {one} patches, as many as each photograph gives "
            f"at a time, at least {2 * one}, got {settings.batch_size}"
        )
    return settings, validate


def _prefix(options: argparse.Namespace) -> str:
    preset = "smoke" if options.smoke else options.preset
    return f"{preset}-validate" if options.validate else preset


def _stem(options: argparse.Namespace) -> str:
    return "smoke" if options.smoke else "runs"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=PROGRAM, description=__doc__)
    parser.add_argument("--preset", choices=PRESETS, default="default")
    parser.add_argument("--smoke", action="store_true", help="a minute, to see that it runs")
    parser.add_argument("--model", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--images", type=Path, help="a folder of photographs to train on")
    words = "measure on these of the shipped photographs in place of those held out for the test"
    parser.add_argument("--validate", nargs="+", choices=SHIPPED, default=[], help=words)
    parser.add_argument("--steps", type=at_least_one, help="in place of the preset's")
    parser.add_argument("--batch-size", type=at_least_one, help="patches a step")
    parser.add_argument("--learning-rate", type=positive, help="highest learning rate")
    parser.add_argument("--test-patches", type=at_least_one, help="patches to measure on")
    parser.add_argument("--samples", type=at_least_one, help="samples for each patch or photograph")
    words = "colour these photographs by a trained model, and train nothing"
    parser.add_argument("--colorize", nargs="+", type=Path, metavar="PHOTO", help=words)
    parser.add_argument("--checkpoint", type=Path, help="the trained model, a file of *-models/")
    parser.add_argument("--temperature", type=float, default=1.0, help="of the latent")
    parser.add_argument("--out", type=Path, default=Path("results/colorize"))
    return parser


if __name__ == "__main__":
    main()

"""Tables and pictures."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
from rich.box import SIMPLE
from rich.table import Table

from experiments.colorize.pictures import TEMPERATURES, Coloured

ROWS = (
    ("mean colour", "regression", "mean"),
    ("regression", "regression", "measured"),
    ("regression + noise", "regression", "noisy"),
    ("unconditional flow", "unconditional", "measured"),
    ("cINN", "cinn", "measured"),
)
"""Title, run and entry of its record."""


def make_table(runs: Mapping[str, Any], prefix: str, samples: int) -> Table:
    """Tabulates the figures of all seeds, for 80 columns."""
    title = (
        "Colours of patches of the photographs held out: best-of-n RMS and energy\n"
        "score in sRGB x 100 (less is better), mean variance of the samples x 1000,\n"
        "bits per dimension of ab in the networks' units, with noise"
    )
    table = Table(title=title, title_justify="left", box=SIMPLE, padding=0)
    table.add_column("seed", no_wrap=True)
    table.add_column("model", no_wrap=True)
    for column in (
        "best\nof 1",
        f"best\nof {samples}",
        "energy\nscore",
        "vari-\nance",
        "bits /\ndim.",
        "train.\nsec.",
        "para-\nmeters",
    ):
        table.add_column(column, justify="right", no_wrap=True)
    for seed in seeds_of(runs, prefix):
        for title, model, entry in ROWS:
            record = runs.get(f"{prefix}/{model}/seed{seed}")
            if record is not None:
                table.add_row(str(seed), title, *_cells(record, entry))
    return table


def seeds_of(runs: Mapping[str, Any], prefix: str) -> list[int]:
    """The seeds of which there are runs."""
    return sorted(
        {record["seed"] for name, record in runs.items() if name.startswith(f"{prefix}/")}
    )


def verdict(runs: Mapping[str, Any], prefix: str, seed: int, samples: int) -> str | None:
    """How the flow stands to the others, or None if one is missing."""
    names = [f"{prefix}/{model}/seed{seed}" for model in ("cinn", "regression", "unconditional")]
    if not all(name in runs for name in names):
        return None
    flow, regression, unconditional = (runs[name] for name in names)
    own = flow["measured"]

    def below(entry: str, other: str) -> str:
        return f"{1 - own[entry] / regression[other][entry]:.1%}"

    return (
        f"seed {seed}: best of {samples} {below('best_of_n', 'measured')} below the regression's "
        f"and {below('best_of_n', 'noisy')} below the noisy one's, energy score "
        f"{below('energy_score', 'measured')} and {below('energy_score', 'noisy')}, variance "
        f"{own['variance']:.5f}, {unconditional['measured']['bits'] - own['bits']:.2f} bits below "
        "the unconditional flow"
    )


def _cells(record: Mapping[str, Any], entry: str) -> list[str]:
    found, trained = record[entry], entry == "measured"
    return [
        f"{100 * found['best_of_1']:.2f}",
        f"{100 * found['best_of_n']:.2f}",
        f"{100 * found['energy_score']:.2f}",
        f"{1000 * found['variance']:.2f}",
        f"{found['bits']:.2f}" if "bits" in found else "",
        f"{record['training_seconds']:.0f}" if trained else "",
        f"{record['parameters']:,}" if trained else "",
    ]


def draw_samples(path: Path, made: Sequence[Coloured]) -> None:
    """Draws for each photograph its lightness, samples, the regression and the truth."""
    samples = [f"sample {i + 1}" for i in range(len(made[0].samples))]
    titles = ["lightness", *samples, "regression", "photograph"]
    rows = [[one.gray, *one.samples, one.regression, one.truth] for one in made]
    _draw(path, titles, rows, [one.name for one in made])


def draw_temperatures(path: Path, made: Sequence[Coloured]) -> None:
    """Draws for each photograph the series of one latent times each temperature."""
    titles = [f"z = {temperature:g} z*" for temperature in TEMPERATURES]
    _draw(path, titles, [list(one.temperatures) for one in made], [one.name for one in made])


def draw_transfers(path: Path, made: Sequence[Coloured]) -> None:
    """Draws each photograph's lightness with the latents of others, and those above."""
    rows, labels = [], []
    most = max(len(one.sources) for one in made)
    for one in made:
        missing = [None] * (most - len(one.sources))
        rows += [[None, *one.sources, *missing], [one.gray, *one.transferred, *missing]]
        labels += ["z of", one.name]
    _draw(path, ["lightness", *[""] * most], rows, labels)


def _draw(path: Path, titles: list[str], rows: list[list[Any]], labels: list[str]) -> None:
    size = (1.5 * len(titles), 1.5 * len(rows) + 0.3)
    figure, axes = plt.subplots(
        len(rows), len(titles), figsize=size, squeeze=False, layout="constrained"
    )
    for axis, title in zip(axes[0], titles, strict=True):
        axis.set_title(title, fontsize=9)
    for line, images, label in zip(axes, rows, labels, strict=True):
        line[0].set_ylabel(label, fontsize=9)
        for axis, image in zip(line, images, strict=True):
            axis.set(xticks=[], yticks=[])
            axis.spines[:].set_visible(False)
            if image is not None:
                axis.imshow(np.clip(image, 0, 1))
    figure.savefig(path, dpi=130, pil_kwargs={"quality": 88})
    plt.close(figure)

"""``python -m experiments.density2d``: five densities in the plane, learned by every flow."""

import argparse
import shlex
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from experiments.arguments import at_least_one
from experiments.density2d.measure import PIXELS, VIEW, chunked, run
from experiments.density2d.plots import draw
from experiments.density2d.problems import PROBLEMS
from experiments.density2d.settings import FLOWS, Settings, smoke
from experiments.runs import is_drawable, keep_runs, read_panels


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs what the command line asks for; results of earlier runs are kept and not made again."""
    parser = argparse.ArgumentParser(prog="python -m experiments.density2d", description=__doc__)
    parser.add_argument("--flow", nargs="+", choices=FLOWS, default=list(FLOWS))
    parser.add_argument("--problem", nargs="+", choices=PROBLEMS, default=list(PROBLEMS))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=at_least_one, help="in place of each flow's own")
    parser.add_argument("--smoke", action="store_true", help="seconds, to see that it runs")
    parser.add_argument("--out", type=Path, default=Path("results/density2d"))
    options = parser.parse_args(arguments)
    console = Console()
    words = sys.argv[1:] if arguments is None else arguments
    command = shlex.join(["python", "-m", "experiments.density2d", *words])
    if options.smoke:
        options.problem = options.problem[-1:]
    stem = f"seed{options.seed}" + ("-smoke" if options.smoke else "")
    path = options.out / f"{stem}.json"
    wanted = {
        f"{problem}/{flow}": chosen(flow, options.steps, smoke_run=options.smoke)
        for problem in options.problem
        for flow in options.flow
    }

    def make(name: str, settings: Settings) -> Any:
        return run(PROBLEMS[name.split("/")[0]], settings, options.seed, console)

    runs, unfinished = keep_runs(path, wanted, make, command=command, console=console)
    ordered = [(problem, flow) for problem in PROBLEMS for flow in FLOWS]
    shown = [(*pair, runs["/".join(pair)]) for pair in ordered if "/".join(pair) in runs]
    if shown:
        console.print(make_table(shown))
        panels = read_panels(path, runs, console)
        picture, missing = path.with_suffix(".png"), [name for name in runs if name not in panels]
        if is_drawable(picture, panels, missing, console):
            draw_panels(picture, panels, options.seed)
            console.print(f"Drew {picture}", soft_wrap=True)
        console.print(f"Wrote {path}", soft_wrap=True)
    if unfinished:
        raise SystemExit(unfinished)


def chosen(flow: str, steps: int | None, *, smoke_run: bool) -> Settings:
    """The settings of a flow, with what the command line says."""
    settings = smoke(FLOWS[flow]) if smoke_run else FLOWS[flow]
    return settings if steps is None else replace(settings, steps=steps)


def make_table(rows: list[tuple[str, str, dict[str, Any]]]) -> Table:
    """Tabulates the measured figures, for 80 columns."""
    title = "Held-out negative log-likelihood and divergence from the exact density, in nats"
    table = Table(title=title, title_justify="left", box=SIMPLE, padding=0)
    for column in ("problem", "flow"):
        table.add_column(column, no_wrap=True)
    for column in ("NLL", "exact", "KL", "integral", "train.\nsec.", "param-\neters"):
        table.add_column(column, justify="right", no_wrap=True)
    previous = None
    for problem, flow, measured in rows:
        table.add_row(
            problem if problem != previous else "",
            flow,
            f"{measured['negative_log_likelihood']:.3f}",
            f"{measured['entropy']:.3f}",
            f"{measured['kl_divergence']:.3f}",
            f"{measured['integral']:.4f}",
            f"{measured['training_seconds']:.0f}",
            f"{measured['parameters']:,}",
        )
        previous = problem
    return table


def draw_panels(picture: Path, kept: dict[str, dict[str, np.ndarray]], seed: int) -> None:
    """Draws the exact densities beside what is kept of the flows', by "PROBLEM/FLOW"."""
    problems = [name for name in PROBLEMS if any(run.startswith(f"{name}/") for run in kept)]
    flows = [name for name in FLOWS if any(run.endswith(f"/{name}") for run in kept)]
    middles = VIEW * ((2 * np.arange(PIXELS) + 1) / PIXELS - 1)
    grid = np.stack(np.meshgrid(middles, middles, indexing="xy"), axis=-1).astype(np.float32)
    panels: dict[tuple[str, str], Any] = {}
    for problem in problems:
        density = np.exp(chunked(PROBLEMS[problem].log_prob, grid.reshape(-1, 2)))
        samples = np.asarray(PROBLEMS[problem].sample(jax.random.key(seed), 5000))
        panels[problem, "exact"] = {
            "samples": samples,
            "density": density.reshape(PIXELS, PIXELS),
        }
        for flow in flows:
            panels[problem, flow] = kept.get(f"{problem}/{flow}")
    draw(picture, problems, ["exact", *flows], panels)


if __name__ == "__main__":
    main()

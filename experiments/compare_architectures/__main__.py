"""``python -m experiments.compare_architectures``: all methods on two inverse problems."""

import argparse
import shlex
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from experiments.compare_architectures.methods import METHODS
from experiments.compare_architectures.protocol import TASKS, RunSettings, Truth, run
from experiments.compare_architectures.report import REFERENCES, draw, make_table, markdown
from experiments.compare_architectures.settings import PRESETS, SMOKE, Protocol
from experiments.runs import keep_runs, panel_file

SMOKE_METHODS = {"ballistics": ["inn_mmd", "cinn_spline"]}
"""By problem, those that a smoke run makes; elsewhere all that are asked for."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs what the command line asks for; runs that are there are not made again."""
    parser = argparse.ArgumentParser(
        prog="python -m experiments.compare_architectures", description=__doc__
    )
    table = [name for name, method in METHODS.items() if not method.ablation]
    parser.add_argument("--problem", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument("--method", nargs="+", choices=METHODS, default=table)
    parser.add_argument("--ablation", action="store_true", help="the ablation of the INN's losses")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--preset", choices=PRESETS, default="default")
    for name in ("parameters", "pairs", "steps", "batch-size", "observations"):
        parser.add_argument(f"--{name}", type=int, help="in place of the preset's")
    parser.add_argument("--learning-rate", type=float, help="in place of each method's own")
    parser.add_argument("--smoke", action="store_true", help="a minute, to see that it runs")
    parser.add_argument("--out", type=Path, default=Path("results/compare_architectures"))
    options = parser.parse_args(arguments)
    names = asdict(SMOKE)
    given = {k: v for k, v in vars(options).items() if k in names and v is not None}
    protocol = replace(SMOKE if options.smoke else PRESETS[options.preset], **given)
    if options.ablation:
        options.method = [name for name, method in METHODS.items() if method.ablation]
    if options.smoke:
        options.seeds = options.seeds[:1]
    words = sys.argv[1:] if arguments is None else arguments
    command = shlex.join(["python", "-m", "experiments.compare_architectures", *words])
    console = Console()
    unfinished = []
    for problem in options.problem:
        methods = SMOKE_METHODS.get(problem, options.method) if options.smoke else options.method
        comparison = Comparison(problem, protocol, options.out / f"{problem}.json", console)
        ended = comparison.make(
            [(seed, name) for seed in options.seeds for name in methods], command
        )
        comparison.report()
        if ended == "interrupted":
            raise SystemExit(ended)
        unfinished += [f"{problem} {ended}"] if ended else []
    if unfinished:
        raise SystemExit("; ".join(unfinished))


class Comparison:
    """The runs on one problem.

    Args:
        problem: Its name.
        protocol: What all methods have in common.
        path: The JSON file of its runs.
        console: Where progress is shown.
    """

    def __init__(self, problem: str, protocol: Protocol, path: Path, console: Console) -> None:
        """See the class."""
        self.task, self.protocol, self.path, self.console = TASKS[problem], protocol, path, console
        self.runs: dict[str, Any] = {}

    @cached_property
    def truth(self) -> Truth:
        """The ground truth, drawn when it is first needed."""
        with self.console.status("Sampling the ground truth"):
            return Truth(self.task, self.protocol)

    def make(self, pairs: Sequence[tuple[int, str]], command: str) -> str | None:
        """Makes the runs of these seeds and methods that are not there; gives what went wrong."""
        wanted = {name: RunSettings.of_reference(name, self.protocol) for name in REFERENCES}
        for seed, name in pairs:
            wanted[f"{name}-seed{seed}"] = RunSettings.of(name, self.protocol)
        kept = keep_runs(self.path, wanted, self.run, command=command, console=self.console)
        self.runs = kept.runs
        return kept.unfinished

    def run(
        self, name: str, settings: RunSettings
    ) -> tuple[dict[str, Any], dict[str, np.ndarray]] | None:
        """Makes one run, or one of the reference rows."""
        if name in REFERENCES:
            outcome = self.truth.reference(name)
        else:
            seed = int(name.rpartition("-seed")[2])
            outcome = run(METHODS[settings.method], self.truth, settings, seed, self.console)
        if outcome is None:
            return None
        record, samples = outcome
        return {**record, "settings": asdict(settings)}, {"samples": samples}

    def report(self) -> None:
        """Prints the table of all runs that are there; writes it and the picture."""
        problem, runs = self.task.problem, self.runs
        self.console.print(make_table(problem, runs))
        page, picture = self.path.with_suffix(".md"), self.path.with_suffix(".png")
        page.write_text(markdown(problem, runs))
        panels: dict[str, np.ndarray] = {}
        for name in runs:
            file = panel_file(self.path, name)
            if file.exists():
                panels.setdefault(name.partition("-seed")[0], np.load(file)["samples"])
        draw(picture, problem, panels)
        self.console.print(f"Wrote {self.path}, {page} and {picture}")


if __name__ == "__main__":
    main()

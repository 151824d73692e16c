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

from experiments.arguments import at_least_one, positive
from experiments.compare_architectures.methods import METHODS
from experiments.compare_architectures.protocol import TASKS, RunSettings, Truth, run
from experiments.compare_architectures.report import (
    REFERENCES,
    draw,
    make_table,
    markdown,
    titles,
)
from experiments.compare_architectures.settings import PRESETS, SMOKE, Protocol
from experiments.runs import is_drawable, keep_runs, of_settings, read_panels

SMOKE_METHODS = {"ballistics": ["inn_mmd", "cinn_spline"]}
"""By problem, what a smoke run makes unless it is told; elsewhere all of the table."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs what the command line asks for; runs that are there are not made again."""
    parser = argparse.ArgumentParser(
        prog="python -m experiments.compare_architectures", description=__doc__
    )
    table = [name for name, method in METHODS.items() if not method.ablation]
    parser.add_argument("--problem", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument("--method", nargs="+", choices=METHODS, help="in place of all of the table")
    parser.add_argument("--ablation", action="store_true", help="the ablation of the INN's losses")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--preset", choices=PRESETS, default="default")
    for name in ("parameters", "pairs", "steps", "batch-size", "observations"):
        parser.add_argument(f"--{name}", type=at_least_one, help="in place of the preset's")
    parser.add_argument("--learning-rate", type=positive, help="in place of each method's own")
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
        usual = SMOKE_METHODS.get(problem, table) if options.smoke else table
        methods = options.method or usual
        stem = f"smoke-{problem}" if options.smoke else problem
        comparison = Comparison(problem, protocol, options.out / f"{stem}.json", console)
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

    @property
    def truth(self) -> Truth:
        """The ground truth, drawn when it is first needed."""
        if isinstance(self._truth, Exception):
            raise self._truth
        return self._truth

    @cached_property
    def _truth(self) -> Truth | Exception:
        """It, or why it cannot be drawn: every run needs it, and would draw it again."""
        with self.console.status("Sampling the ground truth"):
            try:
                return Truth(self.task, self.protocol)
            except Exception as error:
                return error

    def make(self, pairs: Sequence[tuple[int, str]], command: str) -> str | None:
        """Makes the runs of these seeds and methods that are not there; gives what went wrong."""
        wanted = {name: RunSettings.of_reference(name, self.protocol) for name in REFERENCES}
        for seed, name in pairs:
            wanted[f"{name}-seed{seed}"] = RunSettings.of(name, self.protocol)
        kept = keep_runs(self.path, wanted, self.run, command=command, console=self.console)
        self.runs = of_settings(kept.runs, self._settings, self.console)
        return kept.unfinished

    def _settings(self, name: str) -> RunSettings | None:
        method = name.partition("-seed")[0]
        if method in REFERENCES:
            return RunSettings.of_reference(method, self.protocol)
        return RunSettings.of(method, self.protocol) if method in METHODS else None

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
        """Prints the table of all such runs that are there; writes it and the picture."""
        problem, runs = self.task.problem, self.runs
        if not runs:
            return
        self.console.print(make_table(problem, runs))
        page, picture = self.path.with_suffix(".md"), self.path.with_suffix(".png")
        page.write_text(markdown(problem, runs))
        panels: dict[str, np.ndarray] = {}
        for name, arrays in read_panels(self.path, runs, self.console).items():
            panels.setdefault(name.partition("-seed")[0], arrays["samples"])
        shown = [name for name in panels if name in titles()]
        missing = {name.partition("-seed")[0] for name in runs}.intersection(titles()) - set(panels)
        if is_drawable(picture, shown, sorted(missing), self.console):
            draw(picture, problem, panels)
            self.console.print(f"Drew {picture}", soft_wrap=True)
        self.console.print(f"Wrote {self.path} and {page}", soft_wrap=True)


if __name__ == "__main__":
    main()

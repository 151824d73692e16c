"""Runs of an experiment by name, in one JSON file that keeps each when it ends."""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from rich.console import Console

from experiments.record import environment

Run = Callable[[str, Any], tuple[dict[str, Any], Mapping[str, np.ndarray]] | None]


class Kept(NamedTuple):
    """What `keep_runs` returns.

    Attributes:
        runs: The records in the file, by name.
        unfinished: What the program ends with as an error, or None if all wanted runs are there.
    """

    runs: dict[str, dict[str, Any]]
    unfinished: str | None


def keep_runs(
    path: Path, wanted: Mapping[str, Any], run: Run, *, command: str, console: Console
) -> Kept:
    """Makes the runs that the file lacks, or has with other settings, and keeps each when it ends.

    A run that fails is reported and left out. Ctrl-C ends the runs; what is done is kept.

    Args:
        path: The JSON file, which holds the records as "runs".
        wanted: The settings, a dataclass, of each run by its name.
        run: ``run(name, settings)`` makes a run and gives its record, whose "settings" are those,
            and the arrays of its picture, see `panel_file`; None if it was interrupted.
        command: The command, for the records.
        console: Where progress is shown.

    Returns:
        All records in the file, and what went wrong.
    """
    panel_file(path, "").parent.mkdir(parents=True, exist_ok=True)
    record = json.loads(path.read_text()) if path.exists() else {"runs": {}}
    runs, failed = record["runs"], []
    for number, (name, settings) in enumerate(wanted.items(), start=1):
        if name in runs and runs[name]["settings"] == json.loads(json.dumps(asdict(settings))):
            continue
        console.print(f"{number} of {len(wanted)}: {name.replace('/', ', ')}")
        try:
            outcome = run(name, settings)
        except KeyboardInterrupt:
            outcome = None
        except Exception as error:
            console.print(f"{name} failed: {type(error).__name__}: {error}")
            failed.append(name)
            continue
        if outcome is None:
            console.print("Interrupted; the same command goes on from here.")
            return Kept(runs, "interrupted")
        measured, panel = outcome
        runs[name] = measured | {"command": command, "environment": environment()}
        arrays: dict[str, Any] = dict(panel)
        np.savez_compressed(panel_file(path, name), **arrays)
        part = path.with_suffix(".part")
        part.write_text(json.dumps(record, indent=1) + "\n")
        part.replace(path)
    return Kept(runs, f"failed: {', '.join(failed)}" if failed else None)


def panel_file(path: Path, name: str) -> Path:
    """Where the arrays of a run's picture are, beside the JSON file."""
    return path.with_name(f"{path.stem}-panels") / f"{name.replace('/', '-')}.npz"

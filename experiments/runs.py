"""Runs of an experiment by name, in one JSON file that keeps each when it ends."""

import hashlib
import json
import shutil
import zipfile
import zlib
from collections.abc import Callable, Collection, Iterable, Mapping
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

    Raises:
        SystemExit: If the file is damaged or of another kind, before any run.
    """
    try:
        panel_file(path, "").parent.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise SystemExit(f"--out: {path.parent} is no folder; give the path of one") from None
    record = _read(path) if path.exists() else {"runs": {}}
    runs, failed = record["runs"], []
    for number, (name, settings) in enumerate(wanted.items(), start=1):
        if name in runs and runs[name]["settings"] == _plain(settings):
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
        _write_panel(panel_file(path, name), panel)
        part = path.with_suffix(".part")
        part.write_text(json.dumps(record, indent=1) + "\n")
        part.replace(path)
        shutil.rmtree(checkpoint_folder(path, name, wanted[name]), ignore_errors=True)
    return Kept(runs, f"failed: {', '.join(failed)}" if failed else None)


def panel_file(path: Path, name: str) -> Path:
    """Where the arrays of a run's picture are, beside the JSON file."""
    return path.with_name(f"{path.stem}-panels") / f"{name.replace('/', '-')}.npz"


def checkpoint_folder(path: Path, name: str, settings: Any) -> Path:
    """Where a run under way keeps its checkpoints, until its record is written.

    Args:
        path: The JSON file.
        name: Name of the run.
        settings: Its settings, a dataclass; other ones have another folder.

    Returns:
        The folder.
    """
    digest = hashlib.sha256(json.dumps(_plain(settings), sort_keys=True).encode()).hexdigest()
    return path.with_name(f"{path.stem}-checkpoints") / f"{name.replace('/', '-')}-{digest[:12]}"


def of_settings(
    runs: Mapping[str, Mapping[str, Any]], settings_of: Callable[[str], Any], console: Console
) -> dict[str, Mapping[str, Any]]:
    """Leaves out runs of other settings, lest a table puts what differs beside each other.

    Args:
        runs: Records by name.
        settings_of: Gives the settings that a run of this name has now, or None for no such run.
        console: Where it is told how many are left out.

    Returns:
        The other records.
    """
    found = {}
    for name, record in runs.items():
        settings = settings_of(name)
        written = json.loads(json.dumps(record["settings"]))  # lists for tuples
        if settings is not None and written == _plain(settings):
            found[name] = record
    if len(found) < len(runs):
        left = len(runs) - len(found)
        console.print(f"{left} of {len(runs)} runs in the file are of other settings: left out")
    return found


def read_panels(
    path: Path, names: Iterable[str], console: Console
) -> dict[str, dict[str, np.ndarray]]:
    """Reads the arrays of the runs' pictures; those that miss or are damaged are left out.

    Args:
        path: The JSON file.
        names: Names of runs.
        console: Where damaged ones are named.

    Returns:
        Arrays by name of the run.
    """
    panels = {}
    for name in names:
        file = panel_file(path, name)
        try:
            with file.open("rb") as stream, np.load(stream, allow_pickle=False) as arrays:
                panels[name] = dict(arrays)
        except FileNotFoundError:
            continue
        except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
            console.print(f"{file} is damaged, so it is not drawn: {error}", soft_wrap=True)
    return panels


def is_drawable(
    picture: Path, shown: Collection[str], missing: Collection[str], console: Console
) -> bool:
    """Tells whether to draw: neither nothing at all nor over a picture that may show more.

    Args:
        picture: The picture's file.
        shown: What can be drawn.
        missing: What belongs to the picture too, but whose samples are not there.
        console: Where it is told why not.

    Returns:
        Whether to draw.
    """
    if shown and not (missing and picture.exists()):
        return True
    if missing:
        files = "The samples of " + ", ".join(missing)
        console.print(f"{files} are not in this folder: {picture} is left as it was.")
    return False


def _plain(settings: Any) -> Any:
    return json.loads(json.dumps(asdict(settings)))


def _read(path: Path) -> dict[str, Any]:
    try:
        record = json.loads(path.read_text())
        for run in dict(record["runs"]).values():
            run["settings"]
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise SystemExit(
            f"{path} is damaged or no record of runs ({type(error).__name__}: {error}); move it "
            "away, or give another --out"
        ) from None
    return record


def _write_panel(file: Path, panel: Mapping[str, np.ndarray]) -> None:
    part, arrays = file.with_suffix(".part"), dict[str, Any](panel)
    with part.open("wb") as stream:
        np.savez_compressed(stream, **arrays)
    part.replace(file)

"""The libraries that are compared, and their programs, on this side and in torch's process."""

import importlib
import json
import os
import subprocess
import sys
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Protocol

from benchmarks.coupling.cases import Case
from benchmarks.coupling.model import count, make_program

TORCH = ("FrEIA", "zuko", "nflows")
PEERS = ("flowjax", "bijx", *TORCH)


class Timed(Protocol):
    """Something that can be run a number of times."""

    def run(self, calls: int) -> float:
        """Runs it, and returns the seconds that one call took."""
        ...


class Skipped(Exception):
    """A library that is not there or cannot build a case; says why in a word."""


class TorchProcess:
    """The process of the torch flows, started with the first of them.

    Its waiting threads sleep: spinning, they make a step 10 to 30 times as long where another
    program has one of the cores, and would disturb the turns of the others.
    """

    def __init__(self) -> None:
        self.process: subprocess.Popen[str] | None = None

    def ask(self, **request: Any) -> dict[str, Any]:
        """Sends a request and waits for its answer."""
        if self.process is None or self.process.poll() is not None:
            command = [sys.executable, "-m", "benchmarks.coupling.torch_worker"]
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                cwd=Path(__file__).parents[2],
                env={"OMP_WAIT_POLICY": "passive", **os.environ},
                start_new_session=True,
            )
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise Skipped(f"torch's process ended with status {self.process.wait()}")
        reply = json.loads(line)
        if "error" in reply:
            raise Skipped(reply["error"])
        return reply

    def drop(self) -> None:
        """Frees the programs."""
        if self.process is not None and self.process.poll() is None:
            self.ask(drop=True)

    def close(self) -> None:
        """Ends the process."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()


class TorchProgram:
    """A program in torch's process."""

    def __init__(self, process: TorchProcess, library: str):
        self.process, self.library = process, library

    def run(self, calls: int) -> float:
        """Runs it there, and returns the seconds that one call took."""
        return self.process.ask(run=self.library, calls=calls)["seconds"]


def make(library: str, case: Case, name: str, process: TorchProcess) -> tuple[Timed, int]:
    """Makes a program of a library, and counts the flow's trained parameters.

    Raises:
        Skipped: If the library is absent, or has no such flow.
    """
    needed = ("torch", library) if library in TORCH else (library,)
    absent = [package for package in needed if installed(package) is None]
    if absent and library != "jinn":
        raise Skipped(f"{' and '.join(absent)} not installed")
    if library in TORCH:
        reply = process.ask(make=library, case=asdict(case), program=name)
        return TorchProgram(process, library), reply["parameters"]
    model = importlib.import_module(f"benchmarks.coupling.{library}_flow").build(case)
    return make_program(case, model, name), count(model.params)


def installed(package: str) -> str | None:
    """A package's version, or None where it is absent."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None

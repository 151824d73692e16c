"""The process of the torch libraries, from this side; imports no torch."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks.timing import Skipped


class TorchProcess:
    """A process that makes and runs programs, started with the first of them.

    Its waiting threads sleep: spinning, they make a step 10 to 30 times as long where another
    program has one of the cores, and would disturb the turns of the others.

    Args:
        worker: The module that answers; it calls `benchmarks.torch_worker.serve`.
    """

    def __init__(self, worker: str) -> None:
        self.worker = worker
        self.process: subprocess.Popen[str] | None = None

    def make(self, name: str, **request: Any) -> tuple["TorchProgram", dict[str, Any]]:
        """Makes a program there, and returns it with what it says of itself."""
        facts = self.ask(make=name, **request)
        return TorchProgram(self, name), facts

    def ask(self, **request: Any) -> dict[str, Any]:
        """Sends a request and waits for its answer."""
        if self.process is None or self.process.poll() is not None:
            self.process = subprocess.Popen(
                [sys.executable, "-m", self.worker],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                cwd=Path(__file__).parents[1],
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

    def __init__(self, process: TorchProcess, name: str):
        self.process, self.name = process, name

    def run(self, calls: int) -> float:
        """Runs it there, and returns the seconds that one call took."""
        return self.process.ask(run=self.name, calls=calls)["seconds"]

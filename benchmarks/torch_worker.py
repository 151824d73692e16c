"""The process that times torch libraries: one JSON request a line in, one JSON answer a line out.

Requests are `{"make": name, ...}`, `{"run": name, "calls": n}` and `{"drop": true}`.
"""

# pyright: reportMissingImports=false

import json
import sys
import time
import warnings
from collections.abc import Callable
from typing import Any

import torch

from benchmarks.timing import Timed, threads

Make = Callable[[dict[str, Any]], tuple[Timed, dict[str, Any]]]
"""From the request to a program and what is to be known of it."""


class TorchCall:
    """A function without arguments, as something to be timed."""

    def __init__(self, call: Callable[[], Any]):
        self.call = call

    def run(self, calls: int) -> float:
        """Calls it and returns the seconds that one took."""
        start = time.perf_counter()
        for _ in range(calls):
            self.call()
        return (time.perf_counter() - start) / calls


def serve(make: Make) -> None:
    """Answers until the input ends."""
    warnings.simplefilter("ignore")
    answers, sys.stdout = sys.stdout, sys.stderr  # what a library prints is no answer
    torch.set_num_threads(threads())
    programs: dict[str, Timed] = {}
    for line in sys.stdin:
        try:
            reply = _answer(json.loads(line), make, programs)
        except NotImplementedError as error:
            reply = {"error": str(error)}
        except Exception as error:
            reply = {"error": f"{type(error).__name__}: {error}".splitlines()[0]}
        print(json.dumps(reply), file=answers, flush=True)


def _answer(request: dict[str, Any], make: Make, programs: dict[str, Timed]) -> dict[str, Any]:
    if "make" in request:
        programs[request["make"]], facts = make(request)
        return facts
    if "run" in request:
        return {"seconds": programs[request["run"]].run(request["calls"])}
    programs.clear()
    return {}

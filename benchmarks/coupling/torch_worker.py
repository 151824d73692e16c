"""The process that times the torch flows: one JSON request a line in, one JSON answer a line out.

Requests are `{"make": library, "case": ..., "program": ...}`, `{"run": library, "calls": n}` and
`{"drop": true}`.
"""

# pyright: reportMissingImports=false

import json
import sys
import warnings
from typing import Any

import torch

from benchmarks.coupling.cases import Case, threads
from benchmarks.coupling.torch_flows import Program


def answer(request: dict[str, Any], programs: dict[str, Program]) -> dict[str, Any]:
    """Does what one request asks for."""
    if "make" in request:
        fields = request["case"]
        case = Case(**fields | {"hidden": tuple(fields["hidden"])})
        program = Program(case, request["make"], request["program"])
        programs[request["make"]] = program
        return {"parameters": program.parameters}
    if "run" in request:
        return {"seconds": programs[request["run"]].run(request["calls"])}
    programs.clear()
    return {}


def main() -> None:
    """Answers until the input ends."""
    warnings.simplefilter("ignore")
    answers, sys.stdout = sys.stdout, sys.stderr  # what a library prints is no answer
    torch.set_num_threads(threads())
    programs: dict[str, Program] = {}
    for line in sys.stdin:
        try:
            reply = answer(json.loads(line), programs)
        except Exception as error:
            reply = {"error": f"{type(error).__name__}: {error}".splitlines()[0]}
        print(json.dumps(reply), file=answers, flush=True)


if __name__ == "__main__":
    main()

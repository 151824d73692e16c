"""Times the programs of all libraries in turn, so that all see the same machine."""

import time
from typing import Any

from benchmarks.coupling.cases import Case
from benchmarks.coupling.floor import make_floor
from benchmarks.coupling.libraries import Skipped, Timed, TorchProcess, make

TURN_SECONDS = 0.05
"""A program runs about so long at a time."""
PAUSE_SECONDS = 0.005
"""Between two turns, in which the threads of the one before go to sleep."""


def measure(
    case: Case, name: str, libraries: tuple[str, ...], repeats: int, process: TorchProcess
) -> dict[str, Any]:
    """Times one program of one case: the seconds of every round for the floor and each library."""
    programs: dict[str, Timed] = {"floor": make_floor(case, name)}
    result: dict[str, Any] = {"case": case.name, "program": name, "parameters": {}, "skipped": {}}
    for library in libraries:
        try:
            programs[library], result["parameters"][library] = make(library, case, name, process)
        except Skipped as reason:
            result["skipped"][library] = str(reason)
    calls = {}
    for key, program in list(programs.items()):
        try:
            seconds = program.run(1)
            if seconds < 100 * TURN_SECONDS:  # the first call compiles
                seconds = min(program.run(1) for _ in range(2))
        except Skipped as reason:
            result["skipped"][key] = str(reason)
            del programs[key], result["parameters"][key]
            continue
        calls[key] = max(1, int(TURN_SECONDS / seconds))
    rounds: dict[str, list[float]] = {key: [] for key in programs}
    for i in range(repeats):
        for key in list(programs)[:: 1 if i % 2 else -1]:
            time.sleep(PAUSE_SECONDS)
            rounds[key].append(programs[key].run(calls[key]))
    process.drop()
    return result | {"seconds": rounds}

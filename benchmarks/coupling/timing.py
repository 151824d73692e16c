"""Times the programs of all libraries in turn."""

from typing import Any

from benchmarks.coupling.cases import Case
from benchmarks.coupling.floor import make_floor
from benchmarks.coupling.libraries import make
from benchmarks.timing import Skipped, Timed, time_in_turn
from benchmarks.torch_process import TorchProcess


def measure(
    case: Case, name: str, libraries: tuple[str, ...], repeats: int, process: TorchProcess
) -> dict[str, Any]:
    """Times one program of one case: the seconds of every round for the floor and each library."""
    programs: dict[str, Timed] = {"floor": make_floor(case, name)}
    parameters, skipped = {}, {}
    for library in libraries:
        try:
            programs[library], parameters[library] = make(library, case, name, process)
        except Skipped as reason:
            skipped[library] = str(reason)
    seconds, failed = time_in_turn(programs, repeats)
    process.drop()
    return {
        "case": case.name,
        "program": name,
        "parameters": {key: n for key, n in parameters.items() if key in seconds},
        "skipped": skipped | failed,
        "seconds": seconds,
    }

"""The libraries that are compared, and the times of their programs."""

import importlib
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import diffrax

from benchmarks.freeform import jinn_flows
from benchmarks.freeform.cases import Case, Continuous
from benchmarks.timing import Skipped, Timed, installed, time_in_turn
from benchmarks.torch_process import TorchProcess

VARIANTS: dict[str, dict[str, dict[str, Any]]] = {
    "residual": {"jinn series": {"estimator": "power_series"}},
    "continuous": {
        "jinn mean error": {
            "controller": diffrax.PIDController(
                rtol=Continuous.tolerance, atol=Continuous.tolerance
            )
        },
        "jinn backsolve": {"adjoint": "backsolve"},
    },
}
"""jinn with other options, for comparison; the targets are for its defaults. With diffrax's own
controller the tolerances hold on average over the batch, as they do in bijx."""
NOT_OF_GRADIENTS = ("jinn mean error",)
"""The variants that change more than a training step."""
TORCH = ("FrEIA", "normflows", "normflows series", "zuko")
PEERS = ("bijx", *TORCH)


def torch_process() -> TorchProcess:
    """The process of the torch flows."""
    return TorchProcess("benchmarks.freeform.torch_worker")


def make(
    library: str, case: Case, name: str, process: TorchProcess
) -> tuple[Timed, dict[str, Any]]:
    """Makes a program of a library, with what is to be known of it.

    Raises:
        Skipped: If the library is absent, or has no such flow.
    """
    if library == "jinn" or library in VARIANTS[case.name]:
        return jinn_flows.make(case, name, **VARIANTS[case.name].get(library, {}))
    package = library.split()[0]
    if library == "normflows series" and (case.name, name) != ("residual", "step"):
        raise Skipped("as normflows")
    needed = ("torch", package) if library in TORCH else (package,)
    absent = [package for package in needed if installed(package) is None]
    if absent:
        raise Skipped(f"{' and '.join(absent)} not installed")
    if library in TORCH:
        request = {"library": library, "case": asdict(case), "program": name}
        return process.make(library, **request)
    return importlib.import_module(f"benchmarks.freeform.{library}_flow").make(case, name)


def measure(
    case: Case, name: str, peers: Sequence[str], repeats: int, process: TorchProcess
) -> dict[str, Any]:
    """Times one program of one case, in every library that has it."""
    variants = [key for key in VARIANTS[case.name] if name == "step" or key in NOT_OF_GRADIENTS]
    programs: dict[str, Timed] = {}
    facts, skipped = {}, {}
    for library in ("jinn", *variants, *peers):
        try:
            programs[library], facts[library] = make(library, case, name, process)
        except Skipped as reason:
            skipped[library] = str(reason)
    seconds, failed = time_in_turn(programs, repeats)
    process.drop()
    return {
        "case": case.name,
        "program": name,
        "facts": {key: found for key, found in facts.items() if key in seconds},
        "skipped": skipped | failed,
        "seconds": seconds,
    }

"""The libraries that are compared, and their programs, on this side and in torch's process."""

import importlib
from dataclasses import asdict

from benchmarks.compiled import count
from benchmarks.coupling.cases import Case
from benchmarks.coupling.model import make_program
from benchmarks.timing import Skipped, Timed, installed
from benchmarks.torch_process import TorchProcess

TORCH = ("FrEIA", "zuko", "nflows")
PEERS = ("flowjax", "bijx", "distrax", *TORCH)


def torch_process() -> TorchProcess:
    """The process of the torch flows."""
    return TorchProcess("benchmarks.coupling.torch_worker")


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
        program, facts = process.make(library, case=asdict(case), program=name)
        return program, facts["parameters"]
    model = importlib.import_module(f"benchmarks.coupling.{library}_flow").build(case)
    return make_program(case, model, name), count(model.params)

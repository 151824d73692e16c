"""Times the programs of all libraries in turn, and judges them."""

import importlib
import statistics
from dataclasses import asdict
from itertools import pairwise
from typing import Any

from benchmarks.autoregressive.cases import GROWTH_TARGET, Case, Comparison
from benchmarks.compiled import count
from benchmarks.coupling.model import make_program
from benchmarks.timing import Skipped, Timed, fastest_peer, installed, paired_ratio, time_in_turn
from benchmarks.torch_process import TorchProcess

TORCH = ("zuko", "nflows")
PEERS = ("flowjax", *TORCH)


def torch_process() -> TorchProcess:
    """The process of the torch flows."""
    return TorchProcess("benchmarks.autoregressive.torch_worker")


def make(library: str, case: Case, name: str, process: TorchProcess) -> tuple[Timed, int]:
    """Makes a program of a library, and counts the flow's trained parameters.

    Raises:
        Skipped: If the library is absent.
    """
    needed = ("torch", library) if library in TORCH else (library,)
    absent = [package for package in needed if installed(package) is None]
    if absent and library != "jinn":
        raise Skipped(f"{' and '.join(absent)} not installed")
    if library in TORCH:
        program, facts = process.make(library, case=asdict(case), program=name)
        return program, facts["parameters"]
    model = importlib.import_module(f"benchmarks.autoregressive.{library}_flow").build(case)
    return make_program(case, model, name), count(model.params)


def compare(
    comparison: Comparison,
    case: Case,
    libraries: tuple[str, ...],
    repeats: int,
    process: TorchProcess,
) -> dict[str, Any]:
    """Times one program: the seconds of every round for each library, ratios and the verdict."""
    programs: dict[str, Timed] = {}
    parameters, skipped = {}, {}
    for library in libraries:
        try:
            made = make(library, case, comparison.program, process)
            programs[library], parameters[library] = made
        except Skipped as reason:
            skipped[library] = str(reason)
    seconds, failed = time_in_turn(programs, repeats)
    process.drop()
    ratios = {
        peer: paired_ratio(seconds["jinn"], seconds[peer]) for peer in PEERS if peer in seconds
    }
    fastest = fastest_peer(ratios)
    return {
        "case": comparison.name,
        "parameters": parameters,
        "skipped": skipped | failed,
        "seconds": seconds,
        "median_seconds": medians(seconds),
        "jinn_to_peer": ratios,
        "fastest_peer": fastest,
        "target": comparison.target,
        "met": None if fastest is None else ratios[fastest]["median"] <= comparison.target,
    }


def grow(cases: dict[int, Case], repeats: int, process: TorchProcess) -> dict[str, Any]:
    """Times jinn's samples at every event size, and compares each with the one before."""
    programs = {
        str(event): make("jinn", case, "sample", process)[0] for event, case in cases.items()
    }
    seconds, _ = time_in_turn(programs, repeats)
    return {"case": "growth", "skipped": {}, "seconds": seconds, **growth(seconds)}


def growth(seconds: dict[str, list[float]]) -> dict[str, Any]:
    """Time an element as a multiple of that at the smaller event, and the verdict."""
    ratios = {}
    for small, large in pairwise(seconds):
        ratio = paired_ratio(seconds[large], seconds[small])
        ratios[large] = {key: value * int(small) / int(large) for key, value in ratio.items()}
    return {
        "median_seconds": medians(seconds),
        "an_element_to_smaller_event": ratios,
        "target": GROWTH_TARGET,
        "met": all(ratio["median"] <= GROWTH_TARGET for ratio in ratios.values()),
    }


def medians(seconds: dict[str, list[float]]) -> dict[str, float]:
    """The median of every program's rounds."""
    return {name: statistics.median(times) for name, times in seconds.items()}

"""Times the programs of all libraries in turn, and judges them."""

import statistics
from dataclasses import asdict
from typing import Any

from benchmarks.images import jinn_flow
from benchmarks.images.cases import DEPTHS, PEERS, TARGETS, Case, Wavelets
from benchmarks.timing import Skipped, Timed, installed, paired_ratio, time_in_turn
from benchmarks.torch_process import TorchProcess


def torch_process() -> TorchProcess:
    """The process of the torch flows."""
    return TorchProcess("benchmarks.images.torch_worker")


def check_installed(library: str) -> None:
    """Looks whether a peer is there.

    Raises:
        Skipped: If it is absent.
    """
    absent = [package for package in ("torch", library) if installed(package) is None]
    if absent:
        raise Skipped(f"{' and '.join(absent)} not installed")


def compare(case: Case, program: str, repeats: int, process: TorchProcess) -> dict[str, Any]:
    """Times one program of a case: seconds of every round, ratios and the verdict."""
    peer, skipped = PEERS[case.name], {}
    programs: dict[str, Timed] = {}
    parameters = {}
    programs["jinn"], parameters["jinn"] = jinn_flow.make(case, program)
    if program == "step":
        for name in ("convolutions", "convolutions, JAX's"):
            programs[name] = jinn_flow.make(case, name)[0]
    try:
        check_installed(peer)
        request = {"case": asdict(case), "program": program, "library": peer}
        programs[peer], facts = process.make(f"{peer} {program}", **request)
        parameters[peer] = facts["parameters"]
    except Skipped as reason:
        skipped[peer] = str(reason)
    seconds, failed = time_in_turn(programs, repeats)
    process.drop()
    ratios = {
        name: paired_ratio(seconds["jinn"], times)
        for name, times in seconds.items()
        if name != "jinn"
    }
    return {
        "case": f"{case.name} {program}",
        "parameters": parameters,
        "skipped": skipped | failed,
        "seconds": seconds,
        "median_seconds": medians(seconds),
        "ratios": {f"jinn / {name}": ratio for name, ratio in ratios.items()},
        "targets": {f"jinn / {peer}": TARGETS[program]},
        "met": ratios[peer]["median"] <= TARGETS[program] if peer in ratios else None,
    }


def transform(wavelets: Wavelets, repeats: int, process: TorchProcess) -> dict[str, Any]:
    """Times both directions of the Haar transform beside FrEIA's and a copy."""
    programs: dict[str, Timed] = dict(jinn_flow.haar(wavelets))
    skipped = {}
    for direction in ("forward", "inverse"):
        name = f"FrEIA {direction}"
        try:
            check_installed("FrEIA")
            request = {"wavelets": asdict(wavelets), "direction": direction}
            programs[name] = process.make(name, **request)[0]
        except Skipped as reason:
            skipped["FrEIA"] = str(reason)
    seconds, failed = time_in_turn(programs, repeats)
    process.drop()
    ratios, targets = {}, {}
    for direction in ("forward", "inverse"):
        for other, target in ((f"FrEIA {direction}", "haar"), ("copy", "copy")):
            if other in seconds:
                name = f"{direction} / {other.split()[0]}"
                ratios[name] = paired_ratio(seconds[f"jinn {direction}"], seconds[other])
                targets[name] = TARGETS[target]
    return {
        "case": "haar",
        "skipped": skipped | failed,
        "seconds": seconds,
        "median_seconds": medians(seconds),
        "ratios": ratios,
        "targets": targets,
        "met": all(ratios[name]["median"] <= targets[name] for name in ratios),
    }


def memory(case: Case, depths: tuple[int, ...] = DEPTHS) -> dict[str, Any]:
    """Temporary bytes of a gradient by `backprop` and blocks a scale."""
    found = {
        backprop: {depth: jinn_flow.memory(case, backprop, depth) for depth in depths}
        for backprop in ("store", "remat")
    }
    return {"case": "memory", "skipped": {}, "bytes": found}


def medians(seconds: dict[str, list[float]]) -> dict[str, float]:
    """The median of every program's rounds."""
    return {name: statistics.median(times) for name, times in seconds.items()}

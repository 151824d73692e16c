"""Photons and spectra a second, memory, and the peers' processes."""

import json
import statistics
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

from benchmarks.timing import Skipped
from experiments.tissue import problem, transport
from experiments.tissue.adding_doubling import add_and_double
from experiments.tissue.published import PUBLISHED
from experiments.tissue.tissue import PROPERTIES

TISSUE = PUBLISHED["mcml_three_layers"].tissue
TARGET_SECONDS, TARGET_PHOTONS = 60.0, 10**6
PEERS = {"pytissueoptics": 200, "pmcxcl": 10**6}
"""Photons of each, so that it takes seconds to minutes."""
TIMEOUT = 600.0


def photons_a_second(photons: int, rounds: int, python: str, *, smoke: bool) -> dict[str, Any]:
    """Follows photons through MCML's three layers on one device and on all, beside the peers.

    Also in batches of as many photons as there are lanes, each followed to its last.
    """
    devices = jax.devices()[: transport.STREAMS]
    mesh = jax.sharding.Mesh(np.array(devices), ("devices",)) if len(devices) > 1 else None
    key = jax.random.key(0)

    def run(count: int, mesh: Any = None) -> Callable[[], Any]:
        return lambda: transport.simulate(key, TISSUE, photons=count, mesh=mesh)

    batch = min(photons, transport.LANES)
    programs = {"jinn, 1 device": (run(photons), photons)}
    if mesh is not None:
        programs[f"jinn, {mesh.size} devices"] = (run(photons, mesh), photons)
    programs["jinn, in batches"] = (run(batch), batch)
    found = {name: _time(program, count, rounds) for name, (program, count) in programs.items()}
    skipped = {}
    for library, count in PEERS.items():
        try:
            found[library] = ask_peer(python, library, 2 if smoke else count)
        except Skipped as reason:
            skipped[library] = str(reason)
    best = max(
        (found[name] for name in programs if name != "jinn, in batches"),
        key=lambda result: result["photons_a_second"],
    )
    return {
        "case": "photons",
        "skipped": skipped,
        "photons": photons,
        "programs": found,
        "target_seconds": TARGET_SECONDS * photons / TARGET_PHOTONS,
        "met": best["seconds"] <= TARGET_SECONDS * photons / TARGET_PHOTONS,
    }


def memory(photons: tuple[int, ...]) -> dict[str, Any]:
    """Bytes that the compiled simulation takes for its arrays, by number of photons."""
    rows = tuple(np.asarray(getattr(TISSUE, name), np.float32)[None] for name in PROPERTIES)
    indices = np.asarray(TISSUE.refractive_index, np.float32)
    sizes: dict[str, int] = {}
    programs: dict[str, int] = {}
    for count in photons:
        quotas = np.full(transport.STREAMS, count // transport.STREAMS, np.int32)
        lowered = transport._simulate.lower(
            jax.random.key(0), rows, indices, quotas, lanes=transport.LANES, mesh=None
        )
        text = lowered.as_text()
        if text not in programs:  # the number is an argument, so that it is one program
            analysis = lowered.compile().memory_analysis()
            assert analysis is not None
            programs[text] = analysis.temp_size_in_bytes + analysis.output_size_in_bytes
        sizes[str(count)] = programs[text]
    return {"case": "memory", "skipped": {}, "bytes": sizes}


def spectra_a_second(tissues: int, rounds: int) -> dict[str, Any]:
    """Spectra of eight bands that the surrogate computes."""
    tissue = problem.to_tissue(problem.prior(jax.random.key(0), tissues))
    result = _time(lambda: add_and_double(tissue), tissues, rounds)
    return {
        "case": "spectra",
        "skipped": {},
        "tissues": tissues,
        "seconds": result["seconds"],
        "cpu_seconds": result["cpu_seconds"],
        "spectra_a_second": result["photons_a_second"],
    }


def ask_peer(python: str, library: str, photons: int) -> dict[str, Any]:
    """Runs a library in another interpreter.

    Raises:
        Skipped: If it is absent, fails, or takes more than `TIMEOUT` seconds.
    """
    worker = Path(__file__).with_name("peer_worker.py")
    try:
        process = subprocess.run(
            [python, str(worker), library, str(max(1, photons // 100)), str(photons)],
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
        )
    except subprocess.TimeoutExpired as error:
        raise Skipped(f"took more than {TIMEOUT:g} s") from error
    if process.returncode:
        lines = process.stderr.strip().splitlines()
        raise Skipped(lines[-1] if lines else f"ended with status {process.returncode}")
    result = json.loads(process.stdout.splitlines()[-1])
    return result | {"photons_a_second": result["photons"] / result["seconds"]}


def _time(program: Callable[[], Any], count: int, rounds: int) -> dict[str, Any]:
    jax.block_until_ready(program())  # compiles
    walls, cpus = [], []
    for _ in range(rounds):
        wall, cpu = time.perf_counter(), time.process_time()
        jax.block_until_ready(program())
        walls.append(time.perf_counter() - wall)
        cpus.append(time.process_time() - cpu)
    seconds = statistics.median(walls)
    return {
        "photons": count,
        "seconds": seconds,
        "cpu_seconds": statistics.median(cpus),
        "photons_a_second": count / seconds,
    }

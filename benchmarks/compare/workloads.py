"""The workloads: flows of the other benchmarks, at batch sizes of this one."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from benchmarks.autoregressive import cases as autoregressive
from benchmarks.autoregressive import measure as autoregressive_programs
from benchmarks.coupling import cases as couplings
from benchmarks.coupling import libraries as coupling_libraries
from benchmarks.coupling import timing as coupling_programs
from benchmarks.freeform import cases as freeform
from benchmarks.freeform import libraries as freeform_programs
from benchmarks.images import cases as images
from benchmarks.images import measure as image_programs
from benchmarks.torch_process import TorchProcess

BATCHES = (64, 512, 4096)
COUPLING, AUTOREGRESSIVE, FREEFORM, IMAGES = "coupling", "autoregressive", "freeform", "images"
PROCESSES: dict[str, Callable[[], TorchProcess]] = {
    COUPLING: coupling_libraries.torch_process,
    AUTOREGRESSIVE: autoregressive_programs.torch_process,
    FREEFORM: freeform_programs.torch_process,
    IMAGES: image_programs.torch_process,
}
PEERS = tuple(
    dict.fromkeys(
        peer
        for peers in (
            coupling_libraries.PEERS,
            autoregressive_programs.PEERS,
            freeform_programs.PEERS,
            images.PEERS.values(),
        )
        for peer in peers
        if " " not in peer
    )
)
"""Packages."""


@dataclass(frozen=True)
class Workload:
    """A flow and what is done with it.

    Attributes:
        name: Its name in the table.
        family: The benchmark that it is of.
        case: That benchmark's description of the flow.
        programs: What is timed; of densities and samples as many as the batch has rows.
        batches: Rows.
        floor: Whether the time of its matrix products alone is a target.
    """

    name: str
    family: str
    case: Any
    programs: tuple[str, ...]
    batches: tuple[int, ...] = BATCHES
    floor: bool = False

    def measure(self, program: str, batch: int, rounds: int, process: TorchProcess) -> Any:
        """Times one program in every library that has it, in turn.

        Args:
            program: One of the programs.
            batch: One of the batches.
            rounds: How often.
            process: The family's torch process.

        Returns:
            Seconds of every round by library, with why others were skipped.
        """
        points = {} if self.family == IMAGES else {"points": batch}
        case = replace(self.case, batch=batch, **points)
        if self.family == COUPLING:
            libraries = ("jinn", *coupling_libraries.PEERS)
            return coupling_programs.measure(case, program, libraries, rounds, process)
        if self.family == AUTOREGRESSIVE:
            comparison = autoregressive.Comparison(case, program, 1.0)
            libraries = ("jinn", *autoregressive_programs.PEERS)
            return autoregressive_programs.compare(comparison, case, libraries, rounds, process)
        if self.family == FREEFORM:
            peers = freeform_programs.PEERS
            return freeform_programs.measure(case, program, peers, rounds, process)
        return image_programs.compare(case, program, rounds, process)


_ALL = ("step", "log_prob", "sample")
_AFFINE = couplings.CASES["a-512"]
WORKLOADS = {
    workload.name: workload
    for workload in (
        Workload("affine couplings", COUPLING, _AFFINE, _ALL, floor=True),
        Workload(
            "affine couplings, silu",
            COUPLING,
            replace(_AFFINE, activation="silu"),
            _ALL,
            floor=True,
        ),
        Workload("narrow affine couplings", COUPLING, couplings.CASES["b"], _ALL),
        Workload("spline couplings", COUPLING, couplings.CASES["c"], _ALL),
        Workload(
            "masked autoregressive",
            AUTOREGRESSIVE,
            autoregressive.COMPARISONS["step"].case,
            _ALL,
        ),
        Workload("residual", FREEFORM, freeform.CASES["residual"], ("step", "inverse"), (512,)),
        Workload("continuous", FREEFORM, freeform.CASES["continuous"], ("step", "sample"), (512,)),
        Workload(
            "images, conditional", IMAGES, images.CASES["conditional"], ("step", "sample"), (32,)
        ),
        Workload("images, Glow", IMAGES, images.CASES["glow"], ("step", "sample"), (32,)),
    )
}


def smoke(workload: Workload) -> Workload:
    """The same workload at sizes that take seconds: its last program, one batch."""
    shrink: dict[str, Callable[[Any], Any]] = {
        COUPLING: couplings.smoke,
        AUTOREGRESSIVE: autoregressive.smoke,
        FREEFORM: freeform.smoke,
        IMAGES: images.smoke,
    }
    small = shrink[workload.family](workload.case)
    return replace(workload, case=small, programs=workload.programs[-1:], batches=(small.batch,))


SMOKE = ("affine couplings, silu", "masked autoregressive")

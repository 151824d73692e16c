"""The flows that are timed. Imports neither JAX nor torch: both sides of the comparison read it."""

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Case:
    """Affine masked autoregressive layers with reversed orders between them, relu, float32."""

    name: str
    event: int = 16
    condition: int = 4
    depth: int = 5
    hidden: tuple[int, ...] = (128, 128)
    batch: int = 512
    points: int = 1000

    @property
    def title(self) -> str:
        """The case in words."""
        return (
            f"{self.depth} affine layers, event {self.event}, condition {self.condition}, hidden "
            f"{'x'.join(map(str, self.hidden))}, batch {self.batch}, {self.points} samples"
        )


@dataclass(frozen=True)
class Comparison:
    """A program of a case, and the fraction of the fastest peer's time that it may take."""

    case: Case
    program: str
    target: float

    @property
    def name(self) -> str:
        """The program, with the number of samples."""
        return self.program if self.program == "step" else f"sample-{self.case.points}"


_MAF = Case("maf")
COMPARISONS = {
    comparison.name: comparison
    for comparison in (
        Comparison(_MAF, "step", 0.9),
        Comparison(_MAF, "sample", 0.5),
        Comparison(replace(_MAF, points=10_000), "sample", 0.5),
    )
}
GROWTH = {event: replace(_MAF, name=f"event {event}", event=event) for event in (8, 16, 32, 64)}
"""Samples of jinn's alone, by event size."""
GROWTH_TARGET = 1.0
"""Time an element, as a multiple of that at half the event size: at most so much."""


def smoke(case: Case) -> Case:
    """The same case at sizes that take seconds."""
    return replace(case, depth=2, hidden=(8, 8), batch=32, points=20)

"""The flows that are timed. Imports neither JAX nor torch: both sides of the comparison read it."""

from dataclasses import dataclass, replace
from typing import Literal, Protocol

LEARNING_RATE = 1e-4
BOUND = 5.0
"""The splines act on [-BOUND, BOUND]."""


class Sizes(Protocol):
    """What the data of a case need."""

    @property
    def event(self) -> int:
        """Length of x."""
        ...

    @property
    def condition(self) -> int:
        """Length of the condition."""
        ...

    @property
    def batch(self) -> int:
        """Rows of a training step."""
        ...

    @property
    def points(self) -> int:
        """Number of densities or samples."""
        ...


@dataclass(frozen=True)
class Case:
    """One-sided couplings with fixed permutations between them, float32."""

    name: str
    transformer: Literal["affine", "spline"]
    depth: int
    event: int
    condition: int
    hidden: tuple[int, ...]
    batch: int = 0
    points: int = 10_000
    target: float = 1.0
    """Fraction of the fastest peer's time that a training step, or a million samples, may take."""
    bins: int = 8
    activation: Literal["relu", "silu"] = "relu"
    programs: tuple[str, ...] = ("step", "log_prob", "sample")

    @property
    def n_params(self) -> int:
        """Parameters of one transformed element."""
        return 2 if self.transformer == "affine" else 3 * self.bins - 1

    @property
    def title(self) -> str:
        """The case in words."""
        kind = "affine" if self.transformer == "affine" else f"spline ({self.bins} bins)"
        return (
            f"{self.depth} {kind} couplings, event {self.event}, condition {self.condition}, "
            f"hidden {'x'.join(map(str, self.hidden))}"
        )


_A = Case("a-512", "affine", 16, 4, 2, (256, 256), batch=512, target=0.9)
_B = Case("b", "affine", 16, 4, 2, (64, 64), batch=64, target=0.6)
_C = Case("c", "spline", 8, 8, 8, (128, 128), batch=512, target=0.75)
_MILLION = {"points": 1_000_000, "programs": ("sample",), "batch": 0, "target": 0.5}
CASES = {
    case.name: case
    for case in (
        _A,
        replace(_A, name="a-4096", batch=4096, programs=("step",)),
        _B,
        _C,
        replace(_A, name="d-a", **_MILLION),
        replace(_B, name="d-b", **_MILLION),
        replace(_C, name="d-c", **_MILLION),
    )
}


def smoke(case: Case) -> Case:
    """The same case at sizes that take seconds."""
    points = 3000 if case.points > 10_000 else 200
    return replace(case, depth=2, hidden=(8, 8), batch=min(case.batch, 32), points=points)

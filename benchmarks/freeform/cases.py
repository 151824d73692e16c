"""The flows that are timed, with their weights. Imports neither JAX nor torch: both sides read it.

All libraries get the same weights, so that all evaluate the same map and solve the same equation.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np

LEARNING_RATE = 1e-4
KEYS, EVENTS = 32, 128
"""Of how many estimates at how many events the standard error of a log_prob is taken."""
Layer = tuple[np.ndarray, np.ndarray]
"""Weights (inputs, outputs) and bias of a linear layer."""


@dataclass(frozen=True)
class Residual:
    """Blocks `x + g(x)` of elu networks g close to their Lipschitz bound, float32.

    Training pushes residual blocks there. The first singular vectors of each layer's weights are
    the last ones of the layer before, since norms of independent layers do not multiply, and most
    activations are where elu's slope is 1.
    """

    name: str = "residual"
    event: int = 4
    condition: int = 0
    depth: int = 8
    hidden: tuple[int, ...] = (128, 128, 128)
    batch: int = 512
    points: int = 10_000
    coefficient: float = 0.9
    terms: int = 20
    """Of the power series, where a library takes a fixed number."""

    @property
    def layer_bound(self) -> float:
        """Largest spectral norm of one layer."""
        return self.coefficient ** (1 / (len(self.hidden) + 1))

    @property
    def title(self) -> str:
        """The case in words."""
        return f"{self.depth} residual blocks, event {self.event}, hidden {_by(self.hidden)}"

    def weights(self) -> list[list[Layer]]:
        """The layers of each block; scale down those whose norm exceeds `layer_bound`."""
        generator = np.random.default_rng(0)
        widths = (self.event, *self.hidden, self.event)

        def block() -> list[Layer]:
            through = [np.eye(self.event)]
            for width in widths[1:]:
                through.append(np.linalg.qr(generator.normal(size=(width, self.event)))[0])
            return [
                (
                    (a @ b.T + 0.2 * generator.normal(size=(n, m)) / (n**0.5 + m**0.5)).astype(
                        "f4"
                    ),
                    _bias(generator, m, 0.0, 0.5),
                )
                for (a, b), (n, m) in zip(pairwise(through), pairwise(widths), strict=True)
            ]

        return [block() for _ in range(self.depth)]


@dataclass(frozen=True)
class Continuous:
    """`dx/dt = f([cos(pi k t), sin(pi k t), x, c])` with a tanh network f, float32."""

    name: str = "continuous"
    event: int = 4
    condition: int = 2
    hidden: tuple[int, ...] = (64, 64)
    batch: int = 512
    points: int = 10_000
    frequencies: int = 3
    tolerance: float = 1e-5
    scale: float = 1.5
    """Of the weights, times that of variance 1 / fan_in: how stiff the equation is."""

    @property
    def title(self) -> str:
        """The case in words."""
        return (
            f"a continuous flow, event {self.event}, condition {self.condition}, "
            f"hidden {_by(self.hidden)}, tolerances {self.tolerance:g}"
        )

    def weights(self) -> list[Layer]:
        """The layers of f."""
        inputs = 2 * self.frequencies + self.event + self.condition
        widths = (inputs, *self.hidden, self.event)
        generator = np.random.default_rng(0)
        return [
            (
                (self.scale * generator.normal(size=(n, m)) / n**0.5).astype("f4"),
                _bias(generator, m, -0.1, 0.1),
            )
            for n, m in pairwise(widths)
        ]


Case = Residual | Continuous
CASES: dict[str, Case] = {case.name: case for case in (Residual(), Continuous())}
PROGRAMS = {"residual": ("step", "inverse"), "continuous": ("step", "sample")}
TARGETS = {
    ("residual", "step"): 0.35,
    ("residual", "inverse"): 0.5,
    ("continuous", "step"): 0.4,
    ("continuous", "sample"): 0.4,
}
"""At most this fraction of the fastest peer's time."""


def smoke(case: Case) -> Case:
    """The same case at sizes that take seconds."""
    small: Any = {"hidden": (8,) * len(case.hidden), "batch": 16, "points": 32}
    return replace(case, **small | ({"depth": 2} if isinstance(case, Residual) else {}))


def from_fields(fields: Mapping[str, Any]) -> Case:
    """The case that `dataclasses.asdict` and JSON were applied to."""
    return type(CASES[fields["name"]])(**{**fields, "hidden": tuple(fields["hidden"])})


def data(case: Case, rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Events and conditions."""
    values = np.random.default_rng(1).normal(size=(rows, case.event + case.condition))
    x, c = np.split(values.astype("f4"), [case.event], axis=1)
    return x, c


def _bias(generator: np.random.Generator, width: int, low: float, high: float) -> np.ndarray:
    return generator.uniform(low, high, width).astype("f4")


def _by(sizes: tuple[int, ...]) -> str:
    return "x".join(map(str, sizes))

"""The flows that are compared, and how each is trained."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The settings of one training and its measurement.

    Attributes:
        builder: Name of the architecture in `jinn.flows`.
        options: Its options.
        evaluation: Options of the solver for everything after training, see
            `jinn.flows.with_solver`.
        matching: Train by flow matching, in place of the likelihood.
        steps: Training steps, each on fresh points.
        batch_size: Points a step.
        learning_rate: Highest learning rate.
        ema_decay: Decay of the average of the weights, or None.
        held_out: Fresh points on which the likelihood is measured.
        samples: Samples of the flow.
        tolerance: Sum of estimated errors at which the integral is not refined further.
        max_points: Most points of the integral.
    """

    builder: str
    options: Mapping[str, Any]
    evaluation: Mapping[str, Any] = field(default_factory=dict)
    matching: bool = False
    steps: int
    batch_size: int = 256
    learning_rate: float = 2e-3
    ema_decay: float | None = None
    held_out: int = 20_000
    samples: int = 20_000
    tolerance: float = 1e-3
    max_points: int = 400_000


_TIGHT = {"rtol": 1e-5, "atol": 1e-5}

FLOWS = {
    "real_nvp": Settings(
        builder="real_nvp",
        options={"depth": 16, "hidden": (64, 64)},
        steps=10_000,
    ),
    "neural_spline_flow": Settings(
        builder="neural_spline_flow",
        options={"depth": 6, "hidden": (64, 64), "bins": 16, "bound": 4.0},
        steps=6000,
    ),
    "nice": Settings(builder="nice", options={"depth": 16, "hidden": (64, 64)}, steps=6000),
    "gin": Settings(builder="gin", options={"depth": 16, "hidden": (64, 64)}, steps=6000),
    "maf": Settings(
        builder="maf",
        options={"depth": 12, "hidden": (64, 64), "mixing": "reverse"},
        steps=8000,
    ),
    "iaf": Settings(
        builder="iaf",
        options={"depth": 12, "hidden": (64, 64), "mixing": "reverse"},
        steps=4000,
    ),
    "neural_autoregressive": Settings(
        builder="maf",
        options={
            "depth": 4,
            "hidden": (64, 64),
            "mixing": "reverse",
            "transformer": "sigmoidal",
            "units": 16,
        },
        steps=6000,
    ),
    "residual_flow": Settings(
        builder="residual_flow",
        options={"depth": 16, "hidden": (64, 64), "coefficient": 0.98},
        steps=5000,
        learning_rate=5e-3,
    ),
    "continuous_flow": Settings(
        builder="continuous_flow",
        options={"hidden": (64, 64), "rtol": 1e-4, "atol": 1e-4},
        evaluation=_TIGHT,
        steps=2000,
        learning_rate=5e-3,
    ),
    "flow_matching": Settings(
        builder="continuous_flow",
        options={
            "hidden": (128,) * 4,
            "modulation": "concat",
            "frequencies": 3,
            "activation": "silu",
            "residual": True,
        },
        evaluation=_TIGHT,
        matching=True,
        steps=10_000,
        batch_size=512,
        ema_decay=0.999,
    ),
}
"""By name, in the order of the table. On two idle cores each trains for about a minute."""


def smoke(settings: Settings) -> Settings:
    """Shrinks the settings to what takes seconds and proves nothing but that all parts run."""
    small: dict[str, Any] = {"hidden": (16, 16)}
    small |= {"depth": 2} if "depth" in settings.options else {}
    return replace(
        settings,
        options={**settings.options, **small},
        evaluation={name: 1e-3 for name in settings.evaluation},
        steps=20,
        batch_size=64,
        held_out=500,
        samples=500,
        max_points=1,
    )

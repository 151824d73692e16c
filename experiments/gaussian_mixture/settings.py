"""The methods that are compared, and how each is trained."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The settings of one training and its measurement.

    Attributes:
        builder: Name of the architecture in `jinn.flows`; "inn" is one for all x and labels, the
            others are conditioned on the label.
        options: Its options.
        loss: Options of `jinn.losses.inn_loss`.
        steps: Training steps, each on fresh points.
        batch_size: Points a step.
        learning_rate: Highest learning rate.
        samples: Samples for each label.
        fresh: Points on which predicted labels are judged.
        latents: Points whose latents are judged.
        latent_draws: Sets of normal latents that give their thresholds.
    """

    builder: str
    options: Mapping[str, Any]
    loss: Mapping[str, Any] = field(default_factory=dict)
    steps: int
    batch_size: int = 512
    learning_rate: float = 2e-3
    samples: int = 4000
    fresh: int = 20_000
    latents: int = 1000
    latent_draws: int = 100


_INN = Settings(
    builder="inn",
    # With more noise in the padding, the latents come to be made of that in place of x.
    options={
        "padding_noise": 0.001,
        "architecture": "neural_spline_flow",
        "depth": 6,
        "hidden": (64, 64),
    },
    loss={
        "y_weight": 30.0,
        "z_weight": 100.0,
        "padding_weight": 10.0,
        "x_weight": 400.0,
        "x_warm_up": 1500,
    },
    steps=3000,
    batch_size=256,
)

METHODS = {
    "inn": _INN,
    "inn_only_y_z": replace(_INN, loss={**_INN.loss, "x_weight": 0.0}),
    "inn_only_x": replace(_INN, loss={**_INN.loss, "y_weight": 0.0, "z_weight": 0.0}),
    "cinn": Settings(
        builder="neural_spline_flow",
        options={"depth": 4, "hidden": (64, 64)},
        steps=2000,
    ),
}
"""By name, in the order of the table. On two idle cores each trains for about a minute."""


def smoke(settings: Settings) -> Settings:
    """Shrinks the settings to what takes seconds and proves nothing but that all parts run."""
    return replace(
        settings,
        options={**settings.options, "depth": 2, "hidden": (8,)},
        steps=20,
        batch_size=64,
        samples=200,
        fresh=200,
        latents=50,
        latent_draws=10,
    )

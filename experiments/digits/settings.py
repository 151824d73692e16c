"""The flows and their training, for both sets of digits."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The settings of one training and its measurement.

    Attributes:
        equalize: Whether each pixel is made normal by how often it has each level.
        shrinkage: How far the classes' covariances are drawn to their mean, from 0 to 1, before
            they are taken out; None takes out neither them nor the means.
        options: Options of `jinn.flows.multiscale_flow`.
        steps: Training steps.
        batch_size: Pictures a step.
        learning_rate: Highest learning rate.
        weight_decay: Weight decay relative to the learning rate.
        ema_decay: Decay of the weights' moving average.
        draws: Draws of the noise for the bound of each held-out picture.
        samples: Pictures drawn for each class.
        temperature: The lower one at which they are drawn too.
        peer: What `Peer` has otherwise, and its own.
    """

    equalize: bool
    shrinkage: float | None
    options: Mapping[str, Any]
    steps: int
    batch_size: int
    learning_rate: float
    weight_decay: float
    ema_decay: float
    draws: int
    samples: int
    temperature: float
    peer: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Peer:
    """The settings of flowjax's Real NVP; what has no word here is as in `Settings`.

    Attributes:
        parameters: About how many parameters it has, those of jinn's flow.
        layers: Number of couplings.
        depth: Hidden layers of each conditioner.
    """

    parameters: int
    layers: int
    depth: int
    steps: int
    batch_size: int
    learning_rate: float
    weight_decay: float
    ema_decay: float
    draws: int
    samples: int


DIGITS = Settings(
    equalize=True,
    shrinkage=0.1,
    options={
        "scales": 2,
        "depth": 2,
        "hidden": (32, 32),
        "fully_connected": 2,
        "fully_connected_hidden": (64, 64),
    },
    steps=400,
    batch_size=128,
    learning_rate=1e-3,
    weight_decay=1e-2,
    ema_decay=0.99,
    draws=16,
    samples=200,
    temperature=0.7,
    peer={"layers": 6, "depth": 1, "steps": 600, "weight_decay": 3.0, "ema_decay": 0.98},
)
"""scikit-learn's digits. The peer needs its strong weight decay: with 0.01 it overfits."""

MNIST = replace(
    DIGITS,
    equalize=True,
    shrinkage=None,
    options={
        "scales": 2,
        "depth": 8,
        "hidden": (64, 64),
        "fully_connected": 4,
        "fully_connected_hidden": (256, 256),
    },
    steps=20_000,
    batch_size=256,
    weight_decay=1e-4,
    ema_decay=0.999,
    draws=4,
    peer={"layers": 16, "depth": 2},
)
"""MNIST, for an accelerator; not tuned."""


def plain(settings: Settings) -> Settings:
    """The multi-scale flow alone, with nothing in front of it."""
    return replace(settings, equalize=False, shrinkage=None)


def peer_of(settings: Settings, parameters: int) -> Peer:
    """The settings of flowjax's flow for the same digits, with about as many parameters."""
    shared = ("steps", "batch_size", "learning_rate", "weight_decay", "ema_decay")
    alike = {name: getattr(settings, name) for name in (*shared, "draws", "samples")}
    return Peer(parameters=parameters, **alike | dict(settings.peer))


def smoke(settings: Settings) -> Settings:
    """Shrinks the settings to what takes seconds and proves nothing but that all parts run."""
    options = {
        "scales": [{"downsample": "haar", "depth": 1}],
        "hidden": (4,),
        "fully_connected": 1,
        "fully_connected_hidden": (8,),
    }
    return replace(settings, options=options, steps=4, batch_size=32, draws=2, samples=16)

"""What is simulated, which methods learn from it, and how their posteriors are measured."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Data:
    """What all methods share.

    Attributes:
        seed: Seed of the simulations.
        validation: Whether to measure on other spectra, to tune on.
        signal_to_noise: Of each band of the camera.
        training: Spectra to train on.
        part: Spectra in a file; a set is made a file at a time.
        unseen: Spectra that posteriors are measured on.
        reference: Spectra that tell what is typical.
        outside: Spectra of each kind from outside of the prior.
        side: Pixels along a side of the scene.
        photons: Photons a band of the Monte Carlo whose noise is measured.
        monte_carlo: Tissues that it is measured on.
    """

    seed: int = 0
    validation: bool = False
    signal_to_noise: float = 10.0
    training: int = 100_000
    part: int = 5000
    unseen: int = 1000
    reference: int = 8000
    outside: int = 1000
    side: int = 64
    photons: int = 100_000
    monte_carlo: int = 2


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The settings of one method and its measurement.

    Attributes:
        data: What it learns from.
        method: "cinn", "inn" or "abc".
        options: Of the architecture in `jinn.flows`, or of the emulator behind ABC.
        steps: Training steps.
        batch_size: Pairs a step.
        learning_rate: Highest learning rate.
        ema_decay: Decay of the average of the weights, or None.
        simulations: Of ABC.
        nearest: How many of these ABC keeps for a spectrum.
        samples: Posterior samples of each unseen spectrum.
        ranks: Posterior samples of each for the diagnostics.
        perfect: Sets of spectra for the calibration error of a perfect posterior.
        pixel_samples: Posterior samples of a pixel.
        level: False-alarm rate of a network's diagnostics, all together.
    """

    data: Data = Data()
    method: str
    options: Mapping[str, Any] = field(default_factory=dict)
    steps: int
    batch_size: int = 512
    learning_rate: float = 2e-3
    ema_decay: float | None = 0.999
    simulations: int = 0
    nearest: int = 0
    samples: int = 1000
    ranks: int = 200
    perfect: int = 5
    pixel_samples: int = 200
    level: float = 0.05


METHODS = {
    "cinn": Settings(
        method="cinn",
        options={"depth": 6, "hidden": (128, 128), "activation": "silu", "mixing": "plu"},
        steps=5000,
    ),
    "inn": Settings(
        method="inn",
        options={"depth": 6, "hidden": (128, 128), "two_sided": True, "clamp": 2.0},
        steps=1500,
    ),
    "abc": Settings(
        method="abc",
        options={"hidden": (128, 128, 128), "activation": "silu"},
        steps=8000,
        batch_size=1024,
        simulations=2**20,
        nearest=500,
    ),
}
"""By name, in the order of the table."""
TRAINED = ("cinn", "inn")


def smoke(settings: Settings) -> Settings:
    """Shrinks the settings to what takes seconds and proves nothing but that all parts run."""
    data = Data(
        training=64, part=64, unseen=24, reference=210, outside=20, side=6, photons=1000,
        monte_carlo=1,
    )  # fmt: skip
    options = {**settings.options, "hidden": (8,)}
    if "depth" in options:
        options["depth"] = 2
    return replace(
        settings,
        data=data,
        options=options,
        steps=20,
        batch_size=32,
        simulations=2000 if settings.simulations else 0,
        nearest=50 if settings.nearest else 0,
        samples=50,
        ranks=20,
        perfect=1,
        pixel_samples=20,
    )

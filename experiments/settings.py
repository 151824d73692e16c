"""What is trained, and how its posterior is measured."""

from dataclasses import dataclass, replace
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The settings of one run.

    Attributes:
        flow: Name of the architecture in `jinn.flows`.
        flow_options: Its options.
        steps: Training steps, each on fresh simulations.
        batch_size: Simulations a step.
        learning_rate: Highest learning rate.
        y_noise: Standard deviation of the Gaussian noise on y in training, in the units of y.
            Without any, the posterior lies on a surface and the likelihood has no upper bound.
        dequantization: Half-width of the uniform noise on whole-numbered parameters in training.
        tolerance: Standard deviation of the ground truth's Gaussian tolerance on y, in its units.
        observations: Unseen observations that are compared with the ground truth.
        samples: Posterior samples for each of them.
        calibration_observations: Observations for the calibration error.
        calibration_samples: Posterior samples for each of those.
        timed_samples: Samples of one posterior that are drawn to measure speed.
        seed: Seed of everything random.
    """

    flow: str
    flow_options: dict[str, Any]
    steps: int
    batch_size: int = 512
    learning_rate: float = 3e-3
    y_noise: float
    dequantization: float = 0.0
    tolerance: float
    observations: int = 100
    samples: int = 1000
    calibration_observations: int = 1000
    calibration_samples: int = 1000
    timed_samples: int = 100_000
    seed: int = 0


def smoke(settings: Settings) -> Settings:
    """Shrinks the settings to what takes seconds and proves nothing but that all parts run."""
    return replace(
        settings,
        flow_options=settings.flow_options | {"depth": 2, "hidden": (32, 32)},
        steps=100,
        batch_size=128,
        observations=5,
        samples=200,
        calibration_observations=50,
        calibration_samples=100,
        timed_samples=1000,
    )

"""What is trained, and how its posterior is measured."""

from dataclasses import dataclass, replace
from typing import Any, Literal


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The settings of one run.

    Attributes:
        flow: Name of the architecture in `jinn.flows`.
        flow_options: Its options.
        method: How `jinn.fit_posterior` trains it.
        steps: Training steps, each on fresh simulations.
        batch_size: Simulations a step.
        learning_rate: Highest learning rate.
        ema_decay: Decay of the average of the weights, or None.
        y_noise: Standard deviation of the Gaussian noise on y in training, in the units of y.
            Without any, the posterior lies on a surface and the likelihood has no upper bound.
        teacher: Settings of a flow that is trained first, and from which this one then learns by
            density distillation; None to learn from the data.
        likelihood_weight: Weight of the data's likelihood in the distillation.
        dequantization: Half-width of the uniform noise on whole-numbered parameters in training.
        tolerance: Standard deviation of the ground truth's Gaussian tolerance on y, in its units.
        observations: Unseen observations that are compared with the ground truth.
        samples: Posterior samples for each of them.
        calibration_observations: Observations for the calibration error.
        calibration_samples: Posterior samples for each of those.
        ranks: Posterior samples for each of those in the diagnostics.
        timed_samples: Samples of one posterior that are drawn to measure speed.
        seed: Seed of everything random.
    """

    flow: str
    flow_options: dict[str, Any]
    method: Literal["likelihood", "flow_matching"] = "likelihood"
    steps: int
    batch_size: int = 512
    learning_rate: float = 3e-3
    ema_decay: float | None = None
    y_noise: float
    teacher: "Settings | None" = None
    likelihood_weight: float = 0.0
    dequantization: float = 0.0
    tolerance: float
    observations: int = 100
    samples: int = 1000
    calibration_observations: int = 1000
    calibration_samples: int = 1000
    ranks: int = 200
    timed_samples: int = 100_000
    seed: int = 0

    @property
    def title(self) -> str:
        """What the flow is called in the table."""
        return self.flow if self.method == "likelihood" else self.method


def smoke(settings: Settings) -> Settings:
    """Shrinks the settings to what takes seconds and proves nothing but that all parts run."""
    small = {"depth": 2, "hidden": (32, 32)}
    options = settings.flow_options
    return replace(
        settings,
        teacher=None if settings.teacher is None else smoke(settings.teacher),
        flow_options=options | {name: small[name] for name in small if name in options},
        steps=100,
        batch_size=128,
        observations=5,
        samples=200,
        calibration_observations=50,
        calibration_samples=100,
        ranks=20,
        timed_samples=1000,
    )

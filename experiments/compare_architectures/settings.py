"""What all methods of the comparison have in common, and presets of it."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """What all methods have in common.

    Attributes:
        parameters: About how many parameters each method has.
        pairs: Number of training pairs.
        steps: Training steps, or None for each method's own.
        batch_size: Pairs a step, or None for each method's own.
        learning_rate: Highest learning rate, or None for each method's own.
        observations: Unseen observations.
        samples: Posterior samples for each of them.
        calibration_observations: Observations for the calibration error.
        calibration_samples: Posterior samples for each of those.
        latent_rows: New pairs for the MMD of an INN's latents; its forward process and the
            correlation of latents with y take twenty times as many.
    """

    parameters: int = 100_000
    pairs: int = 1_000_000
    steps: int | None = None
    batch_size: int | None = None
    learning_rate: float | None = None
    observations: int = 1000
    samples: int = 1000
    calibration_observations: int = 1000
    calibration_samples: int = 500
    latent_rows: int = 1000


PRESETS = {
    "default": Protocol(),
    "paper": Protocol(
        parameters=3_000_000,
        steps=50_000,
        batch_size=1000,
        learning_rate=1e-3,
    ),
}
"""The default is what two CPU cores train in minutes; "paper" is for an accelerator."""

SMOKE = Protocol(
    parameters=2000,
    pairs=1000,
    steps=10,
    batch_size=64,
    observations=3,
    samples=50,
    calibration_observations=4,
    calibration_samples=50,
    latent_rows=50,
)
"""A minute, to see that it runs."""

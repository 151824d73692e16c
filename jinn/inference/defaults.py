"""How `fit_posterior` trains where it is not told."""

from typing import Any, NamedTuple

SIMULATOR_STEPS = 10_000
LARGEST_VALIDATION = 2000


class Defaults(NamedTuple):
    """Settings for a number of pairs.

    Attributes:
        ensemble: Number of flows in the posterior.
        steps: Most training steps of each.
        batch_size: Pairs in a step.
        learning_rate: Highest learning rate.
        validation: Pairs to hold out, or the fraction of a simulator's.
        patience: Validations without a new best after which a flow's training ends, or None.
        flow: Options of `jinn.flows.neural_spline_flow`.
    """

    ensemble: int
    steps: int
    batch_size: int
    learning_rate: float
    validation: Any
    patience: int | None
    flow: dict[str, Any]


def defaults_for(rows: int | None) -> Defaults:
    """Gives the settings for a number of pairs; tuned by `experiments.sbibm`.

    Few pairs are soon learned by heart. Flows with other weights and other pairs held out err
    differently then, and their mean is far better than each; with many pairs one flow that is
    trained longer is better.

    Args:
        rows: Number of pairs, or None for a simulator.

    Returns:
        The settings.
    """
    if rows is None:
        return Defaults(1, SIMULATOR_STEPS, 512, 3e-3, 0.05, None, {})
    return Defaults(
        ensemble=8,
        steps=1500,
        batch_size=min(64, max(1, rows // 4)),
        learning_rate=1e-3,
        validation=min(LARGEST_VALIDATION, max(1, rows // 10)),
        patience=10,
        flow={"hidden": (256, 256), "activation": "tanh"},
    )

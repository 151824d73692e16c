"""How `fit_posterior` trains where it is not told."""

from typing import Any, NamedTuple

KINDS: tuple[dict[str, Any], ...] = (
    {"hidden": (256, 256), "activation": "silu", "mixing": "plu"},
    {"hidden": (256, 256), "activation": "tanh"},
)
"""Kinds of flow that a short training chooses from."""


class Defaults(NamedTuple):
    """Settings for a number of pairs.

    Attributes:
        ensemble: Number of flows in the posterior.
        steps: Most training steps of each.
        trial_steps: Steps of the trainings that choose between kinds of flow.
        batch_size: Pairs in a step.
        learning_rate: Highest learning rate.
        validation: Pairs to hold out, or the fraction of a simulator's.
        patience: Validations without a new best after which a flow's training ends, or None.
        ema_decay: Decay of the average of the weights, or None.
        flows: Options of `jinn.flows.neural_spline_flow` to choose from.
    """

    ensemble: int
    steps: int
    trial_steps: int
    batch_size: int
    learning_rate: float
    validation: int | float
    patience: int | None
    ema_decay: float | None
    flows: tuple[dict[str, Any], ...]


def defaults_for(rows: int | None) -> Defaults:
    """Gives the settings for a number of pairs, chosen on the problems of `experiments.sbibm`.

    Few pairs are soon learned by heart. Flows with other weights and other pairs held out err
    differently then, and their mean is better than each. Many pairs take longer to learn, and get
    fewer flows, for the sake of time. The average of the weights over the last steps does what a
    falling learning rate does, also where the training ends early. Conditioners with silu, between
    learned linear maps, are best where the posterior is a thin curve; those with tanh, between
    permutations, where its modes lie along the axes and few pairs have to do.

    Args:
        rows: Number of pairs, or None for a simulator.

    Returns:
        The settings.
    """
    if rows is None:
        return Defaults(1, 10_000, 1000, 512, 3e-3, 0.05, None, None, ({},))
    validation = min(2000, max(1, rows // 10))
    if rows < 4000:
        batch = min(64, max(1, rows // 4))
        return Defaults(10, 1500, 500, batch, 1.5e-3, validation, 10, 0.99, KINDS)
    if rows < 40_000:
        return Defaults(4, 3200, 800, 128, 2e-3, validation, 10, 0.99, KINDS)
    return Defaults(4, 6500, 1500, 256, 1.5e-3, validation, 10, 0.999, KINDS)

"""How `fit_posterior` trains where it is not told."""

from collections.abc import Callable
from typing import Any, NamedTuple

from jinn.flows.continuous_flows import continuous_flow
from jinn.flows.coupling_flows import neural_spline_flow
from jinn.flows.flow import Flow

KINDS: tuple[dict[str, Any], ...] = (
    {"hidden": (256, 256), "activation": "silu", "mixing": "plu"},
    {"hidden": (256, 256), "activation": "tanh"},
)
"""Kinds of flow that a short training chooses from."""

FIELD: dict[str, Any] = {
    "hidden": (256, 256, 256, 256),
    "modulation": "concat",
    "activation": "silu",
    "residual": True,
    "solver": "rk4",
    "steps": 16,
}
"""The continuous flow that is trained by flow matching."""


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
        flows: Options of the builder to choose from.
        builder: The named builder of the flows.
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
    builder: Callable[..., Flow] = neural_spline_flow


def defaults_for(rows: int | None, method: str = "likelihood") -> Defaults:
    """Gives the settings for a number of pairs, chosen on the problems of `experiments.sbibm`.

    Few pairs are soon learned by heart. Flows with other weights and other pairs held out err
    differently then, and their mean is better than each. Many pairs take longer to learn, and get
    fewer flows, for the sake of time. The average of the weights over the last steps does what a
    falling learning rate does, also where the training ends early. Conditioners with silu, between
    learned linear maps, are best where the posterior is a thin curve; those with tanh, between
    permutations, where its modes lie along the axes and few pairs have to do.

    Args:
        rows: Number of pairs, or None for a simulator.
        method: "likelihood" or "flow_matching".

    Returns:
        The settings.
    """
    if method == "flow_matching":
        return _flow_matching_defaults(rows)
    if rows is None:
        return Defaults(1, 10_000, 1000, 512, 3e-3, 0.05, None, None, ({},))
    validation = min(2000, max(1, rows // 10))
    if rows < 4000:
        batch = min(64, max(1, rows // 4))
        return Defaults(10, 1500, 500, batch, 1.5e-3, validation, 10, 0.99, KINDS)
    if rows < 40_000:
        return Defaults(4, 3200, 800, 128, 2e-3, validation, 10, 0.99, KINDS)
    return Defaults(4, 6500, 1500, 256, 1.5e-3, validation, 10, 0.999, KINDS)


def _flow_matching_defaults(rows: int | None) -> Defaults:
    def defaults(
        ensemble: int, steps: int, batch: int, rate: float, validation: float, patience: int | None
    ) -> Defaults:
        decay, flows = 0.999, (FIELD,)
        return Defaults(
            ensemble,
            steps,
            steps,
            batch,
            rate,
            validation,
            patience,
            decay,
            flows,
            continuous_flow,
        )

    if rows is None:
        return defaults(1, 10_000, 512, 1e-3, 0.05, None)
    validation = min(2000, max(1, rows // 10))
    return defaults(2, 5000, min(256, max(1, rows // 4)), 1e-3, validation, 10)

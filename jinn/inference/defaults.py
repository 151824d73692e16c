"""How `fit_posterior` trains where it is not told."""

from typing import Any, NamedTuple


class Defaults(NamedTuple):
    """Settings for a number of pairs.

    Attributes:
        ensemble: Number of flows in the posterior.
        steps: Most training steps of each.
        batch_size: Pairs in a step.
        learning_rate: Highest learning rate.
        validation: Pairs to hold out, or the fraction of a simulator's.
        patience: Validations without a new best after which a flow's training ends, or None.
        flows: Options of `jinn.flows.neural_spline_flow` to choose from.
    """

    ensemble: int
    steps: int
    batch_size: int
    learning_rate: float
    validation: int | float
    patience: int | None
    flows: tuple[dict[str, Any], ...]


def defaults_for(rows: int | None) -> Defaults:
    """Gives the settings for a number of pairs, chosen on the problems of `experiments.sbibm`.

    Few pairs are soon learned by heart. Flows with other weights and other pairs held out err
    differently then, and their mean is better than each. Many pairs take longer to learn, and get
    one flow, for the sake of time. Conditioners with silu learn sharp posteriors in fewer steps,
    those with tanh are smoother and learn less by heart.

    Args:
        rows: Number of pairs, or None for a simulator.

    Returns:
        The settings.
    """
    if rows is None:
        return Defaults(1, 10_000, 512, 3e-3, 0.05, None, ({},))
    validation = min(2000, max(1, rows // 10))
    kinds = tuple({"hidden": (256, 256), "activation": name} for name in ("silu", "tanh"))
    if rows < 4000:
        batch = min(64, max(1, rows // 4))
        return Defaults(8, 1500, batch, 1.5e-3, validation, 10, kinds)
    if rows < 40_000:
        return Defaults(4, 3000, 128, 1.5e-3, validation, 10, kinds)
    return Defaults(1, 8000, 256, 1.5e-3, validation, 10, kinds)

"""What `fit` gives, in the end or with the error that ended it."""

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from jinn.bijectors.base import Bijector
from jinn.bijectors.module import first_not_finite
from jinn.losses.likelihood import split_batch
from jinn.training.checks import named_leaves


class FitResult(NamedTuple):
    """What `fit` returns.

    Attributes:
        flow: The trained flow: the best by validation loss, or the last without validation.
        history: Arrays of one length, a value for every interval of `validate_every` steps:
            ``step`` (steps done), ``loss`` (mean over the interval's finite steps),
            ``validation_loss`` (NaN if none), and the metrics of the loss.
        interrupted: Whether the training was ended by a KeyboardInterrupt.
        skipped_steps: Number of steps that were skipped, their loss or gradient not being finite.
    """

    flow: Any
    history: dict[str, np.ndarray]
    interrupted: bool
    skipped_steps: int


class TrainingDiverged(RuntimeError):
    """Raised by `fit` after `max_bad_steps` steps in a row without a finite loss and gradient.

    Attributes:
        result: A `FitResult` with the last good flow and the history.
    """

    def __init__(self, message: str, result: FitResult) -> None:
        """Make the error.

        Args:
            message: The text.
            result: What was reached before.
        """
        super().__init__(message)
        self.result = result


def diverged(
    result: FitResult, model: Any, batch: Any, bad_steps: int, where: str
) -> TrainingDiverged:
    """The error of a training whose last steps were all skipped.

    Args:
        result: What was reached before.
        model: The model that it ended with.
        batch: The last batch.
        bad_steps: Number of steps that were skipped.
        where: The last step.

    Returns:
        The error, which names the first bijector whose output is not finite.
    """
    return TrainingDiverged(
        f"fit: the training diverged: the loss or its gradient was not finite in {bad_steps} steps "
        f"in a row, up to {where}. {_where_not_finite(model, batch)}Try a smaller learning_rate, "
        "standardised data, or float64, and look for values that are not finite in the simulator "
        "or the loss. The last good flow and the history are in `.result` of this error.",
        result,
    )


def _where_not_finite(model: Any, batch: Any) -> str:
    """A sentence on where the numbers of a flow's forward pass stop being finite."""
    bijector = getattr(model, "bijector", None)
    if not isinstance(bijector, Bijector):
        return ""
    for name, array in named_leaves(batch):
        if not bool(jnp.isfinite(array).all()):
            return f"In the last batch, {name} itself is not finite. "
    try:
        part = first_not_finite(bijector, *split_batch(batch))
    except (TypeError, ValueError):  # a loss of its own with batches of another form
        return ""
    if part is None:
        return "All its bijectors' outputs are finite for the last batch: look at the gradient. "
    return f"In the last batch, the first output that is not finite is that of flow.{part}. "

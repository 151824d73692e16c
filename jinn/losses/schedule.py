"""Losses that change in the course of training."""

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

from jaxtyping import Array

Loss = Callable[..., tuple[Array, dict[str, Array]]]


def at_step(loss: Loss, step: Any) -> Loss:
    """The loss at a step of training: `step` is passed to a loss that has a parameter of that name.

    Args:
        loss: Any loss, `loss(flow, batch, key)` or `loss(flow, batch, key, *, step=None)`.
        step: Number of the step, from 0, or None for what holds after the last.

    Returns:
        A loss of flow, batch and key.
    """
    return partial(loss, step=step) if takes_step(loss) else loss


def takes_step(loss: Loss) -> bool:
    """Whether a loss has a parameter `step`.

    Args:
        loss: Any loss.

    Returns:
        Whether it has; False for a callable without a signature.
    """
    try:
        return "step" in inspect.signature(loss).parameters
    except (TypeError, ValueError):
        return False

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
    try:
        takes_step = "step" in inspect.signature(loss).parameters
    except (TypeError, ValueError):  # a callable without a signature
        takes_step = False
    return partial(loss, step=step) if takes_step else loss

"""Networks as functions of a condition alone."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from jinn.networks.mlp import MLP


@dataclass(frozen=True)
class Pick:
    """One entry of a dict, as the network of an `EmbedCondition`, `condition -> condition[name]`.

    Args:
        name: The key.
    """

    name: str

    def __call__(self, condition: dict[str, Array]) -> Array:
        """Take the entry.

        Args:
            condition: Conditions with their batch axes.

        Returns:
            The entry, with batch axes of its own.
        """
        return condition[self.name]


def evaluate_on_condition(network: Callable[..., Any], condition: Any) -> Any:
    """Evaluate a network of the condition, at the condition's own batch.

    Args:
        network: Any callable `condition -> output`. An `MLP` with in_size 0 and a condition_shape
            counts as one.
        condition: Conditions with their batch axes, an array or a dict of arrays.

    Returns:
        What the network gives.
    """
    if isinstance(network, MLP) and network.in_size == 0:
        return network(jnp.zeros((0,), jax.tree.leaves(condition)[0].dtype), condition)
    return network(condition)

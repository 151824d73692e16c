"""A price on layers with tied weights that are not orthogonal."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from jinn.bijectors.inv_auto import InvAutoConv, InvAutoDense
from jinn.losses.likelihood import negative_log_likelihood
from jinn.losses.schedule import Loss, at_step


def with_orthogonality(loss: Loss = negative_log_likelihood, *, weight: float = 1.0) -> Loss:
    r"""Make the loss ``loss + weight * sum of |W^T W - I|_F^2`` over the layers with tied weights.

    `InvAutoDense` and `InvAutoConv` are invertible up to that error.

    Args:
        loss: Any loss for `jinn.fit`.
        weight: Weight of the orthogonality penalty, not negative.

    Returns:
        A loss for `jinn.fit`, with the metric "orthogonality" beside those of `loss`.

    Raises:
        ValueError: If the weight is negative or not finite. The loss raises it if the flow has no
            such layer.

    Reference:
        Invertible Autoencoder for domain adaptation (Teng, Choromanska, Bojarski, 2018),
        https://arxiv.org/abs/1802.06869
    """
    if not 0 <= weight < float("inf"):
        raise ValueError(f"with_orthogonality: expected a weight of at least 0, got {weight}")
    return _WithOrthogonality(loss, float(weight))


@dataclass(frozen=True)
class _WithOrthogonality:
    """The loss. Equal options make equal losses, so that `fit` compiles nothing again."""

    loss: Loss
    weight: float

    def __call__(
        self, flow: Any, batch: Any, key: jax.Array | None = None, *, step: Any = None
    ) -> tuple[Array, dict[str, Array]]:
        tied = InvAutoDense | InvAutoConv
        nodes = jax.tree.leaves(flow, is_leaf=lambda node: isinstance(node, tied))
        penalties = [node.orthogonality_penalty() for node in nodes if isinstance(node, tied)]
        if not penalties:
            raise ValueError(
                "with_orthogonality: expected a flow with InvAutoDense or InvAutoConv in it, got "
                f"none in {type(flow).__name__}"
            )
        penalty = jnp.sum(jnp.stack(penalties))
        value, metrics = at_step(self.loss, step)(flow, batch, key)
        return value + self.weight * penalty, metrics | {"orthogonality": penalty}

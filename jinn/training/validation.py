"""The compiled validation loss."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from jinn.training.memo import remembered
from jinn.training.placement import ONE_DEVICE, Placement
from jinn.training.step import Loss
from jinn.training.weights import Structure, Weights


@remembered
def make_evaluate(
    structure: Structure, loss: Loss, chunk_rows: int, placement: Placement = ONE_DEVICE
) -> Callable[[Weights, Any, jax.Array], Array]:
    """Compile the validation loss, a mean over rows; once for the same arguments.

    The rows are evaluated in chunks, as few as hold at most `chunk_rows`, whose sizes differ by
    one row at most, and the chunks' losses are weighted by their rows.

    Args:
        structure: The structure of the model.
        loss: The loss function.
        chunk_rows: Rows evaluated at once.
        placement: Where they lie.

    Returns:
        A function of the weights, the validation batch and a key.
    """

    @jax.jit
    def evaluate(weights: Weights, batch: Any, key: jax.Array) -> Array:
        model = structure.model(weights)
        rows = jax.tree.leaves(batch)[0].shape[0]
        chunks = -(-rows // chunk_rows)
        size, longer = divmod(rows, chunks)
        total, first = jnp.zeros(()), 0
        for count, length in ((longer, size + 1), (chunks - longer, size)):
            if count == 0:
                continue
            part = jax.tree.map(
                lambda leaf, a=first, n=count, m=length: leaf[a : a + n * m].reshape(
                    n, m, *leaf.shape[1:]
                ),
                batch,
            )
            key, part_key = jax.random.split(key)
            losses = jax.lax.map(
                lambda chunk: loss(model, placement.rows(chunk[0]), chunk[1])[0],
                (part, jax.random.split(part_key, count)),
            )
            total += length * losses.sum()
            first += count * length
        return total / rows

    return evaluate

"""Maximum likelihood, the loss of normalizing flows."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def negative_log_likelihood(
    flow: Any, batch: Any, key: jax.Array | None = None
) -> tuple[Float[Array, ""], dict[str, Array]]:
    r"""Mean negative log-likelihood, ``-1/n sum_i log p(x_i | condition_i)``, in nats.

    Args:
        flow: A density with ``log_prob(x, condition, *, key)``.
        batch: Events ``x`` of shape ``(n, *event_shape)``, or a pair ``(x, condition)`` with
            conditions of shape ``(n, *condition_shape)``; events and conditions may be dicts.
        key: A JAX key for flows with a stochastic log-determinant; None is deterministic.

    Returns:
        The scalar loss, float32 or wider, and an empty dict of metrics.

    Reference:
        Normalizing Flows for Probabilistic Modeling and Inference. Papamakarios, Nalisnick,
        Rezende, Mohamed, Lakshminarayanan, 2021. https://jmlr.org/papers/v22/19-1028.html
    """
    x, condition = split_batch(batch)
    log_prob = flow.log_prob(x, condition, key=key)
    return -jnp.mean(log_prob, dtype=jnp.promote_types(log_prob.dtype, jnp.float32)), {}


def split_batch(batch: Any) -> tuple[Any, Any]:
    """Read a batch as events and conditions: a pair is ``(x, condition)``, all else is x.

    Args:
        batch: What a loss was given.

    Returns:
        The events, and the conditions or None.
    """
    if isinstance(batch, tuple) and len(batch) == 2:
        return batch
    return batch, None

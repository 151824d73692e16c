"""The standard normal distribution."""

import math
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from jinn.bijectors.shapes import Shape, batch_shape
from jinn.distributions.base import Distribution


class StandardNormal(Distribution):
    """Independent standard normal elements, `log p(x) = -|x|^2 / 2 - n log(2 pi) / 2`.

    Args:
        event_shape: Shape of one event, a tuple, or a dict of tuples for dict events.
    """

    def __init__(self, event_shape: Shape) -> None:
        """See the class."""
        self._declare(event_shape)

    def _log_prob(self, x: Any, condition: Any) -> Array:
        total: Any = 0.0
        for log_prob in jax.tree.leaves(self._each(x)):
            total = total + log_prob
        return total

    def _log_probs(self, x: Any, condition: Any) -> dict[str, Array] | None:
        return self._each(x) if isinstance(x, dict) else None

    def _each(self, x: Any) -> Any:
        """Log-density of every array of an event."""
        rank = len(batch_shape(x, self.event_shape))

        def log_prob(part: Array) -> Array:
            wide = part.astype(jnp.promote_types(part.dtype, jnp.float32))
            axes = tuple(range(rank, part.ndim))
            n = math.prod(part.shape[rank:])
            return -0.5 * (jnp.sum(wide * wide, axes) + n * math.log(2 * math.pi))

        return jax.tree.map(log_prob, x)

    def _sample(self, key: jax.Array, batch: tuple[int, ...], condition: Any) -> Any:
        if not isinstance(self.event_shape, dict):
            return jax.random.normal(key, (*batch, *self.event_shape))
        keys = jax.random.split(key, len(self.event_shape))
        return {
            name: jax.random.normal(k, (*batch, *self.event_shape[name]))
            for name, k in zip(sorted(self.event_shape), keys, strict=True)
        }

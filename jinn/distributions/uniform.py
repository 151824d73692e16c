"""The uniform distribution on a box."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from jinn.bijectors.base import Buffer, constant
from jinn.bijectors.shapes import array_shape
from jinn.distributions.base import Distribution


class Uniform(Distribution):
    """Independent elements, uniform on [low, high]; log p is -inf outside.

    Args:
        event_shape: Shape of one event.
        low: Lower bounds, finite, broadcastable to the event.
        high: Upper bounds, finite, broadcastable to the event.

    Raises:
        ValueError: If events are dicts, or the bounds do not fit the event, are not finite, or are
            not in order.
    """

    def __init__(self, event_shape: tuple[int, ...], low: Any = 0.0, high: Any = 1.0) -> None:
        """See the class."""
        self._declare(array_shape(event_shape, "Uniform event_shape"))
        self.event_shape: tuple[int, ...]
        try:
            shape = self.event_shape
            low, high = (np.broadcast_to(np.asarray(b, float), shape) for b in (low, high))
        except ValueError:
            raise ValueError(
                f"Uniform: expected bounds that broadcast to the event {self.event_shape}, "
                f"got shapes {np.shape(low)} and {np.shape(high)}"
            ) from None
        if not (np.isfinite(low).all() and np.isfinite(high).all() and (low < high).all()):
            raise ValueError(f"Uniform: expected finite bounds low < high, got {low} and {high}")
        self.low, self.high = Buffer(jnp.asarray(low)), Buffer(jnp.asarray(high))

    def _log_prob(self, x: Any, condition: Any) -> Array:
        wide = jnp.promote_types(x.dtype, jnp.float32)
        low, high = (
            constant(b).astype(wide).reshape(*[1] * (x.ndim - b.ndim), *b.shape)
            for b in (self.low, self.high)
        )
        inside = (x >= low) & (x <= high)
        axes = tuple(range(x.ndim - len(self.event_shape), x.ndim))
        return jnp.sum(jnp.where(inside, -jnp.log(high - low), -jnp.inf), axes)

    def _sample(self, key: jax.Array, batch: tuple[int, ...], condition: Any) -> Any:
        low, high = constant(self.low), constant(self.high)
        unit = jax.random.uniform(key, (*batch, *self.event_shape), low.dtype)
        low, high = (b.reshape(*[1] * len(batch), *b.shape) for b in (low, high))
        return low + (high - low) * unit

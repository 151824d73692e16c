"""The base class of base densities."""

import abc
from typing import Any, final

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array

from jinn.bijectors.shapes import (
    Shape,
    as_event,
    batch_shape,
    check_condition,
    check_sample_shape,
    event_dtype,
    freeze_shape,
    match_batch,
)
from jinn.networks.randomness import as_key


class Distribution(nnx.Module, abc.ABC):
    """A density over events that can be evaluated and sampled.

    To write one: call `self._declare(...)` in the constructor, and implement `_log_prob` and
    `_sample`.

    Attributes:
        event_shape: Shape of one event, a tuple or a dict of tuples.
        condition_shape: Shape of one condition, or None.
    """

    def _declare(self, event_shape: Shape, condition_shape: Shape | None = None) -> None:
        """Set the attributes that every distribution has.

        Args:
            event_shape: Shape of one event.
            condition_shape: Shape of one condition, or None.
        """
        name = type(self).__name__
        self.event_shape = freeze_shape(event_shape, f"{name} event_shape")
        self.condition_shape = (
            None
            if condition_shape is None
            else freeze_shape(condition_shape, f"{name} condition_shape")
        )

    @abc.abstractmethod
    def _log_prob(self, x: Any, condition: Any) -> Array:
        """Log-density `(*batch,)` of checked events `(*batch, *event_shape)`."""

    @abc.abstractmethod
    def _sample(self, key: jax.Array, batch: tuple[int, ...], condition: Any) -> Any:
        """Draw events of shape `(*batch, *event_shape)`."""

    def _log_probs(self, x: Any, condition: Any) -> dict[str, Array] | None:
        """Log-densities of a dict event's parts by key, or None if it has no independent parts."""
        return None

    @final
    def log_prob(self, x: Any, condition: Any = None) -> Array:
        """Log-density, `log p(x | condition)`, in nats.

        Args:
            x: Events `(*batch, *event_shape)`.
            condition: Conditions `(*condition_batch, *condition_shape)`, or None.

        Returns:
            Log-densities of shape `(*batch,)`, batch being the broadcast of both batches.

        Raises:
            ValueError: If a shape is wrong, or a condition is missing or unexpected.
        """
        return self._log_prob(*self._check(x, condition))

    @final
    def log_probs(self, x: Any, condition: Any = None) -> dict[str, Array]:
        """Log-density of every part of dict events, in nats; they sum to `log_prob`.

        Of a multi-scale flow, `flow.base.log_probs(flow.bijector.forward(x))` are those of the
        latents of every scale.

        Args:
            x: Events `(*batch, *event_shape)`, dicts.
            condition: Conditions `(*condition_batch, *condition_shape)`, or None.

        Returns:
            Log-densities of shape `(*batch,)` by the keys of the events.

        Raises:
            ValueError: If events are no dicts of independent parts, a shape is wrong, or a
                condition is missing or unexpected.
        """
        log_probs = self._log_probs(*self._check(x, condition))
        if log_probs is None:
            raise ValueError(
                f"{type(self).__name__}: log_probs is for dict events of independent parts, got "
                f"events of shape {self.event_shape}; use log_prob"
            )
        return log_probs

    def _check(self, x: Any, condition: Any) -> tuple[Any, Any]:
        """Check and convert the arguments of a call, and broadcast x to the call's batch."""
        name = type(self).__name__
        x = as_event(x, self.event_shape, f"{name}: x")
        condition = check_condition(condition, self.condition_shape, name, event_dtype(x))
        return match_batch(x, condition, self.event_shape, self.condition_shape, name), condition

    @final
    def sample(self, key: jax.Array, shape: tuple[int, ...] = (), condition: Any = None) -> Any:
        """Draw independent events from `p(x | condition)`.

        Args:
            key: A JAX key.
            shape: Leading axes of the draw.
            condition: Conditions `(*condition_batch, *condition_shape)`, or None.

        Returns:
            Events of shape `(*shape, *condition_batch, *event_shape)`.

        Raises:
            ValueError: If a shape or the key is wrong, or a condition is missing or unexpected.
        """
        name = type(self).__name__
        key, shape = as_key(key, f"{name}: key"), check_sample_shape(shape, name)
        condition = check_condition(condition, self.condition_shape, name, jnp.result_type(float))
        batch = (*shape, *batch_shape(condition, self.condition_shape))
        return self._sample(key, batch, condition)

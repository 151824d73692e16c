"""An even mixture of flows."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array

from jinn.bijectors.shapes import Shape, batch_shape, check_condition, check_sample_shape
from jinn.flows.chunks import draw_in_chunks
from jinn.flows.flow import Flow
from jinn.networks.randomness import as_key


class Ensemble(nnx.Module):
    """The density `p(x | c) = (1/K) sum_k p_k(x | c)` of K flows that were built alike.

    Args:
        members: The flows.

    Attributes:
        members: One flow whose arrays have a leading axis of K.
        size: The number K.
        event_shape: Shape of one event of x.
        condition_shape: Shape of one condition, or None.

    Raises:
        ValueError: If there is no member, or they differ in more than their numbers.

    Reference:
        Simple and Scalable Predictive Uncertainty Estimation using Deep Ensembles
        (Lakshminarayanan, Pritzel, Blundell, 2017), https://arxiv.org/abs/1612.01474
    """

    def __init__(self, members: Sequence[Any]) -> None:
        """See the class."""
        members = list(members)
        if not members or not all(isinstance(member, Flow) for member in members):
            names = [type(member).__name__ for member in members]
            raise ValueError(f"Ensemble: expected one jinn.Flow or more, got {names}")
        forms = {jax.tree.structure(member) for member in members}
        if len(forms) > 1:
            raise ValueError(
                f"Ensemble: expected {len(members)} flows that were built with the same options, "
                f"got {len(forms)} kinds"
            )
        self.members = jax.tree.map(lambda *leaves: jnp.stack(leaves), *members)
        self.size = len(members)
        self.event_shape: Shape = members[0].event_shape
        self.condition_shape: Shape | None = members[0].condition_shape

    @property
    def specification(self) -> str | None:
        """How the members were built, see `jinn.Flow`."""
        return self.members.specification

    def log_prob(self, x: Any, condition: Any = None, *, key: jax.Array | None = None) -> Array:
        """Log-density, `log p(x | condition)`, in nats.

        Args:
            x: Events `(*batch, *event_shape)`.
            condition: Conditions `(*condition_batch, *condition_shape)`, or None.
            key: A JAX key for stochastic log-determinants; None is deterministic.

        Returns:
            Log-densities of shape `(*batch,)`, batch being the broadcast of both batches.

        Raises:
            ValueError: If a shape is wrong, or a condition is missing or unexpected.
        """
        values = self._of_members(lambda member, _: member.log_prob(x, condition, key=key))
        return jax.nn.logsumexp(values, axis=0) - math.log(self.size)

    def sample(self, key: jax.Array, shape: tuple[int, ...] = (), condition: Any = None) -> Any:
        """Draw events from `p(x | condition)`, evenly from the members and in random order.

        Args:
            key: A JAX key.
            shape: Leading axes of the draw.
            condition: Conditions `(*condition_batch, *condition_shape)`, or None.

        Returns:
            Events of shape `(*shape, *condition_batch, *event_shape)`.

        Raises:
            ValueError: If a shape is wrong, or a condition is missing or unexpected.
        """
        condition = check_condition(condition, self.condition_shape, "Ensemble", None)

        def generate(key: jax.Array, shape: tuple[int, ...], condition: Any) -> Any:
            conditions = batch_shape(condition, self.condition_shape)
            draw_key, order_key = jax.random.split(key)
            n = math.prod(shape)
            each = -(-n // self.size)
            drawn = self._of_members(
                lambda member, key: member.sample(key, (each,), condition),
                jax.random.split(draw_key, self.size),
            )
            numbers = jax.random.uniform(order_key, (self.size * each, *conditions))
            order = jnp.argsort(numbers, axis=0)[:n]

            def shuffle(leaf: Array) -> Array:
                leaf = leaf.reshape(self.size * each, *leaf.shape[2:])
                rest = (1,) * (leaf.ndim - order.ndim)
                chosen = jnp.take_along_axis(leaf, order.reshape(*order.shape, *rest), axis=0)
                return chosen.reshape(*shape, *chosen.shape[1:])

            return jax.tree.map(shuffle, drawn)

        return draw_in_chunks(
            generate,
            as_key(key, "Ensemble: key"),
            check_sample_shape(shape, "Ensemble"),
            condition,
            event_shape=self.event_shape,
            condition_shape=self.condition_shape,
            operands=self,
        )

    def sample_and_log_prob(
        self,
        key: jax.Array,
        shape: tuple[int, ...] = (),
        condition: Any = None,
        *,
        log_det_key: jax.Array | None = None,
    ) -> tuple[Any, Array]:
        """Draw events and evaluate their log-density; see `sample`.

        Args:
            key: A JAX key.
            shape: Leading axes of the draw.
            condition: Conditions `(*condition_batch, *condition_shape)`, or None.
            log_det_key: A JAX key for stochastic log-determinants; None is deterministic.

        Returns:
            Events `(*shape, *condition_batch, *event_shape)` and their log-densities
            `(*shape, *condition_batch)`.

        Raises:
            ValueError: If a shape is wrong, or a condition is missing or unexpected.
        """
        x = self.sample(key, shape, condition)
        return x, self.log_prob(x, condition, key=log_det_key)

    def _of_members(self, function: Callable[[Flow, Any], Any], others: Any = None) -> Any:
        """`function(member, other)` of one member after the other, stacked."""
        return jax.lax.map(lambda pair: function(*pair), (self.members, others))

    def __repr__(self) -> str:
        """Describe the ensemble: its size and a member."""
        return f"Ensemble(size={self.size}, of {jax.tree.map(lambda a: a[0], self.members)!r})"

    def __str__(self) -> str:
        """Describe the ensemble, as `repr` does."""
        return repr(self)

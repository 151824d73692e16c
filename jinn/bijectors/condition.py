"""Bijectors that turn the condition into something else, by networks of the condition alone."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array

from jinn.bijectors.base import Bijector, Info, Outputs
from jinn.bijectors.conditioners import (
    condition_network,
    condition_parameters,
    network_attribute,
)
from jinn.bijectors.container import Reporting
from jinn.bijectors.shapes import (
    Shape,
    array_shape,
    as_event,
    batch_shape,
    batched,
    event_dtype,
)
from jinn.functional.affine import affine_forward, affine_inverse, soft_clamp
from jinn.functional.reversible import float_vjp
from jinn.networks.condition import Pick, evaluate_on_condition
from jinn.networks.options import is_positive


class ConditionalAffine(Bijector):
    """Scale and shift every element by the condition alone, `z = x * exp(s(c)) + t(c)`.

    Args:
        event_shape: Shape of one event, of n elements in all.
        condition_shape: Shape of one condition, a tuple or a dict of tuples.
        conditioner: Any callable `condition -> parameters`, or None for an `MLP` with the widths
            `hidden`. It gets the condition with its own batch axes and returns `(*batch, 2 * n)`:
            all shifts, then all raw log-scales, each in the order of the flattened event.
        clamp: Bound of the log-scales, `s = clamp * tanh(raw / clamp)`, positive and finite.
        hidden: Widths of the default conditioner's hidden layers.
        activation: Name of the default conditioner's activation.
        param_dtype: Type of the default conditioner's parameters.
        dtype: Type in which the default conditioner computes; None follows the input.
        rngs: An int, a JAX key or `flax.nnx.Rngs`, for the default conditioner.

    Raises:
        ValueError: If an option is out of range or of the wrong kind, or `rngs` is missing.
    """

    analytic_inverse = True

    def __init__(
        self,
        event_shape: tuple[int, ...],
        *,
        condition_shape: Shape,
        conditioner: Callable[[Any], Any] | None = None,
        clamp: float = 2.0,
        hidden: Sequence[int] | int = (128, 128),
        activation: str = "silu",
        param_dtype: jax.typing.DTypeLike = jnp.float32,
        dtype: jax.typing.DTypeLike | None = None,
        rngs: int | jax.Array | nnx.Rngs | None = None,
    ) -> None:
        """See the class."""
        shape = array_shape(event_shape, "ConditionalAffine event_shape")
        if condition_shape is None:
            raise ValueError(
                "ConditionalAffine: expected the shape of one condition, got None; "
                "without a condition use Affine"
            )
        if not is_positive(clamp):
            raise ValueError(f"ConditionalAffine: expected a positive, finite clamp, got {clamp!r}")
        self._declare(shape, condition_shape=condition_shape)
        self.event_shape: tuple[int, ...]
        self.conditioner = condition_network(
            conditioner,
            2 * math.prod(shape),
            self,
            hidden=hidden,
            activation=activation,
            param_dtype=param_dtype,
            dtype=dtype,
            rngs=rngs,
        )
        self.clamp = float(clamp)

    def _parameters(self, x: Array, condition: Any) -> tuple[Array, Array]:
        """Shifts and log-scales at the condition's batch, with the rank and type of x."""
        shape = (2, *self.event_shape)
        params = condition_parameters(self.conditioner, condition, self, shape, x)
        shift, raw = jnp.moveaxis(params, x.ndim - len(self.event_shape), 0)
        return shift, soft_clamp(raw, self.clamp)

    def _forward(
        self, x: Any, condition: Any, *, key: jax.Array | None, with_log_det: bool
    ) -> tuple[Array, Array | None]:
        return self._sum(*affine_forward(x, *self._parameters(x, condition)))

    def _inverse(
        self, y: Any, condition: Any, *, key: jax.Array | None, with_log_det: bool
    ) -> tuple[Array, Array | None]:
        return self._sum(*affine_inverse(y, *self._parameters(y, condition)))

    def _sum(self, y: Array, log_slopes: Array) -> tuple[Array, Array]:
        axes = tuple(range(y.ndim - len(self.event_shape), y.ndim))
        return y, jnp.sum(log_slopes, axes, dtype=jnp.promote_types(y.dtype, jnp.float32))


class EmbedCondition(Reporting):
    """Give a bijector an embedding of the condition, `z = f(x; network(condition))`.

    The network is evaluated once a call, at the condition's own batch, and everything inside the
    bijector shares the embedding: wrap a whole `Chain` or `Stack`, not each block of it. The base
    density of a flow may be conditioned on the condition itself.

    Args:
        bijector: A bijector whose `condition_shape` is the shape of one embedding.
        network: Any callable `condition -> embedding`, with the condition's batch axes in front of
            both; an `MLP` with in_size 0 too.
        condition_shape: Shape of one condition, a tuple or a dict of tuples.

    Raises:
        ValueError: If the bijector is none or takes no condition, if the network is no callable,
            or if no shape of a condition is given.
    """

    def __init__(
        self, bijector: Bijector, network: Callable[[Any], Any], condition_shape: Shape
    ) -> None:
        """See the class."""
        if not isinstance(bijector, Bijector):
            raise ValueError(
                f"EmbedCondition: expected a Bijector, got {type(bijector).__name__}; "
                "of a flow, wrap flow.bijector"
            )
        if bijector.condition_shape is None:
            raise ValueError(
                f"EmbedCondition: {type(bijector).__name__} takes no condition "
                "(condition_shape is None); build it with the shape of the embedding"
            )
        if condition_shape is None:
            raise ValueError("EmbedCondition: expected the shape of one condition, got None")
        self._declare(
            bijector.event_shape,
            event_shape_out=bijector.event_shape_out,
            condition_shape=condition_shape,
            fast_direction=bijector.fast_direction,
        )
        self.analytic_inverse = bijector.analytic_inverse
        self.bijector = bijector
        self.network = network_attribute(network, "EmbedCondition", "network")

    def _embed(self, condition: Any) -> Any:
        shape: Any = self.bijector.condition_shape
        name = "EmbedCondition: what the network returns"
        return embed(self.network, condition, self.condition_shape, shape, name)

    def _run(
        self, x: Any, condition: Any, key: jax.Array | None, *, with_log_det: bool, inverse: bool
    ) -> tuple[Any, Array | None, Info]:
        return self.bijector._apply(
            x, self._embed(condition), key=key, with_log_det=with_log_det, inverse=inverse
        )

    def _run_forgetful(
        self, x: Any, condition: Any, key: jax.Array | None, *, with_log_det: bool, inverse: bool
    ) -> tuple[Any, Array | None, Info, Any]:
        return self.bijector._run_forgetful(
            x, self._embed(condition), key, with_log_det=with_log_det, inverse=inverse
        )

    def _pull_back(
        self,
        y: Any,
        kept: Any,
        condition: Any,
        key: jax.Array | None,
        cotangents: tuple[Any, Array | None],
        *,
        inverse: bool,
    ) -> tuple[Any, tuple[Bijector, Any, Any]]:
        embedding, pull = float_vjp(lambda to, c: to._embed(c), self, condition)
        x, (by_bijector, by_x, by_embedding) = self.bijector._pull_back(
            y, kept, embedding, key, cotangents, inverse=inverse
        )
        by_self, by_condition = pull(by_embedding)
        by_self.bijector = by_bijector
        return x, (by_self, by_x, by_condition)

    def _outputs(self, name: str, x: Any, condition: Any, *, inverse: bool) -> Outputs:
        inner = self._embed(condition)
        return self.bijector._outputs(f"{name}.bijector", x, inner, inverse=inverse)

    def _initialize(self, x: Any, condition: Any, *, invert: bool) -> tuple[Bijector, Any]:
        new = nnx.clone(self)
        new.bijector, x = self.bijector._initialize(x, self._embed(condition), invert=invert)
        return new, x


def embed(
    network: Callable[[Any], Any],
    condition: Any,
    condition_shape: Shape | None,
    shape: Shape,
    name: str,
) -> Any:
    """Evaluate a network of the condition, and check what it returns.

    Args:
        network: Any callable `condition -> embedding`.
        condition: Checked conditions with their batch axes.
        condition_shape: Shape of one of them.
        shape: Shape of one embedding.
        name: What to call the embedding in an error.

    Returns:
        The embedding, of the condition's batch.

    Raises:
        ValueError: If its shape or batch is another.
    """
    value = evaluate_on_condition(network, condition)
    embedding = as_event(value, shape, name, event_dtype(condition))
    if isinstance(network, Pick):  # an entry may have a batch of its own
        return embedding
    expected, got = batch_shape(condition, condition_shape), batch_shape(embedding, shape)
    if got != expected:
        raise ValueError(
            f"{name}: expected shape {batched(shape)} with the condition's batch {expected}, got "
            f"batch {got}"
        )
    return embedding

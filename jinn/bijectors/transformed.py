"""Any transformer on every element by itself."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array

from jinn.bijectors.base import Bijector
from jinn.bijectors.conditioners import condition_network, condition_parameters
from jinn.bijectors.shapes import Shape, array_shape
from jinn.bijectors.transformers import Transformer, as_transformer
from jinn.networks.options import floating_type


class Elementwise(Bijector):
    """Transform every element by itself, `z_i = T(x_i; p_i)`, with p free or from the condition.

    Without a condition the parameters are learned, from 0, which for jinn's transformers is the
    identity (for `Sigmoidal` nearly). With one they are what a network says of it.

    Args:
        event_shape: Shape of one event, of n elements in all.
        transformer: A transformer of single elements, by name or object, such as
            `transformers.RationalQuadraticSpline()`; see `jinn.bijectors.transformers`.
        condition_shape: Shape of one condition (a tuple or a dict of tuples), or None.
        conditioner: Any callable `condition -> parameters`, or None for an `MLP` with the widths
            `hidden`. It gets the condition with its own batch axes and returns
            `(*batch, n_params * n)`: all elements' first parameter, then all elements' second, and
            so on, each in the order of the flattened event.
        hidden: Widths of the default conditioner's hidden layers.
        activation: Name of the default conditioner's activation.
        param_dtype: Type of the parameters.
        dtype: Type in which the default conditioner computes; None follows the input.
        rngs: An int, a JAX key or `flax.nnx.Rngs`, for the default conditioner.

    Raises:
        ValueError: If the transformer is unknown or acts on whole events, if there is a conditioner
            but no condition, or if the default conditioner cannot be built.
    """

    def __init__(
        self,
        event_shape: tuple[int, ...],
        transformer: str | Transformer,
        *,
        condition_shape: Shape | None = None,
        conditioner: Callable[[Any], Any] | None = None,
        hidden: Sequence[int] | int = (128, 128),
        activation: str = "silu",
        param_dtype: jax.typing.DTypeLike = jnp.float32,
        dtype: jax.typing.DTypeLike | None = None,
        rngs: int | jax.Array | nnx.Rngs | None = None,
    ) -> None:
        """See the class."""
        shape = array_shape(event_shape, "Elementwise event_shape")
        self._declare(shape, condition_shape=condition_shape)
        self.event_shape: tuple[int, ...]
        self.transformer = nnx.static(as_transformer(transformer))
        self.analytic_inverse = getattr(self.transformer, "analytic_inverse", False)
        if getattr(self.transformer, "of_events", False):
            raise ValueError(
                "Elementwise: expected a transformer of single elements, got "
                f"{type(self.transformer).__name__}, which acts on whole events; use a Coupling"
            )
        if self.condition_shape is None and conditioner is not None:
            raise ValueError(
                "Elementwise: a conditioner needs conditions; give the condition_shape too"
            )
        n_params = self.transformer.n_params
        if self.condition_shape is None:
            dtype = floating_type(param_dtype, "Elementwise")
            self.conditioner = None
            self.parameters = nnx.Param(jnp.zeros((n_params, *shape), dtype))
        else:
            self.parameters = None
            self.conditioner = condition_network(
                conditioner,
                n_params * math.prod(shape),
                self,
                hidden=hidden,
                activation=activation,
                param_dtype=param_dtype,
                dtype=dtype,
                rngs=rngs,
            )

    def _forward(
        self, x: Any, condition: Any, *, key: jax.Array | None, with_log_det: bool
    ) -> tuple[Array, Array | None]:
        return self._run(self.transformer.forward, x, condition)

    def _inverse(
        self, y: Any, condition: Any, *, key: jax.Array | None, with_log_det: bool
    ) -> tuple[Array, Array | None]:
        return self._run(self.transformer.inverse, y, condition)

    def _run(
        self, transform: Callable[[Array, Array], tuple[Array, Array]], x: Array, condition: Any
    ) -> tuple[Array, Array]:
        """Transform in float32 or wider; the parameters keep their own, smaller batch."""
        wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
        batch_rank = x.ndim - len(self.event_shape)
        if self.parameters is not None:
            n_params, *event = self.parameters.shape
            params = self.parameters[...].astype(wide.dtype)
            params = params.reshape(n_params, *[1] * batch_rank, *event)
        else:
            shape = (self.transformer.n_params, *self.event_shape)
            params = condition_parameters(self.conditioner, condition, self, shape, wide)
            params = jnp.moveaxis(params, batch_rank, 0)
        y, log_slopes = transform(wide, params)
        axes = tuple(range(batch_rank, x.ndim))
        return y.astype(x.dtype), jnp.sum(jnp.broadcast_to(log_slopes, x.shape), axes)

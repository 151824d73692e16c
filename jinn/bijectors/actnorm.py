"""Activation normalisation with data-dependent initialisation."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array

from jinn.bijectors.base import Bijector, InitializedFlag, apply_elementwise
from jinn.functional.normalization import actnorm_forward, actnorm_inverse, actnorm_statistics
from jinn.networks.options import floating_type


class ActNorm(Bijector):
    """Scale and shift every channel, `z = x * exp(log_scale) + shift`, learned.

    Starts as the identity. `jinn.initialize(flow, x, condition)` returns a flow whose ActNorms
    give zero mean and unit variance on those data.

    Args:
        event_shape: Shape of one event; the channels are the last axis.
        param_dtype: Type of the parameters.

    Raises:
        ValueError: If the event has no last axis.

    Reference:
        Glow: Generative Flow with Invertible 1x1 Convolutions (Kingma, Dhariwal, 2018),
        section 3.1, https://arxiv.org/abs/1807.03039
    """

    analytic_inverse = True

    def __init__(
        self,
        event_shape: tuple[int, ...],
        *,
        param_dtype: jax.typing.DTypeLike = jnp.float32,
    ) -> None:
        """See the class."""
        self._declare(event_shape)
        if isinstance(self.event_shape, dict) or not self.event_shape:
            raise ValueError(f"ActNorm: expected an event with a last axis, got {event_shape}")
        self.event_shape: tuple[int, ...]
        channels = self.event_shape[-1]
        param_dtype = floating_type(param_dtype, "ActNorm")
        self.shift = nnx.Param(jnp.zeros((channels,), param_dtype))
        self.log_scale = nnx.Param(jnp.zeros((channels,), param_dtype))
        self.initialized = InitializedFlag(jnp.zeros((), param_dtype))

    def _forward(
        self, x: Any, condition: Any, *, key: jax.Array | None, with_log_det: bool
    ) -> tuple[Array, Array | None]:
        return apply_elementwise(actnorm_forward, x, self.event_shape, self.shift, self.log_scale)

    def _inverse(
        self, y: Any, condition: Any, *, key: jax.Array | None, with_log_det: bool
    ) -> tuple[Array, Array | None]:
        return apply_elementwise(actnorm_inverse, y, self.event_shape, self.shift, self.log_scale)

    def _initialize(self, x: Any, condition: Any, *, invert: bool) -> tuple[Bijector, Any]:
        shift, log_scale = actnorm_statistics(x)
        if invert:  # the map from z back to the data, so that the inverse standardises
            shift, log_scale = -shift * jnp.exp(-log_scale), -log_scale
        new = nnx.clone(self)
        new.shift = nnx.Param(shift.astype(self.shift.dtype))
        new.log_scale = nnx.Param(log_scale.astype(self.log_scale.dtype))
        new.initialized = InitializedFlag(jnp.ones_like(self.initialized[...]))
        run = new._inverse if invert else new._forward
        return new, run(x, condition, key=None, with_log_det=False)[0]

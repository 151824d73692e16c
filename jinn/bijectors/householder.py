"""Products of Householder reflections of an event's last axis."""

from numbers import Integral
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array

from jinn.bijectors.base import Bijector, Buffer, read, zeros_log_det
from jinn.bijectors.shapes import last_axis
from jinn.functional.linear import householder_forward, householder_inverse
from jinn.networks.options import floating_type
from jinn.networks.randomness import as_key


class Householder(Bijector):
    """Mix the last axis of an event by learned reflections, `z = H_k ... H_1 x`.

    `H_i = I - 2 v_i v_i^T / |v_i|^2`, the vectors drawn in random directions and learned. The
    matrix is orthogonal whatever an optimiser does to them. Where the last axis has one element,
    each reflection is a change of sign, and nothing is learned.

    Args:
        event_shape: Shape of one event, `(n,)` or `(H, W, C)`.
        n_reflections: Number of reflections k, at least 1. None is n, which makes every
            orthogonal matrix of determinant (-1)^n.
        param_dtype: Type of the parameters.
        rngs: An int, a JAX key or `flax.nnx.Rngs`.

    Raises:
        ValueError: If the event has no last axis, or `n_reflections` is not a positive integer.

    Reference:
        Improving Variational Auto-Encoders using Householder Flow (Tomczak, Welling, 2016),
        https://arxiv.org/abs/1611.09630
    """

    def __init__(
        self,
        event_shape: tuple[int, ...],
        *,
        n_reflections: int | None = None,
        param_dtype: jax.typing.DTypeLike = jnp.float32,
        rngs: int | jax.Array | nnx.Rngs,
    ) -> None:
        """See the class."""
        self._declare(event_shape)
        n = last_axis(self.event_shape, "Householder")
        k = n if n_reflections is None else n_reflections
        if not isinstance(k, Integral) or isinstance(k, bool) or k < 1:
            raise ValueError(
                "Householder: expected n_reflections to be an integer of at least 1, or None for "
                f"one an element, got {n_reflections!r}"
            )
        param_dtype = floating_type(param_dtype, "Householder")
        vectors = jax.random.normal(as_key(rngs), (int(k), n), param_dtype)
        self.vectors = nnx.Param(vectors) if n > 1 else Buffer(vectors)

    def _forward(
        self, x: Any, condition: Any, *, key: jax.Array | None, with_log_det: bool
    ) -> tuple[Array, Array | None]:
        y, _ = householder_forward(x, read(self.vectors))
        return y, zeros_log_det(x, self.event_shape)

    def _inverse(
        self, y: Any, condition: Any, *, key: jax.Array | None, with_log_det: bool
    ) -> tuple[Array, Array | None]:
        x, _ = householder_inverse(y, read(self.vectors))
        return x, zeros_log_det(y, self.event_shape)

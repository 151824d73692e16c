"""Orthogonal mixing of an event's last axis, fixed or learned."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from jinn.bijectors.base import Bijector, Buffer, constant, zeros_log_det
from jinn.bijectors.shapes import last_axis
from jinn.functional.linear import (
    orthogonal_forward,
    orthogonal_inverse,
    polish_orthogonal,
    skew_exponential,
)
from jinn.networks.options import floating_type
from jinn.networks.randomness import as_key


class Orthogonal(Bijector):
    """Mix the last axis of an event by an orthogonal matrix, `z = Q x`.

    Q is drawn uniformly (Haar measure). If learned, it is `Q0 exp(A - A^T)` with Q0 the draw and
    A, strictly upper triangular, learned from 0.

    Args:
        event_shape: Shape of one event, `(n,)` or `(H, W, C)`.
        learned: Whether the matrix is trained.
        param_dtype: Type of the parameters.
        rngs: An int, a JAX key or `flax.nnx.Rngs`.

    Raises:
        ValueError: If the event has no last axis.
    """

    def __init__(
        self,
        event_shape: tuple[int, ...],
        *,
        learned: bool = False,
        param_dtype: jax.typing.DTypeLike = jnp.float32,
        rngs: int | jax.Array | nnx.Rngs,
    ) -> None:
        """See the class."""
        self._declare(event_shape)
        n = last_axis(self.event_shape, "Orthogonal")
        param_dtype = floating_type(param_dtype, "Orthogonal")
        wide = jnp.promote_types(param_dtype, jnp.float32)  # there is no QR in narrower types
        start = jax.random.orthogonal(as_key(rngs), n, dtype=wide)
        self.start = Buffer(start.astype(param_dtype))
        self.skew = nnx.Param(jnp.zeros((n * (n - 1) // 2,), param_dtype)) if learned else None

    def matrix(self, dtype: jax.typing.DTypeLike = jnp.float32) -> Float[Array, "n n"]:
        """Compute Q, orthogonal to the precision of `dtype`.

        Args:
            dtype: Floating type of the result.

        Returns:
            The matrix that `forward` multiplies by.
        """
        start = polish_orthogonal(constant(self.start).astype(dtype))
        if self.skew is None:
            return start
        return start @ skew_exponential(self.skew[...].astype(dtype), start.shape[0])

    def _forward(
        self, x: Any, condition: Any, *, key: jax.Array | None, with_log_det: bool
    ) -> tuple[Array, Array | None]:
        y, _ = orthogonal_forward(x, self.matrix(x.dtype))
        return y, zeros_log_det(x, self.event_shape)

    def _inverse(
        self, y: Any, condition: Any, *, key: jax.Array | None, with_log_det: bool
    ) -> tuple[Array, Array | None]:
        x, _ = orthogonal_inverse(y, self.matrix(y.dtype))
        return x, zeros_log_det(y, self.event_shape)

"""Orthogonal mixing of an event's last axis, fixed or learned."""

from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from jinn.bijectors.base import Bijector, Buffer, constant, zeros_log_det
from jinn.bijectors.shapes import last_axis
from jinn.functional.linear import (
    householder_matrix,
    orthogonal_forward,
    orthogonal_inverse,
    polish_orthogonal,
    skew_cayley,
    skew_exponential,
)
from jinn.networks.options import floating_type
from jinn.networks.randomness import as_key

_PARAMETRIZATIONS = {
    "exponential": skew_exponential,
    "cayley": skew_cayley,
    "householder": lambda vectors, size: householder_matrix(vectors),
}


class Orthogonal(Bijector):
    """Mix the last axis of an event by an orthogonal matrix, `z = Q x`.

    Q is drawn uniformly (Haar measure). If learned, it is `Q0 R` with Q0 the draw and R a rotation
    learned from the identity: `exp(A - A^T)` ("exponential") or Cayley's map of it ("cayley"), with
    A strictly upper triangular, or the product of the largest even number of at most n Householder
    reflections ("householder"). The exponential and the reflections reach every rotation.

    Args:
        event_shape: Shape of one event, `(n,)` or `(H, W, C)`.
        learned: Whether the matrix is trained.
        parametrization: "exponential", "cayley" or "householder", how it is learned.
        param_dtype: Type of the parameters.
        rngs: An int, a JAX key or `flax.nnx.Rngs`.

    Raises:
        ValueError: If the event has no last axis, or the parametrization is unknown.

    Reference:
        Cheap Orthogonal Constraints in Neural Networks (Lezcano-Casado, Martinez-Rubio, 2019),
        https://arxiv.org/abs/1901.08428; see `jinn.functional.skew_cayley` and
        `jinn.functional.householder_forward`.
    """

    analytic_inverse = True

    def __init__(
        self,
        event_shape: tuple[int, ...],
        *,
        learned: bool = False,
        parametrization: Literal["exponential", "cayley", "householder"] = "exponential",
        param_dtype: jax.typing.DTypeLike = jnp.float32,
        rngs: int | jax.Array | nnx.Rngs,
    ) -> None:
        """See the class."""
        self._declare(event_shape)
        n = last_axis(self.event_shape, "Orthogonal")
        if parametrization not in _PARAMETRIZATIONS:
            raise ValueError(
                f"Orthogonal: expected parametrization to be one of {list(_PARAMETRIZATIONS)}, got "
                f"{parametrization!r}"
            )
        param_dtype = floating_type(param_dtype, "Orthogonal")
        wide = jnp.promote_types(param_dtype, jnp.float32)  # there is no QR in narrower types
        key = as_key(rngs)
        start = jax.random.orthogonal(key, n, dtype=wide)
        self.start = Buffer(start.astype(param_dtype))
        self.parametrization = parametrization
        if parametrization == "householder":  # in equal pairs, which cancel
            pairs = jax.random.normal(jax.random.fold_in(key, 1), (n // 2, n), param_dtype)
            rotation = jnp.repeat(pairs, 2, axis=0)
        else:
            rotation = jnp.zeros((n * (n - 1) // 2,), param_dtype)
        self.rotation = nnx.Param(rotation) if learned else None

    def matrix(self, dtype: jax.typing.DTypeLike = jnp.float32) -> Float[Array, "n n"]:
        """Compute Q, orthogonal to the precision of `dtype`.

        Args:
            dtype: Floating type of the result.

        Returns:
            The matrix that `forward` multiplies by.
        """
        start = polish_orthogonal(constant(self.start).astype(dtype))
        if self.rotation is None:
            return start
        make = _PARAMETRIZATIONS[self.parametrization]
        rotation = make(self.rotation[...].astype(dtype), start.shape[0])
        return jnp.matmul(start, rotation, precision="highest")

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

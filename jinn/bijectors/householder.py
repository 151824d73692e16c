"""Products of Householder reflections of an event's last axis."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array

from jinn.bijectors.base import Bijector, Buffer, read, zeros_log_det
from jinn.bijectors.conditioners import condition_network, condition_parameters
from jinn.bijectors.shapes import Shape, insert_axes, last_axis
from jinn.functional.linear import householder_forward, householder_inverse
from jinn.networks.options import floating_type, is_count
from jinn.networks.randomness import as_key


class Householder(Bijector):
    """Mix the last axis of an event by learned reflections, `z = H_k ... H_1 x`.

    `H_i = I - 2 v_i v_i^T / |v_i|^2`, the vectors drawn in random directions and learned. The
    matrix is orthogonal whatever an optimiser does to them. Where the last axis has one element,
    each reflection is a change of sign, and nothing is learned. With a condition, what a network
    says of it is added to the vectors: every condition has its own matrix.

    Args:
        event_shape: Shape of one event, `(n,)` or `(H, W, C)`.
        n_reflections: Number of reflections k, at least 1. None is n, which makes every
            orthogonal matrix of determinant (-1)^n.
        condition_shape: Shape of one condition (a tuple or a dict of tuples), or None.
        conditioner: Any callable `condition -> (*batch, k * n)`, the vectors one after the other,
            or None for an `MLP` with the widths `hidden`. It gets the condition with its own batch
            axes.
        hidden: Widths of the default conditioner's hidden layers.
        activation: Name of the default conditioner's activation.
        param_dtype: Type of the parameters.
        dtype: Type in which the default conditioner computes; None follows the input.
        rngs: An int, a JAX key or `flax.nnx.Rngs`.

    Raises:
        ValueError: If the event has no last axis, if `n_reflections` is not a positive integer, or
            if there is a condition but nothing to learn from it, or a conditioner but no condition.

    Reference:
        Improving Variational Auto-Encoders using Householder Flow (Tomczak, Welling, 2016),
        https://arxiv.org/abs/1611.09630
    """

    analytic_inverse = True

    def __init__(
        self,
        event_shape: tuple[int, ...],
        *,
        n_reflections: int | None = None,
        condition_shape: Shape | None = None,
        conditioner: Callable[[Any], Any] | None = None,
        hidden: Sequence[int] | int = (128, 128),
        activation: str = "silu",
        param_dtype: jax.typing.DTypeLike = jnp.float32,
        dtype: jax.typing.DTypeLike | None = None,
        rngs: int | jax.Array | nnx.Rngs,
    ) -> None:
        """See the class."""
        self._declare(event_shape, condition_shape=condition_shape)
        n = last_axis(self.event_shape, "Householder")
        k = n if n_reflections is None else n_reflections
        if not is_count(k):
            raise ValueError(
                "Householder: expected n_reflections to be an integer of at least 1, or None for "
                f"one an element, got {n_reflections!r}"
            )
        conditional = self.condition_shape is not None
        if (conditional and n == 1) or (conditioner is not None and not conditional):
            raise ValueError(
                "Householder: a conditioner needs conditions (condition_shape), and a last axis of "
                f"more than one element, got condition_shape={condition_shape} and an event of "
                f"shape {self.event_shape}"
            )
        param_dtype = floating_type(param_dtype, "Householder")
        keys = jax.random.split(as_key(rngs)) if conditional else [as_key(rngs), None]
        vectors = jax.random.normal(keys[0], (int(k), n), param_dtype)
        self.vectors = nnx.Param(vectors) if n > 1 else Buffer(vectors)
        self.conditioner = None
        if conditional:
            self.conditioner = condition_network(
                conditioner,
                int(k) * n,
                self,
                hidden=hidden,
                activation=activation,
                param_dtype=param_dtype,
                dtype=dtype,
                rngs=keys[1],
            )

    def _forward(
        self, x: Any, condition: Any, *, key: jax.Array | None, with_log_det: bool
    ) -> tuple[Array, Array | None]:
        y, _ = householder_forward(x, self._vectors(x, condition))
        return y, zeros_log_det(x, self.event_shape)

    def _inverse(
        self, y: Any, condition: Any, *, key: jax.Array | None, with_log_det: bool
    ) -> tuple[Array, Array | None]:
        x, _ = householder_inverse(y, self._vectors(y, condition))
        return x, zeros_log_det(y, self.event_shape)

    def _vectors(self, x: Array, condition: Any) -> Array:
        """The vectors `(k, n)`, or those of each condition `(*batch, *[1] * spatial, k, n)`."""
        vectors = read(self.vectors)
        if self.conditioner is None:
            return vectors
        moved = condition_parameters(self.conditioner, condition, self, vectors.shape, x)
        moved = insert_axes(moved, vectors.shape, len(self.event_shape) - 1)
        return moved + jnp.broadcast_to(vectors.astype(x.dtype), moved.shape)

"""Invertible 1x1 convolutions of images."""

from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array

from jinn.bijectors.base import Bijector
from jinn.bijectors.orthogonal import Orthogonal
from jinn.bijectors.shapes import image_shape
from jinn.bijectors.triangular import PLU


class Conv1x1(Bijector):
    """Multiply the channels of every pixel by one matrix, `z[i, j] = W x[i, j]`.

    `log|det| = H W log|det W|`. The matrix is that of `conv.mixing`, an `Orthogonal` or a `PLU`
    over the same images, which does the work.

    Args:
        event_shape: Shape of one event, `(H, W, C)`.
        kind: "orthogonal" is random and stays as drawn, "learned_orthogonal" learns a rotation on
            top of the draw; both have log-determinant 0. "plu" learns a general matrix in PLU form
            that starts orthogonal.
        param_dtype: Type of the parameters.
        rngs: An int, a JAX key or `flax.nnx.Rngs`.

    Raises:
        ValueError: If the event is no image, or the kind is unknown.

    Reference:
        Glow: Generative Flow with Invertible 1x1 Convolutions (Kingma, Dhariwal, 2018),
        section 3.2, https://arxiv.org/abs/1807.03039
    """

    analytic_inverse = True

    def __init__(
        self,
        event_shape: tuple[int, ...],
        *,
        kind: Literal["orthogonal", "learned_orthogonal", "plu"] = "orthogonal",
        param_dtype: jax.typing.DTypeLike = jnp.float32,
        rngs: int | jax.Array | nnx.Rngs,
    ) -> None:
        """See the class."""
        shape = image_shape(event_shape, "Conv1x1")
        self._declare(shape)
        if kind == "plu":
            self.mixing: Bijector = PLU(shape, param_dtype=param_dtype, rngs=rngs)
        elif kind in ("orthogonal", "learned_orthogonal"):
            learned = kind == "learned_orthogonal"
            self.mixing = Orthogonal(shape, learned=learned, param_dtype=param_dtype, rngs=rngs)
        else:
            raise ValueError(
                'Conv1x1: expected kind to be "orthogonal", "learned_orthogonal" or "plu", got '
                f"{kind!r}"
            )

    def _forward(
        self, x: Any, condition: Any, *, key: jax.Array | None, with_log_det: bool
    ) -> tuple[Array, Array | None]:
        return self.mixing._forward(x, condition, key=key, with_log_det=with_log_det)

    def _inverse(
        self, y: Any, condition: Any, *, key: jax.Array | None, with_log_det: bool
    ) -> tuple[Array, Array | None]:
        return self.mixing._inverse(y, condition, key=key, with_log_det=with_log_det)

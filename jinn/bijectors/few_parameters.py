"""Planar, radial and Sylvester flows of vectors."""

from collections.abc import Callable
from numbers import Integral
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array

from jinn.bijectors.base import Bijector, Buffer, Info, read
from jinn.bijectors.shapes import array_shape
from jinn.functional.linear import householder_matrix
from jinn.functional.low_rank import (
    planar_forward,
    planar_inverse_with_info,
    sylvester_forward,
    sylvester_inverse_with_info,
)
from jinn.functional.radial import radial_forward, radial_inverse
from jinn.functional.solver import direct
from jinn.networks.options import floating_type
from jinn.networks.randomness import as_key


class Planar(Bijector):
    """Push a vector along one direction, `z = x + v tanh(w.x + b)`, with `w.v > -1`.

    It starts as the identity. The inverse solves for one number, to rounding. See
    `jinn.functional.planar_forward`.

    Args:
        event_shape: Shape of one event, `(n,)`.
        param_dtype: Type of the parameters.
        rngs: An int, a JAX key or `flax.nnx.Rngs`.

    Raises:
        ValueError: If the event is no vector, or the type is not floating.

    Reference:
        Variational Inference with Normalizing Flows (Rezende, Mohamed, 2015), section 4.1,
        https://arxiv.org/abs/1505.05770
    """

    def __init__(
        self,
        event_shape: tuple[int, ...],
        *,
        param_dtype: jax.typing.DTypeLike = jnp.float32,
        rngs: int | jax.Array | nnx.Rngs,
    ) -> None:
        """See the class."""
        n = _vector(event_shape, "Planar")
        param_dtype = floating_type(param_dtype, "Planar")
        self._declare((n,), fast_direction="forward")
        w = jax.random.normal(as_key(rngs), (n,), param_dtype) / np.sqrt(n).astype(param_dtype)
        self.u, self.w = nnx.Param(jnp.zeros((n,), param_dtype)), nnx.Param(w)
        self.b = nnx.Param(jnp.zeros((), param_dtype))

    def _forward(
        self, x: Any, condition: Any, *, key: jax.Array | None, with_log_det: bool
    ) -> tuple[Array, Array | None]:
        return planar_forward(x, self.u[...], self.w[...], self.b[...])

    def _inverse(
        self, y: Any, condition: Any, *, key: jax.Array | None, with_log_det: bool
    ) -> tuple[Array, Array | None]:
        return self._inverse_with_info(y, condition, key=key, with_log_det=with_log_det)[:2]

    def _forward_with_info(
        self, x: Any, condition: Any, *, key: jax.Array | None, with_log_det: bool
    ) -> tuple[Array, Array | None, Info]:
        y, log_det = self._forward(x, condition, key=key, with_log_det=with_log_det)
        return y, log_det, direct(x.shape[:-1])

    def _inverse_with_info(
        self, y: Any, condition: Any, *, key: jax.Array | None, with_log_det: bool
    ) -> tuple[Array, Array | None, Info]:
        return planar_inverse_with_info(y, self.u[...], self.w[...], self.b[...])


class Sylvester(Bijector):
    """Push a vector along m directions, `z = x + Q R tanh(S Q^T x + b)`, R and S triangular.

    Q has orthonormal columns, by Householder reflections, and `R_ii S_ii > -1`. It starts as the
    identity. The inverse solves for m numbers, one after the other, to rounding. See
    `jinn.functional.sylvester_forward`.

    Args:
        event_shape: Shape of one event, `(n,)`.
        n_directions: Number of directions m, 1 to n. None is n.
        param_dtype: Type of the parameters.
        rngs: An int, a JAX key or `flax.nnx.Rngs`.

    Raises:
        ValueError: If the event is no vector, the number of directions is out of range, or the type
            is not floating.

    Reference:
        Sylvester Normalizing Flows for Variational Inference (van den Berg, Hasenclever, Tomczak,
        Welling, 2018), https://arxiv.org/abs/1803.05649
    """

    def __init__(
        self,
        event_shape: tuple[int, ...],
        *,
        n_directions: int | None = None,
        param_dtype: jax.typing.DTypeLike = jnp.float32,
        rngs: int | jax.Array | nnx.Rngs,
    ) -> None:
        """See the class."""
        n = _vector(event_shape, "Sylvester")
        m = n if n_directions is None else n_directions
        if not isinstance(m, Integral) or isinstance(m, bool) or not 1 <= m <= n:
            raise ValueError(
                f"Sylvester: expected n_directions to be an integer from 1 to {n}, or None for "
                f"all, got {n_directions!r}"
            )
        m = int(m)
        param_dtype = floating_type(param_dtype, "Sylvester")
        self._declare((n,), fast_direction="forward")
        vectors = jax.random.normal(as_key(rngs), (n, n), param_dtype)
        self.vectors = nnx.Param(vectors) if n > 1 else Buffer(vectors)
        size = m * (m + 1) // 2
        self.outer = nnx.Param(jnp.zeros((size,), param_dtype))
        self.inner = nnx.Param(jnp.zeros((size,), param_dtype))
        self.b = nnx.Param(jnp.zeros((m,), param_dtype))

    def _parameters(self, dtype: Any) -> tuple[Array, Array, Array, Array]:
        """Q, and the triangles and offsets of `sylvester_forward`."""
        b = self.b[...]
        m = b.shape[0]
        wide = jnp.promote_types(dtype, jnp.float32)
        matrix = householder_matrix(read(self.vectors).astype(wide))[:, :m]
        empty, places = jnp.zeros((m, m), b.dtype), np.triu_indices(m)
        outer, inner = (empty.at[places].set(part[...]) for part in (self.outer, self.inner))
        return matrix, outer, inner, b

    def _forward(
        self, x: Any, condition: Any, *, key: jax.Array | None, with_log_det: bool
    ) -> tuple[Array, Array | None]:
        return sylvester_forward(x, *self._parameters(x.dtype))

    def _inverse(
        self, y: Any, condition: Any, *, key: jax.Array | None, with_log_det: bool
    ) -> tuple[Array, Array | None]:
        return self._inverse_with_info(y, condition, key=key, with_log_det=with_log_det)[:2]

    def _forward_with_info(
        self, x: Any, condition: Any, *, key: jax.Array | None, with_log_det: bool
    ) -> tuple[Array, Array | None, Info]:
        y, log_det = self._forward(x, condition, key=key, with_log_det=with_log_det)
        return y, log_det, direct(x.shape[:-1])

    def _inverse_with_info(
        self, y: Any, condition: Any, *, key: jax.Array | None, with_log_det: bool
    ) -> tuple[Array, Array | None, Info]:
        return sylvester_inverse_with_info(y, *self._parameters(y.dtype))


class Radial(Bijector):
    """Draw vectors to a centre or push them away, `z = x + beta (x - c) / (alpha + |x - c|)`.

    `beta > -alpha`. It starts as the identity, its centre drawn at random. Both directions are in
    closed form. See `jinn.functional.radial_forward`.

    Args:
        event_shape: Shape of one event, `(n,)`.
        param_dtype: Type of the parameters.
        rngs: An int, a JAX key or `flax.nnx.Rngs`.

    Raises:
        ValueError: If the event is no vector, or the type is not floating.

    Reference:
        Variational Inference with Normalizing Flows (Rezende, Mohamed, 2015), section 4.1,
        https://arxiv.org/abs/1505.05770
    """

    def __init__(
        self,
        event_shape: tuple[int, ...],
        *,
        param_dtype: jax.typing.DTypeLike = jnp.float32,
        rngs: int | jax.Array | nnx.Rngs,
    ) -> None:
        """See the class."""
        n = _vector(event_shape, "Radial")
        param_dtype = floating_type(param_dtype, "Radial")
        self._declare((n,))
        self.center = nnx.Param(jax.random.normal(as_key(rngs), (n,), param_dtype))
        self.size = nnx.Param(jnp.zeros((), param_dtype))
        self.strength = nnx.Param(jnp.zeros((), param_dtype))

    def _forward(
        self, x: Any, condition: Any, *, key: jax.Array | None, with_log_det: bool
    ) -> tuple[Array, Array | None]:
        return self._run(radial_forward, x)

    def _inverse(
        self, y: Any, condition: Any, *, key: jax.Array | None, with_log_det: bool
    ) -> tuple[Array, Array | None]:
        return self._run(radial_inverse, y)

    def _run(self, function: Callable[..., tuple[Array, Array]], x: Array) -> tuple[Array, Array]:
        return function(x, self.center[...], self.size[...], self.strength[...])


def _vector(event_shape: Any, name: str) -> int:
    """Length of the events, which must be vectors."""
    shape = array_shape(event_shape, f"{name} event_shape")
    if len(shape) != 1 or not shape[0]:
        raise ValueError(f"{name}: expected events (n,) of at least one element, got {shape}")
    return shape[0]

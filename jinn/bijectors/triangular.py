"""Linear mixing of an event's last axis by triangular matrices."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.core import Tracer
from jaxtyping import Array

from jinn.bijectors.base import Bijector, Buffer, constant, read, zeros_log_det
from jinn.bijectors.shapes import Shape, last_axis
from jinn.bijectors.values import check_finite, fit_to_event
from jinn.functional.permutation import ascending
from jinn.functional.triangular import (
    plu_forward,
    plu_inverse,
    triangular_forward,
    triangular_inverse,
)
from jinn.networks.options import floating_type
from jinn.networks.randomness import as_key


class TriangularAffine(Bijector):
    """Mix the last axis of an event, `z = L x + shift`, L lower triangular, learned or fixed.

    L's diagonal is positive: its logarithms are stored. With `shift` and `matrix` from the mean
    and the Cholesky factor of a covariance it whitens or colours data.

    Args:
        event_shape: Shape of one event, `(n,)` or `(H, W, C)`.
        shift: Initial shift, a number or `(n,)`.
        matrix: Initial L, `(n, n)`, zero above its diagonal and positive on it. None is the
            identity.
        learned: Whether shift and L are trained.
        param_dtype: Type of the parameters.

    Raises:
        ValueError: If the event has no last axis, the shift does not fit, or the matrix is no
            lower triangular one with a positive diagonal, or a number is not finite.
    """

    analytic_inverse = True

    def __init__(
        self,
        event_shape: tuple[int, ...],
        *,
        shift: Any = 0.0,
        matrix: Any = None,
        learned: bool = True,
        param_dtype: jax.typing.DTypeLike = jnp.float32,
    ) -> None:
        """See the class."""
        self._declare(event_shape)
        param_dtype = floating_type(param_dtype, "TriangularAffine")
        n = last_axis(self.event_shape, "TriangularAffine")
        shifts = fit_to_event(shift, (n,), "TriangularAffine: shift", param_dtype)
        check_finite(shifts, "TriangularAffine: shift", shift)
        matrix = jnp.eye(n, dtype=param_dtype) if matrix is None else _triangle(matrix, n)
        variable = nnx.Param if learned else Buffer
        self.shift = variable(shifts)
        logarithms = jnp.diag(jnp.log(jnp.diagonal(matrix)))
        packed = (jnp.tril(matrix, -1) + logarithms)[np.tril_indices(n)]
        self.entries = variable(packed.astype(param_dtype))

    def _parameters(self) -> tuple[Array, Array]:
        """The shift, and the logarithms of L's diagonal with L below it, `(n, n)`."""
        shift, entries = map(read, (self.shift, self.entries))
        n = shift.shape[0]
        return shift, jnp.zeros((n, n), entries.dtype).at[np.tril_indices(n)].set(entries)

    def _forward(
        self, x: Any, condition: Any, *, key: jax.Array | None, with_log_det: bool
    ) -> tuple[Array, Array | None]:
        return _apply(triangular_forward, x, self.event_shape, *self._parameters())

    def _inverse(
        self, y: Any, condition: Any, *, key: jax.Array | None, with_log_det: bool
    ) -> tuple[Array, Array | None]:
        return _apply(triangular_inverse, y, self.event_shape, *self._parameters())


class PLU(Bijector):
    """Mix the last axis of an event by a learned matrix in PLU form, `z = P L U x`.

    L is lower triangular with ones on its diagonal, U upper triangular with a positive diagonal,
    of which the logarithms are learned. P is a permutation and stays as drawn: sort keys, floats
    in a `Buffer`. All three start as the factors of a random orthogonal matrix.

    Args:
        event_shape: Shape of one event, `(n,)` or `(H, W, C)`.
        volume_preserving: Take the mean out of U's log-diagonal, so that log|det| is exactly 0.
        param_dtype: Type of the parameters.
        rngs: An int, a JAX key or `flax.nnx.Rngs`.

    Raises:
        ValueError: If the event has no last axis, or the type is not floating.

    Reference:
        Glow: Generative Flow with Invertible 1x1 Convolutions (Kingma, Dhariwal, 2018),
        section 3.2, https://arxiv.org/abs/1807.03039
    """

    analytic_inverse = True

    def __init__(
        self,
        event_shape: tuple[int, ...],
        *,
        volume_preserving: bool = False,
        param_dtype: jax.typing.DTypeLike = jnp.float32,
        rngs: int | jax.Array | nnx.Rngs,
    ) -> None:
        """See the class."""
        self._declare(event_shape)
        self.volume_preserving = volume_preserving
        n, param_dtype = last_axis(self.event_shape, "PLU"), floating_type(param_dtype, "PLU")
        wide = jnp.promote_types(param_dtype, jnp.float32)  # there is no LU in narrower types
        start = jax.random.orthogonal(as_key(rngs), n, dtype=wide)
        packed, _, order = jax.lax.linalg.lu(start)
        diagonal = jnp.diagonal(packed)
        upper = (
            jnp.triu(packed, 1) * jnp.sign(diagonal)[None]
        )  # turn columns so that it is positive
        triangles = jnp.tril(packed, -1) + upper + jnp.diag(jnp.log(jnp.abs(diagonal)))
        nothing_to_learn = volume_preserving and n == 1
        variable = Buffer if nothing_to_learn else nnx.Param
        self.triangles = variable(triangles.astype(param_dtype))
        self.sort_keys = Buffer(order.astype(jnp.float32))

    @property
    def permutation(self) -> Array:
        """P as integers of shape `(n,)`, `(P v)[i] = v[permutation[i]]`."""
        return ascending(constant(self.sort_keys))

    def _forward(
        self, x: Any, condition: Any, *, key: jax.Array | None, with_log_det: bool
    ) -> tuple[Array, Array | None]:
        return self._run(plu_forward, x)

    def _inverse(
        self, y: Any, condition: Any, *, key: jax.Array | None, with_log_det: bool
    ) -> tuple[Array, Array | None]:
        return self._run(plu_inverse, y)

    def _run(self, function: Callable[..., tuple[Array, Array]], x: Array) -> tuple[Array, Array]:
        triangles = read(self.triangles)
        if self.volume_preserving:
            mean = jnp.mean(jnp.diagonal(triangles))
            triangles = triangles - mean * jnp.eye(len(triangles), dtype=triangles.dtype)
        y, log_det = _apply(function, x, self.event_shape, triangles, self.permutation)
        return y, zeros_log_det(x, self.event_shape) if self.volume_preserving else log_det


def _triangle(matrix: Any, n: int) -> Array:
    """Check the initial matrix of a `TriangularAffine`."""
    matrix = jnp.asarray(matrix, jnp.result_type(float))
    good = matrix.shape == (n, n)
    if good and not isinstance(matrix, Tracer):
        good = (jnp.triu(matrix, 1) == 0).all() & (jnp.diagonal(matrix) > 0).all()
        good = bool(good & jnp.isfinite(matrix).all())
    if not good:
        raise ValueError(
            f"TriangularAffine: expected a matrix of shape {(n, n)}, zero above its diagonal and "
            f"positive on it, all finite, got shape {matrix.shape}: {matrix}"
        )
    return matrix


def _apply(
    function: Callable[..., tuple[Array, Array]], x: Array, event_shape: Shape, *parameters: Array
) -> tuple[Array, Array]:
    """Apply a map of the last axis, and sum the log-determinants over an event's other axes."""
    y, log_det = function(x, *parameters)
    return y, jnp.sum(log_det, axis=tuple(range(x.ndim - len(event_shape), x.ndim - 1)))

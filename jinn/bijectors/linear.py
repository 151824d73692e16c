"""A fixed linear map of an event's last axis."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array

from jinn.bijectors.base import Bijector, Buffer, constant
from jinn.bijectors.shapes import last_axis
from jinn.bijectors.values import check_finite, fit_to_event
from jinn.functional.matrix import linear_forward, linear_inverse
from jinn.networks.options import floating_type


class Linear(Bijector):
    """Multiply the last axis of an event by a given matrix, `z = M x + shift`; nothing is learned.

    For learned matrices see `PLU`, `Orthogonal` and `TriangularAffine`.

    Args:
        event_shape: Shape of one event, `(n,)` or `(H, W, C)`.
        matrix: M, `(n, n)`, invertible.
        shift: A number or `(n,)`.
        param_dtype: Type in which both are stored.

    Raises:
        ValueError: If the event has no last axis, the shift does not fit, the matrix is not square
            of its length or not finite, or it is singular to the precision of `param_dtype`.
    """

    def __init__(
        self,
        event_shape: tuple[int, ...],
        matrix: Any,
        *,
        shift: Any = 0.0,
        param_dtype: jax.typing.DTypeLike = jnp.float32,
    ) -> None:
        """See the class."""
        self._declare(event_shape)
        self.event_shape: tuple[int, ...]
        param_dtype = floating_type(param_dtype, "Linear")
        n = last_axis(self.event_shape, "Linear")
        shifts = fit_to_event(shift, (n,), "Linear: shift", param_dtype)
        check_finite(shifts, "Linear: shift", shift)
        self.matrix = Buffer(jnp.asarray(_invertible(matrix, n, param_dtype), param_dtype))
        self.shift = Buffer(shifts)

    def _forward(
        self, x: Any, condition: Any, *, key: jax.Array | None, with_log_det: bool
    ) -> tuple[Array, Array | None]:
        return self._run(linear_forward, x)

    def _inverse(
        self, y: Any, condition: Any, *, key: jax.Array | None, with_log_det: bool
    ) -> tuple[Array, Array | None]:
        return self._run(linear_inverse, y)

    def _run(self, function: Callable[..., tuple[Array, Array]], x: Array) -> tuple[Array, Array]:
        y, log_det = function(x, constant(self.matrix), constant(self.shift))
        return y, jnp.sum(log_det, axis=tuple(range(x.ndim - len(self.event_shape), x.ndim - 1)))


def _invertible(matrix: Any, n: int, dtype: Any) -> Any:
    """Check the matrix; of a traced one the shape alone."""
    if isinstance(matrix, Tracer):
        array, condition = matrix, 1.0
    else:
        array = np.asarray(matrix, np.float64)
        good = array.shape == (n, n) and bool(np.isfinite(array).all())
        condition = np.linalg.cond(array) if good else np.inf
    if array.shape != (n, n) or not condition < 1 / float(jnp.finfo(dtype).eps):
        raise ValueError(
            f"Linear: expected an invertible matrix of shape {(n, n)}, all finite, got shape "
            f"{array.shape} with condition number {condition:.3g}: {matrix}"
        )
    return array

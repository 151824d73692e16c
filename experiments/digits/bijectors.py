"""Two bijectors that are fitted to data in closed form, in front of a flow that is trained."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import ndtr, ndtri
from jaxtyping import Array

from jinn.bijectors import Bijector
from jinn.bijectors.base import Buffer, constant

_MARGIN = 1e-4


class NormalQuantile(Bijector):
    """Spreads the unit interval over the real line, `z = Q(m + (1 - 2 m) x)`, m = 1e-4.

    Q is the quantile function of the standard normal, so that uniform x become normal.

    Args:
        event_shape: Shape of one event.
    """

    def __init__(self, event_shape: tuple[int, ...]) -> None:
        """See the class."""
        self._declare(event_shape)

    def _forward(
        self, x: Any, condition: Any, *, key: jax.Array | None, with_log_det: bool
    ) -> tuple[Array, Array | None]:
        p = jnp.clip(_MARGIN + (1 - 2 * _MARGIN) * x, _MARGIN / 2, 1 - _MARGIN / 2)
        z = ndtri(p)
        return z, -self._log_slope(z)

    def _inverse(
        self, y: Any, condition: Any, *, key: jax.Array | None, with_log_det: bool
    ) -> tuple[Array, Array | None]:
        return (ndtr(y) - _MARGIN) / (1 - 2 * _MARGIN), self._log_slope(y)

    def _log_slope(self, z: Array) -> Array:
        """The log-determinant of the inverse."""
        axes = tuple(range(z.ndim - len(self.event_shape), z.ndim))
        each = 0.5 * z**2 + 0.5 * math.log(2 * math.pi) + math.log(1 - 2 * _MARGIN)
        return -jnp.sum(each, axes)


class ClassWhitening(Bijector):
    """Standardises each class by its own mean and covariance, `z = S_c^(-1/2) (x - m_c)`.

    The square root is the symmetric one, so that every element of z is mostly that of x. With
    standard normal z, x is normal with these means and covariances.

    Args:
        event_shape: Shape of one event, of n elements in all.
        means: Means of the classes, `(classes, n)`.
        covariances: Their covariances, `(classes, n, n)`, positive definite. The condition is the
            class as a one-hot vector.
    """

    def __init__(
        self, event_shape: tuple[int, ...], means: np.ndarray, covariances: np.ndarray
    ) -> None:
        """See the class."""
        self._declare(event_shape, condition_shape=(len(means),))
        values, vectors = np.linalg.eigh(covariances)
        self.means = Buffer(jnp.asarray(means, jnp.float32))
        roots = np.einsum("cij,cj,ckj->cik", vectors, values**-0.5, vectors)
        self.matrices = Buffer(jnp.asarray(roots, jnp.float32))
        self.log_dets = Buffer(jnp.asarray(-0.5 * np.log(values).sum(-1), jnp.float32))

    def _forward(
        self, x: Any, condition: Any, *, key: jax.Array | None, with_log_det: bool
    ) -> tuple[Array, Array | None]:
        rows, weights = self._aligned(x, condition)
        z = self._times(constant(self.matrices), rows - weights @ constant(self.means), weights)
        return z.reshape(x.shape), self._log_det(x, weights)

    def _inverse(
        self, y: Any, condition: Any, *, key: jax.Array | None, with_log_det: bool
    ) -> tuple[Array, Array | None]:
        rows, weights = self._aligned(y, condition)
        matrices = jnp.linalg.inv(constant(self.matrices))
        x = self._times(matrices, rows, weights) + weights @ constant(self.means)
        return x.reshape(y.shape), -self._log_det(y, weights)

    def _aligned(self, x: Array, condition: Array) -> tuple[Array, Array]:
        """Events as vectors, and the condition with as many batch axes."""
        batch = x.shape[: x.ndim - len(self.event_shape)]
        ones = (1,) * (len(batch) + 1 - condition.ndim)
        return x.reshape(*batch, -1), condition.reshape(*ones, *condition.shape)

    def _times(self, matrices: Array, x: Array, weights: Array) -> Array:
        """Each row by the matrix of its class: by all of them, of which the weights choose."""
        by_class = jnp.einsum("cij,...j->...ci", matrices, x)
        return jnp.einsum("...c,...ci->...i", weights, by_class)

    def _log_det(self, x: Array, weights: Array) -> Array:
        batch = x.shape[: x.ndim - len(self.event_shape)]
        return jnp.broadcast_to(weights @ constant(self.log_dets), batch)

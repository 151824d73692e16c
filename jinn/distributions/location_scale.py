"""Densities with a location and a scale, fixed or learned: the normal and Student's t."""

import math
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax.core import Tracer
from jax.scipy.special import gammaln
from jaxtyping import Array

from jinn.bijectors.base import Buffer, read
from jinn.bijectors.shapes import array_shape
from jinn.bijectors.values import check_finite, fit_to_event
from jinn.distributions.base import Distribution


class Normal(Distribution):
    """Independent normal elements, `log p(x) = -sum((x - mean)^2 / (2 scale^2) + log scale) - ...`.

    Args:
        event_shape: Shape of one event.
        mean: Mean of each element, broadcastable to the event.
        scale: Standard deviation of each element, positive, broadcastable to the event. Its
            logarithm is stored.
        learned: Whether mean and scale are trained, from these values on.

    Raises:
        ValueError: If mean or scale do not fit the event, or a scale is not positive and finite.
    """

    def __init__(
        self,
        event_shape: tuple[int, ...],
        mean: Any = 0.0,
        scale: Any = 1.0,
        *,
        learned: bool = False,
    ) -> None:
        """See the class."""
        self._declare(array_shape(event_shape, "Normal event_shape"))
        self.event_shape: tuple[int, ...]
        self.mean = _variable(mean, self.event_shape, "Normal: mean", learned)
        self.log_scale = _log_variable(scale, self.event_shape, "Normal: scale", learned)

    def _log_prob(self, x: Any, condition: Any) -> Array:
        mean, log_scale = _aligned(x, self.mean, self.log_scale)
        standard = (x.astype(mean.dtype) - mean) * jnp.exp(-log_scale)
        terms = -0.5 * standard**2 - log_scale - 0.5 * math.log(2 * math.pi)
        return _sum_of_event(terms, self.event_shape)

    def _sample(self, key: jax.Array, batch: tuple[int, ...], condition: Any) -> Any:
        mean, scale = read(self.mean), jnp.exp(read(self.log_scale))
        standard = jax.random.normal(key, (*batch, *self.event_shape), mean.dtype)
        return _like(mean, standard) + _like(scale, standard) * standard


class StudentT(Distribution):
    """Independent elements of Student's t distribution, with tails `p(x) ~ |x|^-(nu + 1)`.

    `log p(x) = sum(log Gamma((nu + 1) / 2) - log Gamma(nu / 2) - log(pi nu) / 2 - log scale
    - (nu + 1) / 2 log(1 + t^2 / nu))` with `t = (x - location) / scale`. As the base of a flow it
    gives heavy tails, which an outlier pulls at less than at those of a normal.

    Args:
        event_shape: Shape of one event.
        location: Centre of each element, broadcastable to the event.
        scale: Scale of each element, positive, broadcastable to the event. Its logarithm is
            stored.
        degrees_of_freedom: The tail index nu of each element, positive, broadcastable to the
            event: 1 is the Cauchy distribution, infinity in the limit the normal one. Its
            logarithm is stored.
        learned: Whether location, scale and degrees of freedom are trained, from these values on.

    Raises:
        ValueError: If a parameter does not fit the event, or a scale or a number of degrees of
            freedom is not positive and finite.

    Reference:
        Tails of Lipschitz Triangular Flows (Jaini, Kobyzev, Yu, Brubaker, 2020),
        https://arxiv.org/abs/1907.04481
    """

    def __init__(
        self,
        event_shape: tuple[int, ...],
        location: Any = 0.0,
        scale: Any = 1.0,
        *,
        degrees_of_freedom: Any,
        learned: bool = False,
    ) -> None:
        """See the class."""
        self._declare(array_shape(event_shape, "StudentT event_shape"))
        self.event_shape: tuple[int, ...]
        shape = self.event_shape
        self.location = _variable(location, shape, "StudentT: location", learned)
        self.log_scale = _log_variable(scale, shape, "StudentT: scale", learned)
        self.log_degrees_of_freedom = _log_variable(
            degrees_of_freedom, shape, "StudentT: degrees_of_freedom", learned
        )

    def _log_prob(self, x: Any, condition: Any) -> Array:
        location, log_scale, log_nu = _aligned(
            x, self.location, self.log_scale, self.log_degrees_of_freedom
        )
        nu = jnp.exp(log_nu)
        standard = (x.astype(nu.dtype) - location) * jnp.exp(-log_scale)
        constant = _log_gamma_half_step(nu / 2) - 0.5 * (log_nu + math.log(math.pi)) - log_scale
        terms = constant - 0.5 * (nu + 1) * _log1p_of_square(standard / jnp.sqrt(nu))
        return _sum_of_event(terms, self.event_shape)

    def _sample(self, key: jax.Array, batch: tuple[int, ...], condition: Any) -> Any:
        location, scale = read(self.location), jnp.exp(read(self.log_scale))
        shape = (*batch, *self.event_shape)
        nu = jnp.broadcast_to(jnp.exp(read(self.log_degrees_of_freedom)), shape)
        standard = jax.random.t(key, nu, shape, location.dtype)
        return _like(location, standard) + _like(scale, standard) * standard


def _variable(value: Any, shape: tuple[int, ...], name: str, learned: bool) -> nnx.Variable:
    array = fit_to_event(value, shape, name, jnp.result_type(float))
    check_finite(array, name, value)
    return nnx.Param(array) if learned else Buffer(array)


def _log_variable(value: Any, shape: tuple[int, ...], name: str, learned: bool) -> nnx.Variable:
    array = fit_to_event(value, shape, name, jnp.result_type(float))
    if not isinstance(array, Tracer) and not bool(((array > 0) & jnp.isfinite(array)).all()):
        raise ValueError(f"{name}: expected positive, finite numbers, got {value}")
    logarithm = jnp.log(array)
    return nnx.Param(logarithm) if learned else Buffer(logarithm)


def _aligned(x: Array, *variables: nnx.Variable) -> list[Array]:
    """The variables in float32 or wider, with the rank of x."""
    dtype = jnp.promote_types(x.dtype, jnp.float32)
    return [_like(read(variable).astype(dtype), x) for variable in variables]


def _like(parameter: Array, x: Array) -> Array:
    return parameter.reshape(*[1] * (x.ndim - parameter.ndim), *parameter.shape)


def _sum_of_event(terms: Array, event_shape: tuple[int, ...]) -> Array:
    return jnp.sum(terms, axis=tuple(range(terms.ndim - len(event_shape), terms.ndim)))


def _log1p_of_square(x: Array) -> Array:
    """`log(1 + x^2)`, for large x as `2 log|x| + log(1 + x^-2)`, so that no square overflows."""
    large = jnp.abs(x) > 1
    far, near = jnp.where(large, jnp.abs(x), 1.0), jnp.where(large, 0.0, x)
    return jnp.where(large, 2 * jnp.log(far) + jnp.log1p(far**-2), jnp.log1p(near**2))


def _log_gamma_half_step(a: Array) -> Array:
    """`log Gamma(a + 1/2) - log Gamma(a)`; for large a by its series, without the cancellation."""
    large = a > 20
    b = jnp.where(large, a, 20.0)
    coefficients = (-1 / 8, 1 / 192, -1 / 640, 17 / 14336, -31 / 18432)
    series = 0.5 * jnp.log(b) + sum(c * b ** -(2 * i + 1) for i, c in enumerate(coefficients))
    small = jnp.where(large, 1.0, a)
    return jnp.where(large, series, gammaln(small + 0.5) - gammaln(small))

"""Mixtures of normal densities, free or conditioned on a network."""

import math
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from jinn.bijectors.base import Buffer, read
from jinn.bijectors.conditioners import condition_network, condition_parameters
from jinn.bijectors.shapes import Shape, array_shape, check_condition, event_size
from jinn.distributions.base import Distribution
from jinn.functional.mixture import (
    covariance_factor,
    gaussian_mixture_log_prob,
    gaussian_mixture_sample,
)
from jinn.networks.options import floating_type, is_count
from jinn.networks.randomness import as_key


class MixtureComponents(NamedTuple):
    """The components of a mixture of normals, for each condition of a batch.

    Attributes:
        weights: Their weights, which sum to 1.
        means: Their means, of flattened events.
        covariances: Their covariance matrices.
    """

    weights: Float[Array, "*batch k"]
    means: Float[Array, "*batch k n"]
    covariances: Float[Array, "*batch k n n"]


class GaussianMixture(Distribution):
    """A mixture of normals, `p(x | c) = sum_k w_k(c) N(x; mu_k(c), (U_k(c)^T U_k(c))^-1)`.

    Without a condition its parameters are free, learned or fixed. With one a network gives them
    all, the Cholesky factors U_k of the precisions (upper triangular) among them: the mixture
    density network. Samples carry gradients to means and factors, none to weights, since the
    component is drawn.

    Where nothing is given the weights are equal, the means are drawn from a standard normal
    distribution, which tells the components apart, and the covariances are the identity: made for
    events of mean 0 and deviation 1. A network starts there, too, for all conditions.

    Args:
        event_shape: Shape of one event, of n elements in all.
        components: Number of components k, at least 1.
        weights: Initial weights `(k,)`, positive; they are divided by their sum.
        means: Initial means, broadcastable to `(k, *event_shape)`.
        covariances: Initial covariance matrices of the flattened event, broadcastable to
            `(k, n, n)`; with `covariance="diagonal"` variances, broadcastable to
            `(k, *event_shape)`.
        covariance: "full", or "diagonal" for independent elements in each component, with
            `k (1 + 2 n)` parameters in place of `k (1 + n (n + 3) / 2)`.
        learned: Whether free parameters are trained, from these values on.
        condition_shape: Shape of one condition (a tuple or a dict of tuples), or None.
        conditioner: Any callable `condition -> parameters`, or None for an `MLP` with the widths
            `hidden`. It gets the condition with its own batch axes and returns `(*batch, p)`: k
            raw weights (softmax makes them weights), `k n` means, `k n` logarithms of the
            diagonals of U, and for full covariances `k n (n - 1) / 2` numbers, what U has above
            the diagonal, row after row; in each of the four all numbers of the first component
            come first.
        hidden: Widths of the default conditioner's hidden layers.
        activation: Name of the default conditioner's activation.
        param_dtype: Type of the parameters.
        dtype: Type in which the default conditioner computes; None follows the input.
        rngs: An int, a JAX key or `flax.nnx.Rngs`; needed for means that are not given and for
            the default conditioner.

    Raises:
        ValueError: If an option is out of range or of the wrong kind, a value does not fit or is no
            weight or covariance, or `rngs` is missing.

    Reference:
        Mixture Density Networks (Bishop, 1994), https://publications.aston.ac.uk/id/eprint/373;
        Training Mixture Density Networks with full covariance matrices (Kruse, 2020),
        https://arxiv.org/abs/2003.05739
    """

    def __init__(
        self,
        event_shape: tuple[int, ...],
        components: int,
        *,
        weights: Any = None,
        means: Any = None,
        covariances: Any = None,
        covariance: Literal["full", "diagonal"] = "full",
        learned: bool = True,
        condition_shape: Shape | None = None,
        conditioner: Callable[[Any], Any] | None = None,
        hidden: Sequence[int] | int = (128, 128),
        activation: str = "silu",
        param_dtype: jax.typing.DTypeLike = jnp.float32,
        dtype: jax.typing.DTypeLike | None = None,
        rngs: int | jax.Array | nnx.Rngs | None = None,
    ) -> None:
        """See the class."""
        self._declare(array_shape(event_shape, "GaussianMixture event_shape"), condition_shape)
        self.event_shape: tuple[int, ...]
        _check_options(components, covariance, self.event_shape)
        self.components, self.covariance = int(components), covariance
        param_dtype = floating_type(param_dtype, "GaussianMixture")
        given = [value is not None for value in (weights, means, covariances)]
        if conditioner is not None and (self.condition_shape is None or any(given)):
            raise ValueError(
                "GaussianMixture: a conditioner needs conditions (condition_shape), and returns "
                "all parameters: give no weights, means or covariances beside it"
            )
        if self.condition_shape is not None and not learned:
            raise ValueError(
                "GaussianMixture: learned=False is for free parameters; a network of the condition "
                "is trained"
            )
        start, network_key = None, None
        if conditioner is None:
            if rngs is None and (means is None or self.condition_shape is not None):
                raise ValueError(
                    "GaussianMixture: random means and the default conditioner need rngs, such as "
                    "rngs=0"
                )
            means_key, network_key = [None] * 2 if rngs is None else jax.random.split(as_key(rngs))
            start = self._start(weights, means, covariances, means_key, param_dtype)
        if self.condition_shape is None:
            self.parameters = nnx.Param(start) if learned else Buffer(start)
            self.conditioner = None
            return
        self.parameters = None
        self.conditioner = condition_network(
            conditioner,
            sum(self._sizes()),
            self,
            hidden=hidden,
            activation=activation,
            param_dtype=param_dtype,
            dtype=dtype,
            rngs=network_key,
        )
        if start is not None:
            self.conditioner.last_bias = nnx.Param(start)

    def mixture(self, condition: Any = None) -> MixtureComponents:
        """The components of `p(x | condition)`: their weights, means and covariances.

        Args:
            condition: Conditions `(*batch, *condition_shape)`, or None.

        Returns:
            Weights `(*batch, k)`, means `(*batch, k, n)` and covariances `(*batch, k, n, n)` of
            the flattened event, at the condition's own batch.

        Raises:
            ValueError: If the condition is missing, unexpected or of a wrong shape.
        """
        dtype = jnp.result_type(float)
        condition = check_condition(condition, self.condition_shape, "GaussianMixture", dtype)
        logits, means, log_diagonals, above = self._parameters(condition, 0, dtype)
        factor = covariance_factor(log_diagonals, above)
        covariances = jnp.einsum("...ij,...kj->...ik", factor, factor, precision="highest")
        return MixtureComponents(jax.nn.softmax(logits), means, covariances)

    def _log_prob(self, x: Any, condition: Any) -> Array:
        wide = jnp.promote_types(x.dtype, jnp.float32)
        rank = x.ndim - len(self.event_shape)
        events = x.reshape(*x.shape[:rank], event_size(self.event_shape)).astype(wide)
        return gaussian_mixture_log_prob(events, *self._parameters(condition, rank, wide))

    def _sample(self, key: jax.Array, batch: tuple[int, ...], condition: Any) -> Any:
        free = self.parameters
        dtype = jnp.result_type(float) if free is None else free.dtype
        parameters = self._parameters(condition, len(batch), dtype)
        events = gaussian_mixture_sample(key, *parameters, batch=batch)
        return events.reshape(*batch, *self.event_shape)

    def _parameters(
        self, condition: Any, rank: int, dtype: jax.typing.DTypeLike
    ) -> tuple[Array, Array, Array, Array | None]:
        """Raw weights, means and factors at the condition's batch, of `rank` axes at least."""
        sizes = self._sizes()
        if self.parameters is not None:
            flat = read(self.parameters).astype(dtype)
            flat = flat.reshape(*[1] * rank, flat.size)
        else:
            like = jnp.zeros((*[1] * rank, *self.event_shape), dtype)
            shape = (sum(sizes),)
            flat = condition_parameters(self.conditioner, condition, self, shape, like)
        k = self.components
        parts = jnp.split(flat, np.cumsum(sizes)[:-1], axis=-1)
        logits, *matrices = [p.reshape(*flat.shape[:-1], k, -1) for p in parts]
        means, log_diagonals = matrices[:2]
        return logits[..., 0], means, log_diagonals, matrices[2] if len(matrices) > 2 else None

    def _sizes(self) -> list[int]:
        """Numbers of raw weights, of means, of logarithms of diagonals and of entries above."""
        k, n = self.components, event_size(self.event_shape)
        full = self.covariance == "full" and n > 1
        return [k, k * n, k * n] + [k * n * (n - 1) // 2] * full

    def _start(self, weights: Any, means: Any, covariances: Any, key: Any, dtype: Any) -> Array:
        """The raw parameters of what the user gave, in the order in which a conditioner does."""
        k, shape, n = self.components, self.event_shape, event_size(self.event_shape)
        logits = np.log(_positive(np.ones(()) if weights is None else weights, (k,), "weights"))
        if means is None:
            centres = jax.random.normal(key, (k * n,), dtype)
        else:
            centres = jnp.asarray(_finite(means, (k, *shape), "means").ravel(), dtype)
        if self.covariance == "diagonal":
            variances = np.ones(()) if covariances is None else covariances
            variances = _positive(variances, (k, *shape), "covariances").reshape(k, n)
            factors = [-0.5 * np.log(variances)]
        else:
            matrices = np.eye(n) if covariances is None else covariances
            precise = _precision_factors(_finite(matrices, (k, n, n), "covariances"))
            diagonals = np.diagonal(precise, axis1=-2, axis2=-1)
            factors = [np.log(diagonals), precise[:, *np.triu_indices(n, 1)]]
        after = np.concatenate([f.ravel() for f in factors])
        return jnp.concatenate([jnp.asarray(logits, dtype), centres, jnp.asarray(after, dtype)])


def _check_options(components: Any, covariance: str, event_shape: tuple[int, ...]) -> None:
    if not is_count(components):
        raise ValueError(
            f"GaussianMixture: expected an integer components >= 1, got {components!r}"
        )
    if covariance not in ("full", "diagonal"):
        raise ValueError(
            'GaussianMixture: expected covariance to be "full" or "diagonal", got '
            f"{covariance!r}; initial matrices are covariances="
        )
    if math.prod(event_shape) == 0:
        raise ValueError(f"GaussianMixture: expected an event with elements, got {event_shape}")


def _finite(value: Any, shape: tuple[int, ...], name: str) -> np.ndarray:
    array = np.asarray(value, np.float64)
    try:
        array = np.broadcast_to(array, shape)
    except ValueError:
        raise ValueError(
            f"GaussianMixture: {name}: expected a shape that broadcasts to {shape}, got "
            f"{array.shape}"
        ) from None
    if not np.isfinite(array).all():
        raise ValueError(f"GaussianMixture: {name}: expected finite numbers, got {value}")
    return array


def _positive(value: Any, shape: tuple[int, ...], name: str) -> np.ndarray:
    array = _finite(value, shape, name)
    if not (array > 0).all():
        raise ValueError(f"GaussianMixture: {name}: expected positive numbers, got {value}")
    return array


def _precision_factors(covariances: np.ndarray) -> np.ndarray:
    """Upper triangular U with `U^T U = C^-1`: the inverse Cholesky factor, in reverse order."""
    symmetric = np.allclose(covariances, np.swapaxes(covariances, -1, -2), rtol=1e-5)
    try:
        if not symmetric:
            raise np.linalg.LinAlgError
        lower = np.linalg.cholesky(covariances[:, ::-1, ::-1])
    except np.linalg.LinAlgError:
        raise ValueError(
            "GaussianMixture: covariances: expected symmetric, positive definite matrices, got "
            f"{covariances}"
        ) from None
    return np.linalg.inv(lower)[:, ::-1, ::-1]

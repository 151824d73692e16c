"""The mixture density network."""

from collections.abc import Sequence
from numbers import Integral
from typing import Literal

import jax
import jax.numpy as jnp
from flax import nnx

from jinn.bijectors.actnorm import ActNorm
from jinn.distributions.gaussian_mixture import GaussianMixture
from jinn.flows.flow import Flow
from jinn.flows.specification import specified


@specified
def mixture_density_network(
    event_dim: int,
    *,
    condition_dim: int = 0,
    components: int = 8,
    hidden: Sequence[int] | int = (128, 128),
    covariance: Literal["full", "diagonal"] = "full",
    activation: str = "silu",
    param_dtype: jax.typing.DTypeLike = jnp.float32,
    dtype: jax.typing.DTypeLike | None = None,
    rngs: int | jax.Array | nnx.Rngs,
) -> Flow:
    """Build a mixture density network: one ActNorm over normals whose parameters a network gives.

    The ActNorm brings x to mean 0 and deviation 1, where the mixture starts. `flow.base.mixture(c)`
    gives weights, means and covariances there.

    Args:
        event_dim: Length of x.
        condition_dim: Length of the condition, 0 for none: then the mixture's parameters are free.
        components: Number of normals.
        hidden: Widths of the network's hidden layers.
        covariance: "full", or "diagonal" for independent elements in each component.
        activation: Name of the network's activation, see `jinn.networks.MLP`.
        param_dtype: Type of the parameters.
        dtype: Type in which the network computes; None follows the input.
        rngs: An int, a JAX key or `flax.nnx.Rngs`.

    Returns:
        A flow over vectors; log_prob and sample take one evaluation of the network each.

    Raises:
        ValueError: If an option is out of range or unknown.

    Reference:
        Mixture Density Networks (Bishop, 1994), https://publications.aston.ac.uk/id/eprint/373;
        Training Mixture Density Networks with full covariance matrices (Kruse, 2020),
        https://arxiv.org/abs/2003.05739
    """
    least = ((event_dim, 1), (condition_dim, 0))
    if not all(isinstance(size, Integral) and size >= minimum for size, minimum in least):
        raise ValueError(
            "mixture_density_network: expected integers event_dim >= 1 and condition_dim >= 0, got "
            f"event_dim={event_dim}, condition_dim={condition_dim}"
        )
    base = GaussianMixture(
        (event_dim,),
        components,
        covariance=covariance,
        condition_shape=(condition_dim,) if condition_dim else None,
        hidden=hidden,
        activation=activation,
        param_dtype=param_dtype,
        dtype=dtype,
        rngs=rngs,
    )
    return Flow(ActNorm((event_dim,), param_dtype=param_dtype), base)

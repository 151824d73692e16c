"""Networks side by side."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from jinn.networks.randomness import as_key


class SeparateNetworks(nnx.Module):
    """Networks of one form with weights of their own, `out = [net_1(x, c), ..., net_n(x, c)]`.

    As the conditioner of a coupling with n parameters an element, it computes each of them by its
    own network, as the affine blocks of the first INN papers do for scale and shift.

    Args:
        make_network: From a JAX key to a network, called as `network(x, condition)`.
        count: Number of networks n.
        rngs: An int, a JAX key or `flax.nnx.Rngs`.

    Attributes:
        networks: All networks as one, its parameters stacked along a leading axis.

    Raises:
        ValueError: If count is less than 1.

    Reference:
        Analyzing Inverse Problems with Invertible Neural Networks (Ardizzone et al., 2019),
        equation 7, https://arxiv.org/abs/1808.04730
    """

    def __init__(
        self,
        make_network: Callable[[jax.Array], nnx.Module],
        count: int,
        *,
        rngs: int | jax.Array | nnx.Rngs,
    ) -> None:
        """See the class."""
        if count < 1:
            raise ValueError(f"SeparateNetworks: expected count >= 1, got {count}")
        self.count = count
        self.networks = jax.vmap(make_network)(jax.random.split(as_key(rngs), count))

    def __call__(self, x: Any, condition: Any = None) -> Float[Array, "*batch out_size"]:
        """Evaluate all networks.

        Args:
            x: Inputs of each network.
            condition: Conditions of each network, or None.

        Returns:
            Their outputs joined along the last axis, shape `(*batch, n * size)`.
        """
        out = jax.vmap(lambda network: network(x, condition))(self.networks)
        return jnp.concatenate(list(out), axis=-1)

"""Autoregressive layers."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array

from jinn.bijectors.base import Bijector
from jinn.bijectors.conditioners import Conditioner, network_attribute
from jinn.bijectors.shapes import Shape
from jinn.bijectors.transformers import Transformer, as_transformer
from jinn.functional.autoregressive import Conditioner as BoundConditioner
from jinn.functional.autoregressive import (
    autoregressive_forward,
    autoregressive_inverse,
    check_elementwise,
    check_order,
)
from jinn.networks.masked import MaskedMLP


class MaskedAutoregressive(Bijector):
    """Transform each element of a vector given those before it, `z_i = T(x_i; net_i(x_<i, c))`.

    `forward` takes one pass. `inverse` is a compiled loop over the elements (up to four in a row,
    for 32 elements and more), in which a `MaskedMLP` computes each hidden unit once. `Invert` of it
    samples in one pass: inverse autoregressive flow.

    Args:
        event_shape: Shape of one event, `(n,)`.
        conditioner: Any callable `(x, condition) -> parameters`, or None for a `MaskedMLP` with the
            widths `hidden`. It returns `(*batch, n_params * n)`: all elements' first parameter,
            then all elements' second, and so on. Those of an element may depend only on the
            elements before it in the order. The inverse evaluates a callable other than a
            `MaskedMLP` n times.
        transformer: "additive", "affine" or "rational_quadratic_spline", or an object as for
            `Coupling`, of single elements.
        condition_shape: Shape of one condition (a tuple or a dict of tuples), or None.
        order: The elements in the order of their dependence, first the one that depends on no
            other: each integer from 0 to n - 1 once. None is the order of a given `MaskedMLP`,
            else 0, 1, ..., n - 1.
        hidden: Widths of the default conditioner's hidden layers.
        activation: Name of the default conditioner's activation.
        residual: Whether the default conditioner adds hidden layers of equal width to their input.
        param_dtype: Type of the default conditioner's parameters.
        dtype: Type in which the default conditioner computes; None follows the input.
        rngs: An int, a JAX key or `flax.nnx.Rngs`, for the default conditioner.

    Raises:
        ValueError: If the event is no vector, the order is no permutation or not that of the
            conditioner, the transformer is unknown or acts on whole events, or the default
            conditioner cannot be built.

    Reference:
        Masked Autoregressive Flow for Density Estimation (Papamakarios, Pavlakou, Murray, 2017),
        https://arxiv.org/abs/1705.07057; inverted: Improving Variational Inference with Inverse
        Autoregressive Flow (Kingma et al., 2016), https://arxiv.org/abs/1606.04934
    """

    def __init__(
        self,
        event_shape: tuple[int, ...],
        *,
        conditioner: Conditioner | None = None,
        transformer: str | Transformer = "affine",
        condition_shape: Shape | None = None,
        order: Sequence[int] | None = None,
        hidden: Sequence[int] | int = (128, 128),
        activation: str = "silu",
        residual: bool = False,
        param_dtype: jax.typing.DTypeLike = jnp.float32,
        dtype: jax.typing.DTypeLike | None = None,
        rngs: int | jax.Array | nnx.Rngs | None = None,
    ) -> None:
        """See the class."""
        name = "MaskedAutoregressive"
        self._declare(event_shape, condition_shape=condition_shape, fast_direction="forward")
        if isinstance(self.event_shape, dict) or len(self.event_shape) != 1:
            raise ValueError(
                f"{name}: expected an event of shape (n,), got {self.event_shape}; put a Reshape "
                "before it"
            )
        size = self.event_shape[0]
        self.transformer = nnx.static(as_transformer(transformer))
        check_elementwise(self.transformer, name)
        if isinstance(conditioner, MaskedMLP):
            _check_network(conditioner, size, self.transformer.n_params, order)
            order = conditioner.order
        self.order = tuple(range(size)) if order is None else check_order(order, size, name)
        if conditioner is None:
            if rngs is None:
                raise ValueError(f"{name}: the default conditioner needs rngs, such as rngs=0")
            conditioner = MaskedMLP(
                size,
                self.transformer.n_params,
                hidden=hidden,
                condition_shape=self.condition_shape,
                order=self.order,
                activation=activation,
                residual=residual,
                param_dtype=param_dtype,
                dtype=dtype,
                rngs=rngs,
            )
        self.conditioner = network_attribute(conditioner, name, "conditioner")

    def _forward(
        self, x: Any, condition: Any, *, key: jax.Array | None, with_log_det: bool
    ) -> tuple[Array, Array | None]:
        return autoregressive_forward(x, self._bound(condition), self.transformer)

    def _inverse(
        self, y: Any, condition: Any, *, key: jax.Array | None, with_log_det: bool
    ) -> tuple[Array, Array | None]:
        network = self._bound(condition)
        return autoregressive_inverse(y, network, self.transformer, order=self.order)

    def _bound(self, condition: Any) -> BoundConditioner:
        if isinstance(self.conditioner, MaskedMLP):
            return self.conditioner.bind(condition)
        return lambda x: self.conditioner(x, condition)


def _check_network(
    network: MaskedMLP, size: int, n_params: int, order: Sequence[int] | None
) -> None:
    if (network.size, network.n_params) != (size, n_params):
        raise ValueError(
            f"MaskedAutoregressive: expected a MaskedMLP for {size} elements with {n_params} "
            f"parameters each, got one for {network.size} with {network.n_params}"
        )
    if order is not None and check_order(order, size, "MaskedAutoregressive") != network.order:
        raise ValueError(
            f"MaskedAutoregressive: expected the order {network.order} of the MaskedMLP, got "
            f"order={order!r}; leave it out"
        )

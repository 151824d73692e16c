"""Coupling layers."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.core import Tracer
from jaxtyping import Array

from jinn.bijectors.base import Bijector
from jinn.bijectors.shapes import Shape, insert_axes
from jinn.bijectors.transformers import Transformer, as_transformer
from jinn.functional.coupling import coupling_forward, coupling_inverse, coupling_sizes
from jinn.networks.mlp import MLP

Conditioner = Callable[[Any, Any], Any]


class Coupling(Bijector):
    """Transform one part of an event given the other, `z_t = T(x_t; net(x_u, condition))`.

    Args:
        event_shape: Shape of one event.
        mask: Booleans of the event's shape, True where the event is transformed; see `half_mask`.
            The mask may be True everywhere if there is a condition. It must not be traced.
        conditioner: Any callable `(x_u, condition) -> parameters`, or None for an `MLP` (vectors
            only) with the widths `hidden`. It gets the untouched elements `(*batch, *spatial,
            n_u)` and the condition with its own batch axes, and returns `(*batch, *spatial,
            n_params * n_t)`: all elements' first parameter, then all elements' second, and so
            on. With a mask that differs between spatial positions it sees the whole event, zero
            where it is transformed, and serves all channels; see
            `jinn.functional.coupling_forward`. An `MLP` given for an image sees each pixel by
            itself, with the same condition at all.
        transformer: "additive", "affine" or "rational_quadratic_spline", or an object with
            `n_params`, `forward(x, params)`, `inverse(y, params)` and parameters on the leading
            axis; see `jinn.bijectors.transformers`.
        condition_shape: Shape of one condition (a tuple or a dict of tuples), or None.
        hidden: Widths of the default conditioner's hidden layers.
        activation: Name of the default conditioner's activation.
        param_dtype: Type of the default conditioner's parameters.
        dtype: Type in which the default conditioner computes; None follows the input.
        rngs: An int, a JAX key or `flax.nnx.Rngs`, for the default conditioner.

    Raises:
        ValueError: If the mask does not fit or transforms nothing, if the transformer is unknown,
            or if the default conditioner cannot be built.

    Reference:
        Density estimation using Real NVP (Dinh, Sohl-Dickstein, Bengio, 2017), section 3.3,
        https://arxiv.org/abs/1605.08803
    """

    def __init__(
        self,
        event_shape: tuple[int, ...],
        *,
        mask: Any,
        conditioner: Conditioner | None = None,
        transformer: str | Transformer = "affine",
        condition_shape: Shape | None = None,
        hidden: Sequence[int] | int = (128, 128),
        activation: str = "silu",
        param_dtype: jax.typing.DTypeLike = jnp.float32,
        dtype: jax.typing.DTypeLike | None = None,
        rngs: int | jax.Array | nnx.Rngs | None = None,
    ) -> None:
        """See the class."""
        self._declare(event_shape, condition_shape=condition_shape)
        array = _check_mask(mask, self.event_shape)
        self.mask = _as_tuple(array)
        self.transformer = nnx.static(as_transformer(transformer))
        n_in, n_out = coupling_sizes(array)
        if conditioner is None:
            if array.ndim > 1:
                raise ValueError(
                    f"Coupling: events of shape {self.event_shape} need a conditioner of their "
                    "own; the default, an MLP, is for vectors"
                )
            if rngs is None:
                raise ValueError("Coupling: the default conditioner needs rngs, such as rngs=0")
            conditioner = MLP(
                n_in,
                self.transformer.n_params * n_out,
                hidden=hidden,
                condition_shape=self.condition_shape,
                activation=activation,
                param_dtype=param_dtype,
                dtype=dtype,
                rngs=rngs,
            )
        if not callable(conditioner):
            raise ValueError(
                f"Coupling: expected conditioner to be callable, got {type(conditioner).__name__}"
            )
        has_leaves = any(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(conditioner))
        self.conditioner = nnx.data(conditioner) if has_leaves else conditioner

    def _forward(
        self, x: Any, condition: Any, *, key: jax.Array | None, with_log_det: bool
    ) -> tuple[Array, Array | None]:
        return coupling_forward(x, self._network(condition), self.transformer, mask=self.mask)

    def _inverse(
        self, y: Any, condition: Any, *, key: jax.Array | None, with_log_det: bool
    ) -> tuple[Array, Array | None]:
        return coupling_inverse(y, self._network(condition), self.transformer, mask=self.mask)

    def _network(self, condition: Any) -> Callable[[Any], Any]:
        """The conditioner as a function of the untouched elements alone.

        An `MLP` sees each pixel of an image by itself, so its condition gets axes of size 1 where
        the pixels are.
        """
        spatial = len(self.event_shape) - 1
        if spatial and condition is not None and isinstance(self.conditioner, MLP):
            condition = insert_axes(condition, self.condition_shape, spatial)
        return lambda u: self.conditioner(u, condition)


def half_mask(n: int) -> tuple[bool, ...]:
    """Mask that transforms the second half of a vector, the larger half where n is odd.

    Args:
        n: Length of the vector.

    Returns:
        Booleans of length n, True where the vector is transformed.
    """
    return tuple(i >= n // 2 for i in range(n))


def _check_mask(mask: Any, event_shape: Shape) -> np.ndarray:
    if isinstance(mask, Tracer):
        raise ValueError("Coupling: expected a static mask, got a traced array; use tuples")
    array = np.asarray(mask)
    if array.dtype != bool or array.shape != event_shape or array.ndim == 0:
        raise ValueError(
            f"Coupling: expected a mask of booleans of the event's shape {event_shape}, True where "
            f"the event is transformed, got {array.dtype} of shape {array.shape}"
        )
    if not array.any():
        raise ValueError("Coupling: the mask transforms nothing; set it True somewhere")
    return array


def _as_tuple(array: np.ndarray) -> Any:
    """Booleans as nested tuples, which are static and hashable."""
    return tuple(map(_as_tuple, array)) if array.ndim > 1 else tuple(map(bool, array))

"""The masked perceptron that conditions autoregressive bijectors."""

import math
from collections.abc import Sequence
from functools import reduce

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from jinn.functional.autoregressive import check_order
from jinn.functional.masked import MaskedPerceptron, masks_of
from jinn.functional.perceptron import add_batches
from jinn.networks.activations import activation_by_name
from jinn.networks.mlp import ConditionShape, condition_entries, named_shapes
from jinn.networks.options import computing_type, floating_type, is_count, layer_widths
from jinn.networks.randomness import as_key


class MaskedMLP(nnx.Module):
    """MADE, a perceptron whose outputs for element i depend on the elements before i only.

    Its hidden units see the first d elements in the order, with d spread evenly. The condition is
    seen by all of them: it is added in the first layer by weights of its own, at its own batch.
    The masks follow from the sizes and are no parameters.

    Args:
        size: Number of elements.
        n_params: Number of outputs an element.
        hidden: Widths of the hidden layers, at least one; a number is one layer.
        condition_shape: Shape of one condition: a tuple (any rank, flattened), a dict of such
            shapes (one weight matrix an entry), or None.
        order: The elements in the order of their dependence, first the one that depends on no
            other: each integer from 0 to size - 1 once. None is 0, 1, ..., size - 1.
        activation: Name of the activation, see `jinn.networks.MLP`.
        residual: Add each hidden layer after the first to its input, which needs equal widths.
        zero_init_last: Start with the last layer at zero, so that a bijector starts as identity.
        param_dtype: Type of the parameters.
        dtype: Type of the computation; None follows the input and the parameters.
        rngs: An int, a JAX key or `flax.nnx.Rngs`.

    Raises:
        ValueError: If a size is out of range or no integer, the order is no permutation, a type is
            not floating, the activation is unknown, or `residual` meets unequal widths.

    Reference:
        MADE: Masked Autoencoder for Distribution Estimation (Germain, Gregor, Murray, Larochelle,
        2015), https://arxiv.org/abs/1502.03509
    """

    def __init__(
        self,
        size: int,
        n_params: int,
        *,
        hidden: Sequence[int] | int = (128, 128),
        condition_shape: ConditionShape = None,
        order: Sequence[int] | None = None,
        activation: str = "silu",
        residual: bool = False,
        zero_init_last: bool = True,
        param_dtype: jax.typing.DTypeLike = jnp.float32,
        dtype: jax.typing.DTypeLike | None = None,
        rngs: int | jax.Array | nnx.Rngs,
    ) -> None:
        """See the class."""
        name = "MaskedMLP"
        hidden, param_dtype = layer_widths(hidden, name), floating_type(param_dtype, name)
        if not (is_count(size) and is_count(n_params) and hidden and min(hidden) >= 1):
            raise ValueError(
                f"{name}: expected integers size >= 1, n_params >= 1 and at least one hidden width "
                f">= 1, got size={size}, n_params={n_params}, hidden={hidden}"
            )
        if residual and len(set(hidden)) > 1:
            raise ValueError(
                f"{name}: residual=True needs hidden layers of equal width, got hidden={hidden}"
            )
        self.size, self.n_params, self.hidden = size, n_params, hidden
        self.order = tuple(range(size)) if order is None else check_order(order, size, name)
        self.activation, self.residual = activation, residual
        activation_by_name(activation)
        self.dtype = computing_type(dtype, "MaskedMLP")
        shapes = named_shapes(condition_shape)
        self.condition_sizes = tuple((name, math.prod(shape)) for name, shape in shapes.items())
        self.condition_ranks = tuple((name, len(shape)) for name, shape in shapes.items())
        self.lowest = 0 if shapes or size == 1 else 1

        masks = masks_of(self.order, hidden, n_params, lowest=self.lowest)
        n_condition = sum(n for _, n in self.condition_sizes)
        # Inputs that each unit sees: all units then start with the same variance.
        fans = [np.maximum(mask.sum(0), 1) for mask in masks[:-1]]
        fans[0] = np.maximum(masks[0].sum(0) + n_condition, 1)
        last_fan = np.maximum(masks[-1].sum(1), 1)[:, None]
        keys = iter(jax.random.split(as_key(rngs), 2 * len(hidden) + 1 + len(shapes)))

        def uniform(shape: tuple[int, ...], fan_in: np.ndarray, gain: float) -> nnx.Param:
            limit = jnp.asarray(gain / np.sqrt(fan_in), param_dtype)
            sample = jax.random.uniform(next(keys), shape, param_dtype, -1, 1)
            return nnx.Param(jnp.broadcast_to(limit, shape) * sample)

        gain = math.sqrt(6.0 / 2.0)  # variance 1 / fan_in
        self.input_kernel = uniform(masks[0].shape, fans[0][None], gain)
        self.condition_kernels = nnx.data(
            {name: uniform((n, hidden[0]), fans[0][None], gain) for name, n in self.condition_sizes}
        )
        self.biases = nnx.data(tuple(uniform(fan.shape, fan, 1.0) for fan in fans))
        kernels = zip(masks[1:-1], fans[1:], strict=True)
        self.kernels = nnx.data(tuple(uniform(m.shape, fan[None], gain) for m, fan in kernels))
        last_gain = 0.0 if zero_init_last else gain
        self.last_kernel = uniform(masks[-1].shape, last_fan, last_gain)
        self.last_bias = nnx.Param(jnp.zeros((n_params * size,), param_dtype))

    def __call__(
        self,
        x: Float[Array, "*batch size"],
        condition: Float[Array, "*condition"] | dict[str, Float[Array, "..."]] | None = None,
    ) -> Float[Array, "*out_batch outputs"]:
        """Evaluate the network.

        Args:
            x: Elements, shape `(*batch, size)`.
            condition: Conditions with their own batch, broadcastable against x's batch.

        Returns:
            Outputs of shape `(*broadcast batch, n_params * size)`: all elements' first parameter,
            then all elements' second, and so on.

        Raises:
            ValueError: If the condition is missing, unexpected or of other entries.
        """
        return self.bind(condition)(x)

    def bind(
        self, condition: Float[Array, "*condition"] | dict[str, Float[Array, "..."]] | None = None
    ) -> MaskedPerceptron:
        """Evaluate the condition's part, and leave a function of the elements.

        Args:
            condition: Conditions with their own batch, or None.

        Returns:
            The network for this condition, which can also be evaluated element after element.

        Raises:
            ValueError: If the condition is missing, unexpected or of other entries.
        """
        flat = condition_entries(condition, self.condition_sizes, self.condition_ranks, "MaskedMLP")
        products = [
            self._compute(value) @ self._cast(self.condition_kernels[name])
            for name, value in flat.items()
        ]
        first, *others = (self._cast(bias) for bias in self.biases)
        return MaskedPerceptron(
            (self._cast(self.input_kernel), *map(self._cast, self.kernels)),
            self._cast(self.last_kernel),
            (reduce(add_batches, products, first), *others),
            self._cast(self.last_bias),
            activation_by_name(self.activation),
            self.order,
            self.lowest,
            self.residual,
            self.dtype,
        )

    def _compute(self, value: Array) -> Array:
        return value if self.dtype is None else value.astype(self.dtype)

    def _cast(self, param: nnx.Param) -> Array:
        """A parameter's array in the type of the computation."""
        return self._compute(param[...])

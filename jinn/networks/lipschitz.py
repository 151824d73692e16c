"""Networks of bounded Lipschitz constant in x, for residual maps."""

import math
from collections.abc import Callable, Sequence
from functools import partial, reduce
from itertools import pairwise
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from jinn.functional.convolution import convolve
from jinn.functional.perceptron import add_batches, perceptron, perceptron_and_jacobian
from jinn.networks.mlp import ConditionShape, named_shapes
from jinn.networks.randomness import as_key
from jinn.networks.spectral import SpectralKernel, contraction_by_name

Bound = tuple[Callable[[Array], Array], Callable[[Array], tuple[Array, Array]] | None]


class LipschitzMLP(nnx.Module):
    """Perceptron `g(x; c)` with `|g(x; c) - g(x'; c)| <= coefficient |x - x'|`.

    `h_1 = a(W_1 x + V_1 c + b_1), ..., out = W_n h + V_n c + b_n`: each W is scaled to a spectral
    norm of at most `coefficient^(1/n)` where it is larger, and the slopes of a are at most 1. The
    condition moves every layer, which changes no bound in x.

    Args:
        size: Length of the last axis of x and of the output.
        hidden: Widths of the hidden layers, at least one; a number is one layer.
        condition_shape: Shape of one condition: a tuple (any rank, flattened), a dict of such
            shapes, or None.
        coefficient: Bound of the Lipschitz constant.
        activation: Name of the activation: "elu", "lipswish" (silu / 1.1) or "tanh".
        param_dtype: Type of the parameters.
        rngs: An int, a JAX key or `flax.nnx.Rngs`.

    Raises:
        ValueError: If an option is out of range or the activation is unknown.

    Reference:
        Residual Flows for Invertible Generative Modeling (Chen, Behrmann, Duvenaud, Jacobsen,
        2019), https://arxiv.org/abs/1906.02735
    """

    def __init__(
        self,
        size: int,
        *,
        hidden: Sequence[int] | int = (128, 128),
        condition_shape: ConditionShape = None,
        coefficient: float = 0.9,
        activation: str = "lipswish",
        param_dtype: jax.typing.DTypeLike = jnp.float32,
        rngs: int | jax.Array | nnx.Rngs,
    ) -> None:
        """See the class."""
        hidden = (hidden,) if isinstance(hidden, int) else tuple(map(int, hidden))
        _check("LipschitzMLP", coefficient, (size, *hidden), hidden)
        contraction_by_name(activation)
        self.activation, self.event_shape = activation, (size,)
        widths = (size, *hidden, size)
        kernel_key, shift_key = jax.random.split(as_key(rngs))
        keys = jax.random.split(kernel_key, len(widths) - 1)
        bound = coefficient ** (1 / len(keys))
        self.kernels = nnx.data(
            tuple(
                SpectralKernel(shape, bound=bound, param_dtype=param_dtype, key=key)
                for shape, key in zip(pairwise(widths), keys, strict=True)
            )
        )
        self.shifts = Shifts(widths[1:], condition_shape, param_dtype=param_dtype, key=shift_key)

    def __call__(self, x: Float[Array, "*batch size"], condition: Any = None) -> Array:
        """Evaluate the network.

        Args:
            x: Inputs.
            condition: Conditions with their own batch, broadcastable against x's batch.

        Returns:
            Outputs of shape `(*broadcast batch, size)`.

        Raises:
            ValueError: If the condition is missing, unexpected or of other entries.
        """
        return self.bind(condition, x.dtype)[0](x)

    def bind(self, condition: Any, dtype: jax.typing.DTypeLike) -> Bound:
        """Scale the weights and evaluate what depends on the condition, once for many x.

        Args:
            condition: Conditions, or None.
            dtype: Type of the computation.

        Returns:
            The network as a function of x, and a function from x to its value and Jacobian.
        """
        layers = {
            "kernels": tuple(kernel().astype(dtype) for kernel in self.kernels),
            "shifts": tuple(shift.astype(dtype) for shift in self.shifts(condition)),
            "activation": contraction_by_name(self.activation),
        }
        return partial(perceptron, **layers), partial(perceptron_and_jacobian, **layers)

    def lipschitz_bound(self) -> Float[Array, ""]:
        """Certify the Lipschitz constant: the product of the scaled weights' spectral norms.

        Returns:
            An upper bound of the constant in x.
        """
        return reduce(jnp.multiply, [kernel.certified_norm() for kernel in self.kernels])


class LipschitzConvNet(nnx.Module):
    """Convolutional network `g(x; c)` with `|g(x; c) - g(x'; c)| <= coefficient |x - x'|`.

    Convolutions of 3 x 3, 1 x 1, ..., 3 x 3 pixels, zeros around the image, each scaled to a
    spectral norm of at most `coefficient^(1/n)`. The condition, flattened, moves every channel.

    Args:
        event_shape: Height, width and channels of x and of the output.
        hidden: Channels of the hidden layers, at least one; a number is one layer.
        condition_shape: Shape of one condition: a tuple, a dict of tuples, or None.
        coefficient: Bound of the Lipschitz constant, in the Euclidean norm of images.
        activation: Name of the activation: "elu", "lipswish" (silu / 1.1) or "tanh".
        param_dtype: Type of the parameters.
        rngs: An int, a JAX key or `flax.nnx.Rngs`.

    Raises:
        ValueError: If an option is out of range or the activation is unknown.

    Reference:
        Residual Flows for Invertible Generative Modeling (Chen, Behrmann, Duvenaud, Jacobsen,
        2019), https://arxiv.org/abs/1906.02735
    """

    def __init__(
        self,
        event_shape: tuple[int, int, int],
        *,
        hidden: Sequence[int] | int = (64, 64),
        condition_shape: ConditionShape = None,
        coefficient: float = 0.9,
        activation: str = "lipswish",
        param_dtype: jax.typing.DTypeLike = jnp.float32,
        rngs: int | jax.Array | nnx.Rngs,
    ) -> None:
        """See the class."""
        hidden = (hidden,) if isinstance(hidden, int) else tuple(map(int, hidden))
        _check("LipschitzConvNet", coefficient, (*event_shape, *hidden), hidden)
        if len(event_shape) != 3:
            raise ValueError(
                "LipschitzConvNet: expected event_shape to be (height, width, channels), got "
                f"{event_shape}"
            )
        contraction_by_name(activation)
        self.activation, self.event_shape = activation, tuple(event_shape)
        channels = (event_shape[-1], *hidden, event_shape[-1])
        kernel_key, shift_key = jax.random.split(as_key(rngs))
        keys = jax.random.split(kernel_key, len(channels) - 1)
        bound = coefficient ** (1 / len(keys))

        def taps(layer: int) -> tuple[int, int]:
            return (3, 3) if layer in (0, len(keys) - 1) else (1, 1)

        self.kernels = nnx.data(
            tuple(
                SpectralKernel(
                    (*taps(i), *shape),
                    bound=bound,
                    image_size=event_shape[:2],
                    param_dtype=param_dtype,
                    key=keys[i],
                )
                for i, shape in enumerate(pairwise(channels))
            )
        )
        self.shifts = Shifts(channels[1:], condition_shape, param_dtype=param_dtype, key=shift_key)

    def __call__(
        self, x: Float[Array, "*batch height width channels"], condition: Any = None
    ) -> Array:
        """Evaluate the network.

        Args:
            x: Images.
            condition: Conditions with their own batch, broadcastable against x's batch.

        Returns:
            Images of shape `(*broadcast batch, height, width, channels)`.

        Raises:
            ValueError: If the condition is missing, unexpected or of other entries.
        """
        return self.bind(condition, x.dtype)[0](x)

    def bind(self, condition: Any, dtype: jax.typing.DTypeLike) -> Bound:
        """Scale the weights and evaluate what depends on the condition, once for many x.

        Args:
            condition: Conditions, or None.
            dtype: Type of the computation.

        Returns:
            The network as a function of x, and None: its Jacobian has no structure to use.
        """
        kernels = [kernel().astype(dtype) for kernel in self.kernels]
        shifts = [s.astype(dtype)[..., None, None, :] for s in self.shifts(condition)]
        activation = contraction_by_name(self.activation)

        def evaluate(x: Array) -> Array:
            for kernel, shift in zip(kernels[:-1], shifts[:-1], strict=True):
                x = activation(add_batches(convolve(x, kernel), shift))
            return add_batches(convolve(x, kernels[-1]), shifts[-1])

        return evaluate, None

    def lipschitz_bound(self) -> Float[Array, ""]:
        """Certify the Lipschitz constant: the product of bounds of the scaled convolutions' norms.

        Returns:
            An upper bound of the constant in x.
        """
        return reduce(jnp.multiply, [kernel.certified_norm() for kernel in self.kernels])


class Shifts(nnx.Module):
    """What is added in each layer of a network, `V_l c + b_l`, at the condition's own batch.

    Args:
        widths: Number of outputs of each layer.
        condition_shape: Shape of one condition, or None.
        param_dtype: Type of the parameters.
        key: A JAX key.
    """

    def __init__(
        self,
        widths: tuple[int, ...],
        condition_shape: ConditionShape,
        *,
        param_dtype: jax.typing.DTypeLike,
        key: jax.Array,
    ) -> None:
        """See the class."""
        self.widths, total = widths, sum(widths)
        shapes = named_shapes(condition_shape)
        self.ranks = tuple((name, len(shape)) for name, shape in shapes.items())
        sizes = {name: math.prod(shape) for name, shape in shapes.items()}
        limit = 1 / math.sqrt(max(sum(sizes.values()), 1))
        keys = iter(jax.random.split(key, len(sizes) + 1))
        self.kernels = nnx.data(
            {
                name: nnx.Param(
                    jax.random.uniform(next(keys), (size, total), param_dtype, -limit, limit)
                )
                for name, size in sizes.items()
            }
        )
        self.bias = nnx.Param(jax.random.uniform(next(keys), (total,), param_dtype, -0.1, 0.1))

    def __call__(self, condition: Any) -> list[Array]:
        """Evaluate the shifts.

        Args:
            condition: An array, a dict of arrays, or None.

        Returns:
            For each layer an array `(*condition_batch, width)`.

        Raises:
            ValueError: If the condition is missing, unexpected or of other entries.
        """
        if isinstance(condition, dict):
            entries = condition
        else:
            entries = {} if condition is None else {"condition": condition}
        if set(entries) != set(self.kernels):
            raise ValueError(
                f"the network expects the condition's entries {sorted(self.kernels)}, got "
                f"{sorted(entries)}; condition_shape says which it takes"
            )
        total = self.bias[...]
        for name, rank in self.ranks:
            value, kernel = entries[name], self.kernels[name][...]
            flat = value.reshape(*value.shape[: value.ndim - rank], kernel.shape[0])
            total = add_batches(flat @ kernel, total)
        ends = [sum(self.widths[:i]) for i in range(1, len(self.widths))]
        return jnp.split(total, ends, axis=-1)


def _check(name: str, coefficient: float, sizes: tuple[int, ...], hidden: tuple[int, ...]) -> None:
    if not 0 < coefficient < 1:
        raise ValueError(
            f"{name}: expected a Lipschitz coefficient between 0 and 1, both excluded, got "
            f"{coefficient}; 0.9 is usual"
        )
    if not hidden or min(sizes) < 1:
        raise ValueError(
            f"{name}: expected sizes of at least 1 and at least one hidden layer, got event "
            f"{sizes[: len(sizes) - len(hidden)]} and hidden={hidden}"
        )

"""The convolutional network that conditions couplings of images."""

import math
from collections.abc import Sequence
from functools import reduce
from itertools import pairwise
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from jinn.functional.convolution import convolve
from jinn.functional.perceptron import add_batches
from jinn.networks.activations import activation_by_name
from jinn.networks.mlp import ConditionShape, named_shapes
from jinn.networks.options import computing_type, floating_type, is_count, layer_widths
from jinn.networks.randomness import as_key


class ConvNet(nnx.Module):
    """Convolutions `h1 = a(K * x + V c + b), h2 = h1 + a(K2 * h1 + b2), ..., out = K_n * h + b_n`.

    The condition c is a feature map of the images' size, which is convolved, or a vector, which
    reaches all pixels alike. It has weights of its own, and its part is computed at its own batch:
    a thousand images for one condition cost one convolution with V.

    Args:
        in_channels: Channels of x; 0 makes a function of the condition alone.
        out_channels: Channels of the output.
        hidden: Channels of the hidden layers, at least one; a number is one layer.
        kernel_size: Height and width of the kernels, odd; a number, or one for each layer, of which
            there is one more than of hidden ones. 1 sees each pixel by itself.
        condition_shape: Shape of one condition: (height, width, channels) of a feature map, any
            other tuple (a vector; more axes are flattened), a dict of such shapes, or None.
        activation: Name of the activation, see `jinn.networks.MLP`.
        residual: Add each hidden layer after the first to its input, which needs equal channels.
        zero_init_last: Start with the last layer at zero, so that a coupling starts as identity.
        param_dtype: Type of the parameters.
        dtype: Type of the computation; None follows the input and the parameters.
        rngs: An int, a JAX key or `flax.nnx.Rngs`.

    Raises:
        ValueError: If a size is out of range or no integer, a type is not floating, the activation
            is unknown, or `residual` meets unequal channels.

    Reference:
        Deep Residual Learning for Image Recognition (He, Zhang, Ren, Sun, 2016),
        https://arxiv.org/abs/1512.03385
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        hidden: Sequence[int] | int = (64, 64),
        kernel_size: Sequence[int] | int = 3,
        condition_shape: ConditionShape = None,
        activation: str = "silu",
        residual: bool = True,
        zero_init_last: bool = True,
        param_dtype: jax.typing.DTypeLike = jnp.float32,
        dtype: jax.typing.DTypeLike | None = None,
        rngs: int | jax.Array | nnx.Rngs,
    ) -> None:
        """See the class."""
        hidden, param_dtype = layer_widths(hidden, "ConvNet"), floating_type(param_dtype, "ConvNet")
        least = 0 if condition_shape is not None else 1
        if in_channels < least or min((out_channels, *hidden)) < 1 or not hidden:
            raise ValueError(
                f"ConvNet: expected in_channels >= {least}, out_channels >= 1 and at least one "
                f"hidden layer of >= 1 channels, got in_channels={in_channels}, "
                f"out_channels={out_channels}, hidden={hidden}"
            )
        if residual and len(set(hidden)) > 1:
            raise ValueError(
                f"ConvNet: residual=True needs hidden layers of equal channels, got hidden={hidden}"
            )
        activation_by_name(activation)
        sizes = _kernel_sizes(kernel_size, len(hidden) + 1)
        self.in_channels, self.out_channels, self.hidden = in_channels, out_channels, hidden
        self.kernel_size, self.activation, self.residual = sizes, activation, residual
        self.dtype = computing_type(dtype, "ConvNet")
        shapes = named_shapes(condition_shape)
        self.condition_shapes = tuple(shapes.items())

        keys = iter(jax.random.split(as_key(rngs), 2 * len(hidden) + 2 + len(shapes)))

        def uniform(shape: tuple[int, ...], fan_in: int, gain: float) -> nnx.Param:
            limit = gain / math.sqrt(fan_in)
            return nnx.Param(jax.random.uniform(next(keys), shape, param_dtype, -limit, limit))

        gain = math.sqrt(3.0)  # variance 1 / fan_in
        first = {
            name: (sizes[0], sizes[0], shape[-1]) if len(shape) == 3 else (math.prod(shape),)
            for name, shape in shapes.items()
        }
        taps = [size * size for size in sizes]
        fan_in = taps[0] * in_channels + sum(map(math.prod, first.values()))
        fans = [fan_in, *(n * width for n, width in zip(taps[1:], hidden, strict=True))]
        self.input_kernel = uniform((sizes[0], sizes[0], in_channels, hidden[0]), fan_in, gain)
        self.condition_kernels = nnx.data(
            {name: uniform((*shape, hidden[0]), fan_in, gain) for name, shape in first.items()}
        )
        self.biases = nnx.data(
            tuple(uniform((n,), fan, 1.0) for n, fan in zip(hidden, fans, strict=False))
        )
        self.kernels = nnx.data(
            tuple(
                uniform((size, size, *channels), fan, gain)
                for size, channels, fan in zip(sizes[1:], pairwise(hidden), fans[1:], strict=False)
            )
        )
        last_shape = (sizes[-1], sizes[-1], hidden[-1], out_channels)
        self.last_kernel = uniform(last_shape, fans[-1], 0.0 if zero_init_last else gain)
        self.last_bias = nnx.Param(jnp.zeros((out_channels,), param_dtype))

    def __call__(
        self,
        x: Float[Array, "*batch height width channels"],
        condition: Float[Array, "*condition"] | dict[str, Float[Array, "..."]] | None = None,
    ) -> Float[Array, "*out_batch height width out_channels"]:
        """Evaluate the network.

        Args:
            x: Images, shape `(*batch, height, width, in_channels)`.
            condition: Conditions with their own batch, broadcastable against x's batch.

        Returns:
            Images of shape `(*broadcast batch, height, width, out_channels)`.

        Raises:
            ValueError: If the condition is missing, unexpected, of other entries, or a feature map
                of another size than the images.
        """
        act = activation_by_name(self.activation)
        parts = [
            convolve(self._compute(x), self._cast(self.input_kernel)),
            *self._condition_parts(condition, x.shape[-3:-1]),
        ]
        h = act(reduce(add_batches, parts, self._cast(self.biases[0])))
        for kernel, bias in zip(self.kernels, self.biases[1:], strict=True):
            update = act(add_batches(convolve(h, self._cast(kernel)), self._cast(bias)))
            h = h + update if self.residual else update
        return add_batches(convolve(h, self._cast(self.last_kernel)), self._cast(self.last_bias))

    def _condition_parts(self, condition: Any, size: tuple[int, ...]) -> list[Array]:
        """What the condition's entries add to the first layer, each at its own batch."""
        if isinstance(condition, dict):
            entries = condition
        else:
            entries = {} if condition is None else {"condition": condition}
        shapes = dict(self.condition_shapes)
        if set(entries) != set(shapes):
            raise ValueError(
                f"ConvNet: expected the condition's entries {list(shapes)}, got {list(entries)}; "
                "condition_shape says which it takes"
            )
        parts = []
        for name, shape in shapes.items():
            kernel = self._cast(self.condition_kernels[name])
            value = self._compute(entries[name])
            batch = value.shape[: value.ndim - len(shape)]
            if len(shape) != 3:
                vector = value.reshape(*batch, math.prod(shape))
                parts.append((vector @ kernel)[..., None, None, :])
                continue
            if value.shape[-3:-1] != size:
                raise ValueError(
                    f"ConvNet: the condition {name!r} is a feature map of "
                    f"{' x '.join(map(str, value.shape[-3:-1]))} pixels, but the images have "
                    f"{' x '.join(map(str, size))}; give a map of that size, or a vector"
                )
            parts.append(convolve(value, kernel))
        return parts

    def _compute(self, value: Array) -> Array:
        return value if self.dtype is None else value.astype(self.dtype)

    def _cast(self, param: nnx.Param) -> Array:
        """A parameter's array in the type of the computation."""
        return self._compute(param[...])


def _kernel_sizes(kernel_size: Any, layers: int) -> tuple[int, ...]:
    """One kernel size a layer."""
    one = is_count(kernel_size)
    sizes = (kernel_size,) * layers if one else kernel_size
    fits = isinstance(sizes, Sequence) and len(sizes) == layers
    if not fits or not all(is_count(size) and size % 2 for size in sizes):
        raise ValueError(
            f"ConvNet: expected kernel_size to be an odd number such as 3, or {layers} of them, "
            f"one for each layer, got {kernel_size!r}"
        )
    return tuple(map(int, sizes))

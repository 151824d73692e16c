"""The conditioning network of images: from one picture to a feature map for each scale."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from jinn.functional.convolution import convolve
from jinn.functional.perceptron import add_batches
from jinn.networks.activations import activation_by_name
from jinn.networks.conv import ConvNet
from jinn.networks.options import computing_type, floating_type, is_count
from jinn.networks.randomness import as_key


class FeatureExtractor(nnx.Module):
    """Feature maps of a picture at several scales, `c -> {name: map, ..., "vector": v}`.

    A convolution, then strided ones that halve the picture; where a map is wanted, residual blocks
    `h + K2 * a(K1 * a(h) + b1) + b2` come first, and `a(h)` is the map. The vector is a linear map
    of the last one's mean over the pixels. As the network of an `EmbedCondition` it is evaluated
    once a call, and all blocks of a flow share what it gives.

    Args:
        image_shape: Height, width and channels of the picture.
        sizes: Height and width of each map by its name, the largest first.
        channels: Channels of the maps, one number or one for each.
        vector: Length of the entry "vector", or None for none.
        blocks: Number of residual blocks for each map.
        activation: Name of the activation, see `jinn.networks.MLP`.
        param_dtype: Type of the parameters.
        dtype: Type of the computation; None follows the input and the parameters.
        rngs: An int, a JAX key or `flax.nnx.Rngs`.

    Attributes:
        shapes: Shape of each map, and of the vector, by name.

    Raises:
        ValueError: If an option is out of range, or halving the picture does not give the sizes.
    """

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        sizes: Mapping[str, tuple[int, int]],
        *,
        channels: Sequence[int] | int = 32,
        vector: int | None = None,
        blocks: int = 1,
        activation: str = "silu",
        param_dtype: jax.typing.DTypeLike = jnp.float32,
        dtype: jax.typing.DTypeLike | None = None,
        rngs: int | jax.Array | nnx.Rngs,
    ) -> None:
        """See the class."""
        param_dtype = floating_type(param_dtype, "FeatureExtractor")
        widths: Any = (channels,) * len(sizes) if is_count(channels) else _listed(channels)
        if len(set(sizes.values())) < max(len(sizes), 1):
            raise ValueError(
                f"FeatureExtractor: expected the different sizes of one map or more, got {sizes}"
            )
        if len(widths) != len(sizes) or not all(map(is_count, widths)):
            raise ValueError(
                "FeatureExtractor: expected channels to be a positive integer, or one for each of "
                f"the {len(sizes)} maps, got {channels!r}"
            )
        if not (vector is None or is_count(vector)) or not (blocks == 0 or is_count(blocks)):
            raise ValueError(
                "FeatureExtractor: expected vector to be a positive integer or None, and blocks >= "
                f"0, got vector={vector!r}, blocks={blocks!r}"
            )
        activation_by_name(activation)
        self.image_shape, self.activation = tuple(image_shape), activation
        self.dtype = computing_type(dtype, "FeatureExtractor")
        halvings = _halvings(self.image_shape, sizes)
        self.halvings = tuple(zip(sizes, halvings, strict=True))
        shapes: dict[str, tuple[int, ...]] = {
            name: (*map(int, size), int(width))
            for (name, size), width in zip(sizes.items(), widths, strict=True)
        }
        if vector is not None:
            shapes["vector"] = (int(vector),)
        self._shapes = tuple(shapes.items())

        keys = iter(jax.random.split(as_key(rngs), halvings[-1] + 2 + blocks * len(widths)))
        # The channels before each halving, and behind the last: those of the next map.
        path = [
            next(width for width, at in zip(widths, halvings, strict=True) if at >= level)
            for level in range(halvings[-1] + 1)
        ]
        options: Any = {"param_dtype": param_dtype}
        steps = zip((image_shape[-1], *path[:-1]), path, strict=True)
        self.layers = nnx.data(
            tuple(_Layer((3, 3, *step), key=next(keys), **options) for step in steps)
        )
        options |= {"activation": activation, "dtype": dtype}
        self.blocks = nnx.data(
            tuple(
                tuple(
                    ConvNet(width, width, hidden=width, rngs=next(keys), **options)
                    for _ in range(blocks)
                )
                for width in widths
            )
        )
        head = (widths[-1], 0 if vector is None else int(vector))
        layer = _Layer(head, param_dtype=param_dtype, key=next(keys))
        self.head = None if vector is None else layer

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of each map, and of the vector, by name."""
        return dict(self._shapes)

    def __call__(
        self, picture: Float[Array, "*batch height width channels"]
    ) -> dict[str, Float[Array, "..."]]:
        """Evaluate the network.

        Args:
            picture: Pictures `(*batch, *image_shape)`.

        Returns:
            For each name maps `(*batch, height, width, channels)`, and for "vector" vectors.

        Raises:
            ValueError: If the pictures are of another shape.
        """
        if picture.shape[-3:] != self.image_shape:
            raise ValueError(
                f"FeatureExtractor: expected pictures of shape (*batch, *{self.image_shape}), got "
                f"{picture.shape}"
            )
        act = activation_by_name(self.activation)
        h = self._linear(self.layers[0], picture)
        maps: dict[str, Array] = {}
        level = 0
        for (name, at), blocks in zip(self.halvings, self.blocks, strict=True):
            for layer in self.layers[level + 1 : at + 1]:
                h = self._linear(layer, act(h), stride=2)
            level = at
            for block in blocks:
                h = h + block(act(h))
            maps[name] = act(h)
        if self.head is not None:
            maps["vector"] = self._linear(self.head, jnp.mean(act(h), axis=(-3, -2)))
        return maps

    def _linear(self, layer: "_Layer", x: Array, *, stride: int = 1) -> Array:
        kernel, bias = self._compute(layer.kernel[...]), self._compute(layer.bias[...])
        x = self._compute(x)
        y = x @ kernel if kernel.ndim == 2 else convolve(x, kernel, stride=stride)
        return add_batches(y, bias)

    def _compute(self, value: Array) -> Array:
        return value if self.dtype is None else value.astype(self.dtype)


class _Layer(nnx.Module):
    """The parameters of a linear map or a convolution."""

    def __init__(
        self, shape: tuple[int, ...], *, param_dtype: jax.typing.DTypeLike, key: jax.Array
    ) -> None:
        limit = math.sqrt(3.0 / math.prod(shape[:-1]))  # variance 1 / fan_in
        self.kernel = nnx.Param(jax.random.uniform(key, shape, param_dtype, -limit, limit))
        self.bias = nnx.Param(jnp.zeros(shape[-1:], param_dtype))


def _listed(value: Any) -> tuple[Any, ...]:
    return tuple(value) if isinstance(value, Sequence) else (value,)


def _halvings(
    image_shape: tuple[int, ...], sizes: Mapping[str, tuple[int, int]]
) -> tuple[int, ...]:
    """How often the picture is halved for each map."""
    found, level = [], 0
    (height, width), reached = image_shape[:2], tuple(image_shape[:2])
    for name, size in sizes.items():
        while reached[0] > size[0] and reached[0] % 2 == 0 and reached[1] % 2 == 0:
            reached, level = (reached[0] // 2, reached[1] // 2), level + 1
        if reached != tuple(size):
            wanted = f"{size[0]} x {size[1]}"
            raise ValueError(
                f"FeatureExtractor: halving a picture of {height} x {width} pixels does not give "
                f"the {wanted} of {name!r}; crop or resize pictures to {wanted}, "
                f"{2 * size[0]} x {2 * size[1]}, and so on"
            )
        found.append(level)
    return tuple(found)

"""Multi-scale flows of images."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from jinn.bijectors.actnorm import ActNorm
from jinn.bijectors.base import Bijector
from jinn.bijectors.chain import Chain
from jinn.bijectors.condition import EmbedCondition
from jinn.bijectors.coupling import Coupling, TwoSidedCoupling, half_mask
from jinn.bijectors.factor_out import FactorOut
from jinn.bijectors.haar import Haar
from jinn.bijectors.reshape import Reshape
from jinn.bijectors.shapes import array_shape, freeze_shape
from jinn.bijectors.squeeze import Squeeze
from jinn.bijectors.stack import Backprop, Stack
from jinn.bijectors.transformers import Affine, Transformer
from jinn.distributions.standard_normal import StandardNormal
from jinn.flows.flow import Flow
from jinn.flows.mixing import Mixing, check_mixing, make_mixing
from jinn.flows.specification import specified
from jinn.functional.coupling import coupling_sizes
from jinn.networks.condition import Pick
from jinn.networks.conv import ConvNet
from jinn.networks.features import FeatureExtractor
from jinn.networks.mlp import MLP
from jinn.networks.options import is_count, layer_widths
from jinn.networks.randomness import as_key

Downsample = Literal["haar", "squeeze"]


@dataclass(frozen=True)
class Stage:
    """A part of a `multiscale_flow`: halve the image, apply blocks, let channels leave.

    What is None is as the flow's argument of that name says.

    Args:
        downsample: "haar" or "squeeze" halves height and width first, None keeps them.
        depth: Number of blocks, 0 for none.
        hidden: Channels of the conditioners' hidden layers.
        kernel_size: Sizes of the conditioners' kernels, see `jinn.networks.ConvNet`.
        conditional: Whether the conditioners see the condition.
        mask: "channels" couples the last half of the channels to the first; "checkerboard" couples
            pixels to their neighbours, in two-sided blocks.
        keep: Number of channels that go on behind the blocks, the first ones; the others leave to
            the latent. None lets all go on.
        rebalance: Factor of the averages in "haar", see `jinn.bijectors.Haar`.
    """

    downsample: Downsample | None = None
    depth: int | None = None
    hidden: Sequence[int] | int | None = None
    kernel_size: Sequence[int] | int | None = None
    conditional: bool = True
    mask: Literal["channels", "checkerboard"] = "channels"
    keep: int | None = None
    rebalance: float = 1.0


@specified
def multiscale_flow(
    event_shape: Sequence[int],
    *,
    condition_shape: Sequence[int] | Mapping[str, Sequence[int]] | None = None,
    scales: int | Sequence[Stage | Mapping[str, Any]] = 3,
    depth: Sequence[int] | int = 4,
    hidden: Sequence[int] | int = (64, 64),
    kernel_size: Sequence[int] | int | None = None,
    downsample: Sequence[Downsample] | Downsample = "haar",
    mixing: Mixing = "plu",
    two_sided: bool = False,
    normalize: bool = True,
    clamp: float = 2.0,
    law: Literal["tanh", "arctan"] = "tanh",
    activation: str = "silu",
    fully_connected: int = 0,
    fully_connected_hidden: Sequence[int] | int = (256, 256),
    features: Sequence[int] | int = 32,
    feature_vector: int = 128,
    feature_blocks: int = 1,
    backprop: Backprop = "store",
    param_dtype: jax.typing.DTypeLike = jnp.float32,
    dtype: jax.typing.DTypeLike | None = None,
    rngs: int | jax.Array | nnx.Rngs,
) -> Flow:
    """Build a flow of images whose channels leave to a standard normal latent scale by scale.

    Each scale halves the image, applies a `Stack` of blocks (ActNorm, mixing of the channels,
    affine coupling by a `ConvNet`), and lets half of the channels leave. The latent is a dict:
    "scale_k" holds what leaves after k halvings, "last" what passes all. With nothing that leaves
    before the end it is an array.

    `multiscale_flow((32, 32, 3), scales=3, rngs=0)` has blocks at 16 x 16, 8 x 8 and 4 x 4 pixels.
    A list of `Stage`s in place of a number of scales describes any other network.

    Args:
        event_shape: Height, width and channels of x.
        condition_shape: Shape of one condition, or None. A vector `(n,)` reaches all pixels alike.
            A picture `(H, W, C)`, whose size is that of the image at the first conditional scale,
            or so many times doubled, goes through a `jinn.networks.FeatureExtractor`, once a call.
            A dict gives the feature maps themselves, "scale_k" for each k with conditional blocks,
            and "vector" for fully connected blocks that are conditional.
        scales: Number of scales, or the `Stage`s (as dicts, too) in their order.
        depth: Number of blocks at each scale, one number or one for each.
        hidden: Channels of the conditioners' hidden layers; equal ones are residual.
        kernel_size: Sizes of the conditioners' kernels, see `jinn.networks.ConvNet`. None takes 3
            in the first and last layer and 1 between, as Glow does.
        downsample: "haar" (averages and details) or "squeeze" (pixels to channels), or one for
            each scale.
        mixing: How channels are mixed before each coupling: "permute" (fixed random), "orthogonal"
            (fixed random), "learned_orthogonal", "householder" or "plu" (all three learned).
        two_sided: Transform both halves in each block, as in `jinn.bijectors.TwoSidedCoupling`.
        normalize: Put an ActNorm before each mixing.
        clamp: Bound of each coupling's log-scale.
        law: How log-scales are bounded, "tanh" or "arctan", see `jinn.bijectors.transformers`.
        activation: Name of all networks' activation, see `jinn.networks.MLP`.
        fully_connected: Number of fully connected blocks at the end, with permutations.
        fully_connected_hidden: Widths of their conditioners' hidden layers.
        features: Channels of the extractor's maps, one number or one for each.
        feature_vector: Length of the extractor's vector for the fully connected blocks.
        feature_blocks: Number of the extractor's residual blocks for each map.
        backprop: "store" or "remat", see `jinn.bijectors.Stack`.
        param_dtype: Type of the parameters.
        dtype: Type in which the networks compute; None follows the input.
        rngs: An int, a JAX key or `flax.nnx.Rngs`.

    Returns:
        A flow over images; log_prob and sample take one pass each.

    Raises:
        ValueError: If an image cannot be halved, a condition does not fit its scale, or an option
            is out of range or unknown.

    Reference:
        Glow: Generative Flow with Invertible 1x1 Convolutions (Kingma, Dhariwal, 2018),
        https://arxiv.org/abs/1807.03039; conditional, with Haar wavelets: Guided Image Generation
        with Conditional Invertible Neural Networks (Ardizzone et al., 2019),
        https://arxiv.org/abs/1907.02392
    """
    shape = array_shape(event_shape, "multiscale_flow event_shape")
    if len(shape) != 3 or min(shape) < 1:
        raise ValueError(
            "multiscale_flow: expected event_shape to be (height, width, channels), got "
            f"{event_shape}"
        )
    check_mixing(mixing, "multiscale_flow")
    if not fully_connected == 0 and not is_count(fully_connected):
        raise ValueError(
            "multiscale_flow: expected fully_connected to be a number of blocks >= 0, got "
            f"{fully_connected!r}"
        )
    stages = _stages(scales, depth, downsample, hidden, kernel_size)
    places = _places(shape, stages)
    key, feature_key = jax.random.split(as_key(rngs))
    whole: Any = None
    if condition_shape is not None:
        whole = freeze_shape(condition_shape, "multiscale_flow condition_shape")
    network, shapes = _conditioning(
        whole,
        {place.name: place.size for place in places if place.conditional},
        fully_connected > 0,
        channels=features,
        vector=feature_vector,
        blocks=feature_blocks,
        activation=activation,
        param_dtype=param_dtype,
        dtype=dtype,
        rngs=feature_key,
    )
    block: Any = {
        "mixing": mixing,
        "two_sided": two_sided,
        "normalize": normalize,
        "transformer": Affine(clamp, law),
        "activation": activation,
        "param_dtype": param_dtype,
        "dtype": dtype,
    }
    keys = jax.random.split(key, len(stages) + 1)
    end: list[Bijector] = []
    if fully_connected:
        last = places[-1].out
        n = math.prod(last)
        block_of_vectors = block | {"mixing": "permute", "hidden": fully_connected_hidden}
        vectors = _Blocks(np.array(half_mask(n)), "vector", MLP, **block_of_vectors)
        end = [Reshape(last, (n,)), vectors.stack(shapes, fully_connected, backprop, keys[-1])]
    for place, stage_key in reversed(list(zip(places, keys[:-1], strict=True))):
        if place.out != place.shape:  # some channels leave
            rest = Chain(end) if end else None
            end = [FactorOut(place.shape, place.out[-1], rest=rest, names=(place.name, "last"))]
        end = [*_stage(place, shapes, backprop, stage_key, block), *end]
    bijector: Bijector = Chain(end)
    if network is not None:
        bijector = EmbedCondition(bijector, network, whole)
    return Flow(bijector, StandardNormal(bijector.event_shape_out))


@dataclass(frozen=True)
class _Place:
    """A stage with the shapes of its events: before, in and behind its blocks."""

    stage: Stage
    name: str
    start: tuple[int, ...]
    shape: tuple[int, ...]
    out: tuple[int, ...]

    @property
    def size(self) -> tuple[int, int]:
        return self.shape[0], self.shape[1]

    @property
    def conditional(self) -> bool:
        return self.stage.conditional and bool(self.stage.depth)


def _stages(scales: Any, depth: Any, downsample: Any, hidden: Any, kernel_size: Any) -> list[Stage]:
    """The stages, with the flow's arguments where they say nothing."""
    if is_count(scales):
        depths = _one_each(depth, scales, "depth")
        kinds = _one_each(downsample, scales, "downsample")
        half = [-1] * (scales - 1) + [None]
        stages = [
            Stage(kind, n, keep=keep) for kind, n, keep in zip(kinds, depths, half, strict=True)
        ]
    elif isinstance(scales, Sequence) and scales and not isinstance(scales, str):
        depths = _one_each(depth, len(scales), "depth")
        stages = [_as_stage(stage, default) for stage, default in zip(scales, depths, strict=True)]
    else:
        raise ValueError(
            "multiscale_flow: expected scales to be a number such as 3, or a list of Stages, got "
            f"{scales!r}"
        )
    complete = []
    for i, stage in enumerate(stages):
        name = f"multiscale_flow: stage {i}"
        widths = hidden if stage.hidden is None else stage.hidden
        widths = layer_widths(widths, name)
        sizes = kernel_size if stage.kernel_size is None else stage.kernel_size
        if sizes is None:
            sizes = (3, *[1] * (len(widths) - 1), 3)
        if not (stage.depth == 0 or is_count(stage.depth)):
            raise ValueError(f"{name}: expected depth >= 0, got {stage.depth!r}")
        if stage.downsample not in ("haar", "squeeze", None):
            raise ValueError(
                f'{name}: expected downsample to be "haar", "squeeze" or, in a Stage, None, got '
                f"{stage.downsample!r}"
            )
        if stage.mask not in ("channels", "checkerboard"):
            raise ValueError(
                f'{name}: expected mask to be "channels" or "checkerboard", got {stage.mask!r}'
            )
        complete.append(replace(stage, hidden=widths, kernel_size=sizes))
    return complete


def _as_stage(stage: Any, depth: int) -> Stage:
    known = {field.name for field in fields(Stage)}
    if isinstance(stage, Mapping) and set(stage) <= known:
        stage = Stage(**stage)
    if not isinstance(stage, Stage):
        raise ValueError(
            f"multiscale_flow: expected Stages, or dicts with keys of {sorted(known)}, got "
            f"{stage!r}"
        )
    return stage if stage.depth is not None else replace(stage, depth=depth)


def _one_each(value: Any, n: int, name: str) -> list[Any]:
    values = [value] * n if isinstance(value, int | str) else value
    if not isinstance(values, Sequence) or len(values) != n:
        raise ValueError(
            f"multiscale_flow: expected {name} to be one value, or one for each of {n} scales, got "
            f"{value!r}"
        )
    return list(values)


def _places(shape: tuple[int, ...], stages: list[Stage]) -> list[_Place]:
    """The stages with their shapes, which are checked."""
    places, halvings = [], 0
    left: set[str] = set()
    for i, stage in enumerate(stages):
        name = f"multiscale_flow: stage {i}"
        start = shape
        if stage.downsample is not None:
            height, width, channels = shape
            if height % 2 or width % 2:
                unit = 2 ** (halvings + 1)
                raise ValueError(
                    f"{name} cannot halve images of {height} x {width} pixels, the event after "
                    f"{halvings} halvings; crop or pad events to multiples of {unit} pixels, or "
                    "use fewer scales"
                )
            shape, halvings = (height // 2, width // 2, 4 * channels), halvings + 1
        channels = shape[-1]
        if stage.depth and stage.mask == "channels" and channels < 2:
            raise ValueError(
                f"{name} has one channel and couples by channels; use "
                'Stage(mask="checkerboard"), or halve the image first'
            )
        keep = channels // 2 if stage.keep == -1 else stage.keep
        if keep is not None and not (is_count(keep) and keep < channels):
            raise ValueError(
                f"{name}: expected keep to be 1 to {channels - 1} of its {channels} channels, or "
                f"None for all, got {keep!r}"
            )
        out = shape if keep is None else (*shape[:2], int(keep))
        place = _Place(stage, f"scale_{halvings}", start, shape, out)
        if out != shape and place.name in left:
            raise ValueError(
                f"{name}: channels left {halvings} halvings down already, as {place.name!r}; let "
                "all leave in one stage, or halve the image between"
            )
        left |= {place.name} if out != shape else set()
        places.append(place)
        shape = out
    return places


def _conditioning(
    condition_shape: Any, sizes: dict[str, Any], fully_connected: bool, **options: Any
) -> tuple[FeatureExtractor | None, Any]:
    """The network of the condition, if any, and the shape of what the blocks get."""
    if condition_shape is None:
        return None, None
    if not sizes and not fully_connected:
        raise ValueError(
            "multiscale_flow: got a condition_shape, but no stage is conditional; let one be, or "
            "leave it out"
        )
    if isinstance(condition_shape, dict):
        _check_maps(condition_shape, sizes, fully_connected)
        return None, condition_shape
    if len(condition_shape) == 1:
        return None, condition_shape
    if len(condition_shape) != 3:
        raise ValueError(
            "multiscale_flow: expected condition_shape to be that of a vector (n,), of a picture "
            f"(height, width, channels), or of feature maps by name, got {condition_shape}"
        )
    if not sizes:
        raise ValueError(
            "multiscale_flow: a picture as the condition needs a conditional stage; for fully "
            "connected blocks alone give a vector"
        )
    if not fully_connected:
        options["vector"] = None
    network = FeatureExtractor(condition_shape, sizes, **options)
    return network, network.shapes


def _check_maps(shapes: Any, sizes: dict[str, Any], fully_connected: bool) -> None:
    """Check feature maps that a user gives."""
    allowed = {*sizes, "vector"} if fully_connected else set(sizes)
    if not set(sizes) <= set(shapes) <= allowed:
        raise ValueError(
            f"multiscale_flow: expected a feature map for each of {sorted(sizes)}"
            f"{', and perhaps a vector' if fully_connected else ''}, got the entries "
            f"{sorted(shapes)}"
        )
    for name, size in sizes.items():
        if len(shapes[name]) != 3 or shapes[name][:2] != size:
            raise ValueError(
                f"multiscale_flow: expected the feature map {name!r} to be of shape "
                f"({size[0]}, {size[1]}, channels), the image's size there, got {shapes[name]}"
            )
    if len(shapes.get("vector", (1,))) != 1:
        raise ValueError(
            f'multiscale_flow: expected "vector" to be of shape (n,), got {shapes["vector"]}'
        )


def _stage(
    place: _Place, shapes: Any, backprop: Backprop, key: jax.Array, block: dict[str, Any]
) -> list[Bijector]:
    """A stage's bijectors, but for what leaves."""
    stage, members = place.stage, []
    if stage.downsample == "haar":
        members.append(Haar(place.start, rebalance=stage.rebalance))
    elif stage.downsample == "squeeze":
        members.append(Squeeze(place.start))
    if not stage.depth:
        return members
    height, width, channels = place.shape
    mask = np.broadcast_to(half_mask(channels), place.shape)
    if stage.mask == "checkerboard":
        board = (np.arange(height)[:, None] + np.arange(width)) % 2 == 1
        mask = np.broadcast_to(board[..., None], place.shape)
        block = block | {"two_sided": True}
    hidden: Any = stage.hidden
    network = partial(ConvNet, kernel_size=stage.kernel_size, residual=len(set(hidden)) == 1)
    name = place.name if stage.conditional else None
    blocks = _Blocks(mask, name, network, **block, hidden=hidden)
    return [*members, blocks.stack(shapes, stage.depth, backprop, key)]


@dataclass(frozen=True)
class _Blocks:
    """Blocks of ActNorm (if they are normalised), mixing and coupling, of images or vectors."""

    mask: np.ndarray
    entry: str | None
    """The entry of a dict condition that they see; None for unconditional ones."""
    network: Callable[..., nnx.Module]
    mixing: Mixing
    two_sided: bool
    normalize: bool
    transformer: Transformer
    hidden: Sequence[int] | int
    activation: str
    param_dtype: Any
    dtype: Any

    def stack(
        self, shapes: Any, depth: int, backprop: Backprop, key: jax.Array
    ) -> Stack | EmbedCondition:
        """A number of them, given the shape of the flow's condition or embedding."""
        if not isinstance(shapes, dict) or self.entry not in shapes:
            shape = None if isinstance(shapes, dict) or self.entry is None else shapes
            return Stack(partial(self.make, shape), depth, rngs=key, backprop=backprop)
        make = partial(self.make, shapes[self.entry])
        stack = Stack(make, depth, rngs=key, backprop=backprop)
        return EmbedCondition(stack, Pick(self.entry), shapes)

    def make(self, condition_shape: Any, key: jax.Array) -> Bijector:
        """One block."""
        shape = self.mask.shape
        keys = jax.random.split(key, 3)
        mix = make_mixing(
            self.mixing,
            shape,
            keys[0],
            leaving=None if self.two_sided else half_mask(shape[-1]),
            param_dtype=self.param_dtype,
        )
        masks = (self.mask, ~self.mask)[: 1 + self.two_sided]
        sizes = [coupling_sizes(mask) for mask in masks]
        networks = [
            self.network(
                n_in,
                self.transformer.n_params * n_out,
                hidden=self.hidden,
                condition_shape=condition_shape,
                activation=self.activation,
                param_dtype=self.param_dtype,
                dtype=self.dtype,
                rngs=network_key,
            )
            for (n_in, n_out), network_key in zip(sizes, keys[1:], strict=False)
        ]
        options: Any = {
            "mask": self.mask,
            "transformer": self.transformer,
            "condition_shape": condition_shape,
        }
        if self.two_sided:
            couple = TwoSidedCoupling(shape, conditioners=(networks[0], networks[1]), **options)
        else:
            couple = Coupling(shape, conditioner=networks[0], **options)
        normalization = [ActNorm(shape, param_dtype=self.param_dtype)] if self.normalize else []
        return Chain([*normalization, mix, couple])

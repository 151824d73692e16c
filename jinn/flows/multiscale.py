"""Multi-scale flows of images."""

import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from jinn.bijectors.base import Bijector
from jinn.bijectors.chain import Chain
from jinn.bijectors.condition import EmbedCondition
from jinn.bijectors.coupling import channel_mask, checkerboard_mask, half_mask
from jinn.bijectors.factor_out import FactorOut
from jinn.bijectors.reshape import Haar, Reshape, Squeeze
from jinn.bijectors.shapes import array_shape, freeze_shape
from jinn.bijectors.split import Split
from jinn.bijectors.stack import Backprop
from jinn.bijectors.transformers import Affine
from jinn.distributions.standard_normal import StandardNormal
from jinn.flows.blocks import Blocks
from jinn.flows.flow import Flow
from jinn.flows.mixing import Mixing, check_mixing
from jinn.flows.specification import specified
from jinn.flows.stages import Downsample, Place, Stage, complete_stages, place_stages
from jinn.networks.conv import ConvNet
from jinn.networks.features import FeatureExtractor
from jinn.networks.mlp import MLP, named_shapes
from jinn.networks.options import is_count
from jinn.networks.randomness import as_key


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
        backprop: "store", "remat" or "invert", see `jinn.bijectors.Stack`.
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
    stages = complete_stages(
        scales, depth=depth, downsample=downsample, hidden=hidden, kernel_size=kernel_size
    )
    places = place_stages(shape, stages)
    whole: Any = None
    if condition_shape is not None:
        whole = freeze_shape(condition_shape, "multiscale_flow condition_shape")
    block: Any = {
        "mixing": mixing,
        "two_sided": two_sided,
        "normalize": normalize,
        "transformer": Affine(clamp, law),
        "activation": activation,
        "param_dtype": param_dtype,
        "dtype": dtype,
    }

    key, feature_key = jax.random.split(as_key(rngs))
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
    keys = jax.random.split(key, len(stages) + 1)
    end: list[Bijector] = []
    if fully_connected:
        last = places[-1].out
        n = math.prod(last)
        block_of_vectors = block | {"mixing": "permute", "hidden": fully_connected_hidden}
        vectors = Blocks(np.array(half_mask(n)), "vector", MLP, **block_of_vectors)
        end = [Reshape(last, (n,)), vectors.stack(shapes, fully_connected, backprop, keys[-1])]
    for place, stage_key in reversed(list(zip(places, keys[:-1], strict=True))):
        if place.leaving:
            end = [_factor_out(place, end)]
        end = [*_stage(place, shapes, backprop, stage_key, block), *end]
    bijector: Bijector = Chain(end)
    if network is not None:
        bijector = EmbedCondition(bijector, network, whole)
    return Flow(bijector, StandardNormal(bijector.event_shape_out))


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
    if any(0 in shape for shape in named_shapes(condition_shape).values()):
        raise ValueError(
            f"multiscale_flow: expected conditions of at least one element, got {condition_shape}"
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
    place: Place, shapes: Any, backprop: Backprop, key: jax.Array, block: dict[str, Any]
) -> list[Bijector]:
    """A stage's bijectors, but for what leaves."""
    stage, members = place.stage, []
    if stage.downsample == "haar":
        members.append(Haar(place.start, rebalance=stage.rebalance))
    elif stage.downsample == "squeeze":
        members.append(Squeeze(place.start))
    if not stage.depth:
        return members
    if stage.mask == "checkerboard":
        mask = checkerboard_mask(place.shape)
        block = block | {"two_sided": True}
    else:
        mask = channel_mask(place.shape)
    hidden: Any = stage.hidden
    sizes: Any = stage.kernel_size
    network = partial(ConvNet, kernel_size=sizes, residual=len(set(hidden)) == 1)
    name = place.name if stage.conditional else None
    blocks = Blocks(mask, name, network, **block, hidden=hidden)
    return [*members, blocks.stack(shapes, stage.depth, backprop, key)]


def _factor_out(place: Place, rest: list[Bijector]) -> Bijector:
    """Let the last channels leave; the others go through the rest, if any."""
    if not rest:
        return Split(place.shape, {"last": place.out[-1], place.name: place.leaving})
    chain = Chain(rest)
    rest_name = None if isinstance(chain.event_shape_out, dict) else "last"
    return FactorOut(chain, channels=place.leaving, name=place.name, rest_name=rest_name)

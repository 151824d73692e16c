"""Named flows made of autoregressive layers."""

from collections.abc import Sequence
from numbers import Integral
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import nnx

from jinn.bijectors.actnorm import ActNorm
from jinn.bijectors.autoregressive import MaskedAutoregressive
from jinn.bijectors.base import Bijector
from jinn.bijectors.chain import Chain, Invert
from jinn.bijectors.coupling import half_mask
from jinn.bijectors.stack import Backprop, Stack
from jinn.bijectors.transformers import (
    Additive,
    Affine,
    Composed,
    RationalQuadraticSpline,
    Sigmoidal,
)
from jinn.bijectors.transformers import Transformer as TransformerObject
from jinn.distributions.standard_normal import StandardNormal
from jinn.flows.flow import Flow
from jinn.flows.mixing import MixingOrReverse, check_mixing, make_mixing
from jinn.flows.specification import specified

Transformer = Literal["additive", "affine", "rational_quadratic_spline", "sigmoidal"]
UNROLLED_DEPTH = 6
"""Up to so many blocks are written out in the fast direction, see `jinn.bijectors.Stack`."""


@specified
def maf(
    event_dim: int,
    *,
    condition_dim: int = 0,
    depth: int = 5,
    hidden: Sequence[int] | int = (128, 128),
    mixing: MixingOrReverse = "permute",
    transformer: Transformer = "affine",
    clamp: float = 2.0,
    law: Literal["tanh", "arctan"] = "tanh",
    bins: int = 8,
    bound: float = 5.0,
    units: int = 8,
    activation: str = "silu",
    residual: bool = False,
    backprop: Backprop = "store",
    param_dtype: jax.typing.DTypeLike = jnp.float32,
    dtype: jax.typing.DTypeLike | None = None,
    rngs: int | jax.Array | nnx.Rngs,
) -> Flow:
    """Build a masked autoregressive flow: ActNorm, mixing, and z_i = T(x_i; x_<i, c) in a stack.

    The base is a standard normal. `log_prob` takes one pass, `sample` one loop over the elements in
    each block. `iaf` has the costs the other way round, and learns from a trained `maf` by
    `jinn.losses.distillation`.

    Args:
        event_dim: Length of x.
        condition_dim: Length of the condition, 0 for none.
        depth: Number of blocks.
        hidden: Widths of each conditioner's hidden layers.
        mixing: What is done before each layer, so that all elements come to depend on all others:
            "permute" (fixed random, late elements tend to become early ones), "reverse" (the
            paper's), "orthogonal" (fixed random), "learned_orthogonal", "householder" or "plu" (all
            three learned).
        transformer: "affine" (the paper's), "additive", or one that scales and shifts an element
            before it bends it: "rational_quadratic_spline", or "sigmoidal", a monotone network
            (neural autoregressive flow).
        clamp: Bound of each layer's log-scale.
        law: How log-scales are bounded, "tanh" or "arctan", see `jinn.bijectors.transformers`.
        bins: Number of bins of each spline.
        bound: The splines act on [-bound, bound] and are the identity outside.
        units: Number of sigmoids of each monotone network.
        activation: Name of the conditioners' activation, see `jinn.networks.MLP`.
        residual: Whether hidden layers of equal width add to their input.
        backprop: "store", "remat" or "invert", see `jinn.bijectors.Stack`.
        param_dtype: Type of the parameters.
        dtype: Type in which the conditioners compute; None follows the input.
        rngs: An int, a JAX key or `flax.nnx.Rngs`.

    Returns:
        A flow over vectors; log_prob is fast, sample is slow.

    Raises:
        ValueError: If an option is out of range or unknown.

    Reference:
        Masked Autoregressive Flow for Density Estimation (Papamakarios, Pavlakou, Murray, 2017),
        https://arxiv.org/abs/1705.07057; with splines: Neural Spline Flows (Durkan, Bekasov,
        Murray, Papamakarios, 2019), https://arxiv.org/abs/1906.04032; with monotone networks:
        Neural Autoregressive Flows (Huang, Krueger, Lacoste, Courville, 2018),
        https://arxiv.org/abs/1804.00779
    """
    return _autoregressive_flow(
        "maf",
        event_dim,
        _transformer(transformer, clamp, law, bins, bound, units, "maf"),
        inverse=False,
        condition_dim=condition_dim,
        depth=depth,
        mixing=mixing,
        backprop=backprop,
        rngs=rngs,
        hidden=hidden,
        activation=activation,
        residual=residual,
        param_dtype=param_dtype,
        dtype=dtype,
    )


@specified
def iaf(
    event_dim: int,
    *,
    condition_dim: int = 0,
    depth: int = 5,
    hidden: Sequence[int] | int = (128, 128),
    mixing: MixingOrReverse = "permute",
    transformer: Transformer = "affine",
    clamp: float = 2.0,
    law: Literal["tanh", "arctan"] = "tanh",
    bins: int = 8,
    bound: float = 5.0,
    units: int = 8,
    activation: str = "silu",
    residual: bool = False,
    backprop: Backprop = "store",
    param_dtype: jax.typing.DTypeLike = jnp.float32,
    dtype: jax.typing.DTypeLike | None = None,
    rngs: int | jax.Array | nnx.Rngs,
) -> Flow:
    """Build an inverse autoregressive flow: ActNorm, mixing, and x_i = T(z_i; z_<i, c) in a stack.

    The base is a standard normal. `sample` and `sample_and_log_prob` take one pass, `log_prob` of
    other data one loop over the elements in each block. So it is trained on its own samples, by
    `jinn.losses.distillation` from a `maf`, for instance.

    Args:
        event_dim: Length of x.
        condition_dim: Length of the condition, 0 for none.
        depth: Number of blocks.
        hidden: Widths of each conditioner's hidden layers.
        mixing: What is done before each layer, so that all elements come to depend on all others:
            "permute" (fixed random, late elements tend to become early ones), "reverse",
            "orthogonal" (fixed random), "learned_orthogonal", "householder" or "plu" (all three
            learned).
        transformer: "affine" (the paper's), "additive", or one that scales and shifts an element
            before it bends it: "rational_quadratic_spline", or "sigmoidal", a monotone network
            (neural autoregressive flow).
        clamp: Bound of each layer's log-scale.
        law: How log-scales are bounded, "tanh" or "arctan", see `jinn.bijectors.transformers`.
        bins: Number of bins of each spline.
        bound: The splines act on [-bound, bound] and are the identity outside.
        units: Number of sigmoids of each monotone network.
        activation: Name of the conditioners' activation, see `jinn.networks.MLP`.
        residual: Whether hidden layers of equal width add to their input.
        backprop: "store", "remat" or "invert", see `jinn.bijectors.Stack`.
        param_dtype: Type of the parameters.
        dtype: Type in which the conditioners compute; None follows the input.
        rngs: An int, a JAX key or `flax.nnx.Rngs`.

    Returns:
        A flow over vectors; sample is fast, log_prob is slow.

    Raises:
        ValueError: If an option is out of range or unknown.

    Reference:
        Improving Variational Inference with Inverse Autoregressive Flow (Kingma, Salimans,
        Jozefowicz, Chen, Sutskever, Welling, 2016), https://arxiv.org/abs/1606.04934
    """
    return _autoregressive_flow(
        "iaf",
        event_dim,
        _transformer(transformer, clamp, law, bins, bound, units, "iaf"),
        inverse=True,
        condition_dim=condition_dim,
        depth=depth,
        mixing=mixing,
        backprop=backprop,
        rngs=rngs,
        hidden=hidden,
        activation=activation,
        residual=residual,
        param_dtype=param_dtype,
        dtype=dtype,
    )


def _transformer(
    kind: str,
    clamp: float,
    law: Literal["tanh", "arctan"],
    bins: int,
    bound: float,
    units: int,
    name: str,
) -> TransformerObject:
    affine = Affine(clamp, law)
    made = {
        "additive": Additive(),
        "affine": affine,
        "rational_quadratic_spline": Composed((affine, RationalQuadraticSpline(bins, bound))),
        "sigmoidal": Composed((affine, Sigmoidal(units))),
    }
    if kind not in made:
        raise ValueError(
            f"{name}: expected transformer to be one of {sorted(made)}, got {kind!r}; others go "
            "into MaskedAutoregressive"
        )
    return made[kind]


def _autoregressive_flow(
    name: str,
    event_dim: int,
    transformer: TransformerObject,
    *,
    inverse: bool,
    condition_dim: int,
    depth: int,
    mixing: MixingOrReverse,
    backprop: Backprop,
    rngs: int | jax.Array | nnx.Rngs,
    **conditioner: Any,
) -> Flow:
    """Blocks of ActNorm, mixing and an autoregressive layer, or its inverse."""
    least = ((event_dim, 1), (condition_dim, 0), (depth, 1))
    if not all(isinstance(size, Integral) and size >= minimum for size, minimum in least):
        raise ValueError(
            f"{name}: expected integers event_dim >= 1, condition_dim >= 0 and depth >= 1, got "
            f"event_dim={event_dim}, condition_dim={condition_dim}, depth={depth}"
        )
    check_mixing(mixing, name, allowed=MixingOrReverse)
    event_shape, param_dtype = (event_dim,), conditioner["param_dtype"]

    def make_block(key: jax.Array) -> Bijector:
        mixing_key, layer_key = jax.random.split(key)
        mix = make_mixing(
            mixing,
            event_shape,
            mixing_key,
            leaving=half_mask(event_dim),
            param_dtype=param_dtype,
        )
        layer = MaskedAutoregressive(
            event_shape,
            transformer=transformer,
            condition_shape=(condition_dim,) if condition_dim else None,
            rngs=layer_key,
            **conditioner,
        )
        last = Invert(layer) if inverse else layer
        return Chain([ActNorm(event_shape, param_dtype=param_dtype), mix, last])

    unroll = depth <= UNROLLED_DEPTH
    stack = Stack(make_block, depth, rngs=rngs, backprop=backprop, unroll=unroll)
    return Flow(stack, StandardNormal(event_shape))

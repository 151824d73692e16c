"""Named flows made of coupling layers."""

from collections.abc import Sequence
from numbers import Integral
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import nnx

from jinn.bijectors.actnorm import ActNorm
from jinn.bijectors.base import Bijector
from jinn.bijectors.chain import Chain
from jinn.bijectors.coupling import Coupling, TwoSidedCoupling, half_mask
from jinn.bijectors.stack import Backprop, Stack
from jinn.bijectors.transformers import (
    Additive,
    Affine,
    Composed,
    RationalQuadraticSpline,
    Transformer,
    VolumePreserving,
)
from jinn.distributions.location_scale import Normal
from jinn.distributions.standard_normal import StandardNormal
from jinn.flows.flow import Flow
from jinn.flows.mixing import Mixing, check_mixing, make_mixing
from jinn.flows.specification import specified


@specified
def real_nvp(
    event_dim: int,
    *,
    condition_dim: int = 0,
    depth: int = 8,
    hidden: Sequence[int] | int = (128, 128),
    mixing: Mixing = "permute",
    two_sided: bool = False,
    separate_networks: bool = False,
    clamp: float = 2.0,
    law: Literal["tanh", "arctan"] = "tanh",
    activation: str = "silu",
    backprop: Backprop = "store",
    param_dtype: jax.typing.DTypeLike = jnp.float32,
    dtype: jax.typing.DTypeLike | None = None,
    rngs: int | jax.Array | nnx.Rngs,
) -> Flow:
    """Build a Real NVP: a stack of ActNorm, mixing and affine coupling over a standard normal.

    `two_sided=True, separate_networks=True, clamp=4.0, law="arctan"` make the blocks of the first
    INN papers.

    Args:
        event_dim: Length of x.
        condition_dim: Length of the condition, 0 for none.
        depth: Number of blocks.
        hidden: Widths of each conditioner's hidden layers.
        mixing: How elements are mixed before each coupling: "permute" (fixed random), "orthogonal"
            (fixed random), "learned_orthogonal", "householder" or "plu" (all three learned).
        two_sided: Transform both halves in each block, as in `jinn.bijectors.TwoSidedCoupling`.
        separate_networks: Compute scales and shifts by networks of their own.
        clamp: Bound of each coupling's log-scale.
        law: How log-scales are bounded, "tanh" or "arctan", see `jinn.bijectors.transformers`.
        activation: Name of the conditioners' activation, see `jinn.networks.MLP`.
        backprop: "store", "remat" or "invert", see `jinn.bijectors.Stack`.
        param_dtype: Type of the parameters.
        dtype: Type in which the conditioners compute; None follows the input.
        rngs: An int, a JAX key or `flax.nnx.Rngs`.

    Returns:
        A flow over vectors; log_prob and sample take one pass each.

    Raises:
        ValueError: If an option is out of range or unknown.

    Reference:
        Density estimation using Real NVP (Dinh, Sohl-Dickstein, Bengio, 2017),
        https://arxiv.org/abs/1605.08803; as a conditional INN: Guided Image Generation with
        Conditional Invertible Neural Networks (Ardizzone et al., 2019),
        https://arxiv.org/abs/1907.02392
    """
    stack = _coupling_stack(
        "real_nvp",
        Affine(clamp, law),
        event_dim,
        condition_dim=condition_dim,
        depth=depth,
        mixing=mixing,
        two_sided=two_sided,
        backprop=backprop,
        rngs=rngs,
        hidden=hidden,
        separate_networks=separate_networks,
        activation=activation,
        param_dtype=param_dtype,
        dtype=dtype,
    )
    return Flow(stack, StandardNormal((event_dim,)))


@specified
def neural_spline_flow(
    event_dim: int,
    *,
    condition_dim: int = 0,
    depth: int = 6,
    hidden: Sequence[int] | int = (128, 128),
    mixing: Mixing = "permute",
    two_sided: bool = False,
    bins: int = 8,
    bound: float = 5.0,
    affine: bool = True,
    activation: str = "silu",
    backprop: Backprop = "store",
    param_dtype: jax.typing.DTypeLike = jnp.float32,
    dtype: jax.typing.DTypeLike | None = None,
    rngs: int | jax.Array | nnx.Rngs,
) -> Flow:
    """Build a neural spline flow: ActNorm, mixing and spline couplings over a standard normal.

    Args:
        event_dim: Length of x.
        condition_dim: Length of the condition, 0 for none.
        depth: Number of blocks.
        hidden: Widths of each conditioner's hidden layers.
        mixing: How elements are mixed before each coupling: "permute" (fixed random), "orthogonal"
            (fixed random), "learned_orthogonal", "householder" or "plu" (all three learned).
        two_sided: Transform both halves in each block, as in `jinn.bijectors.TwoSidedCoupling`.
        bins: Number of bins of each spline.
        bound: The splines act on [-bound, bound] and are the identity outside.
        affine: Scale and shift every element, by the conditioner too, before its spline. A narrow
            peak is then moved by one number, and the tails are affine. False is the paper's form.
        activation: Name of the conditioners' activation, see `jinn.networks.MLP`.
        backprop: "store", "remat" or "invert", see `jinn.bijectors.Stack`.
        param_dtype: Type of the parameters.
        dtype: Type in which the conditioners compute; None follows the input.
        rngs: An int, a JAX key or `flax.nnx.Rngs`.

    Returns:
        A flow over vectors; log_prob and sample take one pass each.

    Raises:
        ValueError: If an option is out of range or unknown.

    Reference:
        Neural Spline Flows (Durkan, Bekasov, Murray, Papamakarios, 2019),
        https://arxiv.org/abs/1906.04032
    """
    spline = RationalQuadraticSpline(bins, bound)
    stack = _coupling_stack(
        "neural_spline_flow",
        Composed((Affine(), spline)) if affine else spline,
        event_dim,
        condition_dim=condition_dim,
        depth=depth,
        mixing=mixing,
        two_sided=two_sided,
        backprop=backprop,
        rngs=rngs,
        hidden=hidden,
        activation=activation,
        param_dtype=param_dtype,
        dtype=dtype,
    )
    return Flow(stack, StandardNormal((event_dim,)))


@specified
def nice(
    event_dim: int,
    *,
    condition_dim: int = 0,
    depth: int = 8,
    hidden: Sequence[int] | int = (128, 128),
    mixing: Mixing = "permute",
    two_sided: bool = False,
    activation: str = "silu",
    backprop: Backprop = "store",
    param_dtype: jax.typing.DTypeLike = jnp.float32,
    dtype: jax.typing.DTypeLike | None = None,
    rngs: int | jax.Array | nnx.Rngs,
) -> Flow:
    """Build NICE: mixing and additive couplings, then one scaling, over a standard normal.

    The scaling is an ActNorm, so that the first batch sets it.

    Args:
        event_dim: Length of x.
        condition_dim: Length of the condition, 0 for none.
        depth: Number of blocks.
        hidden: Widths of each conditioner's hidden layers.
        mixing: How elements are mixed before each coupling: "permute" (fixed random), "orthogonal"
            (fixed random), "learned_orthogonal", "householder" or "plu" (all three learned).
        two_sided: Transform both halves in each block, as in `jinn.bijectors.TwoSidedCoupling`.
        activation: Name of the conditioners' activation, see `jinn.networks.MLP`.
        backprop: "store", "remat" or "invert", see `jinn.bijectors.Stack`.
        param_dtype: Type of the parameters.
        dtype: Type in which the conditioners compute; None follows the input.
        rngs: An int, a JAX key or `flax.nnx.Rngs`.

    Returns:
        A flow over vectors; log_prob and sample take one pass each.

    Raises:
        ValueError: If an option is out of range or unknown.

    Reference:
        NICE: Non-linear Independent Components Estimation (Dinh, Krueger, Bengio, 2014),
        https://arxiv.org/abs/1410.8516
    """
    stack = _coupling_stack(
        "nice",
        Additive(),
        event_dim,
        condition_dim=condition_dim,
        depth=depth,
        mixing=mixing,
        two_sided=two_sided,
        normalize=False,
        backprop=backprop,
        rngs=rngs,
        hidden=hidden,
        activation=activation,
        param_dtype=param_dtype,
        dtype=dtype,
    )
    scaling = ActNorm((event_dim,), param_dtype=param_dtype)
    return Flow(Chain([stack, scaling]), StandardNormal((event_dim,)))


@specified
def gin(
    event_dim: int,
    *,
    condition_dim: int = 0,
    depth: int = 8,
    hidden: Sequence[int] | int = (128, 128),
    mixing: Mixing = "permute",
    two_sided: bool = False,
    clamp: float = 2.0,
    law: Literal["tanh", "arctan"] = "tanh",
    activation: str = "silu",
    backprop: Backprop = "store",
    param_dtype: jax.typing.DTypeLike = jnp.float32,
    dtype: jax.typing.DTypeLike | None = None,
    rngs: int | jax.Array | nnx.Rngs,
) -> Flow:
    """Build GIN: mixing and volume-preserving couplings over a normal with learned scales.

    The log-determinant of the whole map is exactly 0. With fewer than three elements a one-sided
    coupling can only shift.

    Args:
        event_dim: Length of x.
        condition_dim: Length of the condition, 0 for none.
        depth: Number of blocks.
        hidden: Widths of each conditioner's hidden layers.
        mixing: How elements are mixed before each coupling: "permute" (fixed random), "orthogonal"
            (fixed random), "learned_orthogonal", "householder" or "plu" (all three learned).
        two_sided: Transform both halves in each block, as in `jinn.bijectors.TwoSidedCoupling`.
        clamp: Bound of each coupling's log-scales before their mean is taken out.
        law: How log-scales are bounded, "tanh" or "arctan", see `jinn.bijectors.transformers`.
        activation: Name of the conditioners' activation, see `jinn.networks.MLP`.
        backprop: "store", "remat" or "invert", see `jinn.bijectors.Stack`.
        param_dtype: Type of the parameters.
        dtype: Type in which the conditioners compute; None follows the input.
        rngs: An int, a JAX key or `flax.nnx.Rngs`.

    Returns:
        A flow over vectors; log_prob and sample take one pass each.

    Raises:
        ValueError: If an option is out of range or unknown.

    Reference:
        Disentanglement by Nonlinear ICA with General Incompressible-flow Networks (GIN)
        (Sorrenson, Rother, Kothe, 2020), https://arxiv.org/abs/2001.04872
    """
    stack = _coupling_stack(
        "gin",
        VolumePreserving(clamp, law),
        event_dim,
        condition_dim=condition_dim,
        depth=depth,
        mixing=mixing,
        two_sided=two_sided,
        normalize=False,
        backprop=backprop,
        rngs=rngs,
        hidden=hidden,
        activation=activation,
        param_dtype=param_dtype,
        dtype=dtype,
    )
    return Flow(stack, Normal((event_dim,), learned=True))


def _coupling_stack(
    name: str,
    transformer: Transformer,
    event_dim: int,
    *,
    condition_dim: int,
    depth: int,
    mixing: Mixing,
    two_sided: bool,
    normalize: bool = True,
    backprop: Backprop,
    rngs: int | jax.Array | nnx.Rngs,
    **conditioner: Any,
) -> Stack:
    """Blocks of ActNorm (if they are normalised), mixing and coupling."""
    least = ((event_dim, 1 + two_sided), (condition_dim, 0), (depth, 1))
    if not all(isinstance(size, Integral) and size >= minimum for size, minimum in least):
        raise ValueError(
            f"{name}: expected integers event_dim >= {1 + two_sided}, condition_dim >= 0 and "
            f"depth >= 1, got event_dim={event_dim}, condition_dim={condition_dim}, depth={depth}"
        )
    check_mixing(mixing, name)
    event_shape, mask = (event_dim,), half_mask(event_dim)
    param_dtype = conditioner["param_dtype"]

    def make_block(key: jax.Array) -> Bijector:
        mixing_key, coupling_key = jax.random.split(key)
        mix = make_mixing(
            mixing,
            event_shape,
            mixing_key,
            leaving=None if two_sided else mask,
            volume_preserving=not normalize,
            param_dtype=param_dtype,
        )
        couple = (TwoSidedCoupling if two_sided else Coupling)(
            event_shape,
            mask=mask,
            transformer=transformer,
            condition_shape=(condition_dim,) if condition_dim else None,
            rngs=coupling_key,
            **conditioner,
        )
        normalization = [ActNorm(event_shape, param_dtype=param_dtype)] if normalize else []
        return Chain([*normalization, mix, couple])

    return Stack(make_block, depth, rngs=rngs, backprop=backprop)

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
from jinn.bijectors.coupling import Coupling, half_mask
from jinn.bijectors.orthogonal import Orthogonal
from jinn.bijectors.permute import Permute
from jinn.bijectors.stack import Backprop, Stack
from jinn.bijectors.transformers import Affine, Composed, RationalQuadraticSpline, Transformer
from jinn.distributions.standard_normal import StandardNormal
from jinn.flows.flow import Flow
from jinn.flows.specification import specified

Mixing = Literal["permute", "orthogonal", "learned_orthogonal"]


@specified
def real_nvp(
    event_dim: int,
    *,
    condition_dim: int = 0,
    depth: int = 8,
    hidden: Sequence[int] | int = (128, 128),
    mixing: Mixing = "permute",
    clamp: float = 2.0,
    activation: str = "silu",
    backprop: Backprop = "store",
    param_dtype: jax.typing.DTypeLike = jnp.float32,
    dtype: jax.typing.DTypeLike | None = None,
    rngs: int | jax.Array | nnx.Rngs,
) -> Flow:
    """Build a Real NVP: a stack of ActNorm, mixing and affine coupling over a standard normal.

    Args:
        event_dim: Length of x.
        condition_dim: Length of the condition, 0 for none.
        depth: Number of blocks.
        hidden: Widths of each conditioner's hidden layers.
        mixing: "permute" (fixed random), "orthogonal" (fixed random) or "learned_orthogonal".
        clamp: Bound of each coupling's log-scale.
        activation: Name of the conditioners' activation, see `jinn.networks.MLP`.
        backprop: "store" or "remat", see `jinn.bijectors.Stack`.
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
    return _coupling_flow(
        "real_nvp",
        Affine(clamp),
        event_dim,
        condition_dim=condition_dim,
        depth=depth,
        mixing=mixing,
        backprop=backprop,
        rngs=rngs,
        hidden=hidden,
        activation=activation,
        param_dtype=param_dtype,
        dtype=dtype,
    )


@specified
def neural_spline_flow(
    event_dim: int,
    *,
    condition_dim: int = 0,
    depth: int = 6,
    hidden: Sequence[int] | int = (128, 128),
    mixing: Mixing = "permute",
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
        mixing: "permute" (fixed random), "orthogonal" (fixed random) or "learned_orthogonal".
        bins: Number of bins of each spline.
        bound: The splines act on [-bound, bound] and are the identity outside.
        affine: Scale and shift every element, by the conditioner too, before its spline. A narrow
            peak is then moved by one number, and the tails are affine. False is the paper's form.
        activation: Name of the conditioners' activation, see `jinn.networks.MLP`.
        backprop: "store" or "remat", see `jinn.bijectors.Stack`.
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
    return _coupling_flow(
        "neural_spline_flow",
        Composed((Affine(), spline)) if affine else spline,
        event_dim,
        condition_dim=condition_dim,
        depth=depth,
        mixing=mixing,
        backprop=backprop,
        rngs=rngs,
        hidden=hidden,
        activation=activation,
        param_dtype=param_dtype,
        dtype=dtype,
    )


def _coupling_flow(
    name: str,
    transformer: Transformer,
    event_dim: int,
    *,
    condition_dim: int,
    depth: int,
    mixing: Mixing,
    backprop: Backprop,
    rngs: int | jax.Array | nnx.Rngs,
    **conditioner: Any,
) -> Flow:
    least = ((event_dim, 1), (condition_dim, 0), (depth, 1))
    if not all(isinstance(size, Integral) and size >= minimum for size, minimum in least):
        raise ValueError(
            f"{name}: expected integers event_dim >= 1, condition_dim >= 0 and depth >= 1, got "
            f"event_dim={event_dim}, condition_dim={condition_dim}, depth={depth}"
        )
    event_shape = (event_dim,)
    param_dtype = conditioner["param_dtype"]
    mask = half_mask(event_dim)

    def make_block(key: jax.Array) -> Bijector:
        mixing_key, coupling_key = jax.random.split(key)
        return Chain(
            [
                ActNorm(event_shape, param_dtype=param_dtype),
                _mixing(name, mixing, event_shape, mask, param_dtype, mixing_key),
                Coupling(
                    event_shape,
                    mask=mask,
                    transformer=transformer,
                    condition_shape=(condition_dim,) if condition_dim else None,
                    rngs=coupling_key,
                    **conditioner,
                ),
            ]
        )

    stack = Stack(make_block, depth, rngs=rngs, backprop=backprop)
    return Flow(stack, StandardNormal(event_shape))


def _mixing(
    name: str,
    mixing: str,
    event_shape: tuple[int, ...],
    mask: tuple[bool, ...],
    param_dtype: jax.typing.DTypeLike,
    key: jax.Array,
) -> Bijector:
    if mixing == "permute":
        return Permute(event_shape, leaving=mask, rngs=key)
    if mixing in ("orthogonal", "learned_orthogonal"):
        learned = mixing == "learned_orthogonal"
        return Orthogonal(event_shape, learned=learned, param_dtype=param_dtype, rngs=key)
    raise ValueError(
        f'{name}: expected mixing to be "permute", "orthogonal" or "learned_orthogonal", '
        f"got {mixing!r}"
    )

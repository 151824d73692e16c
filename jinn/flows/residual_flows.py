"""Named flows made of residual blocks."""

from collections.abc import Sequence
from numbers import Integral
from typing import Literal

import jax
import jax.numpy as jnp
from flax import nnx

from jinn.bijectors.actnorm import ActNorm
from jinn.bijectors.base import Bijector
from jinn.bijectors.chain import Chain
from jinn.bijectors.condition import ConditionalAffine
from jinn.bijectors.residual import InvertibleResidual
from jinn.bijectors.stack import Backprop, Stack
from jinn.distributions.standard_normal import StandardNormal
from jinn.flows.flow import Flow
from jinn.flows.specification import specified


@specified
def residual_flow(
    event_dim: int,
    *,
    condition_dim: int = 0,
    depth: int = 8,
    hidden: Sequence[int] | int = (128, 128, 128),
    coefficient: float = 0.9,
    activation: str = "lipswish",
    conditional_affine: bool = True,
    estimator: Literal["auto", "exact", "power_series", "russian_roulette"] = "auto",
    terms: int = 20,
    probes: int = 1,
    solver: Literal["auto", "plain", "anderson", "newton"] = "auto",
    tolerance: float | None = None,
    max_steps: int = 1000,
    backprop: Backprop = "store",
    param_dtype: jax.typing.DTypeLike = jnp.float32,
    rngs: int | jax.Array | nnx.Rngs,
) -> Flow:
    """Build a residual flow: ActNorm and `x + g(x; c)` with contractions g, over a standard normal.

    Every element depends on every other in each block, so there is no mixing. Without a key,
    log_prob is exact and its cost grows with the square of `event_dim`; `fit` passes keys, so that
    beyond 8 elements it trains with unbiased estimates.

    Args:
        event_dim: Length of x.
        condition_dim: Length of the condition, 0 for none.
        depth: Number of blocks.
        hidden: Widths of each network's hidden layers.
        coefficient: Bound of each network's Lipschitz constant, between 0 and 1. A block stretches
            by at most 1 + coefficient, and shrinks by at least 1 - coefficient.
        activation: "elu", "lipswish" or "tanh".
        conditional_affine: Scale and shift all elements by the condition in each block, too, which
            no Lipschitz constant bounds.
        estimator: "exact", "power_series", "russian_roulette" or "auto", see
            `jinn.bijectors.InvertibleResidual`.
        terms: Number of terms of "power_series".
        probes: Number of random probes of the two estimators.
        solver: "plain", "anderson", "newton" or "auto", for the inverse.
        tolerance: Relative tolerance of the inverse; None is 1e-6 for float32, 1e-12 for float64.
        max_steps: Largest number of evaluations of a network in an inverse.
        backprop: "store", "remat" or "invert", see `jinn.bijectors.Stack`.
        param_dtype: Type of the parameters.
        rngs: An int, a JAX key or `flax.nnx.Rngs`.

    Returns:
        A flow over vectors; log_prob takes one pass, sample solves a fixed point a block.

    Raises:
        ValueError: If an option is out of range or unknown.

    Reference:
        Residual Flows for Invertible Generative Modeling (Chen, Behrmann, Duvenaud, Jacobsen,
        2019), https://arxiv.org/abs/1906.02735
    """
    least = ((event_dim, 1), (condition_dim, 0), (depth, 1))
    if not all(isinstance(size, Integral) and size >= minimum for size, minimum in least):
        raise ValueError(
            "residual_flow: expected integers event_dim >= 1, condition_dim >= 0 and depth >= 1, "
            f"got event_dim={event_dim}, condition_dim={condition_dim}, depth={depth}"
        )
    event_shape = (event_dim,)
    condition_shape = (condition_dim,) if condition_dim else None

    def make_block(key: jax.Array) -> Bijector:
        affine_key, residual_key = jax.random.split(key)
        members: list[Bijector] = [ActNorm(event_shape, param_dtype=param_dtype)]
        if condition_shape is not None and conditional_affine:
            affine = ConditionalAffine(
                event_shape,
                condition_shape=condition_shape,
                hidden=(64,),
                param_dtype=param_dtype,
                rngs=affine_key,
            )
            members.append(affine)
        residual = InvertibleResidual(
            event_shape,
            coefficient=coefficient,
            condition_shape=condition_shape,
            hidden=hidden,
            activation=activation,
            estimator=estimator,
            terms=terms,
            probes=probes,
            solver=solver,
            tolerance=tolerance,
            max_steps=max_steps,
            param_dtype=param_dtype,
            rngs=residual_key,
        )
        return Chain([*members, residual])

    stack = Stack(make_block, depth, rngs=rngs, backprop=backprop)
    return Flow(stack, StandardNormal(event_shape))

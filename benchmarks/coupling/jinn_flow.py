"""jinn: a `Stack` of a permutation and a coupling."""

from typing import Any

import jax

import jinn
from benchmarks.coupling.cases import BOUND, Case
from benchmarks.coupling.model import Model
from jinn.bijectors import Bijector, Chain, Coupling, Permute, Stack, half_mask
from jinn.bijectors.transformers import Affine, RationalQuadraticSpline
from jinn.distributions import StandardNormal


def build(case: Case) -> Model:
    """Builds the flow."""
    return split(make_flow(case))


def make_flow(case: Case) -> jinn.Flow:
    """Makes what `real_nvp` and `neural_spline_flow(affine=False)` make, without the ActNorm."""
    event_shape, mask = (case.event,), half_mask(case.event)
    spline = RationalQuadraticSpline(case.bins, BOUND)

    def make_block(key: jax.Array) -> Bijector:
        permutation_key, coupling_key = jax.random.split(key)
        coupling = Coupling(
            event_shape,
            mask=mask,
            transformer=Affine() if case.transformer == "affine" else spline,
            condition_shape=(case.condition,),
            hidden=case.hidden,
            activation=case.activation,
            rngs=coupling_key,
        )
        return Chain([Permute(event_shape, leaving=mask, rngs=permutation_key), coupling])

    stack = Stack(make_block, case.depth, rngs=0)
    return jinn.Flow(stack, StandardNormal(event_shape))


def split(flow: jinn.Flow) -> Model:
    """Splits a flow into its trained leaves and the others."""
    leaves, treedef = jax.tree.flatten(flow)
    learned = jax.tree.leaves(jinn.trainable(flow))

    def merge(params: Any, fixed: Any) -> jinn.Flow:
        parts = {True: iter(params), False: iter(fixed)}
        return jax.tree.unflatten(treedef, [next(parts[learns]) for learns in learned])

    return Model(
        [leaf for leaf, learns in zip(leaves, learned, strict=True) if learns],
        [leaf for leaf, learns in zip(leaves, learned, strict=True) if not learns],
        lambda params, fixed, x, c: merge(params, fixed).log_prob(x, c),
        lambda params, fixed, key, n, c: merge(params, fixed).sample(key, (n,), c),
    )

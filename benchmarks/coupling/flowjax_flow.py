"""flowjax: its `coupling_flow`, whose layers are scanned, with a random permutation in each.

Its spline has free slopes at the edges of the box too: two parameters more an element.
"""

from typing import Any

import equinox as eqx
import jax
import paramax
from flowjax.bijections import RationalQuadraticSpline
from flowjax.distributions import StandardNormal
from flowjax.flows import coupling_flow

from benchmarks.coupling.cases import BOUND, Case
from benchmarks.coupling.model import Model


def build(case: Case) -> Model:
    """Builds the flow."""
    spline = RationalQuadraticSpline(knots=case.bins - 1, interval=BOUND)
    flow = coupling_flow(
        jax.random.key(0),
        base_dist=StandardNormal((case.event,)),
        transformer=None if case.transformer == "affine" else spline,
        cond_dim=case.condition,
        flow_layers=case.depth,
        nn_width=case.hidden[0],
        nn_depth=len(case.hidden),
        nn_activation=getattr(jax.nn, case.activation),
    )
    return split(flow)


def split(flow: Any) -> Model:
    """Splits a flow as flowjax's own training loop does."""

    def is_leaf(node: object) -> bool:
        return isinstance(node, paramax.NonTrainable)

    params, rest = eqx.partition(flow, eqx.is_inexact_array, is_leaf=is_leaf)
    fixed, static = eqx.partition(rest, eqx.is_array)
    return Model(
        params,
        fixed,
        lambda params, fixed, x, c: eqx.combine(params, fixed, static).log_prob(x, c),
        lambda params, fixed, key, n, c: eqx.combine(params, fixed, static).sample(key, (n,), c),
    )

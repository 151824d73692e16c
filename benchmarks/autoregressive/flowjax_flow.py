"""flowjax: its `masked_autoregressive_flow`, whose layers are scanned, with reversals between."""

import jax
from flowjax.distributions import StandardNormal
from flowjax.flows import masked_autoregressive_flow

from benchmarks.autoregressive.cases import Case
from benchmarks.coupling.flowjax_flow import split
from benchmarks.coupling.model import Model


def build(case: Case) -> Model:
    """Builds the flow."""
    flow = masked_autoregressive_flow(
        jax.random.key(0),
        base_dist=StandardNormal((case.event,)),
        cond_dim=case.condition,
        flow_layers=case.depth,
        nn_width=case.hidden[0],
        nn_depth=len(case.hidden),
        nn_activation=jax.nn.relu,
    )
    return split(flow)

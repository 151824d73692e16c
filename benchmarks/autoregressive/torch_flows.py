"""zuko and nflows: the same flows in torch. Runs in the worker's process only."""

# pyright: reportMissingImports=false, reportAttributeAccessIssue=false

from collections.abc import Callable
from typing import Any

from torch import nn

from benchmarks.autoregressive.cases import Case


def build_zuko(case: Case) -> tuple[nn.Module, Callable, Callable]:
    """Builds zuko's `MAF`, whose layers' orders alternate."""
    import zuko

    flow = zuko.flows.MAF(
        case.event,
        case.condition,
        transforms=case.depth,
        hidden_features=case.hidden,
        activation=nn.ReLU,
    )
    return flow, lambda x, c: flow(c).log_prob(x), lambda n, c: flow(c).sample((n,))


def build_nflows(case: Case) -> tuple[nn.Module, Callable, Callable]:
    """Builds a `CompositeTransform` of nflows' autoregressive layers and reversals."""
    from nflows import distributions, flows, transforms

    parts: list[Any] = []
    for _ in range(case.depth):
        parts.append(transforms.ReversePermutation(case.event))
        parts.append(
            transforms.MaskedAffineAutoregressiveTransform(
                case.event,
                hidden_features=case.hidden[0],
                context_features=case.condition,
                num_blocks=len(case.hidden) - 1,
                use_residual_blocks=False,
            )
        )
    base = distributions.StandardNormal([case.event])
    flow = flows.Flow(transforms.CompositeTransform(parts), base)
    return flow, flow.log_prob, lambda n, c: flow.sample(n, c[None])[0]


BUILDERS = {"zuko": build_zuko, "nflows": build_nflows}

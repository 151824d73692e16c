"""FrEIA, zuko and nflows: the same flows in torch. Runs in the worker's process only."""

# pyright: reportMissingImports=false, reportAttributeAccessIssue=false

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import torch
from torch import nn

from benchmarks.coupling.cases import BOUND, LEARNING_RATE, Case, Sizes

ACTIVATIONS = {"relu": nn.ReLU, "silu": nn.SiLU}


def build_freia(case: Case) -> tuple[nn.Module, Callable, Callable]:
    """Builds a `SequenceINN` of `AffineCouplingOneSided` and `PermuteRandom`."""
    import FrEIA.framework as framework
    import FrEIA.modules as modules

    if case.transformer != "affine":
        raise NotImplementedError("has no splines")
    flow = framework.SequenceINN(case.event)
    for seed in range(case.depth):
        flow.append(
            modules.AffineCouplingOneSided,
            cond=0,
            cond_shape=(case.condition,),
            subnet_constructor=lambda n_in, n_out: _mlp(case, n_in, n_out),
        )
        flow.append(modules.PermuteRandom, seed=seed)
    base = torch.distributions.Normal(0.0, 1.0)

    def log_prob(x: Any, c: Any) -> Any:
        z, log_det = flow(x, [c])
        return base.log_prob(z).sum(-1) + log_det

    def sample(n: int, c: Any) -> Any:
        return flow(torch.randn(n, case.event), [c.expand(n, -1)], rev=True, jac=False)[0]

    return flow, log_prob, sample


def build_zuko(case: Case) -> tuple[nn.Module, Callable, Callable]:
    """Builds zuko's `NICE` flow, which has random masks in place of permutations."""
    import zuko

    options: dict[str, Any] = {}
    if case.transformer == "spline":
        options["univariate"] = zuko.transforms.MonotonicRQSTransform  # its box is [-5, 5]
        options["shapes"] = [(case.bins,), (case.bins,), (case.bins - 1,)]
    flow = zuko.flows.NICE(
        case.event,
        case.condition,
        transforms=case.depth,
        randmask=True,
        hidden_features=case.hidden,
        activation=ACTIVATIONS[case.activation],
        **options,
    )
    return flow, lambda x, c: flow(c).log_prob(x), lambda n, c: flow(c).sample((n,))


def build_nflows(case: Case) -> tuple[nn.Module, Callable, Callable]:
    """Builds a `CompositeTransform` of nflows' couplings and `RandomPermutation`."""
    from nflows import distributions, flows, transforms

    class Conditioner(nn.Module):
        def __init__(self, n_in: int, n_out: int):
            super().__init__()
            self.net = _mlp(case, n_in + case.condition, n_out)

        def forward(self, x: Any, context: Any) -> Any:
            return self.net(torch.cat([x, context], -1))

    mask = [int(i >= case.event // 2) for i in range(case.event)]
    parts = []
    for _ in range(case.depth):
        parts.append(transforms.RandomPermutation(case.event))
        if case.transformer == "affine":
            parts.append(transforms.AffineCouplingTransform(mask, Conditioner))
        else:
            parts.append(
                transforms.PiecewiseRationalQuadraticCouplingTransform(
                    mask, Conditioner, num_bins=case.bins, tails="linear", tail_bound=BOUND
                )
            )
    base = distributions.StandardNormal([case.event])
    flow = flows.Flow(transforms.CompositeTransform(parts), base)
    return flow, flow.log_prob, lambda n, c: flow.sample(n, c[None])[0]


BUILDERS = {"FrEIA": build_freia, "zuko": build_zuko, "nflows": build_nflows}


def _mlp(case: Case, n_in: int, n_out: int) -> nn.Module:
    sizes = (n_in, *case.hidden)
    layers: list[nn.Module] = []
    for a, b in pairwise(sizes):
        layers += [nn.Linear(a, b), ACTIVATIONS[case.activation]()]
    return nn.Sequential(*layers, nn.Linear(sizes[-1], n_out))


def make_call(
    case: Sizes, build: Callable[[Any], tuple[nn.Module, Callable, Callable]], name: str
) -> tuple[Callable[[], Any], int]:
    """Makes a training step, densities of points, or samples for one condition.

    Returns it with the number of trained parameters.
    """
    torch.manual_seed(0)
    flow, log_prob, sample = build(case)
    parameters = sum(p.numel() for p in flow.parameters())
    rows = case.batch if name == "step" else case.points
    x, c = torch.randn(rows, case.event), torch.randn(rows, case.condition)
    if name == "step":
        optimizer = torch.optim.Adam(flow.parameters(), LEARNING_RATE, fused=True)

        def step() -> None:
            optimizer.zero_grad()
            (-log_prob(x, c).mean()).backward()
            optimizer.step()

        return step, parameters
    flow.eval()
    if name == "log_prob":
        return torch.no_grad()(lambda: log_prob(x, c)), parameters
    return torch.no_grad()(lambda: sample(rows, c[0])), parameters

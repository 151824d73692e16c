"""FrEIA and normflows: the same flows in torch. Runs in the worker's process only."""

# pyright: reportMissingImports=false, reportAttributeAccessIssue=false

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from benchmarks.images.cases import CLAMP, LEARNING_RATE, Case, Wavelets


class Subnet(nn.Module):
    """jinn's `ConvNet` with kernels 3, 1, 3."""

    def __init__(self, n_in: int, n_out: int, hidden: int):
        super().__init__()
        self.first = nn.Conv2d(n_in, hidden, 3, padding=1)
        self.middle = nn.Conv2d(hidden, hidden, 1)
        self.last = nn.Conv2d(hidden, n_out, 3, padding=1)

    def forward(self, x: Any) -> Any:
        h = torch.relu(self.first(x))
        return self.last(h + torch.relu(self.middle(h)))


def build_freia(case: Case) -> tuple[nn.Module, Callable, Callable]:
    """Builds a `GraphINN` of `HaarDownsampling`, `GLOWCouplingBlock` and `Split`."""
    import FrEIA.framework as framework
    import FrEIA.modules as modules

    def subnet(n_in: int, n_out: int) -> nn.Module:
        return Subnet(n_in, n_out, case.hidden)

    nodes = [framework.InputNode(case.channels, case.size, case.size)]
    conditions = [framework.ConditionNode(n, size, size) for size, n in case.maps.values()]
    outputs, shapes = [], []
    last: Any = nodes[0]
    for scale, (size, channels) in enumerate(case.stages):
        nodes.append(framework.Node(last, modules.HaarDownsampling, {}))
        for seed in range(case.depth):
            nodes.append(framework.Node(nodes[-1], modules.PermuteRandom, {"seed": seed}))
            options = {"subnet_constructor": subnet, "clamp": CLAMP}
            coupling = modules.GLOWCouplingBlock
            nodes.append(framework.Node(nodes[-1], coupling, options, conditions=conditions[scale]))
        last = nodes[-1]
        if scale < case.scales - 1:
            parts = {"section_sizes": [channels // 2, channels // 2], "dim": 0}
            nodes.append(framework.Node(last, modules.Split, parts))
            outputs.append(framework.OutputNode(nodes[-1].out1))
            shapes.append((channels // 2, size, size))
            last = nodes[-1].out0
        else:
            outputs.append(framework.OutputNode(last))
            shapes.append((channels, size, size))
    flow = framework.GraphINN([*nodes, *conditions, *outputs], verbose=False)
    base = torch.distributions.Normal(0.0, 1.0)

    def log_prob(x: Any, c: Any) -> Any:
        z, log_det = flow(x, c)
        return sum(base.log_prob(part).sum((1, 2, 3)) for part in z) + log_det

    def sample(c: Any) -> Any:
        z = [torch.randn(case.batch, *shape) for shape in shapes]
        return flow(z, c, rev=True, jac=False)[0]

    return flow, log_prob, sample


def build_normflows(case: Case) -> tuple[nn.Module, Callable, Callable]:
    """Builds its Glow: a `MultiscaleFlow` of `GlowBlock`, `Squeeze` and `Merge`."""
    import normflows

    base, merges, flows = [], [], []
    for i, (size, channels) in enumerate(reversed(case.stages)):
        blocks: list[Any] = [
            normflows.flows.GlowBlock(channels, case.hidden) for _ in range(case.depth)
        ]
        flows.append([*blocks, normflows.flows.Squeeze()])
        if i:
            merges.append(normflows.flows.Merge())
        shape = (channels // 2 if i else channels, size, size)
        base.append(normflows.distributions.DiagGaussian(shape, trainable=False))
    flow = normflows.MultiscaleFlow(base, flows, merges)
    return flow, lambda x, c: flow.log_prob(x, None), lambda c: flow.sample(case.batch)[0]


BUILDERS = {"FrEIA": build_freia, "normflows": build_normflows}


def make_call(case: Case, library: str, name: str) -> tuple[Callable[[], Any], int]:
    """Makes a training step or samples, and counts the trained parameters."""
    torch.manual_seed(0)
    flow, log_prob, sample = BUILDERS[library](case)
    parameters = sum(p.numel() for p in flow.parameters() if p.requires_grad)
    x = torch.randn(case.batch, case.channels, case.size, case.size)
    c = [torch.randn(case.batch, n, size, size) for size, n in case.maps.values()]
    if name == "step":
        optimizer = torch.optim.Adam(flow.parameters(), LEARNING_RATE, fused=True)

        def step() -> None:
            optimizer.zero_grad()
            (-log_prob(x, c).mean()).backward()
            optimizer.step()

        return step, parameters
    with torch.no_grad():
        log_prob(x, c)  # sets what depends on the data
    flow.eval()
    return torch.no_grad()(lambda: sample(c)), parameters


def make_haar(wavelets: Wavelets, direction: str) -> Callable[[], Any]:
    """Makes FrEIA's transform of a batch, or its inverse."""
    import FrEIA.modules as modules

    shape = (wavelets.channels, wavelets.size, wavelets.size)
    haar = modules.HaarDownsampling([shape])
    x = torch.randn(wavelets.batch, *shape)
    if direction == "inverse":
        with torch.no_grad():
            (x,), _ = haar([x])
    rev = direction == "inverse"
    return torch.no_grad()(lambda: haar([x], rev=rev, jac=False))

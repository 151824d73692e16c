"""FrEIA, normflows and zuko: the same flows in torch. Runs in the worker's process only."""

# pyright: reportMissingImports=false, reportAttributeAccessIssue=false

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import nn

from benchmarks.freeform.cases import (
    EVENTS,
    KEYS,
    LEARNING_RATE,
    Case,
    Continuous,
    Layer,
    Residual,
    data,
)

_ITERATIONS = 5
"""Power iterations after each training step, as jinn takes; FrEIA's own 10 are left to it."""


class Flow(NamedTuple):
    """A flow over one batch of conditions.

    `log_prob(x, c)`; `inverse(z)` without the log-determinant; `sample(n, c)`; what is to be done
    after each training step; and the networks whose evaluations are counted.
    """

    module: nn.Module
    log_prob: Callable[[Any, Any], Any]
    inverse: Callable[[Any], Any] | None = None
    forward: Callable[[Any], Any] | None = None
    sample: Callable[[int, Any], Any] | None = None
    finish: Callable[[], Any] = lambda: None
    counted: tuple[nn.Module, ...] = ()


def build_freia(case: Case) -> Flow:
    """Builds `IResNetLayer`s; their log-determinants carry no gradient, which is FrEIA's own."""
    from FrEIA.modules import IResNetLayer

    if not isinstance(case, Residual):
        raise NotImplementedError("has no continuous flow")
    layers = nn.ModuleList(
        IResNetLayer(
            [(case.event,)],
            internal_size=case.hidden[0],
            n_internal_layers=len(case.hidden) - 1,
            jacobian_iterations=case.terms,
            spectral_norm_max=case.layer_bound,
        )
        for _ in range(case.depth)
    )
    for layer, weights in zip(layers, case.weights(), strict=True):
        _set(layer.layers, weights)

    def finish() -> None:
        for layer in layers:
            layer.lipschitz_correction()

    def log_prob(x: Any, _: Any) -> Any:
        total = 0.0
        for layer in layers:
            (x,), log_det = layer((x,))
            total = total + log_det
        return _normal(x) + total

    def forward(x: Any) -> Any:
        for layer in layers:
            (x,), _ = layer((x,), jac=False)
        return x

    def inverse(z: Any) -> Any:
        for layer in reversed(layers):
            (z,), _ = layer((z,), rev=True, jac=False)
        return z

    finish()
    counted = tuple(layer.residual for layer in layers)
    return Flow(layers, log_prob, inverse, forward, finish=finish, counted=counted)


def build_normflows(case: Case, terms: int | None = None) -> Flow:
    """Builds `Residual` flows of `InducedNormLinear` layers, their tolerance its own.

    Without a number of terms they take its own roulette: 2 terms and 2 more on average.
    """
    import normflows
    from normflows.nets.lipschitz import InducedNormLinear

    if not isinstance(case, Residual):
        raise NotImplementedError("has no continuous flow")
    blocks = []
    for weights in case.weights():
        linear = [InducedNormLinear(*w.shape, coeff=case.layer_bound) for w, _ in weights]
        _set(linear, weights)
        layers = [part for layer in linear for part in (layer, nn.ELU())][:-1]
        blocks.append(normflows.flows.Residual(nn.Sequential(*layers), n_power_series=terms))
    base = normflows.distributions.DiagGaussian(case.event, trainable=False)
    flow = normflows.NormalizingFlow(base, blocks[::-1])  # from latent to data
    normflows.utils.update_lipschitz(flow, 200)

    def forward(x: Any) -> Any:
        for block in blocks:
            x = block.iresblock(x)
        return x

    def inverse(z: Any) -> Any:
        for block in reversed(blocks):
            z = block.iresblock.inverse(z)
        return z

    return Flow(
        flow,
        lambda x, _: flow.log_prob(x),
        inverse,
        forward,
        finish=lambda: normflows.utils.update_lipschitz(flow, _ITERATIONS),
        counted=tuple(block.iresblock.nnet for block in blocks),
    )


def build_normflows_series(case: Case) -> Flow:
    """Builds normflows' flows with as many terms as FrEIA takes."""
    return build_normflows(case, getattr(case, "terms", None))


def build_zuko(case: Case) -> Flow:
    """Builds zuko's `CNF`."""
    import zuko

    if not isinstance(case, Continuous):
        raise NotImplementedError("has no residual flow")
    flow = zuko.flows.CNF(
        case.event,
        case.condition,
        freqs=case.frequencies,
        atol=case.tolerance,
        rtol=case.tolerance,
        exact=True,
        hidden_features=case.hidden,
        activation=nn.Tanh,
    )
    network = flow.transform.ode
    _set([part for part in network if hasattr(part, "weight")], case.weights())
    return Flow(
        flow,
        lambda x, c: flow(c).log_prob(x),
        sample=lambda n, c: flow(c).sample((n,)),
        counted=(network,),
    )


BUILDERS = {
    "FrEIA": build_freia,
    "normflows": build_normflows,
    "normflows series": build_normflows_series,
    "zuko": build_zuko,
}


def make_call(case: Case, library: str, name: str) -> tuple[Callable[[], Any], dict[str, Any]]:
    """Makes a program, and says of it what a reader of its time has to know."""
    torch.manual_seed(0)
    flow = BUILDERS[library](case)
    trained = [p for p in flow.module.parameters() if p.numel() > 1]  # normflows trains its rates
    facts: dict[str, Any] = {"parameters": sum(p.numel() for p in trained)}
    calls = _count_calls(flow.counted)
    if name == "step":
        _judge(case, flow, facts, calls)
        flow.module.train()
        x, c = map(torch.as_tensor, data(case, case.batch))
        optimizer = torch.optim.Adam(flow.module.parameters(), LEARNING_RATE, fused=True)

        def step() -> None:
            optimizer.zero_grad()
            (-flow.log_prob(x, c).mean()).backward()
            optimizer.step()
            flow.finish()

        return step, facts
    flow.module.eval()
    x, c = map(torch.as_tensor, data(case, case.points))
    with torch.no_grad():
        if flow.inverse is not None and flow.forward is not None:
            solved = flow.inverse(x)
            facts["evaluations"] = sum(calls) / len(calls)
            error = (flow.forward(solved) - x).abs() / (1 + x.abs())
            facts["round_trip"] = error.max().item()
            inverse = flow.inverse
            return torch.no_grad()(lambda: inverse(x)), facts
        assert flow.sample is not None
        sample = flow.sample
        sample(case.points, c[0])
        facts["evaluations"] = sum(calls)
        return torch.no_grad()(lambda: sample(case.points, c[0])), facts


def _judge(case: Case, flow: Flow, facts: dict[str, Any], calls: list[int]) -> None:
    """Log-densities, and of estimates the standard error over keys, with the terms of training."""
    if isinstance(case, Continuous):
        flow.module.eval()
        x, c = map(torch.as_tensor, data(case, case.batch))
        with torch.no_grad():
            facts["log_prob"] = flow.log_prob(x, c).tolist()
        facts["evaluations"] = sum(calls)
        return
    flow.module.train()
    blocks = [part for part in flow.module.modules() if hasattr(part, "neumann_grad")]
    for block in blocks:  # normflows' training has the right gradient, but not the value
        block.neumann_grad = block.grad_in_forward = False
    x, _ = map(torch.as_tensor, data(case, EVENTS))
    found = torch.stack([flow.log_prob(x, None).detach() for _ in range(KEYS)])
    facts["standard_error"] = found.var(0).mean().sqrt().item()
    facts["log_prob"] = found.mean(0).tolist()
    for block in blocks:
        block.neumann_grad = block.grad_in_forward = True


def _set(linear: Any, weights: list[Layer]) -> None:
    with torch.no_grad():
        for layer, (kernel, bias) in zip(linear, weights, strict=True):
            layer.weight.copy_(torch.as_tensor(kernel.T))
            layer.bias.copy_(torch.as_tensor(bias))


def _count_calls(modules: tuple[nn.Module, ...]) -> list[int]:
    """Counts how often each module is called, until it is timed."""
    calls = [0] * len(modules)

    def count(i: int) -> Callable[..., None]:
        def hook(*_: Any) -> None:
            calls[i] += 1

        return hook

    for i, module in enumerate(modules):
        module.register_forward_hook(count(i))
    return calls


def _normal(x: Any) -> Any:
    return torch.distributions.Normal(0.0, 1.0).log_prob(x).sum(-1)

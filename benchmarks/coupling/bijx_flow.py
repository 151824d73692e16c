"""bijx: a `ScanChain` of a permutation and a `GeneralCouplingLayer`.

Its spline lives on [0, 1]: the flow's ends map the box there and back, once for all layers.
"""

from typing import Any

import bijx  # pyright: ignore[reportMissingImports]
import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from benchmarks.coupling.cases import BOUND, Case
from benchmarks.coupling.model import Model


class Conditioner(nnx.Module):
    """bijx's MLP of the passive elements and the condition."""

    def __init__(self, case: Case, n_in: int, n_out: int, n_params: int, rngs: nnx.Rngs):
        self.net = bijx.nn.nets.MLP(
            n_in + case.condition,
            n_out * n_params,
            list(case.hidden),
            activation=getattr(jax.nn, case.activation),
            rngs=rngs,
        )
        self.shape = (n_out, n_params)

    def __call__(self, passive: jax.Array, *, condition: jax.Array) -> jax.Array:
        batch = passive.shape[:-1]
        condition = jnp.broadcast_to(condition, (*batch, condition.shape[-1]))
        joined = jnp.concatenate([passive, condition], axis=-1)
        return self.net(joined).reshape(*batch, *self.shape)


def build(case: Case) -> Model:
    """Builds the flow; a step and log_prob use the spline's forward map, as in the others."""
    half = case.event // 2
    second = np.arange(case.event) >= half
    masks: Any = (second, ~second)  # constants of the program, where jax.Array would be state

    def layer(rngs: nnx.Rngs) -> bijx.Bijection:
        scalar = bijx.AffineLinear(rngs=rngs)
        if case.transformer == "spline":
            scalar = bijx.MonotoneRQSpline(case.bins, (), rngs=rngs)
        template = bijx.ModuleReconstructor(scalar)
        mask = bijx.BinaryMask(np.where(second), second.shape, masks=masks)
        n_active, n_passive = mask.counts
        net = Conditioner(case, n_passive, n_active, template.params_total_size, rngs)
        permutation = bijx.MetaLayer(
            lambda x: jnp.roll(x, half, axis=-1), lambda x: jnp.roll(x, -half, axis=-1)
        )
        return bijx.Chain(permutation, bijx.GeneralCouplingLayer(net, mask, template))

    rngs = nnx.Rngs(0)
    layers = bijx.stack_bijections(layer, transform=bijx.ScanChain, copies=case.depth)(rngs)
    if case.transformer == "spline":
        box = bijx.MetaLayer(lambda x: (x + BOUND) / (2 * BOUND), lambda x: 2 * BOUND * x - BOUND)
        layers = bijx.Chain(box, layers, box.invert())
    flow = bijx.Transformed(bijx.IndependentNormal((case.event,)), layers.invert())
    graph, params, fixed = nnx.split(flow, nnx.Param, ...)
    return Model(
        params,
        fixed,
        lambda params, fixed, x, c: nnx.merge(graph, params, fixed).log_density(x, condition=c),
        lambda params, fixed, key, n, c: nnx.merge(graph, params, fixed).sample(
            (n,), rng=key, condition=c
        )[0],
    )

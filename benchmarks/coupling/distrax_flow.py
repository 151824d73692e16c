"""distrax: a `Chain` of `SplitCoupling`s that exchange their halves in turn, with a plain MLP.

It has no networks, and its layers are written out, not scanned. Its spline has slopes at the edges
of the box, which are computed and not used.
"""

import itertools
from collections.abc import Callable
from typing import Any

import distrax  # pyright: ignore[reportMissingImports]
import jax
import jax.numpy as jnp

from benchmarks.coupling.cases import BOUND, Case
from benchmarks.coupling.model import Model


def mlp(key: jax.Array, widths: tuple[int, ...]) -> list[tuple[jax.Array, jax.Array]]:
    """Kernels and biases."""
    shapes = list(itertools.pairwise(widths))
    keys = jax.random.split(key, len(shapes))
    return [
        (jax.random.normal(key, shape) / shape[0] ** 0.5, jnp.zeros(shape[1]))
        for key, shape in zip(keys, shapes, strict=True)
    ]


def build(case: Case) -> Model:
    """Builds the flow."""
    half = case.event // 2
    n_params = 2 if case.transformer == "affine" else 3 * case.bins + 1
    widths = (half + case.condition, *case.hidden, half * n_params)
    activation: Callable[[jax.Array], jax.Array] = getattr(jax.nn, case.activation)

    def transformer(raw: jax.Array) -> Any:
        raw = raw.reshape(*raw.shape[:-1], half, n_params)
        if case.transformer == "affine":
            scalar = distrax.ScalarAffine(shift=raw[..., 0], log_scale=raw[..., 1])
        else:
            scalar = distrax.RationalQuadraticSpline(raw, -BOUND, BOUND, boundary_slopes="identity")
        return distrax.Block(scalar, 1)

    def flow(params: Any, c: jax.Array) -> Any:
        def conditioner(layers: Any) -> Callable[[jax.Array], jax.Array]:
            def network(passive: jax.Array) -> jax.Array:
                condition = jnp.broadcast_to(c, (*passive.shape[:-1], c.shape[-1]))
                h = jnp.concatenate([passive, condition], axis=-1)
                for kernel, bias in layers[:-1]:
                    h = activation(h @ kernel + bias)
                kernel, bias = layers[-1]
                return h @ kernel + bias

            return network

        couplings = [
            distrax.SplitCoupling(half, 1, conditioner(layers), transformer, swap=bool(number % 2))
            for number, layers in enumerate(params)
        ]
        base = distrax.MultivariateNormalDiag(jnp.zeros(case.event))
        return distrax.Transformed(base, distrax.Inverse(distrax.Chain(couplings)))

    params = [mlp(key, widths) for key in jax.random.split(jax.random.key(0), case.depth)]
    return Model(
        params,
        (),
        lambda params, _, x, c: flow(params, c).log_prob(x),
        lambda params, _, key, n, c: flow(params, c).sample(seed=key, sample_shape=(n,)),
    )

"""The matrix products of a case's conditioners, alone."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from benchmarks.compiled import Program
from benchmarks.coupling.cases import Case

CHUNK = 2048
"""Rows that are multiplied at a time where nothing is to be differentiated; whole is slower."""


def make_floor(case: Case, name: str) -> Program:
    """Products of a training step (forward and backward), of densities, or of samples.

    One condition for all samples costs no product a row.
    """
    n_in = case.event // 2 + (0 if name == "sample" else case.condition)
    sizes = (n_in, *case.hidden, case.n_params * (case.event - case.event // 2))
    keys = jax.random.split(jax.random.key(0), len(sizes))
    weights = [
        jax.random.normal(key, (case.depth, a, b)) / a**0.5
        for key, a, b in zip(keys, sizes[:-1], sizes[1:], strict=False)
    ]
    weights[-1] = weights[-1].mT  # as (outputs, inputs) its gradient costs a tenth
    rows = case.batch if name == "step" else case.points
    x = jax.random.normal(keys[-1], (rows, n_in))
    if name == "step":

        @partial(jax.jit, donate_argnums=0)
        def step(weights: Any, x: jax.Array) -> Any:
            gradient = jax.grad(_products)(weights, x)
            # Written into the donated arrays; new ones would cost page faults.
            return jax.tree.map(lambda w, g: w - 1e-9 * g, weights, gradient)

        return Program(step, weights, (x,))

    @jax.jit
    def forward(weights: Any, x: jax.Array) -> jax.Array:
        whole = x.shape[0] - x.shape[0] % CHUNK
        chunks = x[:whole].reshape(-1, CHUNK, n_in)
        total = jax.lax.map(partial(_products, weights), chunks).sum()
        return total + _products(weights, x[whole:])

    return Program(forward, None, (weights, x))


def _products(weights: Any, x: jax.Array) -> jax.Array:
    def layer(carry: tuple[jax.Array, jax.Array], weights: Any) -> tuple[Any, None]:
        x, total = carry
        *hidden, last = weights
        out = x
        for weight in hidden:
            out = out @ weight
        out = out @ last.T
        joined = jnp.concatenate([out, x], axis=-1)
        return (joined[:, : x.shape[1]], total + jnp.vdot(out, out)), None

    (_, total), _ = jax.lax.scan(layer, (x, jnp.zeros(())), weights)
    return total

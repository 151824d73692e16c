"""jinn: a `Stack` of `InvertibleResidual`, and `continuous_flow`."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import jinn
from benchmarks.compiled import Program, training_step
from benchmarks.freeform.cases import (
    EVENTS,
    KEYS,
    LEARNING_RATE,
    Case,
    Continuous,
    Residual,
    data,
)
from jinn.bijectors import InvertibleResidual, Stack
from jinn.distributions import StandardNormal
from jinn.flows import continuous_flow, with_solver

_ITERATIONS = 40
"""Calls of `refresh` after the weights are set, until the singular vectors are right."""


def make(case: Case, name: str, **options: Any) -> tuple[Program, dict[str, Any]]:
    """Makes a program, and says of it what a reader of its time has to know."""
    if isinstance(case, Residual):
        return _residual(case, name, residual_flow(case, **options))
    return _continuous(case, name, matching_flow(case, **options))


def residual_flow(case: Residual, **options: Any) -> jinn.Flow:
    """The flow of the case's weights; options are those of `InvertibleResidual`."""
    arguments: dict[str, Any] = {"coefficient": case.coefficient, "terms": case.terms} | options

    def make_block(key: jax.Array) -> InvertibleResidual:
        return InvertibleResidual(
            (case.event,), hidden=case.hidden, activation="elu", rngs=key, **arguments
        )

    stack = Stack(make_block, case.depth, rngs=0)
    network: Any = stack.block.network  # pyright: ignore[reportAttributeAccessIssue]
    blocks = case.weights()
    for i, kernel in enumerate(network.kernels):
        kernel.kernel[...] = jnp.stack([block[i][0] for block in blocks])
    biases = [np.concatenate([bias for _, bias in block]) for block in blocks]
    network.shifts.bias[...] = jnp.stack(biases)
    flow = jinn.Flow(stack, StandardNormal((case.event,)))
    flow = jax.lax.fori_loop(0, _ITERATIONS, lambda _, flow: jinn.refresh(flow), flow)
    return flow


def matching_flow(case: Continuous, **options: Any) -> jinn.Flow:
    """The flow of the case's weights; options are those of `ODESolver`."""
    flow = continuous_flow(
        case.event,
        condition_dim=case.condition,
        hidden=case.hidden,
        modulation="concat",
        frequencies=case.frequencies,
        rtol=case.tolerance,
        atol=case.tolerance,
        rngs=0,
    )
    field: Any = flow.bijector.vector_field  # pyright: ignore[reportAttributeAccessIssue]
    (first, _), *middle, (last, _) = case.weights()
    of_time, of_x, of_condition = np.split(
        first, [2 * case.frequencies, 2 * case.frequencies + case.event]
    )
    for kernel, weights in zip(field.kernels, (of_x, *(w for w, _ in middle)), strict=True):
        kernel[...] = jnp.asarray(weights)
    field.last_kernel[...] = jnp.asarray(last.T)
    field.bias[...] = jnp.concatenate([bias for _, bias in case.weights()])
    # Time and condition enter all layers; here the first alone, and time only by its waves.
    width = case.hidden[0]
    field.time_kernel[...] = jnp.zeros_like(field.time_kernel[...]).at[1:, :width].set(of_time)
    entry = field.condition_kernels["condition"]
    entry[...] = jnp.zeros_like(entry[...]).at[:, :width].set(of_condition)
    return with_solver(flow, **options)


def _residual(case: Residual, name: str, flow: jinn.Flow) -> tuple[Program, dict[str, Any]]:
    facts: dict[str, Any] = {"parameters": _trained(flow)}
    if name == "step":
        x, _ = data(case, EVENTS)
        keys = jax.random.split(jax.random.key(2), KEYS)
        found = np.asarray(jax.jit(jax.vmap(lambda key: flow.log_prob(x, key=key)))(keys))
        facts |= estimate_facts(found)
        x, _ = data(case, case.batch)

        def log_prob(flow: jinn.Flow, x: jax.Array, key: jax.Array) -> jax.Array:
            return flow.log_prob(x, key=key)

        constants = (jnp.asarray(x), jax.random.key(3))
        return training_step(log_prob, flow, constants, LEARNING_RATE, jinn.refresh), facts
    z = jnp.asarray(data(case, case.points)[0])
    inverse = jax.jit(lambda flow, z: flow.bijector.inverse(z))
    back = flow.bijector.forward(inverse(flow, z))
    facts["round_trip"] = float(jnp.max(jnp.abs(back - z) / (1 + jnp.abs(z))))
    infos = jax.jit(lambda flow, z: flow.bijector.inverse_with_info(z)[2])(flow, z)
    facts["evaluations"] = float(np.mean([info.evaluations.max() for info in infos]))
    return Program(inverse, None, (flow, z)), facts


def _continuous(case: Continuous, name: str, flow: jinn.Flow) -> tuple[Program, dict[str, Any]]:
    facts: dict[str, Any] = {"parameters": _trained(flow)}
    if name == "step":
        x, c = map(jnp.asarray, data(case, case.batch))
        solve = jax.jit(lambda flow, x, c: flow.bijector.forward_with_info(x, c)[2])
        log_prob = jax.jit(lambda flow, x, c: flow.log_prob(x, c))
        facts["evaluations"] = int(solve(flow, x, c).evaluations[0])
        facts["log_prob"] = np.asarray(log_prob(flow, x, c)).tolist()
        return training_step(log_prob, flow, (x, c), LEARNING_RATE), facts
    x, c = data(case, case.points)
    solve = jax.jit(lambda flow, z, c: flow.bijector.inverse_with_info(z, c)[2])
    facts["evaluations"] = int(solve(flow, jnp.asarray(x), jnp.asarray(c[0])).evaluations[0])
    sample = jax.jit(lambda flow, key, c: flow.sample(key, (case.points,), c))
    return Program(sample, None, (flow, jax.random.key(1), jnp.asarray(c[0]))), facts


def estimate_facts(found: np.ndarray) -> dict[str, Any]:
    """Standard error (root mean square over events) and mean of estimates `(keys, events)`."""
    error = np.sqrt(np.mean(np.var(found, axis=0, ddof=1)))
    return {"standard_error": float(error), "log_prob": found.mean(axis=0).tolist()}


def _trained(flow: jinn.Flow) -> int:
    marked = zip(jax.tree.leaves(flow), jax.tree.leaves(jinn.trainable(flow)), strict=True)
    return sum(leaf.size for leaf, learns in marked if learns)

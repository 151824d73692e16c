"""bijx: `ContFlowDiffrax` along a network, whose divergence `AutoJacVF` takes."""

from typing import Any

import bijx  # pyright: ignore[reportMissingImports]
import diffrax
import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from benchmarks.compiled import Program, count, training_step
from benchmarks.freeform.cases import LEARNING_RATE, Case, Continuous, data
from benchmarks.timing import Skipped


class Field(nnx.Module):
    """The case's network, for a batch of points, with the exact divergence."""

    def __init__(self, case: Continuous):
        layers = case.weights()
        self.kernels = nnx.data([nnx.Param(jnp.asarray(kernel)) for kernel, _ in layers])
        self.biases = nnx.data([nnx.Param(jnp.asarray(bias)) for _, bias in layers])
        self.frequencies = case.frequencies

    def __call__(self, t: Any, x: jax.Array, *, c: jax.Array) -> Any:
        waves = jnp.pi * jnp.arange(1, 1 + self.frequencies) * t

        def velocity(x: jax.Array, c: jax.Array) -> jax.Array:
            h = jnp.concatenate([jnp.cos(waves), jnp.sin(waves), x, c])
            for kernel, bias in zip(self.kernels[:-1], self.biases[:-1], strict=True):
                h = jnp.tanh(h @ kernel[...] + bias[...])
            return h @ self.kernels[-1][...] + self.biases[-1][...]

        def point(x: jax.Array, c: jax.Array) -> Any:
            return bijx.AutoJacVF(lambda t, x: velocity(x, c))(t, x)

        return jax.vmap(point, in_axes=(0, 0 if c.ndim == 2 else None))(x, c)


def make(case: Case, name: str) -> tuple[Program, dict[str, Any]]:
    """Makes a program, and says of it what a reader of its time has to know."""
    if not isinstance(case, Continuous):
        raise Skipped("has no residual flow")
    controller = diffrax.PIDController(rtol=case.tolerance, atol=case.tolerance)
    config = bijx.DiffraxConfig(stepsize_controller=controller)
    along = bijx.ContFlowDiffrax(Field(case), config)
    flow = bijx.Transformed(bijx.IndependentNormal((case.event,)), along.invert())
    graph, params, fixed = nnx.split(flow, nnx.Param, ...)
    facts: dict[str, Any] = {"parameters": count(params)}

    def log_prob(params: Any, x: jax.Array, c: jax.Array) -> jax.Array:
        return nnx.merge(graph, params, fixed).log_density(x, c=c)

    def sample(params: Any, key: jax.Array, c: jax.Array) -> jax.Array:
        return nnx.merge(graph, params, fixed).sample((case.points,), rng=key, c=c)[0]

    def evaluations(x: jax.Array, c: jax.Array, start: float) -> int:
        solve = jax.jit(
            lambda x, c: along.solve_flow(
                x, jnp.zeros(len(x)), t_start=start, t_end=1 - start, dt=0.05 * (1 - 2 * start), c=c
            ).stats["num_steps"]
        )
        return 6 * int(solve(x, c)) + 1  # Tsit5: the last stage of a step is the next one's first

    if name == "step":
        x, c = map(jnp.asarray, data(case, case.batch))
        facts["evaluations"] = evaluations(x, c, 0.0)
        facts["log_prob"] = np.asarray(jax.jit(log_prob)(params, x, c)).tolist()
        return training_step(log_prob, params, (x, c), LEARNING_RATE), facts
    x, c = map(jnp.asarray, data(case, case.points))
    facts["evaluations"] = evaluations(x, c[0], 1.0)
    return Program(jax.jit(sample), None, (params, jax.random.key(1), c[0])), facts

"""A JAX library's flow as pure functions, and the compiled programs made of them."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax

from benchmarks.compiled import Program, training_step
from benchmarks.coupling.cases import LEARNING_RATE, Sizes


class Model(NamedTuple):
    """A flow whose arrays are split into what is trained and what is not.

    `log_prob(params, fixed, x, c)` takes a batch of pairs; `sample(params, fixed, key, n, c)`
    draws n events for the one condition c.
    """

    params: Any
    fixed: Any
    log_prob: Callable[[Any, Any, jax.Array, jax.Array], jax.Array]
    sample: Callable[[Any, Any, jax.Array, int, jax.Array], jax.Array]


def data(case: Sizes, n: int) -> tuple[jax.Array, jax.Array]:
    """Pairs of events and conditions."""
    keys = jax.random.split(jax.random.key(0))
    shapes = (n, case.event), (n, case.condition)
    x, c = map(jax.random.normal, keys, shapes)
    return x, c


def make_program(case: Sizes, model: Model, name: str) -> Program:
    """Makes a training step, densities of points, or samples for one condition."""
    if name == "step":
        constants = (model.fixed, *data(case, case.batch))
        return training_step(model.log_prob, model.params, constants, LEARNING_RATE)
    if name == "log_prob":
        constants = (model.params, model.fixed, *data(case, case.points))
        return Program(jax.jit(model.log_prob), None, constants)

    @jax.jit
    def sample(params: Any, fixed: Any, key: jax.Array, c: jax.Array) -> jax.Array:
        return model.sample(params, fixed, key, case.points, c)

    constants = (model.params, model.fixed, jax.random.key(1), data(case, 1)[1][0])
    return Program(sample, None, constants)

"""A JAX library's flow as pure functions, and the compiled programs made of them."""

import time
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from benchmarks.coupling.cases import LEARNING_RATE, Case


class Model(NamedTuple):
    """A flow whose arrays are split into what is trained and what is not.

    `log_prob(params, fixed, x, c)` takes a batch of pairs; `sample(params, fixed, key, n, c)`
    draws n events for the one condition c.
    """

    params: Any
    fixed: Any
    log_prob: Callable[[Any, Any, jax.Array, jax.Array], jax.Array]
    sample: Callable[[Any, Any, jax.Array, int, jax.Array], jax.Array]


class Program:
    """A compiled function of a donated state and of constants, on the device."""

    def __init__(self, function: Callable[..., Any], state: Any, constants: tuple[Any, ...]):
        self.function, self.state, self.constants = function, state, constants

    def run(self, calls: int) -> float:
        """Calls it, one dispatch a call, and returns the seconds that one took."""
        result: Any = None
        start = time.perf_counter()
        for _ in range(calls):
            if self.state is None:
                result = self.function(*self.constants)
            else:
                self.state = result = self.function(self.state, *self.constants)
        jax.block_until_ready(result)
        return (time.perf_counter() - start) / calls


def count(params: Any) -> int:
    """Number of trained parameters."""
    return sum(leaf.size for leaf in jax.tree.leaves(params))


def data(case: Case, n: int) -> tuple[jax.Array, jax.Array]:
    """Pairs of events and conditions."""
    keys = jax.random.split(jax.random.key(0))
    shapes = (n, case.event), (n, case.condition)
    x, c = map(jax.random.normal, keys, shapes)
    return x, c


def make_program(case: Case, model: Model, name: str) -> Program:
    """Makes a training step, densities of points, or samples for one condition."""
    if name == "step":
        optimizer = optax.adam(LEARNING_RATE)
        params = jax.tree.map(lambda leaf: leaf.copy(), model.params)  # they are donated

        @partial(jax.jit, donate_argnums=0)
        def step(state: Any, fixed: Any, x: jax.Array, c: jax.Array) -> Any:
            params, moments, _ = state

            def loss(params: Any) -> jax.Array:
                return -model.log_prob(params, fixed, x, c).mean()

            value, gradient = jax.value_and_grad(loss)(params)
            updates, moments = optimizer.update(gradient, moments, params)
            return optax.apply_updates(params, updates), moments, value

        state = (params, optimizer.init(params), jnp.zeros(()))
        return Program(step, state, (model.fixed, *data(case, case.batch)))
    if name == "log_prob":
        constants = (model.params, model.fixed, *data(case, case.points))
        return Program(jax.jit(model.log_prob), None, constants)

    @jax.jit
    def sample(params: Any, fixed: Any, key: jax.Array, c: jax.Array) -> jax.Array:
        return model.sample(params, fixed, key, case.points, c)

    constants = (model.params, model.fixed, jax.random.key(1), data(case, 1)[1][0])
    return Program(sample, None, constants)

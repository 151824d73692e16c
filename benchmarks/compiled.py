"""Compiled JAX programs that can be timed."""

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax


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


def training_step(
    log_prob: Callable[..., jax.Array],
    params: Any,
    constants: tuple[Any, ...],
    learning_rate: float,
    finish: Callable[[Any], Any] = lambda params: params,
) -> Program:
    """Adam on the mean of `-log_prob(params, *constants)`, then `finish(params)`."""
    optimizer = optax.adam(learning_rate)
    params = jax.tree.map(lambda leaf: leaf.copy(), params)  # they are donated

    @partial(jax.jit, donate_argnums=0)
    def step(state: Any, *constants: Any) -> Any:
        params, moments, _ = state

        def loss(params: Any) -> jax.Array:
            return -log_prob(params, *constants).mean()

        value, gradient = jax.value_and_grad(loss)(params)
        updates, moments = optimizer.update(gradient, moments, params)
        return finish(optax.apply_updates(params, updates)), moments, value

    return Program(step, (params, optimizer.init(params), jnp.zeros(())), constants)


def count(params: Any) -> int:
    """Number of trained parameters."""
    return sum(leaf.size for leaf in jax.tree.leaves(params))

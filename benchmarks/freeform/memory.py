"""Temporary memory of gradients, from the compiled programs; nothing is run."""

from typing import Any

import jax
import jax.numpy as jnp

import jinn
from benchmarks.freeform.cases import Continuous, Residual, data
from benchmarks.freeform.jinn_flows import matching_flow, residual_flow

TERMS = (5, 40)
TARGET = 1.1
"""At most so many times the memory of few terms may be that of many."""
STEPS = (4, 16, 64, 256)
ADJOINTS = ("recursive_checkpoint", "direct", "backsolve")


def series_memory(case: Residual, terms: tuple[int, ...] = TERMS) -> dict[str, dict[int, int]]:
    """Bytes that a gradient needs, by estimator and number of terms.

    The roulette's number of terms is random, `2 + rate / (1 - rate)` in the mean.
    """
    x = jnp.asarray(data(case, case.batch)[0])
    found: dict[str, dict[int, int]] = {}
    for estimator in ("power_series", "russian_roulette"):
        for n in terms:
            rate = (n - 2) / (n - 1)
            options: dict[str, Any] = {"terms": n} if estimator == "power_series" else {}
            if estimator == "russian_roulette":
                options["coefficient"] = rate
            flow = residual_flow(case, estimator=estimator, **options)
            found.setdefault(estimator, {})[n] = gradient_bytes(flow, x, None)
    return found


def adjoint_memory(case: Continuous, steps: tuple[int, ...] = STEPS) -> dict[str, dict[int, int]]:
    """Bytes that a gradient needs, by adjoint and number of equal steps."""
    x, c = map(jnp.asarray, data(case, case.batch))
    return {
        adjoint: {
            n: gradient_bytes(matching_flow(case, adjoint=adjoint, steps=n), x, c) for n in steps
        }
        for adjoint in ADJOINTS
    }


def gradient_bytes(flow: jinn.Flow, x: jax.Array, c: jax.Array | None) -> int:
    """Bytes of temporaries of the gradient of the mean log_prob, compiled."""

    def loss(flow: jinn.Flow, x: jax.Array, c: jax.Array | None, key: jax.Array) -> jax.Array:
        return -flow.log_prob(x, c, key=key).mean()

    compiled: Any = jax.jit(jax.grad(loss)).lower(flow, x, c, jax.random.key(0)).compile()
    return compiled.memory_analysis().temp_size_in_bytes


def growth(found: dict[int, int]) -> float:
    """Memory of the largest number over that of the smallest."""
    return found[max(found)] / found[min(found)]

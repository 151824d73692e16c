"""Cases of continuous bijectors, which solve a differential equation."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from jinn.bijectors import Continuous
from jinn.flows import continuous_flow
from jinn.networks import VectorField
from tests.registry_case import Case


def tolerance(dtype: Any) -> float:
    """That of a solve for events of a type."""
    return 1e-5 if jnp.dtype(dtype) == jnp.float32 else 1e-8


class ImageField(nnx.Module):
    """A field over images whose pixels meet, with a vector condition, that knows no divergence."""

    def __init__(self, shape: tuple[int, ...], condition_size: int, dtype: Any) -> None:
        size = shape[0] * shape[1] * shape[2]
        self.field = VectorField(
            size, hidden=(6,), condition_shape=(condition_size,), param_dtype=dtype, rngs=0
        )

    def __call__(self, time: jax.Array, x: jax.Array, condition: Any) -> jax.Array:
        return self.field(time, x.reshape(*x.shape[:-3], -1), condition).reshape(x.shape)


def spiral(time: jax.Array, x: jax.Array) -> jax.Array:
    """A field of vectors of length 2 without parameters."""
    turned = jnp.stack([x[..., 1], -x[..., 0]], -1)
    return (1 + time) * turned + 0.5 * jnp.tanh(x)


def _continuous(event_shape: tuple[int, ...], dtype: Any, **options: Any) -> Continuous:
    return Continuous(event_shape, rtol=tolerance(dtype), atol=tolerance(dtype), **options)


CONTINUOUS_CASES: dict[str, Case] = {
    "continuous concatsquash, conditional": Case(
        Continuous,
        lambda dtype: _continuous(
            (3,), dtype, condition_shape=(2,), hidden=(8, 8), param_dtype=dtype, rngs=0
        ),
        solver_tolerance=tolerance,
    ),
    "continuous film, dict condition, per sample": Case(
        Continuous,
        lambda dtype: _continuous(
            (2,),
            dtype,
            condition_shape={"a": (2,), "b": (2, 2)},
            hidden=(6,),
            modulation="film",
            stepping="per_sample",
            param_dtype=dtype,
            rngs=0,
        ),
        solver_tolerance=tolerance,
    ),
    "continuous image, direct": Case(
        Continuous,
        lambda dtype: _continuous(
            (2, 2, 1),
            dtype,
            vector_field=ImageField((2, 2, 1), 3, dtype),
            condition_shape=(3,),
            adjoint="direct",
            max_steps=64,
        ),
        solver_tolerance=tolerance,
    ),
    "continuous plain function, backsolve": Case(
        Continuous,
        lambda dtype: _continuous((2,), dtype, vector_field=spiral, adjoint="backsolve"),
        solver_tolerance=tolerance,
    ),
    "continuous_flow 2|0 residual": Case(
        Continuous,
        lambda dtype: (
            continuous_flow(
                2,
                hidden=(6, 6, 6),
                modulation="concat",
                residual=True,
                param_dtype=dtype,
                rngs=0,
                rtol=tolerance(dtype),
                atol=tolerance(dtype),
            ).bijector
        ),
        solver_tolerance=tolerance,
    ),
}

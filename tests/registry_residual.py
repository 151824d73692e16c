"""The registry's cases of residual blocks."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from jinn.bijectors import Invert, InvertibleResidual, Stack
from jinn.flows import residual_flow
from jinn.functional.fixed_point import default_tolerance
from tests.registry_case import Case

_solved = partial(Case, solver_tolerance=default_tolerance)


def _residual(event_shape: tuple[int, ...], **options: Any) -> Callable[[Any], InvertibleResidual]:
    return lambda dtype: InvertibleResidual(
        event_shape, hidden=(6, 5), param_dtype=dtype, rngs=0, **options
    )


def a_contraction(x: jax.Array, condition: Any) -> jax.Array:
    """Of Lipschitz constant 1/2 on events of any shape."""
    return 0.5 * jnp.sin(jnp.roll(x, 1, axis=-1))


RESIDUAL_CASES = {
    "residual": _solved(InvertibleResidual, _residual((3,))),
    "residual, elu, dict condition": _solved(
        InvertibleResidual,
        _residual((2,), activation="elu", condition_shape={"a": (2,), "b": (2, 2)}),
    ),
    "residual, one element, tanh, conditional, plain": _solved(
        InvertibleResidual,
        _residual((1,), activation="tanh", condition_shape=(3,), coefficient=0.6, solver="plain"),
    ),
    "residual, ten elements, anderson": _solved(
        InvertibleResidual, _residual((10,), condition_shape=(3,))
    ),
    "residual image": _solved(InvertibleResidual, _residual((2, 2, 2))),
    "residual image, twelve elements, conditional": _solved(
        InvertibleResidual, _residual((2, 3, 2), condition_shape=(3,))
    ),
    "residual, plain function": _solved(
        InvertibleResidual,
        lambda dtype: InvertibleResidual((2, 3), network=a_contraction, coefficient=0.5),
    ),
    "invert residual": _solved(Invert, lambda dtype: Invert(_residual((3,))(dtype))),
    "residual_flow 3|2": _solved(
        Stack,
        lambda dtype: (
            residual_flow(
                3, condition_dim=2, depth=2, hidden=(6, 5), param_dtype=dtype, rngs=0
            ).bijector
        ),
    ),
}

"""The registry's cases of autoregressive bijectors."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jinn.bijectors import Invert, MaskedAutoregressive, Stack
from jinn.bijectors import transformers as t
from jinn.flows import iaf, maf
from jinn.functional.perceptron import add_batches
from tests.registry_case import Case

_SPLINE = t.Composed((t.Affine(), t.RationalQuadraticSpline(bins=2)))


def _autoregressive(n: int, **options: Any) -> Callable[[Any], MaskedAutoregressive]:
    options = {"hidden": (8,)} | options
    return lambda dtype: MaskedAutoregressive((n,), param_dtype=dtype, rngs=0, **options)


def _flow(make: Any, n: int, **options: Any) -> Callable[[Any], Any]:
    return lambda dtype: (
        make(n, depth=2, hidden=(8,), param_dtype=dtype, rngs=0, **options).bijector
    )


def sums_of_earlier_elements(x: jax.Array, condition: Any) -> jax.Array:
    """Two parameters for each element, from those behind it and a number."""
    behind = add_batches(jnp.cumsum(x[..., ::-1], axis=-1)[..., ::-1] - x, condition)
    return jnp.concatenate([jnp.sin(behind), 0.5 * jnp.cos(behind)], axis=-1)


AUTOREGRESSIVE_CASES = {
    "autoregressive affine": Case(MaskedAutoregressive, _autoregressive(4)),
    "autoregressive affine, residual, order, conditional": Case(
        MaskedAutoregressive,
        _autoregressive(4, hidden=(6, 6), residual=True, order=(2, 0, 3, 1), condition_shape=(3,)),
    ),
    "autoregressive additive, one element, conditional": Case(
        MaskedAutoregressive, _autoregressive(1, transformer="additive", condition_shape=(3,))
    ),
    "autoregressive affine, one element": Case(MaskedAutoregressive, _autoregressive(1)),
    "autoregressive spline, dict condition": Case(
        MaskedAutoregressive,
        _autoregressive(
            3,
            transformer=t.RationalQuadraticSpline(bins=2),
            condition_shape={"a": (2,), "b": (2, 2)},
        ),
    ),
    "autoregressive affine and spline": Case(
        MaskedAutoregressive, _autoregressive(3, transformer=_SPLINE, order=(2, 1, 0))
    ),
    "autoregressive affine, plain function": Case(
        MaskedAutoregressive,
        lambda dtype: MaskedAutoregressive(
            (3,), conditioner=sums_of_earlier_elements, condition_shape=(1,), order=(2, 1, 0)
        ),
    ),
    "invert autoregressive": Case(Invert, lambda dtype: Invert(_autoregressive(3)(dtype))),
    "maf 3|2": Case(Stack, _flow(maf, 3, condition_dim=2)),
    "maf 5|3 spline, orthogonal": Case(
        Stack,
        _flow(
            maf,
            5,
            condition_dim=3,
            transformer="rational_quadratic_spline",
            bins=2,
            mixing="orthogonal",
        ),
    ),
    "maf 2 sigmoidal": Case(Stack, _flow(maf, 2, transformer="sigmoidal", units=2)),
    "iaf 3|2 reverse": Case(Stack, _flow(iaf, 3, condition_dim=2, mixing="reverse")),
}

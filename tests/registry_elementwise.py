"""The registry's cases of transformers on every element by itself."""

from typing import Any

import jax
import jax.numpy as jnp

from jinn.bijectors import Elementwise, Invert
from jinn.bijectors import transformers as t
from tests.registry_case import Case


def _elementwise(shape: tuple, transformer: Any, **options: Any) -> Case:
    return Case(
        Elementwise,
        lambda dtype: Elementwise(
            shape, transformer, **{"hidden": (8,), "param_dtype": dtype, "rngs": 0} | options
        ),
    )


def _waves(condition: jax.Array) -> jax.Array:
    """Four parameters for each of two elements."""
    return jnp.concatenate([jnp.sin(k * condition) for k in (1.0, 2.0, 3.0, 4.0)], axis=-1)


_FREE = _elementwise((3,), t.RationalQuadraticSpline(bins=4))

ELEMENTWISE_CASES: dict[str, Case] = {
    "elementwise spline": _FREE,
    "elementwise affine, one number": _elementwise((), "affine"),
    "elementwise linear spline, image": _elementwise((2, 1, 2), t.LinearSpline(bins=3)),
    "elementwise quadratic spline": _elementwise((2,), t.QuadraticSpline(bins=3)),
    "elementwise cubic spline": _elementwise((2,), t.CubicSpline(bins=3)),
    "elementwise circular spline": _elementwise((2,), t.CircularSpline(bins=3)),
    "elementwise spline, learned domain, conditional": _elementwise(
        (3,), t.LearnedDomain(t.RationalQuadraticSpline(bins=4)), condition_shape=(2,)
    ),
    "elementwise quadratic spline, dict condition": _elementwise(
        (2,), t.QuadraticSpline(bins=3), condition_shape={"a": (2,), "b": (2, 2)}
    ),
    "elementwise composed, image, conditional": _elementwise(
        (2, 1, 2), t.Composed((t.CubicSpline(bins=2), t.Affine())), condition_shape=(3,)
    ),
    "elementwise linear spline, plain function": _elementwise(
        (2,), t.LinearSpline(bins=4), condition_shape=(2,), conditioner=_waves
    ),
    "invert elementwise spline": Case(Invert, lambda dtype: Invert(_FREE.make(dtype))),
}

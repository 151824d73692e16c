"""The errors of splines and of transformers on single elements."""

import jax.numpy as jnp
import numpy as np
import pytest

from jinn import functional as F
from jinn.bijectors import Elementwise
from jinn.bijectors import transformers as t
from tests.errors import raises


def test_polynomial_and_circular_splines():
    x, w, s, e = jnp.ones(3), jnp.ones((4, 3)), jnp.ones((3, 3)), jnp.ones((2, 3))
    good = {
        "linear_spline": (w,),
        "quadratic_spline": (w, s),
        "cubic_spline": (w, w, e),
        "circular_rational_quadratic_spline": (w, w, w),
    }
    for name, params in good.items():
        for direction in ("forward", "inverse"):
            f = getattr(F, f"{name}_{direction}")
            one_bin = (params[0][:1], *params[1:])
            for bad in (one_bin, [p[:, :2] for p in params], [p.T for p in params]):
                with raises(f"{name}: expected", "at least 2", "bins on the leading axis"):
                    f(x, *bad, bound=3.0)
            for bound in (0.0, -1.0, np.nan, np.inf):
                with raises(f"{name}: expected a positive, finite bound, got {bound}"):
                    f(x, *params, bound=bound)
    with raises(
        "cubic_spline: expected edge_slopes of shape (2, 3), left and right edge", "(3, 3)"
    ):
        F.cubic_spline_forward(x, w, w, s, bound=1.0)


@pytest.mark.parametrize(
    "kind",
    [
        t.LinearSpline,
        t.QuadraticSpline,
        t.CubicSpline,
        t.CircularSpline,
        t.RationalQuadraticSpline,
    ],
)
def test_options_of_splines(kind):
    for bins in (1, 0, -3, 1000, 2.5, "2"):
        with raises(f"{kind.__name__}: expected an integer 2 <= bins < 1000, got {bins!r}"):
            kind(bins=bins)
    for bound in (0.0, -1.0, np.inf, np.nan, "1"):  # a domain of zero width among them
        with raises(f"{kind.__name__}: expected a positive, finite bound, got {bound!r}"):
            kind(bound=bound)


def test_learned_domain_and_elementwise():
    with raises("LearnedDomain: expected a positive, finite clamp, got 0.0"):
        t.LearnedDomain(clamp=0.0)
    with raises("transformer: expected an object, got the class Affine; write Affine()"):
        t.LearnedDomain(t.Affine)
    for build in (t.LearnedDomain, lambda kind: Elementwise((3,), kind)):
        with raises("expected a transformer of single elements, got VolumePreserving"):
            build(t.VolumePreserving())
    with raises("transformer: expected one of", "got 'cubic'"):
        Elementwise((3,), "cubic")
    with raises("Elementwise: a conditioner needs conditions; give the condition_shape too"):
        Elementwise((3,), "affine", conditioner=lambda c: c)
    with raises("Elementwise: the default conditioner needs rngs, such as rngs=0"):
        Elementwise((3,), "affine", condition_shape=(2,))
    with raises("Elementwise: expected param_dtype to be a floating type such as"):
        Elementwise((3,), "affine", param_dtype=int)
    wrong = Elementwise((3,), "affine", condition_shape=(2,), conditioner=lambda c: c)
    with raises("Elementwise: expected the conditioner to return shape (5, 6), the parameters"):
        wrong.forward(np.ones((5, 3)), np.ones((5, 2)))

"""The monotone network of sigmoids against its formula and the autodiff Jacobian."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import expit, logit, softmax

from jinn import functional as F
from jinn.bijectors import transformers as t

ROWS = 200
forward, inverse = jax.jit(F.sigmoidal_forward), jax.jit(F.sigmoidal_inverse)


def draw(scale, dtype=float, units=4, size=3.0):
    rng = np.random.default_rng(0)
    raw = [jnp.asarray(scale * rng.normal(size=(units, ROWS)), dtype) for _ in range(3)]
    return jnp.asarray(rng.uniform(-size, size, ROWS), dtype), raw


@pytest.mark.parametrize("scale", [0.3, 3.0])
def test_it_is_the_formula_with_the_slope_of_autodiff(scale, x64):
    x, raw = draw(scale)
    y, log_slope = forward(x, *raw)
    weights, slopes, centers = softmax(raw[0], 0), raw[1], raw[2]
    slopes = 1e-3 + np.logaddexp(0, slopes + np.log(np.expm1(1 - 1e-3)))
    exact = 0.999 * logit((weights * expit(slopes * (x[None] - centers))).sum(0)) + 1e-3 * x
    np.testing.assert_allclose(y, exact, rtol=1e-9, atol=1e-9)
    back, back_log_slope = inverse(y, *raw)
    np.testing.assert_allclose(back, x, atol=1e-9)
    np.testing.assert_allclose(back_log_slope, -log_slope, atol=1e-9)
    for run, at, expected in ((F.sigmoidal_forward, x, log_slope), (F.sigmoidal_inverse, y, None)):
        jacobian = jax.jit(jax.jacrev(lambda at, run=run: run(at, *raw)[0]))(at)
        sign, log_det = np.linalg.slogdet(jacobian)
        assert sign == 1
        expected = back_log_slope if expected is None else expected
        np.testing.assert_allclose(log_det, expected.sum(), atol=1e-8)


@pytest.mark.thorough
def test_the_inverse_has_the_gradients_of_the_implicit_function_theorem(x64):
    """With respect to every parameter, `-(df/dp) / (df/dx)` at the solution, in both modes."""
    x, raw = draw(1.0)
    y, log_slope = forward(x, *raw)
    pull = jax.jit(jax.grad(lambda f, raw, at: jnp.sum(f(at, *raw)[0]), 1), static_argnums=0)
    by_forward, by_inverse = pull(F.sigmoidal_forward, raw, x), pull(F.sigmoidal_inverse, raw, y)
    for there, back in zip(by_forward, by_inverse, strict=True):
        np.testing.assert_allclose(back, -there * np.exp(-log_slope)[None], atol=1e-9)
    tangents = jax.tree.map(jnp.ones_like, raw)
    pushed = jax.jvp(lambda raw: F.sigmoidal_inverse(y, *raw)[0], (raw,), (tangents,))[1]
    np.testing.assert_allclose(pushed, sum(g.sum(0) for g in by_inverse), atol=1e-9)


@pytest.mark.parametrize(("scale", "size"), [(3.0, 3.0), (3.0, 1e4), (30.0, 3.0)])
def test_float32_far_out_and_where_it_is_flat(scale, size):
    """Nothing saturates in the tails; round-off is that of the numbers and of the slope."""
    x, raw = draw(scale, jnp.float32, size=size)
    y, log_slope = forward(x, *raw)
    back, back_log_slope = inverse(y, *raw)
    allowed = 1 + np.abs(x) + (1 + np.abs(y)) * np.exp(-log_slope)
    assert np.max(np.abs(back - x) / allowed) < 1e-6
    np.testing.assert_allclose(back_log_slope, -log_slope, atol=1e-3)
    least = np.log(2e-3 + np.logaddexp(0, np.min(raw[1], 0) + np.log(np.expm1(1 - 1e-3))))
    far = np.abs(x) > 5e3
    np.testing.assert_allclose(log_slope[far], least[far], atol=0.05)


@pytest.mark.thorough
def test_units_far_apart_leave_a_plateau_that_is_not_flat():
    """The slope of the sigmoids' part is exp(-150) there, less than float32 has."""
    raw = [jnp.zeros((2, 1)), jnp.zeros((2, 1)), jnp.asarray([[-150.0], [150.0]])]
    y, log_slope = F.sigmoidal_forward(jnp.asarray([20.0]), *raw)
    np.testing.assert_allclose([y[0], log_slope[0]], [0.02, np.log(1e-3)], atol=1e-5)
    back, back_log_slope = F.sigmoidal_inverse(y, *raw)
    np.testing.assert_allclose([back[0], back_log_slope[0]], [20.0, -np.log(1e-3)], rtol=1e-3)
    slope = jax.grad(lambda y: F.sigmoidal_inverse(y, *raw)[0].sum())(y)
    np.testing.assert_allclose(slope, 1e3, rtol=1e-4)


def test_the_transformer_starts_near_the_identity_with_units_that_differ():
    transformer = t.Sigmoidal(units=4)
    x, zeros = jnp.linspace(-3.0, 3.0, 7), jnp.zeros((12, 7))
    y, _ = transformer.forward(x, zeros)
    np.testing.assert_allclose(y, x, atol=0.7)
    np.testing.assert_allclose(y, -y[::-1], atol=1e-6)
    weight = jnp.asarray([1.0, -2.0, 0.5, 3.0, 1.0, 1.0, 2.0])  # of no symmetry
    gradient = jax.grad(lambda p: jnp.sum(weight * transformer.forward(x, p)[0]))(zeros).sum(1)
    for kind in gradient.reshape(3, 4):
        assert len(np.unique(np.round(kind, 4))) == 4
    with jax.enable_x64(True):
        affine = t.Sigmoidal(units=1).forward(jnp.arange(3.0), jnp.zeros((3, 3)))
        np.testing.assert_allclose(affine[0], np.arange(3.0), atol=1e-12)

"""Softplus, tanh, leaky ReLU, exp and powers: slopes, inverses, and what happens far out."""

from functools import partial

import hypothesis.extra.numpy as npst
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jinn import functional as F

INF = float("inf")


def leaky_relu(slope):
    forward, inverse = F.leaky_relu_forward, F.leaky_relu_inverse
    return partial(forward, negative_slope=slope), partial(inverse, negative_slope=slope)


def power(exponent):
    return partial(F.power_forward, exponent=exponent), partial(F.power_inverse, exponent=exponent)


PAIRS = {
    "softplus": (F.softplus_forward, F.softplus_inverse),
    "tanh": (F.tanh_forward, F.tanh_inverse),
    "leaky_relu 0.1": leaky_relu(0.1),
    "leaky_relu 4": leaky_relu(4.0),
    "exp": (F.exp_forward, F.exp_inverse),
    "power 0.5": power(0.5),
    "power 3": power(3.0),
    "power -2": power(-2.0),
}


@jax.jit
def there_and_back(x):
    """Of each pair, and the slopes by autodiff; powers take exp(x / 4)."""
    results = {}
    for name, (forward, inverse) in PAIRS.items():
        start = jnp.exp(x / 4) if name.startswith("power") else x
        y, log_slopes = forward(start)
        slopes = jax.grad(lambda x, f=forward: jnp.sum(f(x)[0]))(start)
        results[name] = start, y, log_slopes, slopes, *inverse(y)
    return results


def without_underflow(x):
    """Zero for the least numbers: times a slope they may become 0, where leaky ReLU has a kink."""
    return x if abs(x) > 1e-30 else 0.0


@given(npst.arrays(np.float32, 4, elements=st.floats(-6, 6, width=32).map(without_underflow)))
def test_there_and_back_with_the_slopes_of_autodiff(x):
    results = jax.tree.map(np.asarray, there_and_back(x))
    for name, (start, y, log_slopes, slopes, back, back_log_slopes) in results.items():
        assert log_slopes.shape == y.shape == back.shape == x.shape
        np.testing.assert_allclose(log_slopes, np.log(np.abs(slopes)), atol=2e-2, err_msg=name)
        # Rounding of y moves x by that much over the slope.
        slack = 1e-6 * (1 + np.abs(start) + (1 + np.abs(y)) / np.abs(slopes))
        np.testing.assert_array_less(np.abs(back - start), slack, err_msg=name)
        np.testing.assert_array_less(np.abs(back_log_slopes + log_slopes), 1e-5 + 4 * slack, name)


def test_there_and_back_in_float64(x64):
    for x in np.linspace(-6.0, 6.0, 16).reshape(4, 4):
        for name, results in there_and_back(jnp.asarray(x)).items():
            start, y, log_slopes, slopes, back, back_log_slopes = results
            assert y.dtype == log_slopes.dtype == jnp.float64
            np.testing.assert_allclose(log_slopes, np.log(np.abs(slopes)), atol=1e-9, err_msg=name)
            np.testing.assert_allclose(back, start, atol=1e-9, err_msg=name)
            np.testing.assert_allclose(back_log_slopes, -log_slopes, atol=1e-9, err_msg=name)


FAR = np.concatenate([-np.geomspace(1e4, 1e-6, 40), [0.0], np.geomspace(1e-6, 1e4, 40)])
POSITIVE = np.geomspace(1e-30, 1e4, 60)


def wide(array):
    """What float32 made of the numbers, as float64."""
    return np.asarray(np.asarray(array, np.float32), float)


def test_log_slopes_are_exact_where_values_saturate():
    x = wide(FAR)
    softplus, tanh, exp = jax.jit(
        lambda x: [f(x) for f in (F.softplus_forward, F.tanh_forward, F.exp_forward)]
    )(jnp.asarray(x, jnp.float32))
    tail = np.log1p(np.exp(-np.abs(x)))
    np.testing.assert_allclose(softplus[0], np.maximum(x, 0) + tail, rtol=1e-6, atol=1e-37)
    np.testing.assert_allclose(softplus[1], np.minimum(x, 0) - tail, rtol=1e-6, atol=1e-37)
    np.testing.assert_allclose(tanh[0], np.tanh(x), rtol=1e-6)
    log_cosh = np.logaddexp(x, -x) - np.log(2)
    np.testing.assert_allclose(tanh[1], -2 * log_cosh, rtol=1e-6, atol=1e-6)
    np.testing.assert_array_equal(exp[1], x)
    inside = np.abs(x) < 80
    np.testing.assert_allclose(exp[0][inside], np.exp(x[inside]), rtol=1e-5)
    assert np.isfinite(exp[0]).all() and exp[0][-1] > 1e38 and exp[0][0] == 0


def test_inverses_are_exact_over_their_whole_domain():
    y, p = wide(POSITIVE), wide(np.concatenate([POSITIVE[:52], 1 - np.geomspace(0.5, 1e-7, 20)]))
    log_y = np.log(y)
    x, log_slopes = jax.jit(F.softplus_inverse)(jnp.asarray(y, jnp.float32))
    expected = y + np.log(-np.expm1(-y))
    np.testing.assert_allclose(x, expected, rtol=1e-6, atol=3e-7)
    np.testing.assert_allclose(log_slopes, y - expected, rtol=1e-5, atol=1e-7)
    x, log_slopes = jax.jit(F.exp_inverse)(jnp.asarray(y, jnp.float32))
    np.testing.assert_allclose(x, log_y, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(log_slopes, -log_y, rtol=1e-6, atol=1e-6)
    for sign in (-1, 1):
        x, log_slopes = jax.jit(F.tanh_inverse)(jnp.asarray(sign * p, jnp.float32))
        np.testing.assert_allclose(x, sign * np.arctanh(p), rtol=1e-5)
        np.testing.assert_allclose(log_slopes, -np.log1p(-(p**2)), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("exponent", [0.25, 1.0, 2.0, 7.5, -0.5, -1.0])
def test_powers_are_exact_and_saturate_in_order(exponent):
    x = wide(np.sort(np.concatenate([POSITIVE, np.geomspace(1e-4, 1e4, 40)])))
    y, log_slopes = jax.jit(partial(F.power_forward, exponent=exponent))(
        jnp.asarray(x, jnp.float32)
    )
    log_y = exponent * np.log(x)
    held = (np.abs(log_y) < 80) & (log_y < 70) & (log_y - np.log(x) < 65)  # below 1e30
    assert held.sum() > 20
    np.testing.assert_allclose(y[held], np.exp(log_y[held]), rtol=1e-5)
    expected = np.log(abs(exponent)) + (exponent - 1) * np.log(x)
    np.testing.assert_allclose(log_slopes, expected, rtol=1e-5, atol=1e-5)
    assert np.isfinite(y).all() and np.all(np.diff(y) * np.sign(exponent) >= 0)


@pytest.mark.parametrize("name", PAIRS)
def test_values_and_gradients_are_finite_everywhere(name):
    """Both directions, at the edges of their domains and beyond these; no density is there."""
    edges = [0.0, 1e-45, 1e-38, 1e-31, 1e-19, 1.0, np.nextafter(np.float32(1), 2), 90.0, 1e4]
    x = jnp.asarray([-e for e in edges[::-1]] + edges, jnp.float32)
    positive = (x >= 0, x >= 0)
    domains = {"softplus": (None, x >= 0), "exp": (None, x >= 0), "tanh": (None, jnp.abs(x) <= 1)}
    inside = positive if name.startswith("power") else domains.get(name, (None, None))

    @jax.jit
    def run(x):
        def parts(x):
            return [part for f in PAIRS[name] for part in f(x)]

        gradients = [jax.grad(lambda x, i=i: jnp.sum(parts(x)[i]))(x) for i in range(4)]
        return parts(x), gradients

    values, gradients = run(x)
    assert all(np.isfinite(gradient).all() for gradient in gradients)
    for i, mask in enumerate(inside):
        y, log_slopes = values[2 * i], values[2 * i + 1]
        mask = np.ones(len(x), bool) if mask is None else mask
        assert np.isfinite(y).all() and np.isfinite(log_slopes[mask]).all()
        np.testing.assert_array_equal(log_slopes[~mask], -INF)


def test_narrow_types_keep_their_type():
    x = jnp.linspace(0.1, 0.9, 5, dtype=jnp.bfloat16)
    for name, pair in PAIRS.items():
        for f in pair:
            y, log_slopes = f(x)
            assert y.dtype == log_slopes.dtype == jnp.bfloat16, name
            assert np.isfinite(np.asarray(y, float)).all(), name


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16])
def test_narrow_types_near_zero_are_as_exact_as_they_can_be(dtype):
    """As float32 of the same numbers, also where a logarithm in the narrow type would not be."""
    x = jnp.asarray([2e-5, 1e-3, 0.01, 0.03, 0.2, 0.9, 0.98], dtype)
    pairs = {
        **{name: pair for name, pair in PAIRS.items() if name != "power -2"},
        "sigmoid": (F.sigmoid_forward, F.sigmoid_inverse),
        "unconstrain": tuple(
            partial(f, low=jnp.zeros(7, dtype), high=jnp.full(7, INF, dtype))
            for f in (F.unconstrain_forward, F.unconstrain_inverse)
        ),
    }
    rounding = float(jnp.finfo(dtype).eps)
    for name, functions in pairs.items():
        for f in functions:
            y, log_slopes = f(x)
            if name == "unconstrain":
                f = F.exp_inverse if f is functions[0] else F.exp_forward
            wide, wide_log_slopes = f(x.astype(jnp.float32))
            assert y.dtype == log_slopes.dtype == dtype, name
            options = {"rtol": rounding, "atol": 2 * rounding, "err_msg": name}
            np.testing.assert_allclose(np.asarray(y, float), wide, **options)
            np.testing.assert_allclose(np.asarray(log_slopes, float), wide_log_slopes, **options)


def test_powers_use_the_whole_range_of_float16():
    y, _ = F.power_forward(jnp.asarray([6.0, 200.0, 300.0], jnp.float16), 2.0)
    np.testing.assert_allclose(np.asarray(y, float), [36.0, 40000.0, 65504.0], rtol=1e-3)
    y, _ = F.unconstrain_inverse(
        jnp.asarray([-12.0, 30.0], jnp.float16), jnp.zeros(2), jnp.full(2, INF)
    )
    assert y[0] > 0 and np.isfinite(y).all()

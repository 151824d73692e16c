"""Element-wise and linear maps: there and back, log-determinants, closed forms, extremes."""

from functools import partial

import hypothesis.extra.numpy as npst
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg
from hypothesis import given
from hypothesis import strategies as st

from jinn import functional as F
from jinn.functional.permutation import COMPARED, ascending, places

INF = float("inf")
LOW = jnp.array([-INF, -1.0, -INF, 2.0])
HIGH = jnp.array([INF, INF, 3.0, 5.0])
SHIFT = jnp.array([0.3, -2.0, 0.0, 3.0])
LOG_SCALE = jnp.array([-3.0, 3.0, 0.0, 0.7])

PAIRS = {
    "additive": (F.additive_forward, F.additive_inverse, [SHIFT]),
    "affine": (F.affine_forward, F.affine_inverse, [SHIFT, LOG_SCALE]),
    "actnorm": (F.actnorm_forward, F.actnorm_inverse, [SHIFT, LOG_SCALE]),
    "sigmoid": (F.sigmoid_forward, F.sigmoid_inverse, []),
    "unconstrain": (F.unconstrain_inverse, F.unconstrain_forward, [LOW, HIGH]),
}
"""Maps from the whole real line, so `unconstrain` is swapped; `logit` is tested apart."""

unconstrain = jax.jit(lambda x: F.unconstrain_forward(x, LOW, HIGH))
constrain = jax.jit(lambda y: F.unconstrain_inverse(y, LOW, HIGH))


def arrays(*shape, low=-8.0, high=8.0):
    return npst.arrays(np.float32, shape, elements=st.floats(low, high, width=32)).map(jnp.asarray)


@jax.jit
def there_and_back(x):
    results = {}
    for name, (forward, inverse, params) in PAIRS.items():
        params = [p.astype(x.dtype) for p in params]
        y, log_slopes = forward(x, *params)
        slopes = jax.grad(lambda x, f=forward, p=params: jnp.sum(f(x, *p)[0]))(x)
        results[name] = y, log_slopes, slopes, *inverse(y, *params)
    return results


@given(arrays(4))
def test_there_and_back_with_the_slopes_of_autodiff(x):
    for name, (y, log_slopes, slopes, back, back_log_slopes) in there_and_back(x).items():
        assert log_slopes.shape == x.shape
        np.testing.assert_allclose(log_slopes, np.log(slopes), atol=1e-3, err_msg=name)
        # Rounding of y moves x by that much over the slope.
        slack = 4e-7 * (1 + np.abs(x) + (1 + np.abs(y)) / slopes)
        np.testing.assert_array_less(np.abs(back - x), 3 * slack, err_msg=name)
        slack = 1e-5 + slack * (name in ("sigmoid", "unconstrain"))
        np.testing.assert_array_less(np.abs(back_log_slopes + log_slopes), slack, err_msg=name)


def test_there_and_back_in_float64(x64):
    for x in np.linspace(-8.0, 8.0, 24).reshape(6, 4):
        for name, results in there_and_back(jnp.asarray(x)).items():
            y, log_slopes, slopes, back, back_log_slopes = results
            assert y.dtype == log_slopes.dtype == jnp.float64
            np.testing.assert_allclose(log_slopes, np.log(slopes), atol=1e-11, err_msg=name)
            np.testing.assert_allclose(back, x, atol=1e-11, err_msg=name)
            np.testing.assert_allclose(back_log_slopes, -log_slopes, atol=1e-11, err_msg=name)


def test_shapes_broadcast():
    row, column = jnp.linspace(0.1, 0.9, 4)[None], jnp.linspace(2.0, 3.0, 3)[:, None]
    for forward, inverse, n_params in (
        (F.additive_forward, F.additive_inverse, 1),
        (F.affine_forward, F.affine_inverse, 2),
    ):
        y, log_slopes = forward(row, *[column] * n_params)
        assert y.shape == log_slopes.shape == (3, 4)
        back, log_slopes = inverse(y, *[column] * n_params)
        assert log_slopes.shape == (3, 4)
        np.testing.assert_allclose(back, jnp.broadcast_to(row, (3, 4)), rtol=1e-5)
    y, log_slopes = F.unconstrain_forward(row, -column, column)
    assert y.shape == log_slopes.shape == (3, 4)
    x, log_slopes = F.unconstrain_inverse(row, -column, column)
    assert x.shape == log_slopes.shape == (3, 4)


@pytest.mark.parametrize("limit", [0.5, 2.0, 30.0])
def test_soft_clamp_bounds_and_keeps_small_values(limit):
    s = jnp.concatenate([-jnp.geomspace(1e-6, 1e4, 50), jnp.geomspace(1e-6, 1e4, 50)])
    clamped, slopes = jax.jit(jax.vmap(jax.value_and_grad(partial(F.soft_clamp, limit=limit))))(s)
    np.testing.assert_allclose(clamped, limit * np.tanh(np.asarray(s, float) / limit), rtol=1e-5)
    assert np.all(np.abs(clamped) <= limit)
    np.testing.assert_allclose(slopes, 1 - np.tanh(np.asarray(s, float) / limit) ** 2, atol=1e-6)


# --- Between the line and intervals ---------------------------------------------------------------


def test_sigmoid_log_slope_is_exact_where_the_value_saturates():
    x = jnp.concatenate([-jnp.geomspace(0.01, 1e4, 50), jnp.geomspace(0.01, 1e4, 50)])
    y, log_slopes = F.sigmoid_forward(x)
    wide = np.abs(np.asarray(x, float))
    np.testing.assert_allclose(log_slopes, -wide - 2 * np.log1p(np.exp(-wide)), rtol=1e-6)
    assert np.all((y >= 0) & (y <= 1))


def test_logit_is_the_inverse_of_sigmoid():
    p = jnp.concatenate([jnp.geomspace(1e-30, 0.5, 20), 1 - jnp.geomspace(0.5, 2.0**-22, 20)])
    y, log_slopes = F.logit_forward(p)
    wide = np.asarray(p, float)
    np.testing.assert_allclose(y, np.log(wide) - np.log1p(-wide), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(log_slopes, -np.log(wide) - np.log1p(-wide), rtol=1e-5)
    back, back_log_slopes = F.logit_inverse(y)
    np.testing.assert_allclose(back, p, rtol=1e-5)
    np.testing.assert_allclose(back_log_slopes, F.sigmoid_forward(y)[1])


def values_with_finite_gradients(f, x):
    """Both outputs of f, whose gradients are asserted to be finite."""
    parts = [lambda x, i=i: jnp.sum(f(x)[i]) for i in (0, 1)]
    *values, first, second = jax.jit(lambda x: (*f(x), *(jax.grad(part)(x) for part in parts)))(x)
    assert np.isfinite(first).all() and np.isfinite(second).all()
    return values


def test_logit_is_finite_at_its_edges_and_has_no_density_beyond():
    p = jnp.array([-1e4, -0.5, 0.0, 1e-45, 1.0, 1.5, 1e4])
    y, log_slopes = values_with_finite_gradients(F.logit_forward, p)
    assert np.isfinite(y).all() and np.all(np.diff(y) >= 0) and y[0] < -70 and y[-1] > 15
    inside = np.array([False, False, True, True, True, False, False])
    assert np.isfinite(log_slopes[inside]).all()
    np.testing.assert_array_equal(log_slopes[~inside], -INF)


def test_unconstrain_closed_forms():
    y, log_slopes = unconstrain(jnp.array([0.7, 0.7, 0.7, 2.7]))
    np.testing.assert_allclose(y, [0.7, np.log(1.7), -np.log(2.3), np.log(0.7 / 2.3)], rtol=1e-5)
    expected = [0, -np.log(1.7), -np.log(2.3), np.log(3.0 / (0.7 * 2.3))]
    np.testing.assert_allclose(log_slopes, expected, atol=1e-6)


def test_unconstrain_is_increasing_and_never_leaves_its_intervals():
    y = np.linspace(-40, 40, 401, dtype=np.float32)
    x, _ = jax.vmap(constrain)(jnp.repeat(y[:, None], 4, axis=1))
    assert np.all(np.diff(x, axis=0) >= 0)
    assert np.all((x >= LOW[None]) & (x <= HIGH[None]))
    assert np.all(np.diff(x[np.abs(y) < 10], axis=0) > 0)


def test_constraining_is_finite_far_out():
    far = jnp.array([[30.0], [88.0], [89.0], [1e4]]) * jnp.ones((1, 4))
    y = jnp.concatenate([-far, far])
    x, log_slopes = values_with_finite_gradients(jax.vmap(constrain), y)
    assert np.isfinite(x).all() and np.isfinite(log_slopes).all()
    assert np.all((x >= LOW[None]) & (x <= HIGH[None]))


@pytest.mark.parametrize("beyond", [0.0, 1e-3, 1.0, 1e4])
def test_unconstrain_is_finite_on_its_bounds_and_has_no_density_beyond(beyond):
    x = jnp.stack([jnp.maximum(LOW, -7.0) - beyond, jnp.minimum(HIGH, 7.0) + beyond])
    y, log_slopes = values_with_finite_gradients(jax.vmap(unconstrain), x)
    outside = np.isfinite([LOW, HIGH]) & (beyond > 0)
    assert np.isfinite(y).all() and np.isfinite(log_slopes[~outside]).all()
    np.testing.assert_array_equal(log_slopes[outside], -INF)


# --- Along the last axis --------------------------------------------------------------------------


@pytest.mark.parametrize("n", [1, 5, COMPARED, COMPARED + 1])
def test_places_and_order_of_keys(n):
    for seed in range(4):
        keys = np.random.default_rng(seed).integers(0, 6, n).astype(np.float32)
        order = np.argsort(keys, stable=True)
        np.testing.assert_array_equal(ascending(jnp.asarray(keys)), order)
        np.testing.assert_array_equal(places(jnp.asarray(keys)), np.argsort(order))


@given(st.permutations(range(5)))
def test_permutation_there_and_back(order):
    x, order = jnp.arange(30.0).reshape(2, 3, 5), jnp.array(order)
    y, log_det = F.permutation_forward(x, order)
    np.testing.assert_array_equal(y, np.asarray(x)[..., np.asarray(order)])
    assert log_det.shape == (2, 3) and not log_det.any()
    back, log_det = F.permutation_inverse(y, order)
    np.testing.assert_array_equal(back, x)
    assert log_det.shape == (2, 3) and not log_det.any()


rotation = jax.jit(F.skew_exponential, static_argnums=1)


@given(arrays(10, low=-4.0, high=4.0))
def test_skew_exponential_makes_rotations(entries):
    q = np.asarray(rotation(entries, 5))
    generator = np.zeros((5, 5))
    generator[np.triu_indices(5, 1)] = entries
    np.testing.assert_allclose(q, scipy.linalg.expm(generator - generator.T), atol=3e-5)
    np.testing.assert_allclose(q @ q.T, np.eye(5), atol=2e-5)
    np.testing.assert_allclose(np.linalg.det(q), 1.0, atol=1e-4)


def test_skew_exponential_starts_at_the_identity_and_has_a_gradient():
    np.testing.assert_array_equal(rotation(jnp.zeros(3), 3), np.eye(3))
    jacobian = jax.jit(jax.jacrev(lambda e: rotation(e, 3)))(jnp.zeros(3))
    assert np.isfinite(jacobian).all() and np.all(np.abs(jacobian).sum((0, 1)) > 1)
    assert rotation(jnp.zeros(0), 1).shape == (1, 1)


def test_orthogonal_turns_each_vector_and_back():
    x = jnp.linspace(-3.0, 5.0, 30).reshape(2, 3, 5)
    q = rotation(jnp.linspace(-2.0, 2.0, 10), 5)
    y, log_det = F.orthogonal_forward(x, q)
    np.testing.assert_allclose(y[1, 2], np.asarray(q) @ x[1, 2], atol=1e-5)
    assert log_det.shape == (2, 3) and not log_det.any()
    back, log_det = F.orthogonal_inverse(y, q)
    np.testing.assert_allclose(back, x, atol=1e-5)
    assert log_det.shape == (2, 3) and not log_det.any()
    jacobian = jax.jacrev(lambda x: F.orthogonal_forward(x, q)[0])(x[0, 0])
    np.testing.assert_allclose(np.linalg.slogdet(jacobian)[1], 0.0, atol=1e-5)


def test_polish_makes_a_rounded_rotation_orthogonal():
    q = rotation(jnp.linspace(-2.0, 2.0, 10), 5)
    rounded = q.astype(jnp.bfloat16).astype(jnp.float32)
    polished = F.polish_orthogonal(rounded)

    def distance(q):
        return np.linalg.norm(np.asarray(q, float) @ np.asarray(q, float).T - np.eye(5))

    assert distance(rounded) > 1e-3
    assert distance(polished) < distance(rounded) ** 2
    np.testing.assert_allclose(polished, q, atol=distance(rounded))


@pytest.mark.parametrize("batch", [(200,), (10, 4, 5)])
def test_actnorm_statistics_standardise(batch):
    x = jnp.asarray(np.random.default_rng(0).normal(3.0, 20.0, (*batch, 3)), jnp.float32)
    y, log_slopes = F.actnorm_forward(x, *F.actnorm_statistics(x))
    axes = tuple(range(len(batch)))
    np.testing.assert_allclose(np.mean(y, axes), 0.0, atol=1e-5)
    np.testing.assert_allclose(np.std(y, axes), 1.0, rtol=1e-5)
    np.testing.assert_allclose(log_slopes[(0,) * len(batch)], -np.log(np.std(x, axes)), rtol=1e-5)
    back, back_log_slopes = F.actnorm_inverse(y, *F.actnorm_statistics(x))
    np.testing.assert_allclose(back, x, atol=1e-4)
    np.testing.assert_array_equal(back_log_slopes, -log_slopes)


@pytest.mark.parametrize("rows", [1, 64, 1000, 100_000])
@pytest.mark.parametrize("channels", [1, 5])
def test_actnorm_statistics_centre_constant_channels(rows, channels):
    """Also those whose mean cannot be summed without rounding."""
    statistics = jax.jit(F.actnorm_statistics)
    for value in (0.0, 0.1, 3.3, -7.434992, 10.425134, 13.04, 13.664635, -1000.1, 9999.9):
        shift, log_scale = statistics(jnp.full((rows, channels), value))
        np.testing.assert_array_equal(log_scale, 0.0)
        np.testing.assert_allclose(shift, np.full(channels, -value), rtol=1e-6)


def test_narrow_types_have_wide_log_determinants():
    x = jnp.ones((2, 3), jnp.bfloat16)
    assert F.orthogonal_forward(x, jnp.eye(3, dtype=jnp.bfloat16))[1].dtype == jnp.float32
    assert F.permutation_forward(x, jnp.arange(3))[1].dtype == jnp.float32

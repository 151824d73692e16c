"""Fixed points: each entry by itself, by any method, differentiable, and honest where they fail."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jinn.functional import fixed_point
from jinn.functional.fixed_point import METHODS, default_tolerance
from jinn.functional.jacobian import (
    log_det_identity_plus,
    solve_identity_plus,
    value_and_jacobian,
)


def rotation(n, size, dtype=jnp.float32):
    """A matrix whose singular values are all `size`."""
    q, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(n, n)))
    return jnp.asarray(size * q, dtype)


def contraction(matrix, y, x):
    return y - jnp.sin(x) @ matrix


Y = jnp.asarray(np.random.default_rng(1).normal(size=(6, 3)), jnp.float32)


@pytest.mark.parametrize("n", [3, 40])
@pytest.mark.parametrize("method", METHODS)
def test_all_methods_find_the_fixed_point(method, n, x64):
    matrix = rotation(n, 0.9, jnp.float64)
    y = jnp.asarray(np.random.default_rng(1).normal(size=(4, n)))
    solve = jax.jit(partial(fixed_point, partial(contraction, matrix, y), method=method))
    x, info = solve(jnp.zeros_like(y))
    assert info.converged.all()
    np.testing.assert_allclose(x, contraction(matrix, y, x), atol=1e-11)
    assert (info.evaluations >= info.steps).all()
    assert (info.evaluations < {"plain": 300, "anderson": 80, "newton": 15}[method]).all()


def test_each_entry_stops_by_itself():
    slopes = jnp.asarray([[0.01], [0.5], [0.95]])
    x, info = fixed_point(lambda x: 1 + slopes * x, jnp.zeros((3, 1)))
    np.testing.assert_allclose(x, 1 / (1 - slopes), rtol=1e-4)
    assert info.converged.all()
    few, some, many = info.steps
    assert few < 6 < some < 30 < 100 < many
    alone, info_alone = fixed_point(lambda x: 1 + slopes[1] * x, jnp.zeros((1,)))
    assert info_alone.steps == some
    np.testing.assert_allclose(alone, x[1], rtol=1e-6)


def test_what_does_not_converge_is_nan_and_says_so():
    slopes = jnp.asarray([[0.5], [0.999], [2.0]])
    x, info = fixed_point(lambda x: 1 + slopes * x, jnp.zeros((3, 1)), max_steps=60)
    np.testing.assert_array_equal(info.converged, [True, False, False])
    np.testing.assert_array_equal(jnp.isnan(x[:, 0]), [False, True, True])
    np.testing.assert_array_equal(info.evaluations[1:], [60, 60])
    for method in METHODS:
        _, info = fixed_point(lambda x: x * jnp.nan, jnp.zeros((2, 1)), method=method)
        assert not info.converged.any() and (info.evaluations <= 2).all()


def test_steps_that_do_not_help_give_way_to_plain_ones():
    y = jnp.linspace(-30.0, 30.0, 5)[:, None]

    def f(x):
        return y - 0.9 * x

    def misleading(x):
        return f(x), jnp.full((5, 1, 1), 0.99)

    x, info = fixed_point(f, y, method="newton", jacobian=misleading)
    assert info.converged.all() and (info.evaluations[y[:, 0] != 0] > 100).all()
    assert (info.evaluations[0] > 1.8 * info.steps[0]).all()
    np.testing.assert_allclose(x, y / 1.9, rtol=3e-3)  # the last step is misled, too


def test_extrapolation_over_kinks_converges():
    def f(x):
        return 3.0 - 0.95 * jnp.abs(jnp.mod(x + 1, 2.0) - 1) + 0.04 * jnp.sin(x[:, ::-1])

    start = jnp.linspace(-30.0, 30.0, 82).reshape(41, 2)
    x, info = fixed_point(f, start, method="anderson")
    assert info.converged.all()
    np.testing.assert_allclose(x, f(x), atol=1e-4)


@pytest.mark.parametrize("n", [3, 20])
def test_derivatives_are_those_of_the_implicit_function(n, x64):
    matrix = rotation(n, 0.8, jnp.float64)
    y = jnp.asarray(np.random.default_rng(1).normal(size=(2, n)))

    def solve(y, matrix):
        return fixed_point(partial(contraction, matrix, y), y, method="anderson")[0]

    x = solve(y, matrix)
    slope = jnp.cos(x[0])[:, None] * matrix  # d (sin(x) @ matrix)_j / d x_i
    expected = jnp.linalg.inv(jnp.eye(n) + slope.T)
    for jacobian in (jax.jacrev, jax.jacfwd):
        got = jax.jit(jacobian(solve))(y, matrix)
        np.testing.assert_allclose(got[0, :, 0], expected, atol=1e-9)
        np.testing.assert_allclose(got[0, :, 1], 0, atol=1e-9)
    by_matrix = jax.jit(jax.grad(lambda matrix: jnp.sum(solve(y, matrix))))(matrix)
    step = 1e-6 * jnp.eye(n)
    difference = jnp.sum(solve(y, matrix + step) - solve(y, matrix - step)) / 2e-6
    np.testing.assert_allclose(jnp.sum(by_matrix * jnp.eye(n)), difference, rtol=1e-6)


def test_gradients_stay_finite_beside_entries_that_fail():
    slopes = jnp.asarray([[0.5], [3.0]])

    def loss(shift):
        x, info = fixed_point(lambda x: shift + slopes * x, jnp.zeros((2, 1)), max_steps=50)
        return jnp.sum(jnp.where(info.converged[:, None], x, 0))

    np.testing.assert_allclose(jax.grad(loss)(1.0), 2.0, rtol=1e-5)


@pytest.mark.parametrize("method", METHODS)
def test_under_vmap_and_with_events_of_several_axes(method):
    matrix = rotation(3, 0.7)
    f = partial(contraction, matrix)
    expected, _ = fixed_point(partial(f, Y), Y)
    mapped, info = jax.vmap(lambda y: fixed_point(partial(f, y), y, method=method))(Y)
    np.testing.assert_allclose(mapped, expected, atol=1e-5)
    assert info.steps.shape == (6,)
    events = Y.reshape(3, 2, 3)
    x, info = fixed_point(partial(f, events), events, method=method, event_ndim=2)
    np.testing.assert_allclose(x.reshape(6, 3), expected, atol=1e-5)
    assert info.steps.shape == (3,)


@pytest.mark.parametrize("method", METHODS)
def test_values_whose_squares_leave_the_type(method):
    for value, dtype in ((1e30, jnp.float32), (1e4, jnp.float16)):
        y = jnp.full((2, 2), value, dtype)
        x, info = fixed_point(lambda x, y=y: y - 0.5 * x, jnp.zeros_like(y), method=method)
        assert info.converged.all()
        np.testing.assert_allclose(np.asarray(x, float), value / 1.5, rtol=0.01)


def test_tolerances_follow_the_type():
    assert default_tolerance("float32") == 1e-6
    assert default_tolerance(jnp.float64) == 1e-12
    assert default_tolerance(jnp.bfloat16) == 8 * float(jnp.finfo(jnp.bfloat16).eps)


@pytest.mark.parametrize("n", [1, 4, 6])
def test_small_dense_algebra(n):
    jacobian = jnp.stack([rotation(n, 0.9), -rotation(n, 0.5)])
    matrix = np.eye(n) + np.asarray(jacobian)
    right = jnp.ones((2, n))
    expected = np.linalg.slogdet(matrix)[1]
    np.testing.assert_allclose(log_det_identity_plus(jacobian), expected, atol=1e-5)
    np.testing.assert_allclose(
        solve_identity_plus(jacobian, right),
        np.linalg.solve(matrix, np.ones((2, n, 1)))[..., 0],
        rtol=1e-4,
    )


def test_the_jacobian_of_large_events_is_made_in_parts():
    weights = jnp.asarray(np.random.default_rng(0).normal(size=(70, 70)), jnp.float32)
    x = jnp.ones((2, 7, 10))
    value, jacobian = value_and_jacobian(
        lambda x: jnp.tanh(x.reshape(2, 70) @ weights).reshape(2, 7, 10), x, event_ndim=2
    )
    assert value.shape == x.shape
    slope = 1 - jnp.square(value.reshape(2, 70))
    np.testing.assert_allclose(jacobian[1], slope[1][:, None] * weights.T, atol=1e-5)

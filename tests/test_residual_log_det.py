"""Log-determinants of residual maps: exact ones, series and roulette against them."""

import math
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jinn.functional import (
    log_det_exact,
    log_det_power_series,
    log_det_russian_roulette,
    residual_forward,
    residual_inverse,
    residual_inverse_with_info,
)
from jinn.functional.log_det import _fine_uniform, _poisson_tails
from jinn.functional.perceptron import perceptron, perceptron_and_jacobian

WIDTH, ROWS, DRAWS, DIRECTIONS = 16, 3, 4096, 32


def weights_and_points(
    n: int, coefficient: float, *, symmetric: bool = False
) -> tuple[Any, jax.Array]:
    """A perceptron over n elements whose Jacobians have singular values up to the coefficient.

    The largest one over the points is 0.95 of it. Symmetric Jacobians have an eigenvalue of minus
    that, too, so that the series has a long tail; those of random weights have much smaller ones.
    """
    rng = np.random.default_rng(n)
    shapes = [(n, WIDTH), (WIDTH, WIDTH), (WIDTH, n)]
    kernels = [jnp.asarray(rng.normal(size=shape) / math.sqrt(shape[0])) for shape in shapes]
    shifts = [jnp.asarray(0.3 * rng.normal(size=shape[1])) for shape in shapes]
    if symmetric:
        kernels, shifts = [kernels[0], -kernels[0].T], [shifts[0], 0 * shifts[2]]
    x = jnp.asarray(rng.normal(size=(ROWS, n)))
    largest = jnp.max(jnp.linalg.norm(jacobians((kernels, shifts), x), 2, axis=(-2, -1)))
    kernels[-1] = kernels[-1] * 0.95 * coefficient / largest
    kernels, shifts, x = jax.tree.map(lambda a: a.astype(jnp.float32), (kernels, shifts, x))
    top = jnp.max(jnp.linalg.norm(jacobians((kernels, shifts), x), 2, axis=(-2, -1)))
    assert 0.9 * coefficient <= top < coefficient
    return (kernels, shifts), x


def network(weights: Any, x: jax.Array) -> jax.Array:
    return perceptron(x, *weights, jnp.tanh)


def jacobians(weights: Any, x: jax.Array) -> jax.Array:
    return jax.vmap(jax.jacrev(partial(network, weights)))(x)


def exact_sum(jacobian: jax.Array, terms: int) -> jax.Array:
    """The series of traces of powers, in float64."""
    matrix, power, total = np.asarray(jacobian, np.float64), np.eye(jacobian.shape[-1]), 0.0
    for k in range(1, terms + 1):
        power = power @ matrix
        total = total + (-1) ** (k + 1) * np.trace(power, axis1=-2, axis2=-1) / k
    return total


@pytest.mark.parametrize("n", [1, 3, 7])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_exact_log_dets_and_structured_jacobians(n, dtype):
    with jax.enable_x64(dtype == "float64"):
        weights, x = weights_and_points(n, 0.9)
        weights, x = jax.tree.map(lambda a: a.astype(dtype), (weights, x))
        tolerance = 1e-5 if dtype == "float32" else 1e-12
        jacobian = jacobians(weights, x)
        value, structured = perceptron_and_jacobian(x, *weights, jnp.tanh)
        np.testing.assert_allclose(value, network(weights, x), atol=tolerance)
        np.testing.assert_allclose(structured, jacobian, atol=tolerance)
        expected = np.linalg.slogdet(np.eye(n) + np.asarray(jacobian))[1]
        faster = partial(perceptron_and_jacobian, kernels=weights[0], shifts=weights[1])
        for option in (None, lambda x: faster(x, activation=jnp.tanh)):
            got = log_det_exact(partial(network, weights), x, jacobian=option)
            np.testing.assert_allclose(got, expected, atol=tolerance)


def test_shifts_have_a_batch_of_their_own():
    weights, x = weights_and_points(3, 0.9)
    per_row = [jnp.stack([s, 2 * s, 3 * s])[:, None] for s in weights[1]]
    x = jnp.stack([x] * 3)
    value, jacobian = perceptron_and_jacobian(x, weights[0], per_row, jnp.tanh)
    for i in range(3):
        shifts = [(i + 1) * s for s in weights[1]]
        one, one_jacobian = perceptron_and_jacobian(x[i], weights[0], shifts, jnp.tanh)
        np.testing.assert_allclose(value[i], one, atol=1e-6)
        np.testing.assert_allclose(jacobian[i], one_jacobian, atol=1e-6)


@pytest.mark.parametrize("coefficient", [0.5, 0.9])
def test_the_series_without_a_key_is_its_exact_sum(coefficient):
    n, terms = 4, 12
    weights, x = weights_and_points(n, coefficient)
    g = partial(network, weights)
    got = log_det_power_series(g, x, terms=terms)
    np.testing.assert_allclose(got, exact_sum(jacobians(weights, x), terms), atol=1e-5)
    bound = n * coefficient ** (terms + 1) / ((terms + 1) * (1 - coefficient))
    assert jnp.max(jnp.abs(got - log_det_exact(g, x))) <= bound

    def by_series(weights):
        return jnp.sum(log_det_power_series(partial(network, weights), x, terms=150))

    def exactly(weights):
        return jnp.sum(log_det_exact(partial(network, weights), x))

    for a, b in zip(
        *(jax.tree.leaves(jax.jit(jax.grad(f))(weights)) for f in (by_series, exactly)), strict=True
    ):
        np.testing.assert_allclose(a, b, atol=1e-4)


def deviations(estimate, exact, weights, draws):
    """Distances in standard errors of the estimates and their projected gradients from exact ones.

    Both are functions of (weights, key) and of weights to values `(rows,)`.
    """
    size = sum(leaf.size for leaf in jax.tree.leaves(weights))
    directions = np.random.default_rng(0).normal(size=(size, DIRECTIONS)).astype(np.float32)

    def project(gradient):
        flat = jnp.concatenate([leaf.ravel() for leaf in jax.tree.leaves(gradient)])
        return flat @ directions

    def both(f, *args):
        def total(weights):
            values = f(weights, *args)
            return jnp.sum(values), values

        gradient, values = jax.grad(total, has_aux=True)(weights)
        return jnp.concatenate([values, project(gradient)])

    keys = jax.random.split(jax.random.key(7), draws)
    found = jax.jit(lambda keys: jax.lax.map(partial(both, estimate), keys, batch_size=256))(keys)
    found, expected = np.asarray(found, np.float64), np.asarray(both(exact), np.float64)
    error = found.std(axis=0, ddof=1) / math.sqrt(draws)
    return (found.mean(axis=0) - expected) / error


SLOW = [pytest.param(2, 0.5)]
SLOW += [
    pytest.param(n, c, marks=pytest.mark.slow)
    for n, c in ((2, 0.9), (8, 0.5), (8, 0.9), (32, 0.5), (32, 0.9))
]


@pytest.mark.parametrize(("n", "coefficient"), SLOW)
def test_roulette_and_its_gradient_are_unbiased(n, coefficient):
    weights, x = weights_and_points(n, coefficient)

    def estimate(weights, key):
        return log_det_russian_roulette(partial(network, weights), x, key, rate=coefficient)

    found = deviations(
        estimate, lambda weights: log_det_exact(partial(network, weights), x), weights, DRAWS
    )
    assert np.abs(found).max() < 4


@pytest.mark.slow
@pytest.mark.parametrize("n", [2, 8, 32])
def test_roulette_is_unbiased_where_the_tail_weighs(n):
    weights, x = weights_and_points(n, 0.9, symmetric=True)

    def estimate(weights, key):
        return log_det_russian_roulette(partial(network, weights), x, key, rate=0.9)

    def tail(weights):
        g = partial(network, weights)
        return log_det_exact(g, x) - log_det_power_series(g, x, terms=2)

    assert np.abs(tail(weights)).max() > 0.3
    found = deviations(
        estimate, lambda weights: log_det_exact(partial(network, weights), x), weights, DRAWS
    )
    assert np.abs(found).max() < 4


@pytest.mark.parametrize(("n", "coefficient"), SLOW)
def test_series_with_random_probes_has_the_mean_of_the_exact_sum(n, coefficient):
    weights, x = weights_and_points(n, coefficient)

    def estimate(weights, key):
        return log_det_power_series(partial(network, weights), x, key, terms=10)

    found = deviations(
        estimate,
        lambda weights: log_det_power_series(partial(network, weights), x, terms=10),
        weights,
        DRAWS,
    )
    assert np.abs(found).max() < 4


@pytest.mark.parametrize(
    "options",
    [
        {"distribution": "poisson", "rate": 3.0},
        {"probe_distribution": "normal", "exact_terms": 0, "rate": 0.7},
    ],
    ids=["poisson", "normal probes"],
)
def test_other_roulettes_are_unbiased_where_the_residual_is_weak(options):
    weights, x = weights_and_points(2, 0.3)

    def estimate(weights, key):
        return log_det_russian_roulette(partial(network, weights), x, key, **options)

    found = deviations(
        estimate, lambda weights: log_det_exact(partial(network, weights), x), weights, 2048
    )
    assert np.abs(found).max() < 4


def test_no_number_of_terms_is_drawn_more_often_than_its_weight_says():
    draws = _fine_uniform(jax.random.key(0), (4096,))
    small = draws[draws < 0.1] * 2.0**23
    assert jnp.mean(small % 1 != 0) > 0.5  # a plain draw gives whole numbers
    assert 0.45 < jnp.mean(draws) < 0.55 and jnp.max(draws) < 1.001
    for mean in (0.5, 2.0, 100.0):
        tails = _poisson_tails(mean)
        assert tails[0] > 0.999999 and 2.0**-46 < tails[-1] < 1e-11
        assert jnp.all(jnp.diff(tails) <= 0)


def test_standard_errors_tell_the_spread_over_keys():
    weights, x = weights_and_points(4, 0.6)
    g = partial(network, weights)

    def estimate(key):
        options = {"probes": 64, "standard_error": True}
        return (
            log_det_russian_roulette(g, x, key, rate=0.6, **options),
            log_det_power_series(g, x, key, terms=8, **options),
        )

    for value, error in jax.jit(jax.vmap(estimate))(jax.random.split(jax.random.key(0), 200)):
        assert value.shape == error.shape == (200, ROWS)
        np.testing.assert_allclose(jnp.mean(error, 0), jnp.std(value, 0), rtol=0.2)


def test_memory_of_the_neumann_gradient_does_not_grow_with_terms():
    n = 16
    weights, _ = weights_and_points(n, 0.9)
    x, key = jnp.ones((256, n)), jax.random.key(0)

    def memory(**options):
        def loss(weights):
            g = partial(network, weights)
            if "rate" in options:
                return jnp.sum(log_det_russian_roulette(g, x, key, **options))
            return jnp.sum(log_det_power_series(g, x, key, **options))

        compiled = jax.jit(jax.value_and_grad(loss)).lower(weights).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    few = memory(terms=5)
    assert few > 256 * WIDTH * 4
    assert memory(terms=40) <= 1.1 * few
    assert memory(rate=0.97) <= 1.1 * few


def test_estimates_in_a_residual_map_share_its_value():
    weights, x = weights_and_points(3, 0.5)
    g, key = partial(network, weights), jax.random.key(3)
    y, log_det = residual_forward(x, g, estimator="russian_roulette", key=key, rate=0.5)
    np.testing.assert_allclose(y, x + g(x), atol=1e-6)
    np.testing.assert_allclose(log_det, log_det_russian_roulette(g, x, key, rate=0.5), atol=1e-6)
    _, exact = residual_forward(x, g, estimator="russian_roulette", rate=0.5)
    np.testing.assert_allclose(exact, log_det_exact(g, x), atol=1e-6)
    back, inverse = residual_inverse(y, g, estimator="power_series", key=key, terms=30)
    np.testing.assert_allclose(back, x, atol=1e-5)
    np.testing.assert_allclose(inverse, -log_det_power_series(g, back, key, terms=30), atol=1e-5)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("n", [3, 12])
def test_round_trip_at_a_coefficient_of_nine_tenths(n, dtype):
    with jax.enable_x64(dtype == "float64"):
        weights, x = weights_and_points(n, 0.9)
        weights, x = jax.tree.map(lambda a: a.astype(dtype), (weights, x))
        y, log_det = residual_forward(x, partial(network, weights))
        back, inverse, info = residual_inverse_with_info(y, partial(network, weights))
        assert info.converged.all()
        error = jnp.max(jnp.abs(back - x)) / jnp.max(1 + jnp.abs(x))
        assert error < (1e-5 if dtype == "float32" else 1e-10)
        np.testing.assert_allclose(inverse, -log_det, atol=1e-4)


def test_log_det_of_the_inverse_carries_gradients_of_the_right_point():
    weights, x = weights_and_points(3, 0.8)
    g = partial(network, weights)
    y = x + g(x)

    def inverse(y):
        return residual_inverse(y, g)[1][0]

    def expected(x):
        return -log_det_exact(g, x)[0]

    slope = jnp.linalg.solve((jnp.eye(3) + jacobians(weights, x)[0]).T, jax.grad(expected)(x)[0])
    np.testing.assert_allclose(jax.grad(inverse)(y)[0], slope, atol=1e-4)

"""Metrics of posterior samples, on posteriors whose values are known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jinn.functional.kernels import mmd_squared
from jinn.inference.metrics import (
    c2st,
    calibration_curve,
    calibration_error,
    posterior_mismatch,
    resimulation_error,
)

NOISE = 0.5


class GaussianPosterior:
    """The posterior of x ~ N(0, 1), y = x + NOISE N(0, 1), its width multiplied by `width`."""

    def __init__(self, width=1.0, shift=0.0):
        self.width, self.shift = width, shift
        self.shapes = []

    def sample(self, key, shape, y):
        shrink = 1 / (1 + NOISE**2)
        deviation = self.width * NOISE * shrink**0.5
        noise = jax.random.normal(key, (*shape, *y.shape))
        self.shapes.append(noise.shape)
        return shrink * y[None] + deviation * noise + self.shift


def pairs(n, dim=2, seed=0):
    x, noise = np.random.default_rng(seed).normal(size=(2, n, dim)).astype(np.float32)
    return x, x + NOISE * noise


def samples(n, *shape, seed=0):
    return np.random.default_rng(seed).normal(size=(n, *shape)).astype(np.float32)


@pytest.mark.parametrize("batch", [(), (3,), (2, 3)])
@pytest.mark.parametrize("unbiased", [True, False])
def test_mismatch_is_mmd_squared_of_each_observation(batch, unbiased):
    a, b = samples(50, *batch, 4), samples(70, *batch, 4, seed=1)
    values = posterior_mismatch(a, b, unbiased=unbiased, bandwidths=(0.3, 1.0))
    assert values.shape == batch
    for index in np.ndindex(*batch):
        one, other = (array[(slice(None), *index)] for array in (a, b))
        expected = mmd_squared(one, other, unbiased=unbiased, bandwidths=(0.3, 1.0))
        np.testing.assert_allclose(values[index], expected, atol=1e-6)


def test_mismatch_of_equal_and_of_different_distributions():
    a, b = samples(500, 20, 4), samples(500, 20, 4, seed=1)
    equal = np.asarray(posterior_mismatch(a, b))
    assert abs(equal.mean()) < 4 * equal.std() / np.sqrt(20)
    assert posterior_mismatch(a, b + 1).mean() > 0.05
    biased = posterior_mismatch(a, b, unbiased=False) - equal
    np.testing.assert_allclose(biased, 3 * (1 / 500 + 1 / 500), rtol=0.1)


def test_mismatch_shows_samples_that_are_not_numbers():
    a, b = samples(50, 3, 4), samples(50, 3, 4, seed=1)
    a[0, 1, 2] = np.nan
    np.testing.assert_array_equal(np.isnan(posterior_mismatch(a, b)), [False, True, False])


@pytest.mark.parametrize("batch", [(), (3,), (2, 3)])
def test_resimulation_error(batch):
    def simulate(x):
        return jnp.stack([x.sum(-1), x[..., 0]], axis=-1)

    x, y = samples(50, *batch, 4), samples(1, *batch, 2, seed=1)[0]
    errors = resimulation_error(simulate, x, y)
    expected = ((x.sum(-1) - y[..., 0]) ** 2 + (x[..., 0] - y[..., 1]) ** 2).mean(0)
    assert errors.shape == batch
    np.testing.assert_allclose(errors, expected, rtol=1e-5)


@pytest.mark.thorough
def test_calibration_of_the_exact_posterior():
    # With three samples an interpolated quantile would be wrong by far more than this.
    x, y = pairs(20_000)
    for count in (3, 200):
        curve = calibration_curve(GaussianPosterior(), x, y, samples=count)
        np.testing.assert_allclose(curve.confidence, np.linspace(0, 1, 101)[1:], rtol=1e-6)
        np.testing.assert_allclose(curve.inliers, curve.confidence, atol=0.012)
        np.testing.assert_allclose(curve.inliers[-1], 1.0, atol=1e-6)
    assert float(calibration_error(GaussianPosterior(), x, y, samples=200)) < 0.006


@pytest.mark.thorough
@pytest.mark.parametrize("width", [0.5, 2.0])
def test_calibration_of_a_wrong_width(width):
    from statistics import NormalDist

    x, y = pairs(5000)
    curve = calibration_curve(GaussianPosterior(width), x, y, samples=500)
    normal = NormalDist()
    expected = [2 * normal.cdf(width * normal.inv_cdf(0.5 + q / 200)) - 1 for q in range(1, 100)]
    np.testing.assert_allclose(curve.inliers[:-1], expected, atol=0.03)
    error = calibration_error(GaussianPosterior(width), x, y, samples=500)
    np.testing.assert_allclose(
        error, np.median(np.abs(curve.inliers - curve.confidence)), rtol=1e-6
    )
    assert error > 0.1


def test_calibration_with_ties():
    """A posterior over the integers 0 to 3, and true values from it."""

    class Dice:
        def sample(self, key, shape, y):
            draws = jax.random.randint(key, (*shape, *y.shape), 0, 4)
            return draws.astype(jnp.float32)

    x = np.random.default_rng(0).integers(0, 4, (20_000, 1)).astype(np.float32)
    curve = calibration_curve(Dice(), x, x, samples=100)
    np.testing.assert_allclose(curve.inliers, curve.confidence, atol=0.012)


def test_calibration_holds_a_bounded_number_of_samples(monkeypatch):
    monkeypatch.setattr("jinn.inference.chunks._VALUES_PER_CHUNK", 10_000)
    x, y = pairs(173)
    posterior = GaussianPosterior()
    curve = calibration_curve(posterior, x, y, samples=100)
    assert set(posterior.shapes) == {(100, 50, 2)} and len(posterior.shapes) == 4
    assert np.isfinite(curve.inliers).all()


def test_calibration_depends_on_the_key_alone():
    x, y = pairs(100)
    first, again = (calibration_error(GaussianPosterior(), x, y, samples=50) for _ in range(2))
    other = calibration_error(GaussianPosterior(), x, y, samples=50, key=jax.random.key(1))
    assert first == again != other


def test_calibration_takes_an_int_as_key():
    x, y = pairs(20)
    errors = [
        calibration_error(GaussianPosterior(), x, y, samples=50, key=key)
        for key in (1, jax.random.key(1))
    ]
    assert errors[0] == errors[1]


def test_calibration_shows_samples_that_are_not_numbers():
    x, y = pairs(100)
    assert np.isnan(calibration_error(GaussianPosterior(shift=jnp.nan), x, y, samples=50))


class WrongShape:
    def sample(self, key, shape, y):
        return jnp.zeros((*y.shape, *shape))


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: posterior_mismatch(samples(1, 4), samples(9, 4)), "at least 2 samples"),
        (lambda: posterior_mismatch(samples(9, 4), samples(1, 4)), "at least 2 reference"),
        (
            lambda: posterior_mismatch(samples(9, 3, 4), samples(9, 2, 4)),
            r"differ in the first axis at most, got \(9, 3, 4\) and \(9, 2, 4\)",
        ),
        (
            lambda: resimulation_error(lambda x: x, samples(1, 4), samples(1, 4)[0]),
            "resimulation_error: expected at least 2 samples",
        ),
        (
            lambda: resimulation_error(lambda x: x, samples(9, 3, 4), samples(2, 4)),
            r"with the same batch, got \(9, 3, 4\) and \(2, 4\)",
        ),
        (
            lambda: resimulation_error(lambda x: x, samples(9, 3, 4), samples(3, 2)),
            r"simulate\(samples\) of shape \(9, 3, 2\), got \(9, 3, 4\)",
        ),
        (
            lambda: calibration_error(GaussianPosterior(), *pairs(5), samples=1),
            "a whole number of at least 2 samples, got 1",
        ),
        (
            lambda: calibration_error(GaussianPosterior(), pairs(5)[0], pairs(6)[1]),
            r"got \(5, 2\) and \(6, 2\)",
        ),
        (
            lambda: calibration_error(WrongShape(), *pairs(5), samples=7),
            r"posterior.sample to give shape \(7, 5, 2\), got \(5, 2, 7\)",
        ),
    ],
)
def test_errors(call, text):
    with pytest.raises(ValueError, match=text):
        call()


def test_c2st_is_the_accuracy_of_the_best_classifier():
    apart = samples(600, 2) + np.float32([1.5, 0.0])
    best = 0.7734  # of two unit normals 1.5 apart: the normal distribution function at 0.75
    np.testing.assert_allclose(c2st(apart, samples(600, 2, seed=1)), best, atol=0.03)
    same = c2st(samples(600, 2), samples(600, 2, seed=1))
    np.testing.assert_allclose(same, 0.5, atol=0.04)


def test_c2st_does_not_depend_on_units():
    x, y = samples(200, 2) + np.float32(1.0), samples(200, 2, seed=1)
    units = np.float32([64.0, 1 / 64])
    assert c2st(x, y) == c2st(units * x, units * y)


def test_c2st_leaves_an_element_that_is_constant():
    constant = np.ones((20, 1))
    x, y = (np.hstack([samples(20, 1, seed=seed), constant]) for seed in (0, 1))
    assert 0.0 <= c2st(x, y) < 1.0
    assert c2st(x + np.array([[0.0, 5.0]]), y) == 1.0


def test_c2st_wants_two_finite_matrices():
    with pytest.raises(ValueError, match=r"got shapes \(9, 2\) and \(9, 3\)"):
        c2st(samples(9, 2), samples(9, 3))
    with pytest.raises(ValueError, match=r"at least 5 of each, got shapes \(4, 2\)"):
        c2st(samples(4, 2), samples(9, 2))
    broken = samples(9, 2)
    broken[3, 1] = np.nan
    with pytest.raises(ValueError, match="1 of 9 reference samples are NaN or infinite"):
        c2st(samples(9, 2), broken)

"""What diagnostics say about bad input."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jinn.inference import (
    check_typicality,
    expected_coverage,
    posterior_predictive_check,
    simulation_based_calibration,
    tarp,
    write_report,
)


class Samples:
    def sample(self, key, shape, y):
        return jax.random.normal(key, (*shape, *y.shape))


class Constant(Samples):
    def __init__(self, value):
        self.value = value

    def sample(self, key, shape, y):
        return jnp.full((*shape, *y.shape), self.value)


class WrongShape(Samples):
    def sample(self, key, shape, y):
        return jnp.zeros((*y.shape, *shape))

    def log_prob(self, x, y):
        return jnp.zeros(3)


class WrongDensity(Samples):
    def log_prob(self, x, y):
        return jnp.full(x.shape[:-1], jnp.nan)


X = np.random.default_rng(0).normal(size=(40, 2)).astype(np.float32)
PAIR_TESTS = [simulation_based_calibration, expected_coverage, tarp]


@pytest.mark.parametrize("test", PAIR_TESTS)
@pytest.mark.parametrize(
    ("x", "y", "options", "message"),
    [
        (X[:5], X[:5], {}, r"at least 20 pairs \(x, y\), got 5; draw more"),
        (X, X[:30], {}, r"expected x of shape \(n, dim\) and y of shape .* got \(40, 2\)"),
        (X[0], X[0], {}, r"expected x of shape \(n, dim\)"),
        (X, X, {"samples": 1}, "at least 2 samples, got 1"),
        (X, X, {"samples": 20.0}, "a whole number of at least 2 samples, got 20.0"),
        (X, X, {"level": "a"}, "level between 0 and 1, such as 0.05, got 'a'"),
        (X.astype(np.float64) + 1.7e9, X, {}, "40 different values of parameter 0 of x become 1"),
        (X, X, {"level": 1.5}, "level between 0 and 1, such as 0.05, got 1.5"),
        (X * np.nan, X, {}, "80 of 80 values of the true x are NaN"),
        (X, X, {"key": "a"}, "key: expected an int"),
    ],
)
def test_bad_pairs(test, x, y, options, message):
    with pytest.raises(ValueError, match=f"{test.__name__}.*{message}"):
        test(WrongDensity(), x, y, **options)


def test_bad_posteriors():
    with pytest.raises(
        ValueError, match=r"need posterior.log_prob.* Samples has not; take regions"
    ):
        expected_coverage(Samples(), X, X)
    with pytest.raises(ValueError, match="'highest_density' or 'central', got 'hpd'"):
        expected_coverage(Samples(), X, X, regions="hpd")
    with pytest.raises(ValueError, match="values of the log-densities are NaN"):
        expected_coverage(WrongDensity(), X, X, samples=5)
    for test in PAIR_TESTS:
        with pytest.raises(ValueError, match=r"posterior.sample to give shape \(\d+, 40, 2\), got"):
            test(WrongShape(), X, X, samples=5)
    with pytest.raises(ValueError, match=r"of the samples are NaN; expected none. Find out"):
        simulation_based_calibration(Constant(jnp.nan), X, X, samples=5)
    with pytest.raises(ValueError, match=r"references of the shape of x, \(40, 2\), got \(3, 2\)"):
        tarp(Samples(), X, X, samples=5, references=X[:3])
    with pytest.raises(ValueError, match="expected finite references, got NaN or infinite ones"):
        tarp(Constant(jnp.inf), X, X, samples=5)
    with pytest.raises(ValueError, match=r"posterior with sample\(key, shape, y\), got object"):
        simulation_based_calibration(object(), X, X, samples=5)
    with pytest.raises(ValueError, match="at least 1 bin, got 0"):
        simulation_based_calibration(Samples(), X, X, samples=5).histogram(0)
    with pytest.raises(ValueError, match="expected 2 labels"):
        simulation_based_calibration(Samples(), X, X, labels=("a",))


def test_bad_predictive_checks():
    def check(**options):
        given = {"samples": 100, "level": 0.05} | options
        simulate = given.pop("simulate", lambda key, x: x)
        return posterior_predictive_check(Samples(), simulate, given.pop("y", X[:2]), **given)

    with pytest.raises(ValueError, match=r"10 samples are too few for 2 .* samples=40 or more"):
        check(samples=10)
    with pytest.raises(ValueError, match=r"simulate\(key, x\) to give shape \(100, 2, 2\), got"):
        check(simulate=lambda key, x: x[0])
    with pytest.raises(ValueError, match=r"statistic\(y\) to give shape"):
        check(statistic=lambda y: y[..., 0])
    for value in (jnp.nan, jnp.inf):
        with pytest.raises(ValueError, match=r"2 of 404 values of y .* are NaN or infinite"):
            check(simulate=lambda key, x, value=value: x.at[0, :, 0].set(value))
    with pytest.raises(ValueError, match=r"y of shape \(n, dim_y\), got \(2,\)"):
        check(y=X[0])


def test_bad_typicality_checks():
    with pytest.raises(ValueError, match=r"at least 200 reference rows at level 0.01, got 40"):
        check_typicality(X, X)
    with pytest.raises(
        ValueError, match=r"rows of one shape, got \(2,\) and \(40, 2\); .* y\[None\]"
    ):
        check_typicality(X[0], X)
    with pytest.raises(ValueError, match="40 of 40 rows of y are NaN"):
        check_typicality(X * np.nan, X, level=0.1)
    with pytest.raises(ValueError, match="'norm' or a callable, got 'knn'"):
        check_typicality(X, X, level=0.1, score="knn")
    with pytest.raises(ValueError, match="expected real numbers in y, got complex64"):
        check_typicality(X + 1j, X, level=0.1)
    with pytest.raises(ValueError, match=r"y to be an array of numbers, got dict .* one by one"):
        check_typicality({"a": X}, {"a": X}, level=0.1)
    with pytest.raises(ValueError, match="one number a row"):
        check_typicality(X, X, level=0.1, score=lambda y: y)
    with pytest.raises(ValueError, match="score gave NaN"):
        check_typicality(X, X, level=0.1, score=lambda y: y[:, 0] * np.nan)


def test_report_needs_the_observed_data():
    with pytest.raises(ValueError, match="observed=, the data that simulate= is to be compared"):
        write_report("never", Samples(), X, X, simulate=lambda key, x: x)


def test_report_finds_what_is_wrong_before_the_work(tmp_path):
    class Never(Samples):
        def sample(self, key, shape, y):
            raise AssertionError("the work began")

    for path in (tmp_path, tmp_path / "absent" / "report.html"):
        with pytest.raises(ValueError, match="cannot be written; expected a file in a folder"):
            write_report(path, Never(), X, X)
    for observed, message in (
        (X[0], "rows of one shape, got"),
        (X[:1], "reference rows at level"),
    ):
        with pytest.raises(ValueError, match=message):
            write_report(tmp_path / "report.html", Never(), X, X, observed=observed)
    assert not list(tmp_path.iterdir())

"""Diagnostics of posteriors, on a posterior that is exact and on the same with a narrower base."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from jinn.inference import (
    check_typicality,
    expected_coverage,
    posterior_predictive_check,
    simulation_based_calibration,
    tarp,
    typicality_rates,
    write_report,
)
from jinn.inference import chunks as chunks_module
from jinn.inference.diagnostics import uniformity

NOISE, DIM, PAIRS, SAMPLES = 0.5, 2, 1000, 100
LABELS = (r"mass $\mu_a$, $", "<b>")


class LinearGaussian:
    """The posterior of x ~ N(0, I), y = x + NOISE N(0, I), its base scaled by `width`."""

    def __init__(self, width=1.0):
        self.deviation = width * NOISE / (1 + NOISE**2) ** 0.5

    def sample(self, key, shape, y):
        return y / (1 + NOISE**2) + self.deviation * jax.random.normal(key, (*shape, *y.shape))

    def log_prob(self, x, y):
        z = (x - (y / (1 + NOISE**2))[None]) / self.deviation
        return -0.5 * jnp.sum(z**2, axis=-1)


class Rounded:
    """Samples with many ties: those of a posterior, rounded as the true x are."""

    def sample(self, key, shape, y):
        return jnp.round(LinearGaussian().sample(key, shape, y))


def pairs(n=PAIRS, seed=0):
    x, noise = np.random.default_rng(seed).normal(size=(2, n, DIM)).astype(np.float32)
    return x, x + NOISE * noise


def simulate(key, x):
    return x + NOISE * jax.random.normal(key, x.shape)


def central(posterior, x, y, **options):
    return expected_coverage(posterior, x, y, regions="central", **options)


TESTS = [simulation_based_calibration, expected_coverage, central, tarp]


@pytest.fixture(autouse=True)
def _allow_broadcasting_of_the_test_posterior():
    with jax.numpy_rank_promotion("allow"):
        yield


@pytest.mark.parametrize("test", TESTS)
def test_the_exact_posterior_passes_and_a_narrow_one_fails(test):
    x, y = pairs()
    exact = test(LinearGaussian(), x, y, samples=SAMPLES)
    narrow = test(LinearGaussian(0.7), x, y, samples=SAMPLES)
    assert exact.passed and exact.p_values.min() > 0.05 / len(exact.labels)
    assert not narrow.passed and narrow.p_values.max() < 0.01
    assert exact.values.shape == (PAIRS, len(exact.labels))
    np.testing.assert_array_less(exact.lower, exact.points)
    inside = (exact.ecdf >= exact.lower[:, None]) & (exact.ecdf <= exact.upper[:, None])
    assert inside.all()
    inside = (narrow.ecdf >= narrow.lower[:, None]) & (narrow.ecdf <= narrow.upper[:, None])
    assert not inside.all()


@pytest.mark.parametrize("test", TESTS)
def test_chunks_and_keys(test, monkeypatch):
    x, y = pairs(100)
    one, other = (test(LinearGaussian(), x, y, samples=20, key=key) for key in (1, 2))
    np.testing.assert_array_equal(
        one.values, test(LinearGaussian(), x, y, samples=20, key=1).values
    )
    assert (one.values != other.values).any()
    monkeypatch.setattr(chunks_module, "_VALUES_PER_CHUNK", 20 * DIM * 30)
    assert test(LinearGaussian(), x, y, samples=20, key=1).values.shape == one.values.shape


def test_coverage_below_the_diagonal_is_overconfidence():
    x, y = pairs()
    narrow = expected_coverage(LinearGaussian(0.7), x, y, samples=SAMPLES)
    assert narrow.ecdf[25, 0] < narrow.points[25] - 0.1
    truth = stats.chi2(2).cdf(0.49 * stats.chi2(2).ppf(0.5))
    np.testing.assert_allclose(narrow.ecdf[24, 0], truth, atol=4 * np.sqrt(0.25 / PAIRS))


@pytest.mark.parametrize("unit", [1e-30, 1e-22, 300.0, 1e18, 1e30])
def test_distances_in_any_units(unit):
    class InUnits(LinearGaussian):
        def sample(self, key, shape, y):
            drawn = unit * LinearGaussian.sample(self, key, shape, y.astype(jnp.float32) / unit)
            return drawn.astype(dtype)

    dtype = np.float16 if unit == 300.0 else np.float32
    x, y = ((unit * part).astype(dtype) for part in pairs())
    assert tarp(InUnits(), x, y, samples=SAMPLES).passed
    assert not tarp(InUnits(0.5), x, y, samples=SAMPLES).passed


def test_ties_are_no_fault():
    x, y = pairs()
    assert simulation_based_calibration(Rounded(), np.round(x), y, samples=SAMPLES).passed


@pytest.mark.parametrize(("n", "samples", "columns"), [(50, 9, 1), (200, 100, 4)])
def test_the_false_alarm_rate_is_the_stated_one(n, samples, columns):
    rng = np.random.default_rng(1)
    repeats, level = 1000, 0.1
    ranks = rng.integers(0, samples + 1, size=(repeats, n, columns))
    values = (ranks + rng.uniform(size=ranks.shape)) / (samples + 1)
    labels = tuple("abcd"[:columns])
    failed = sum(
        not uniformity.check_uniformity("t", v, labels, samples=samples, level=level, seed=0).passed
        for v in values
    )
    expected = 1 - (1 - level / columns) ** columns
    assert abs(failed / repeats - expected) < 4 * np.sqrt(expected / repeats) + 0.01


def test_binomial_tails_are_those_of_scipy():
    shares = np.array([0.02, 0.5, 0.9])
    count = np.arange(41)
    ours = uniformity._tails(40, shares)
    for row, p in zip(ours, shares, strict=True):
        law = stats.binom(40, p)
        expected = np.minimum(1, 2 * np.minimum(law.cdf(count), law.sf(count - 1)))
        np.testing.assert_allclose(row, expected, rtol=1e-9)


def test_predictive_check_knows_the_simulator():
    _, y = pairs(5)
    posterior = LinearGaussian()
    right = posterior_predictive_check(posterior, simulate, y, samples=500)
    assert right.passed and right.p_values.shape == (5,)
    wrong = posterior_predictive_check(
        posterior, lambda key, x: simulate(key, x) + 5, y, samples=500
    )
    assert not wrong.passed and (wrong.z_scores < -3).all()
    mean = posterior_predictive_check(
        posterior, simulate, y, samples=500, statistic=lambda y: y.mean(-1, keepdims=True)
    )
    assert mean.z_scores.shape == (5, 1)


@pytest.mark.parametrize("score", ["neighbours", "norm", lambda z: (z**2).sum(-1)])
def test_typicality_has_its_false_alarm_rate_and_power(score):
    rng = np.random.default_rng(0)
    reference, typical = rng.normal(size=(2, 4000, 4))
    far = rng.normal(size=(500, 4)) + 5.0
    rates = typicality_rates(typical, far, reference, score=score)
    assert abs(rates.false_alarm_rate - 0.01) < 4 * np.sqrt(0.01 / 2000 + 0.01 / 4000)
    assert rates.power > 0.99
    assert check_typicality(typical[:50], reference, score=score).passed
    check = check_typicality(far[:1], reference, score=score)
    assert check.flagged.all() and not check.passed


def test_typicality_sees_what_leaves_the_correlation_and_the_span():
    rng = np.random.default_rng(0)
    a = rng.normal(size=(1000, 1))
    correlated = np.concatenate([a, a + 0.01 * rng.normal(size=a.shape)], axis=1)
    assert check_typicality(np.array([[1.0, -1.0]]), correlated).flagged.all()
    wide = np.zeros((300, 400))
    wide[:, :3] = rng.normal(size=(300, 3))
    assert check_typicality(np.eye(400)[399:], wide).flagged.all()
    images = rng.normal(size=(300, 4, 4, 1))
    assert not check_typicality(images[:1], images).flagged.any()


def test_small_norms_are_untypical_too():
    z = np.random.default_rng(0).normal(size=(1000, 100))
    assert check_typicality(0.1 * z[:1], z, score="norm").flagged.all()


def test_norms_of_half_precision():
    z = (300 * np.random.default_rng(0).normal(size=(1000, 100))).astype(np.float16)
    check = check_typicality(np.stack([z[0], 30 * z[1]]), z, score="norm")
    assert check.flagged.tolist() == [False, True] and np.isfinite(check.scores).all()


def test_false_alarms_of_many_observations_hold_the_level():
    rng = np.random.default_rng(2)
    failed = 0
    for _ in range(400):
        z = rng.normal(size=(800, 1))
        score = np.ravel
        failed += not check_typicality(z[:400], z[400:], score=score, level=0.05).passed
    assert failed / 400 < 0.05 + 4 * np.sqrt(0.05 / 400)


def test_report_is_one_page_that_names_the_faults(tmp_path):
    x, y = pairs(500)
    options = {"observed": y[:1] + 100, "simulate": simulate, "samples": 50, "labels": LABELS}
    report = write_report(tmp_path / "report.html", LinearGaussian(0.7), x, y, **options)
    page = report.path.read_text()
    assert len(report.results) == 6 and 0.02 < report.calibration_error < 0.2
    assert not report.passed and not any(result.passed for result in report.results)
    assert page.count("data:image/png;base64,") == 10 and page.count("fail</span>") == 13
    assert r"$\mu_a" in page and "&lt;b&gt;" in page and "src='http" not in page and "mass" in page

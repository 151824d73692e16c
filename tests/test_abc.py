"""Rejection with a Gaussian tolerance against posteriors known in closed form."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jinn.inference.abc import abc_quantile, abc_rejection


def gaussian_model(key, n):
    """x ~ N(0, 1) in two dimensions, y = x: with tolerance s the posterior is Gaussian."""
    x = jax.random.normal(key, (n, 2))
    return x, x


Y = np.array([0.5, -1.0], np.float32)


@dataclass
class Unhashable:
    deviation: float

    def __call__(self, key, n):
        x, _ = gaussian_model(key, n)
        return x, self.deviation * x


def test_a_simulator_without_a_hash_and_one_that_cannot_be_traced():
    options = {"n_samples": 2, "chunk_size": 8}
    simulate, key = Unhashable(0.0), jax.random.key(0)
    near = abc_quantile(key, simulate, np.zeros(2), n_simulations=16, **options)
    np.testing.assert_array_equal(near.distances, 0.0)
    assert abc_rejection(key, simulate, np.zeros(2), tolerance=1.0, **options).simulations == 8
    with pytest.raises(ValueError, match=r"abc_quantile: JAX cannot trace simulate.* jax.numpy"):
        abc_quantile(key, lambda key, n: 2 * [np.asarray(jax.random.normal(key, (n, 2)))], Y,
                     n_simulations=16, **options)  # fmt: skip


def test_gaussian_posterior():
    tolerance = 0.5
    result = abc_rejection(
        jax.random.key(0), gaussian_model, Y, tolerance=tolerance, n_samples=20_000
    )
    assert result.complete and result.n_accepted == 20_000
    samples = np.asarray(result.samples)
    assert samples.shape == (20_000, 2) and np.isfinite(samples).all()
    shrink = 1 / (1 + tolerance**2)
    np.testing.assert_allclose(samples.mean(0), shrink * Y, atol=0.02)
    np.testing.assert_allclose(samples.var(0), tolerance**2 * shrink, rtol=0.05)
    evidence = np.exp(-0.5 * np.sum(Y**2) * shrink) * tolerance**2 * shrink
    np.testing.assert_allclose(result.acceptance_rate, evidence, rtol=0.02)


def test_a_tolerance_for_each_entry():
    tolerance = np.array([0.2, 2.0], np.float32)
    result = abc_rejection(
        jax.random.key(1), gaussian_model, Y, tolerance=tolerance, n_samples=20_000
    )
    shrink = 1 / (1 + tolerance**2)
    np.testing.assert_allclose(result.samples.mean(0), shrink * Y, atol=0.03)
    np.testing.assert_allclose(result.samples.var(0), tolerance**2 * shrink, rtol=0.05)


def test_partial_results_at_the_bound():
    with pytest.warns(UserWarning, match=r"of 1000 samples after 4000 simulations; the other rows"):
        result = abc_rejection(
            jax.random.key(0),
            gaussian_model,
            Y,
            tolerance=0.1,
            n_samples=1000,
            max_simulations=4500,
            chunk_size=1000,
        )
    found = int(result.n_accepted)
    assert not result.complete and result.simulations == 4000 and 0 < found < 1000
    np.testing.assert_allclose(result.acceptance_rate, found / 4000)
    assert np.isfinite(result.samples[:found]).all() and np.isnan(result.samples[found:]).all()


def test_under_jit_map_and_vmap():
    observations = np.array([[0.0, 0.0], [0.5, 0.5], [40.0, 0.0]], np.float32)

    def run(y):
        key = jax.random.key(0)
        return abc_rejection(
            key, gaussian_model, y, tolerance=0.3, n_samples=200, max_simulations=2**17
        )

    one = jax.jit(run)(observations[1])
    mapped = jax.jit(lambda y: jax.lax.map(run, y))(observations)
    batched = jax.vmap(run)(observations)
    for many in (mapped, batched):
        # The same draws; programs that are compiled apart may round their last digit differently.
        np.testing.assert_allclose(many.samples[1], one.samples, rtol=1e-6)
        np.testing.assert_array_equal(many.complete, [True, True, False])
        np.testing.assert_array_equal(many.n_accepted, [200, 200, 0])
    np.testing.assert_array_equal(mapped.simulations, [2**16, 2**16, 2**17])


def test_draws_are_independent_of_how_many_are_wanted():
    few = abc_rejection(jax.random.key(3), gaussian_model, Y, tolerance=0.5, n_samples=10)
    many = abc_rejection(jax.random.key(3), gaussian_model, Y, tolerance=0.5, n_samples=100)
    np.testing.assert_array_equal(few.samples, many.samples[:10])


def test_simulations_that_are_not_finite_are_rejected():
    def simulate(key, n):
        x = jax.random.normal(key, (n, 1))
        return x, jnp.where(x > 0, jnp.nan, x)

    result = abc_rejection(
        jax.random.key(0), simulate, np.zeros(1, np.float32), tolerance=1.0, n_samples=500
    )
    assert result.complete and np.all(np.asarray(result.samples) < 0)


def test_float64():
    with jax.enable_x64(True):
        result = abc_rejection(
            jax.random.key(0), gaussian_model, Y.astype(np.float64), tolerance=0.5, n_samples=50
        )
        assert result.samples.dtype == jnp.float64 and result.complete


def test_events_of_any_shape():
    def simulate(key, n):
        x = jax.random.normal(key, (n, 2, 3))
        return x, x.sum(axis=(1, 2))

    result = abc_rejection(jax.random.key(0), simulate, 1.0, tolerance=0.1, n_samples=100)
    assert result.samples.shape == (100, 2, 3)
    np.testing.assert_allclose(result.samples.sum(axis=(1, 2)), 1.0, atol=0.6)


def test_memory_does_not_grow_with_the_simulations():
    def temporary_bytes(max_simulations):
        def run(key, y):
            return abc_rejection(
                key,
                gaussian_model,
                y,
                tolerance=0.1,
                max_simulations=max_simulations,
                chunk_size=1000,
            )

        compiled = jax.jit(run).lower(jax.random.key(0), Y).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    assert temporary_bytes(10**3) == temporary_bytes(10**9) < 10**6


def gives_three_rows(key, n):
    return jnp.zeros((3, 2)), jnp.zeros((3, 2))


@pytest.mark.no_type_hook
@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"tolerance": 0.0}, "expected a positive tolerance, got 0.0"),
        ({"tolerance": -1.0}, "expected a positive tolerance"),
        ({"tolerance": np.nan}, "expected a positive tolerance"),
        ({"tolerance": np.ones(3)}, r"one for each entry of y, of shape \(2,\), got shape \(3,\)"),
        ({"y": np.zeros(3)}, r"simulator's y has shape \(2,\), the observation's is \(3,\)"),
        ({"y": np.zeros((5, 2))}, r"observation's is \(5, 2\); pass one observation"),
        ({"y": np.array([0.0, np.nan])}, "expected a finite observation y, got"),
        ({"simulate": gives_three_rows}, "rows of x and of y, got"),
        ({"simulate": lambda key, n: jax.random.normal(key, (n, 2))}, r"to return \(x, y\), got"),
        ({"n_samples": 2.5}, "expected an integer 1 <= n_samples < 2.31, got 2.5"),
        ({"n_samples": 0}, "expected an integer 1 <= n_samples < 2.31, got 0"),
        ({"max_simulations": 2**31}, "expected an integer 1 <= max_simulations < 2.31"),
        ({"chunk_size": 0}, "expected an integer 1 <= chunk_size < 2.31"),
    ],
)
def test_errors(changes, text):
    arguments = {"simulate": gaussian_model, "y": Y, "tolerance": 0.1} | changes
    with pytest.raises(ValueError, match=text):
        abc_rejection(jax.random.key(0), arguments.pop("simulate"), arguments.pop("y"), **arguments)


def test_the_nearest_are_those_of_a_sort():
    key, n, k = jax.random.key(3), 5000, 40
    result = abc_quantile(key, gaussian_model, Y, n_simulations=n, n_samples=k, chunk_size=n)
    x = np.asarray(gaussian_model(jax.random.fold_in(key, 0), n)[0])
    distances = np.linalg.norm(x - Y, axis=1)
    np.testing.assert_allclose(result.distances, np.sort(distances)[:k], rtol=1e-5)
    np.testing.assert_allclose(result.samples, x[np.argsort(distances)[:k]], rtol=1e-6)


def test_the_nearest_over_chunks():
    """Chunks that do not fill: exactly N simulations count."""
    counts = {"n_simulations": 2500, "n_samples": 2500, "chunk_size": 1000}
    scale = np.array([0.5, 2.0])
    result = abc_quantile(jax.random.key(0), gaussian_model, Y, scale=scale, **counts)
    assert len(np.unique(result.samples, axis=0)) == 2500
    errors = (np.asarray(result.samples) - Y) / scale
    np.testing.assert_allclose(result.distances, np.linalg.norm(errors, axis=1), rtol=1e-5)
    assert np.all(np.diff(result.distances) >= 0)


def test_the_nearest_approach_the_posterior():
    result = abc_quantile(
        jax.random.key(5), gaussian_model, Y, n_simulations=400_000, n_samples=400
    )
    assert result.distances[-1] < 0.1
    np.testing.assert_allclose(result.samples.mean(0), Y, atol=0.01)


def test_simulations_that_are_not_finite_are_never_near():
    def model(key, n):
        x = jax.random.normal(key, (n, 2))
        return x, jnp.where(x > 0, x, jnp.nan)

    near = abc_quantile(jax.random.key(0), model, Y + 1, n_simulations=1000, n_samples=50)
    assert np.all(near.samples > 0)
    with pytest.warns(UserWarning, match="of 1000 simulations are finite, 900 were wanted"):
        all_of_them = abc_quantile(
            jax.random.key(0), model, Y + 1, n_simulations=1000, n_samples=900
        )
    assert np.array_equal(np.isnan(all_of_them.samples[:, 0]), np.isinf(all_of_them.distances))


@pytest.mark.no_type_hook
@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"n_simulations": 10}, "expected n_samples <= n_simulations, got 20 and 10"),
        ({"n_simulations": 1.5}, "expected an integer 1 <= n_simulations < 2.31, got 1.5"),
        ({"scale": 0.0}, "abc_quantile: expected a positive scale, got 0.0"),
        ({"scale": np.ones(3)}, r"one scale or one for each entry of y, of shape \(2,\)"),
        ({"y": np.zeros(3)}, r"abc_quantile: the simulator's y has shape \(2,\)"),
    ],
)
def test_errors_of_the_nearest(changes, text):
    arguments = {"y": Y, "n_simulations": 100, "n_samples": 20} | changes
    with pytest.raises(ValueError, match=text):
        abc_quantile(jax.random.key(0), gaussian_model, arguments.pop("y"), **arguments)

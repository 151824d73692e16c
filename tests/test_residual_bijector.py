"""Residual blocks and flows: estimates by key, what the inverse reports, training, files."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jinn
from jinn.bijectors import InvertibleResidual
from jinn.flows import residual_flow
from jinn.functional.solver import SolverInfo
from jinn.inference import Posterior

KEY = jax.random.key(0)
X = jnp.asarray(np.random.default_rng(0).normal(size=(5, 10)), jnp.float32)


def steep(x, condition):
    """Of Lipschitz constant 0.99, with a fixed point that plain steps approach slowly."""
    return -0.99 * x


@pytest.mark.thorough
def test_an_estimate_is_taken_with_a_key_only():
    block = InvertibleResidual((10,), hidden=(8,), coefficient=0.5, rngs=0)
    exact = InvertibleResidual((10,), hidden=(8,), coefficient=0.5, estimator="exact", rngs=0)
    assert (block.estimator, exact.estimator) == ("russian_roulette", "exact")
    assert InvertibleResidual((8,), rngs=0).estimator == "exact"
    assert InvertibleResidual((8,), rngs=0).solver == "newton"
    assert InvertibleResidual((3, 3, 1), rngs=0).solver == "anderson"
    expected = exact.log_det(X)
    np.testing.assert_allclose(block.log_det(X), expected, atol=1e-6)
    np.testing.assert_array_equal(exact.log_det(X, key=KEY), expected)
    keys = jax.random.split(KEY, 2000)
    values = jax.jit(jax.vmap(lambda key: block.log_det(X, key=key)))(keys)
    assert jnp.all(jnp.std(values, 0) > 1e-3)
    error = jnp.std(values, 0) / np.sqrt(2000)
    assert jnp.all(jnp.abs(jnp.mean(values, 0) - expected) < 4 * error)
    np.testing.assert_array_equal(block.log_det(X, key=KEY), block.log_det(X, key=KEY))


def test_one_block_comes_back_or_says_where_it_does_not():
    y = jnp.asarray([[1.0, 2.0], [1e4, -1e4], [0.0, 0.0]])
    for solver in ("plain", "anderson", "newton"):
        block = InvertibleResidual((2,), network=steep, coefficient=0.99, solver=solver)
        x, log_det, info = block.inverse_with_info(y)
        assert isinstance(info, SolverInfo) and info.converged.all()
        np.testing.assert_allclose(0.01 * x, y, atol=2e-2, rtol=1e-3)
        np.testing.assert_allclose(log_det, -2 * np.log(0.01), rtol=1e-3)
    few = InvertibleResidual((2,), network=steep, coefficient=0.99, solver="plain", max_steps=20)
    x, log_det, info = few.inverse_with_info(y)
    np.testing.assert_array_equal(info.converged, [False, False, True])
    np.testing.assert_array_equal(jnp.isnan(x).all(-1), [True, True, False])
    np.testing.assert_array_equal(jnp.isnan(log_det), [True, True, False])
    np.testing.assert_array_equal(info.evaluations, [20, 20, 1])
    with_nan = y.at[2, 0].set(jnp.nan)
    x, _, info = block.inverse_with_info(with_nan)
    np.testing.assert_array_equal(info.converged, [True, True, False])
    assert jnp.isnan(x[2]).all()


@pytest.mark.thorough
def test_a_flow_reports_every_block():
    flow = residual_flow(2, depth=3, hidden=(8, 8), rngs=0)
    x, log_det, infos = jax.jit(lambda flow: flow.bijector.inverse_with_info(X[:, :2]))(flow)
    assert len(infos) == 3 and all(info.converged.all() for info in infos)
    z, forward, infos = flow.bijector.forward_with_info(x)
    np.testing.assert_allclose(z, X[:, :2], atol=1e-5)
    np.testing.assert_allclose(forward, -log_det, atol=1e-5)
    assert [int(info.steps.sum()) for info in infos] == [0, 0, 0]
    assert "log_prob is fast, sample is slow" in repr(flow)


@pytest.mark.parametrize(
    "event_dim",
    [pytest.param(10, marks=pytest.mark.thorough), pytest.param(2, marks=pytest.mark.slow)],
)
def test_training_lowers_the_loss_and_keeps_the_bound(event_dim):
    rng = np.random.default_rng(0)
    sign = rng.choice([-1.0, 1.0], size=(2048, 1))
    x = jnp.asarray(2.0 * sign + 0.5 * rng.normal(size=(2048, event_dim)), jnp.float32)
    flow = residual_flow(event_dim, depth=4, hidden=(32, 32), rngs=0)
    result = jinn.fit(KEY, flow, x, steps=100, batch_size=256, progress=False)
    before = -jnp.mean(jinn.initialize(flow, x).log_prob(x))
    after = -jnp.mean(result.flow.log_prob(x))
    assert after < before - (0.1 if event_dim == 2 else 1.0)
    bounds = [float(block[-1].lipschitz_bound()) for block in result.flow.bijector]
    assert max(bounds) < 0.9 * 1.05 and max(bounds) > 0.5
    samples, log_prob = result.flow.sample_and_log_prob(KEY, (500,))
    np.testing.assert_allclose(result.flow.log_prob(samples), log_prob, atol=1e-3)


@pytest.mark.thorough
def test_a_posterior_of_a_residual_flow_is_saved_and_loaded(tmp_path):
    y = jnp.asarray(np.random.default_rng(0).normal(size=(64, 1)), jnp.float32)
    x = jnp.concatenate([y, -y], axis=-1)
    flow = residual_flow(2, condition_dim=1, depth=2, hidden=8, solver="anderson", rngs=0)
    posterior = jinn.fit_posterior(KEY, (x, y), flow=flow, steps=2, progress=False)
    posterior.save(tmp_path / "posterior")
    loaded = Posterior.load(tmp_path / "posterior")
    np.testing.assert_array_equal(loaded.log_prob(x, y), posterior.log_prob(x, y))
    np.testing.assert_array_equal(
        loaded.sample(KEY, (3,), y[:2]), posterior.sample(KEY, (3,), y[:2])
    )

"""`fit_posterior` and `Posterior`: known posteriors, standardisation, support, shapes."""

import sys
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jinn
from jinn.inference.defaults import defaults_for

NOISE = 0.5
SCALE = 10.0
"""The linear problem: x ~ N(5, SCALE^2), y = x / SCALE + N(0, NOISE^2)."""


def linear(key, n):
    prior, noise = jax.random.split(key)
    x = 5.0 + SCALE * jax.random.normal(prior, (n, 1))
    return x, x / SCALE + NOISE * jax.random.normal(noise, (n, 1))


def linear_posterior(y):
    """Mean and standard deviation of p(x | y), by conjugacy."""
    precision = 1 / SCALE**2 + 1 / (SCALE * NOISE) ** 2
    mean = (5.0 / SCALE**2 + y / (SCALE * NOISE**2)) / precision
    return mean, precision**-0.5


def small_flow(event_dim=1, condition_dim=1):
    return jinn.flows.neural_spline_flow(
        event_dim, condition_dim=condition_dim, depth=2, hidden=(32, 32), rngs=0
    )


@pytest.fixture(scope="module")
def posterior():
    return jinn.fit_posterior(
        jax.random.key(0), linear, flow=small_flow(), steps=600, learning_rate=3e-3, progress=False
    )


@pytest.mark.thorough
def test_known_posterior_is_learned_from_a_simulator(posterior):
    y = jnp.array([[-0.5], [0.5], [1.5]])
    mean, deviation = linear_posterior(y[:, 0])
    samples = posterior.sample(jax.random.key(1), (20_000,), y)[..., 0]
    np.testing.assert_allclose(samples.mean(0), mean, atol=0.1 * deviation)
    np.testing.assert_allclose(samples.std(0), deviation, rtol=0.1)


def test_density_counts_the_standardisation(posterior):
    y = jnp.array([0.8])
    grid = jnp.linspace(-60.0, 70.0, 4001)
    density = jnp.exp(posterior.log_prob(grid[:, None], y))
    np.testing.assert_allclose(jnp.trapezoid(density, grid), 1.0, atol=1e-3)
    mean, deviation = linear_posterior(y[0])
    exact = -jnp.log(deviation * jnp.sqrt(2 * jnp.pi))
    np.testing.assert_allclose(posterior.log_prob(mean[None], y), exact, atol=0.1)


def test_known_posterior_is_learned_from_arrays():
    x, y = linear(jax.random.key(2), 4000)
    posterior = jinn.fit_posterior(
        jax.random.key(0), (x, y), flow=small_flow(), steps=500, learning_rate=3e-3, progress=False
    )
    mean, deviation = linear_posterior(jnp.array(0.3))
    samples = posterior.sample(jax.random.key(1), 20_000, jnp.array([0.3]))[:, 0]
    np.testing.assert_allclose(samples.mean(), mean, atol=0.15 * deviation)
    np.testing.assert_allclose(samples.std(), deviation, rtol=0.15)


def test_shapes(posterior):
    key = jax.random.key(0)
    y = jnp.zeros((3, 2, 1))
    assert posterior.event_shape == (1,) and posterior.condition_shape == (1,)
    assert posterior.sample(key, (), y[0, 0]).shape == (1,)
    assert posterior.sample(key, 5, y).shape == (5, 3, 2, 1)
    assert posterior.sample(key, (5, 4), y).shape == (5, 4, 3, 2, 1)
    assert posterior.log_prob(jnp.zeros((7, 3, 2, 1)), y).shape == (7, 3, 2)
    assert posterior.log_prob(jnp.zeros(1), y).shape == (3, 2)


def test_works_under_jit_vmap_and_with_plain_lists(posterior):
    y = jnp.array([[0.1], [0.2]])
    key = jax.random.key(3)
    jitted = jax.jit(lambda p, k, y: p.sample(k, (4,), y))(posterior, key, y)
    np.testing.assert_allclose(jitted, posterior.sample(key, (4,), y), rtol=1e-5)
    mapped = jax.vmap(lambda y: posterior.log_prob(jnp.zeros(1), y))(y)
    np.testing.assert_allclose(mapped, posterior.log_prob([0.0], [[0.1], [0.2]]), rtol=1e-5)


def test_history_is_kept_and_does_not_retrace(posterior):
    history = posterior.training.history
    assert history["step"][-1] == 600
    assert np.isfinite(history["validation_loss"]).all()
    assert posterior.training.skipped_steps == 0 and not posterior.training.interrupted
    other = jax.tree.map(lambda leaf: leaf + 0, posterior)
    assert jax.tree.structure(other) == jax.tree.structure(posterior)
    assert "Posterior" in str(posterior) and "fast" in repr(posterior)


@pytest.mark.parametrize(
    ("low", "high"),
    [
        pytest.param(0.0, 1.0, marks=pytest.mark.thorough),
        pytest.param([0.0, 0.0], [1.0, jnp.inf], marks=pytest.mark.thorough),
        ([-jnp.inf, 0.0], [1.0, jnp.inf]),
    ],
)
def test_no_sample_leaves_the_support_and_density_is_zero_outside(low, high):
    def simulate(key, n):
        x_key, y_key = jax.random.split(key)
        x = jax.random.uniform(x_key, (n, 2))
        return x, x + 0.3 * jax.random.normal(y_key, (n, 2))

    posterior = jinn.fit_posterior(
        jax.random.key(0),
        simulate,
        flow=small_flow(2, 2),
        support=(low, high),
        steps=30,
        progress=False,
    )
    y = jnp.array([[0.0, 0.0], [1.0, 1.0], [5.0, -5.0]])
    samples = posterior.sample(jax.random.key(1), (2000,), y)
    assert (np.asarray(samples) >= np.asarray(low)).all()
    assert (np.asarray(samples) <= np.asarray(high)).all()
    assert jnp.isfinite(posterior.log_prob(samples, y)).all()
    below, above = np.broadcast_to(low, 2) - 0.1, np.broadcast_to(high, 2) + 0.1
    outside = np.where(np.isfinite(below), below, above)
    np.testing.assert_array_equal(posterior.log_prob(outside, y), -jnp.inf)


@pytest.mark.thorough
def test_bounded_posterior_integrates_to_one():
    def simulate(key, n):
        x_key, y_key = jax.random.split(key)
        x = jax.random.beta(x_key, 0.8, 2.0, (n, 1))
        return x, x + 0.1 * jax.random.normal(y_key, (n, 1))

    posterior = jinn.fit_posterior(
        jax.random.key(0), simulate, flow=small_flow(), support=(0, 1), steps=150, progress=False
    )
    edges = jax.nn.sigmoid(jnp.linspace(-16, 16, 4001))
    density = jnp.exp(posterior.log_prob(edges[:, None], jnp.array([0.2])))
    np.testing.assert_allclose(jnp.trapezoid(density, edges), 1.0, atol=5e-3)


def test_no_validation_and_a_simulator_without_a_hash(monkeypatch):
    @dataclass
    class Simulator:
        shift: float

        def __call__(self, key, n):
            x = jax.random.normal(key, (n, 1))
            return x, x + self.shift

    defaults = defaults_for(None)._replace(steps=2, patience=3, batch_size=8)
    module = sys.modules["jinn.inference.fit_posterior"]
    monkeypatch.setattr(module, "defaults_for", lambda rows, method: defaults)
    flow = jinn.flows.nice(1, condition_dim=1, depth=1, hidden=4, rngs=0)
    posterior = jinn.fit_posterior(
        jax.random.key(0), Simulator(1.0), flow=flow, validation=0, progress=False
    )
    assert np.isnan(posterior.training.history["validation_loss"]).all()
    np.testing.assert_allclose(posterior.y_mean[...], 1.0, atol=0.05)


def test_dict_observations():
    def simulate(key, n):
        x_key, y_key = jax.random.split(key)
        x = jax.random.normal(x_key, (n, 2))
        return x, {"a": x[:, :1], "b": x[:, 1:] + jax.random.normal(y_key, (n, 1))}

    shape = {"a": (1,), "b": (1,)}
    coupling = jinn.bijectors.Coupling(
        (2,), mask=(True, True), condition_shape=shape, hidden=(8,), rngs=0
    )
    flow = jinn.Flow(coupling, jinn.distributions.StandardNormal((2,)))
    posterior = jinn.fit_posterior(jax.random.key(0), simulate, flow=flow, steps=5, progress=False)
    y = {"a": jnp.zeros((3, 1)), "b": jnp.zeros((3, 1))}
    assert posterior.condition_shape == shape
    assert posterior.sample(jax.random.key(1), (4,), y).shape == (4, 3, 2)

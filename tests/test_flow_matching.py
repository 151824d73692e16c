"""Losses of continuous flows: what they compute, and that they teach a known density."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

import jinn
from jinn.bijectors import Affine, Chain, Continuous, EmbedCondition
from jinn.distributions import StandardNormal
from jinn.flows import Flow, continuous_flow, with_solver
from jinn.losses import flow_matching, negative_log_likelihood, regularized_likelihood
from jinn.networks import MLP

ROWS = 4096
X = jnp.asarray(np.random.default_rng(0).normal([1.0, -2.0], [0.5, 1.5], (ROWS, 2)), jnp.float32)
KEY = jax.random.key(0)


def evaluate(loss, flow, batch, key=KEY):
    return jax.jit(lambda flow, batch, key: loss(flow, batch, key)[0])(flow, batch, key)


def still(**options):
    """A flow whose field is zero, so that the loss is the mean squared velocity of the paths."""
    return continuous_flow(2, hidden=(4,), rngs=0, **options)


@pytest.mark.parametrize("weighting", ["uniform", "logit_normal"])
def test_the_velocity_of_straight_paths(weighting):
    loss = flow_matching(time_weighting=weighting)
    expected = 1 + np.mean(X**2)
    assert abs(evaluate(loss, still(), X) - expected) < 0.1 * expected
    assert evaluate(loss, still(), X, None) == evaluate(loss, still(), X, None)


def test_the_velocity_of_variance_preserving_paths():
    expected = (math.pi / 2) ** 2 * 0.5 * (1 + np.mean(X**2))
    found = evaluate(flow_matching(path="variance_preserving"), still(), X)
    assert abs(found - expected) < 0.1 * expected


@pytest.mark.parametrize("path", ["linear", "variance_preserving"])
def test_the_field_of_a_point_has_no_loss(path):
    """All data at m: the velocity at a point of a path is that of the one path through it."""
    m = jnp.array([1.0, -2.0])

    def field(time, x):
        if path == "linear":
            return (x - m) / time
        angle = math.pi / 2 * time
        z = (x - jnp.cos(angle) * m) / jnp.sin(angle)
        return math.pi / 2 * (jnp.cos(angle) * z - jnp.sin(angle) * m)

    flow = Flow(Continuous((2,), vector_field=field), StandardNormal((2,)))
    assert evaluate(flow_matching(path=path), flow, jnp.broadcast_to(m, (64, 2))) < 1e-3


def test_a_function_weights_times():
    """With weights t the loss of a field that is wrong at all times alike is halved."""
    plain, weighted = (
        evaluate(flow_matching(time_weighting=w), still(), X) for w in ("uniform", lambda t: t)
    )
    assert abs(weighted - plain / 2) < 0.05 * plain


def test_rows_with_one_condition_have_latents_of_their_own():
    flow = still(condition_dim=1)
    shared, copied = (evaluate(flow_matching(), flow, (X, c)) for c in (jnp.ones(1), X[:, :1]))
    np.testing.assert_allclose(shared, copied, rtol=1e-5)


def test_what_comes_before_and_after_is_applied():
    field = still().bijector
    before = Affine((2,), shift=-X.mean(0) / X.std(0), scale=1 / X.std(0), learned=True)
    after = Affine((2,), shift=0.0, scale=0.5, learned=False)
    flow = Flow(Chain([Chain([before, field]), after]), StandardNormal((2,)))
    found, gradient = jax.jit(jax.value_and_grad(lambda flow: flow_matching()(flow, X, KEY)[0]))(
        flow
    )
    assert abs(found - (1 + 4)) < 0.3
    gradients = gradient.bijector[0]
    assert not any(np.any(leaf) for leaf in jax.tree.leaves(gradients[0]))
    assert any(np.any(leaf) for leaf in jax.tree.leaves(gradients[1]))


def test_an_embedding_is_trained():
    field = Continuous((2,), condition_shape=(3,), hidden=(4,), rngs=0)
    field = jax.tree.map(lambda leaf: leaf + 0.1, field)
    network = MLP(0, 3, hidden=(4,), condition_shape=(1,), zero_init_last=False, rngs=0)
    flow = Flow(EmbedCondition(field, network, (1,)), StandardNormal((2,)))
    batch = (X[:64], X[:64, :1])
    gradient = jax.jit(jax.grad(lambda flow: flow_matching()(flow, batch, KEY)[0]))(flow)
    leaves = jax.tree.leaves(gradient.bijector.network)
    assert all(np.any(leaf) for leaf in leaves if leaf.size)


def test_optimal_transport_is_the_best_assignment():
    loss = flow_matching(coupling="optimal_transport")
    x = X[:64]
    z = still()._sample_base(jax.random.split(KEY)[1], (64,), None)
    cost = np.sum((np.asarray(x)[:, None] - np.asarray(z)[None]) ** 2, -1)
    best = cost[linear_sum_assignment(cost)].sum()
    assert sorted(loss._assignment(x, z, None)) == list(range(64))
    np.testing.assert_allclose(evaluate(loss, still(), x), best / x.size, rtol=1e-4)
    strict, loose = (
        flow_matching(coupling="optimal_transport", condition_weight=w) for w in (1e6, 0.0)
    )
    assert list(strict._assignment(x, z, x)) == list(range(64))
    np.testing.assert_array_equal(loose._assignment(x, z, x), loss._assignment(x, z, None))


def test_equal_options_make_equal_losses():
    assert flow_matching() == flow_matching() != flow_matching(path="variance_preserving")
    assert hash(regularized_likelihood()) == hash(regularized_likelihood())


def test_regularized_likelihood_adds_its_prices():
    flow = jax.tree.map(lambda leaf: leaf + 0.3, still())
    x = X[:16]

    def evaluate(flow, x):
        return (
            regularized_likelihood(kinetic=0.5, jacobian=2.0)(flow, x),
            negative_log_likelihood(flow, x),
            flow.bijector.regularized_forward(x)[2],
        )

    (loss, metrics), (nll, _), info = jax.jit(evaluate)(flow, x)
    kinetic, jacobian = info.kinetic.mean(), info.squared_jacobian.mean()
    np.testing.assert_allclose(loss, nll + 0.5 * kinetic + 2 * jacobian, rtol=1e-4)
    np.testing.assert_allclose(metrics["negative_log_likelihood"], nll, rtol=1e-4)
    assert metrics["kinetic"] == kinetic > 0 and metrics["squared_jacobian"] == jacobian > 0


def simulate(key, n):
    """x given c is a normal around (c, -c) with deviation 0.5, so log p has mean -1.45."""
    c_key, x_key = jax.random.split(key)
    c = jax.random.normal(c_key, (n, 1))
    x = jnp.concatenate([c, -c], -1) + 0.5 * jax.random.normal(x_key, (n, 2))
    return x, c


@pytest.fixture(scope="module")
def posterior():
    flow = continuous_flow(2, condition_dim=1, hidden=(32,), activation="silu", rngs=0)
    options = {"loss": flow_matching(), "steps": 800, "batch_size": 256, "progress": False}
    return jinn.fit_posterior(KEY, simulate, flow=flow, **options)


def test_flow_matching_learns_a_density(posterior):
    x, c = simulate(jax.random.key(1), 2000)
    entropy = math.log(2 * math.pi * 0.25) + 1
    assert abs(-posterior.log_prob(x, c).mean() - entropy) < 0.1
    posterior = with_solver(posterior, solver="rk4", steps=8)
    samples = posterior.sample(jax.random.key(2), (2000,), jnp.array([1.0]))
    np.testing.assert_allclose(samples.mean(0), [1.0, -1.0], atol=0.1)
    np.testing.assert_allclose(samples.std(0), [0.5, 0.5], atol=0.1)
    assert abs(-posterior.log_prob(x, c).mean() - entropy) < 0.1


def test_a_continuous_posterior_is_saved_and_loaded(posterior, tmp_path):
    posterior = with_solver(posterior, solver="rk4", steps=4)
    posterior.save(tmp_path / "posterior")
    loaded = jinn.Posterior.load(tmp_path / "posterior")
    x, c = simulate(jax.random.key(1), 5)
    np.testing.assert_array_equal(loaded.log_prob(x, c), posterior.log_prob(x, c))


@pytest.mark.thorough
def test_likelihood_learns_a_density():
    """Two thirds and one third of the data around -1 and 1."""

    def draw(key, n):
        side_key, x_key = jax.random.split(key)
        side = jnp.where(jax.random.uniform(side_key, (n, 1)) < 2 / 3, -1.0, 1.0)
        return side + 0.4 * jax.random.normal(x_key, (n, 1))

    flow = continuous_flow(1, hidden=(16, 16), rtol=1e-3, atol=1e-3, rngs=0)
    flow = jinn.fit(
        KEY, flow, draw, steps=300, batch_size=256, learning_rate=1e-2, progress=False
    ).flow
    grid = jnp.linspace(-4, 4, 401)
    found = jnp.exp(flow.log_prob(grid[:, None]))

    def normal(mean):
        return jnp.exp(-0.5 * ((grid - mean) / 0.4) ** 2) / (0.4 * math.sqrt(2 * math.pi))

    true = (2 * normal(-1.0) + normal(1.0)) / 3
    assert abs(found.sum() * 0.02 - 1) < 1e-3
    assert jnp.abs(found - true).sum() * 0.02 < 0.15

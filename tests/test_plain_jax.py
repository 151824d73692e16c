"""Jinn in plain JAX: flows and bijectors are pytrees, and no name of Flax is needed."""

import os
import re
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jinn

KEY = jax.random.key(0)
X = jax.random.normal(KEY, (6, 2))
Y = jnp.linspace(-1.0, 1.0, 6)[:, None]


def make(rngs):
    return jinn.flows.real_nvp(2, condition_dim=1, depth=2, hidden=(8,), rngs=rngs)


jitted_make = jax.jit(make)


def loss(flow, x, condition):
    return -jnp.mean(flow.log_prob(x, condition))


def member(stacked, i):
    return jax.tree.map(lambda leaf: np.asarray(leaf)[i], stacked)


def allclose(one, other, **tolerances):
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        np.testing.assert_allclose(a, b, **tolerances)


def test_this_file_imports_no_flax():
    modules = re.findall(r"^\s*(?:import|from) (\w+)", Path(__file__).read_text(), re.MULTILINE)
    assert "jinn" in modules and "flax" not in modules
    assert not re.search(r"\bnn" + r"x\b|\bli" + r"nen\b", Path(__file__).read_text())


def test_jit_of_a_method_and_of_a_function_of_the_flow():
    flow = make(0)
    expected = flow.log_prob(X, Y)
    np.testing.assert_allclose(jax.jit(flow.log_prob)(X, Y), expected, rtol=1e-5)
    traces = []

    @jax.jit
    def log_prob(flow, x, condition):
        traces.append(None)
        return flow.log_prob(x, condition)

    np.testing.assert_allclose(log_prob(flow, X, Y), expected, rtol=1e-5)
    log_prob(jitted_make(1), X, Y)
    assert len(traces) == 1


def test_grad_gives_a_flow_of_gradients():
    flow = jitted_make(0)
    gradient = jax.jit(jax.grad(loss))(flow, X, Y)
    assert type(gradient) is type(flow)
    assert jax.tree.structure(gradient) == jax.tree.structure(flow)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))
    step = jax.tree.map(lambda p, g: p - 1e-2 * g, flow, gradient)
    assert loss(step, X, Y) < loss(flow, X, Y)
    assert jnp.any(jax.grad(lambda x: jnp.sum(flow.log_prob(x, Y)))(X) != 0)


def test_vmap_over_conditions():
    flow = jitted_make(0)
    expected = flow.log_prob(X, Y)
    np.testing.assert_allclose(jax.vmap(flow.log_prob)(X, Y), expected, rtol=1e-5)
    one_x = jax.vmap(flow.log_prob, in_axes=(None, 0))(X[0], Y)
    np.testing.assert_allclose(one_x, flow.log_prob(X[0], Y), rtol=1e-5)
    draws = jax.vmap(lambda key, y: flow.sample(key, (3,), y))(jax.random.split(KEY, 6), Y)
    assert draws.shape == (6, 3, 2)


def test_vmap_over_an_ensemble_of_flows():
    keys = jax.random.split(KEY, 3)
    ensemble = jax.vmap(make)(keys)
    for i, key in enumerate(keys):
        allclose(member(ensemble, i), jitted_make(key), atol=1e-6)
    ensemble = jax.tree.map(lambda leaf: np.asarray(leaf) + 0.1, ensemble)  # not the identity
    together = jax.jit(jax.vmap(jax.value_and_grad(loss), in_axes=(0, None, None)))
    losses, gradients = together(ensemble, X, Y)
    assert jax.tree.structure(gradients) == jax.tree.structure(ensemble)
    alone = jax.jit(jax.value_and_grad(loss))
    for i in range(3):
        value, gradient = alone(member(ensemble, i), X, Y)
        np.testing.assert_allclose(losses[i], value, rtol=1e-5)
        allclose(member(gradients, i), gradient, atol=1e-4)
    assert len(np.unique(losses)) == 3


def correlated_normal(key, n):
    """Samples of a normal distribution, and their exact mean negative log-likelihood."""
    factor = jnp.array([[1.0, 0.0], [1.2, 0.3]])
    noise = jax.random.normal(key, (n, 2))
    exact = jnp.mean(jnp.sum(noise**2, axis=1)) / 2 + np.log(2 * np.pi * 0.3)
    return noise @ factor.T + jnp.array([[2.0, -1.0]]), exact


def test_a_plain_optax_loop_learns_a_known_density():
    """`jinn.trainable` keeps weight decay away from the buffers."""
    data, _ = correlated_normal(KEY, 4096)
    start = jinn.flows.real_nvp(2, depth=3, hidden=(16,), mixing="orthogonal", rngs=0)
    start = jinn.initialize(start, data)

    flow, learned = start, jinn.trainable(start)
    optimizer = optax.masked(optax.adamw(5e-3, weight_decay=0.01), learned)
    state = optimizer.init(flow)

    @jax.jit
    def step(flow, state, x):
        value, gradient = jax.value_and_grad(lambda flow: -jnp.mean(flow.log_prob(x)))(flow)
        updates, state = optimizer.update(gradient, state, flow)
        return optax.apply_updates(flow, updates), state, value

    for i in range(300):
        flow, state, _ = step(flow, state, data.reshape(16, 256, 2)[i % 16])

    fresh, exact = correlated_normal(jax.random.key(1), 4096)
    before, after = (-jnp.mean(f.log_prob(fresh)) for f in (start, flow))
    assert before > exact + 1 and abs(after - exact) < 0.05
    assert not all(jax.tree.leaves(learned))
    for a, b, changes in zip(*map(jax.tree.leaves, (start, flow, learned)), strict=True):
        assert np.any(a != b) == changes
        assert changes or np.any(a != 0)  # so that decay would have moved it


def test_a_bijector_inside_a_function_under_scan():
    """Langevin steps on a flow's density, and a bijector as the layer of a plain scan."""
    flow = jitted_make(0)

    def step(x, key):
        score = jax.grad(lambda x: jnp.sum(flow.log_prob(x, Y)))(x)
        return x + 0.05 * score + 0.3 * jax.random.normal(key, x.shape), jnp.mean(x)

    x, means = jax.jit(lambda x: jax.lax.scan(step, x, jax.random.split(KEY, 10)))(X)
    assert x.shape == X.shape and np.isfinite(means).all()

    mask = (True, False)
    layers = jax.vmap(lambda key: jinn.bijectors.Coupling((2,), mask=mask, hidden=(8,), rngs=key))(
        jax.random.split(KEY, 3)
    )
    layers = jax.tree.map(lambda leaf: jnp.asarray(np.asarray(leaf) + 0.3), layers)

    def apply(x, layer):
        return layer.forward_and_log_det(x)

    z, log_dets = jax.jit(lambda layers: jax.lax.scan(apply, X, layers))(layers)
    expected, alone = X, jax.jit(apply)
    for i in range(3):
        expected, log_det = alone(expected, member(layers, i))
        np.testing.assert_allclose(log_dets[i], log_det, atol=1e-5)
    np.testing.assert_allclose(z, expected, atol=1e-5)
    back, _ = jax.lax.scan(lambda z, layer: (layer.inverse(z), None), z, layers, reverse=True)
    np.testing.assert_allclose(back, X, atol=1e-5)


PMAP = """
import jax, jax.numpy as jnp, jinn

flow = jinn.flows.real_nvp(2, depth=2, hidden=(8,), rngs=0)
x = jax.random.normal(jax.random.key(0), (2, 16, 2))

def gradient(flow, x):
    return jax.grad(lambda flow: -jnp.mean(flow.log_prob(x)))(flow)

def step(flow, x):
    mean = jax.lax.pmean(gradient(flow, x), "devices")
    return jax.tree.map(lambda p, g: p - 0.1 * g, flow, mean)

assert jax.local_device_count() >= 2
stepped = jax.pmap(step, axis_name="devices", in_axes=(None, 0))(flow, x)
alone = jax.tree.map(lambda p, g: p - 0.1 * g, flow, gradient(flow, x.reshape(-1, 2)))
for on_devices, expected in zip(*map(jax.tree.leaves, (stepped, alone)), strict=True):
    assert on_devices.shape == (2, *expected.shape)
    for device in range(2):
        assert jnp.allclose(jax.device_get(on_devices)[device], expected, atol=1e-6)
assert any(jnp.any(a != b) for a, b in zip(*map(jax.tree.leaves, (flow, alone)), strict=True))
"""


def test_pmap_of_a_gradient_step():
    if jax.local_device_count() >= 2:
        exec(PMAP, {})
        return
    environment = {**os.environ, "JAX_NUM_CPU_DEVICES": "2", "JAX_PLATFORMS": "cpu"}
    root = Path(__file__).parents[1]
    subprocess.run([sys.executable, "-c", PMAP], check=True, cwd=root, env=environment)


def test_equinox_filters():
    eqx = pytest.importorskip("equinox")
    flow = jitted_make(0)
    value, gradient = eqx.filter_jit(eqx.filter_value_and_grad(loss))(flow, X, Y)
    expected = jax.jit(jax.grad(loss))(flow, X, Y)
    np.testing.assert_allclose(value, loss(flow, X, Y), rtol=1e-5)
    allclose(gradient, expected, atol=1e-6)

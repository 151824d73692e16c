"""Batches whose gradients are computed a part at a time."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jinn
from jinn.training.accumulation import accumulated
from jinn.training.optimizer import default_optimizer
from jinn.training.sources import ArraySource
from jinn.training.step import make_run, start
from jinn.training.weights import structure_of
from tests.test_mesh import (
    KEY,
    MODEL,
    batches,
    collectives,
    coupled_loss,
    mesh,
    noisy_loss,
    quiet_loss,
    simulate,
    trained,
)

DATA = simulate(KEY, 100)


@pytest.mark.parametrize("data", [DATA, simulate, "iterator"])
def test_the_result_is_that_of_whole_batches(data):
    def train(**options):
        return trained(batches() if isinstance(data, str) else data, **options)

    validation = DATA if isinstance(data, str) else 13
    one, four = (train(validation=validation, microbatches=n) for n in (1, 4))
    for name, values in one.history.items():
        np.testing.assert_allclose(four.history[name], values, rtol=1e-4, err_msg=name)
    for name, leaf in one.flow.items():
        np.testing.assert_allclose(four.flow[name], leaf, rtol=1e-3, atol=1e-5)


def test_a_loss_that_is_no_mean_over_rows_is_the_mean_of_the_parts():
    def differentiate(trained, fixed, batch, key, step):
        return jax.value_and_grad(coupled_loss, has_aux=True)(trained, batch, key)

    (value, _), gradient = accumulated(differentiate, 4)(MODEL, None, DATA, KEY, 0)
    parts = [jax.tree.map(lambda leaf, i=i: leaf[i::4], DATA) for i in range(4)]
    found = [differentiate(MODEL, None, part, KEY, 0) for part in parts]
    np.testing.assert_allclose(value, np.mean([f[0][0] for f in found]), rtol=1e-6)
    for name, leaf in gradient.items():
        np.testing.assert_allclose(leaf, np.mean([f[1][name] for f in found], 0), rtol=1e-5)


def test_parts_of_a_noisy_loss_have_keys_of_their_own():
    def differentiate(trained, fixed, batch, key, step):
        return jax.random.normal(key)

    keys = jax.random.split(KEY, 2)
    drawn = accumulated(differentiate, 2)(MODEL, None, DATA, KEY, 0)
    np.testing.assert_allclose(drawn, jax.vmap(jax.random.normal)(keys).mean(), rtol=1e-6)
    one, four = (trained(DATA, noisy_loss, microbatches=n, steps=200).history for n in (1, 4))
    np.testing.assert_allclose(four["loss"][-1], one["loss"][-1], rtol=0.05)
    assert four["loss"][-1] < four["loss"][0]


@pytest.mark.skipif(jax.device_count() < 2, reason="needs two devices")
@pytest.mark.parametrize("sharded", [False, True])
def test_on_two_devices_too(sharded):
    placed = {"mesh": mesh(), "shard_parameters": sharded, "microbatches": 2}
    one, two = trained(DATA), trained(DATA, **placed)
    for name, values in one.history.items():
        np.testing.assert_allclose(two.history[name], values, rtol=1e-4, err_msg=name)


@pytest.mark.skipif(jax.device_count() < 2, reason="needs two devices")
def test_the_parts_of_all_devices_share_one_all_reduce():
    source = ArraySource(DATA, jnp.arange(100), 8)
    assert collectives(MODEL, quiet_loss, source, 2, microbatches=4).counts == {"all-reduce": 1}


def test_a_step_needs_the_memory_of_one_part():
    model = {"kernels": 0.1 * jnp.ones((8, 32, 32))}
    x = jnp.ones((1024, 32))

    def loss(model, batch, key):
        for kernel in model["kernels"]:
            batch = jnp.tanh(batch @ kernel)
        return jnp.mean(batch**2), {}

    def memory(microbatches):
        structure, optimizer = structure_of(model), default_optimizer(1e-3, 100, weight_decay=0.0)
        source = ArraySource(x, jnp.arange(1024), 1024)
        run = make_run(structure, loss, optimizer, 20, microbatches=microbatches)
        state = start(structure, model, loss, optimizer, source, KEY)
        compiled = run.lower(state, source, KEY, jnp.int32(5)).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    assert memory(8) < 0.5 * memory(1)


def test_rows_that_cannot_be_split():
    with pytest.raises(ValueError, match=r"batch_size=8 rows cannot .* over microbatches=3"):
        trained(DATA, microbatches=3)
    with pytest.raises(ValueError, match=r"a batch of 8 rows cannot be split .*microbatches=3"):
        trained(batches(), validation=None, microbatches=3)
    with pytest.raises(ValueError, match=r"microbatches must be a whole number of at least 1"):
        trained(DATA, microbatches=0)
    if jax.device_count() > 1:
        with pytest.raises(ValueError, match=r"2 devices and microbatches=8; .* of 16"):
            trained(DATA, mesh=mesh(), microbatches=8)


@pytest.mark.thorough
def test_a_posterior_is_fitted_so():
    posterior = jinn.fit_posterior(
        KEY, DATA, steps=4, batch_size=10, microbatches=2, progress=False
    )
    assert np.isfinite(posterior.training.history["loss"]).all()

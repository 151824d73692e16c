"""Densities and samples on several devices, and samples that are written to disk."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tensorstore

import jinn
from jinn.flows import devices, neural_spline_flow, real_nvp
from jinn.inference import (
    OnMesh,
    Posterior,
    calibration_error,
    expected_coverage,
    sample_to_disk,
    to_disk,
)

KEY = jax.random.key(0)
Y = jax.random.normal(jax.random.key(1), (5, 2))
COUNTS = [n for n in (1, 2, 4) if n <= jax.device_count()]


def mesh(n):
    return jax.make_mesh((n,), ("data",), devices=jax.devices()[:n])


def moved(flow):
    return jax.tree.map(
        lambda a, t: a + 0.3 * jnp.sin(jnp.arange(a.size)).reshape(a.shape) if t else a,
        flow,
        jinn.trainable(flow),
    )


def make_posterior():
    flow = moved(real_nvp(3, condition_dim=2, depth=2, hidden=4, rngs=0))
    return Posterior(flow, jnp.ones(2), 2 * jnp.ones(2))


@pytest.fixture(scope="module")
def posterior():
    return make_posterior()


@pytest.fixture
def small_blocks(monkeypatch):
    monkeypatch.setattr(devices, "BLOCK", 16)
    yield
    jax.clear_caches()


@pytest.mark.parametrize("n", COUNTS)
def test_densities_are_those_of_one_device(n, posterior):
    x = jax.random.normal(KEY, (7, 5, 3))
    for a, b in ((x, Y), (x[:, :1], Y[0]), (x[0, 0], Y[0]), (x[:0], Y)):
        expected = posterior.log_prob(a, b)
        found = posterior.log_prob(a, b, mesh=mesh(n))
        assert found.shape == expected.shape
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    flow = posterior.flow
    expected = flow.log_prob(x, Y)
    np.testing.assert_allclose(flow.log_prob(x, Y, mesh=mesh(n)), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("n", COUNTS[1:])
def test_samples_do_not_depend_on_the_devices(n, posterior, small_blocks):
    for shape, y in (((40,), Y), ((3, 2), Y[0]), (11, Y), ((0,), Y), ((), Y[:1])):
        one = posterior.sample(KEY, shape, y, mesh=mesh(1))
        expected = posterior.sample(KEY, shape, y)
        assert one.shape == expected.shape
        found = posterior.sample(KEY, shape, y, mesh=mesh(n))
        np.testing.assert_allclose(found, one, rtol=1e-4, atol=1e-5)
    assert len(posterior.sample(KEY, 16, Y[:n], mesh=mesh(n)).sharding.device_set) == n
    elsewhere = jax.device_put((posterior, one), jax.devices()[-1])
    mixed = elsewhere[0].log_prob(elsewhere[1], Y[0], mesh=mesh(1))
    np.testing.assert_allclose(mixed, posterior.log_prob(one, Y[0]), rtol=1e-4)
    flow = real_nvp(3, depth=1, hidden=4, rngs=0)
    one, found = (flow.sample(KEY, (33,), mesh=mesh(k)) for k in (1, n))
    np.testing.assert_allclose(found, one, rtol=1e-4, atol=1e-5)


def test_blocks_are_independent_samples_of_the_density(posterior, small_blocks):
    x = posterior.sample(KEY, 20_000, Y[:2], mesh=mesh(COUNTS[-1]))
    plain = posterior.sample(KEY, 20_000, Y[:2])
    assert len(np.unique(np.asarray(x[:, 0, 0]))) > 19_900
    deviation = plain.std(0) / np.sqrt(20_000)
    assert (jnp.abs(x.mean(0) - plain.mean(0)) < 6 * deviation).all()
    np.testing.assert_allclose(x.std(0), plain.std(0), rtol=0.05)


def test_no_collectives_are_executed(posterior):
    def text(function, *args):
        return jax.jit(function).lower(*args).compile().as_text()

    n = COUNTS[-1]
    x = jnp.ones((8 * n, 3))
    y = jnp.ones((8 * n, 2))
    programs = text(lambda p, x, y: p.log_prob(x, y, mesh=mesh(n)), posterior, x, y)
    assert "all-reduce" not in programs and "all-gather" not in programs


def test_conditions_that_are_dicts_and_ensembles():
    flows = [neural_spline_flow(2, condition_dim=2, depth=1, hidden=4, rngs=i) for i in range(2)]
    posterior = Posterior(jinn.flows.Ensemble(flows), jnp.zeros(2), jnp.ones(2))
    one, many = (posterior.sample(KEY, 9, Y, mesh=mesh(n)) for n in (1, COUNTS[-1]))
    np.testing.assert_allclose(many, one, rtol=1e-4, atol=1e-5)


def test_diagnostics_take_a_posterior_on_a_mesh(posterior):
    x, y = jax.random.normal(KEY, (50, 3)), jax.random.normal(KEY, (50, 2))
    on_mesh = OnMesh(posterior, mesh(COUNTS[-1]))
    found = calibration_error(on_mesh, x, y, samples=20, key=0)
    assert 0 <= float(found) <= 1
    assert len(expected_coverage(on_mesh, x, y, samples=20, key=0).values) == 50


def read(array):
    return array.read().result()


@pytest.mark.parametrize("budget", [1, 600, 10**6])
def test_samples_on_disk_are_those_in_memory(budget, posterior, small_blocks, tmp_path):
    path = tmp_path / "samples.zarr"
    array = sample_to_disk(path, posterior, KEY, 40, Y, max_bytes=budget, progress=False)
    expected = posterior.sample(KEY, 40, Y, mesh=mesh(COUNTS[-1]))
    np.testing.assert_allclose(read(array), expected, rtol=1e-4, atol=1e-5)
    opened = tensorstore.open(
        {"driver": "zarr", "kvstore": {"driver": "file", "path": str(path)}}
    ).result()
    assert opened.shape == (40, 5, 3)
    np.testing.assert_array_equal(opened[:, 3].read().result(), read(array)[:, 3])


def test_an_interrupted_call_goes_on(posterior, small_blocks, tmp_path, monkeypatch):
    path, drawn = tmp_path / "samples.zarr", []
    draw = devices.draw_blocks

    def counted(*args):
        drawn.append(len(args[2]))
        if len(drawn) == 6:
            raise KeyboardInterrupt
        return draw(*args)

    def call(budget):
        return sample_to_disk(path, posterior, KEY, 40, Y, max_bytes=budget, progress=False)

    monkeypatch.setattr(
        to_disk, "compiled", lambda f, operands, *static: counted(*operands, *static)
    )
    with pytest.raises(KeyboardInterrupt):
        call(1)
    done = json.loads((path / ".zattrs").read_text())["jinn"]["blocks_done"]
    assert 3 <= done < 15
    before = len(drawn)
    array = call(1000)  # another budget
    assert sum(drawn[before:]) < 15
    np.testing.assert_allclose(
        read(array), posterior.sample(KEY, 40, Y, mesh=mesh(1)), rtol=1e-4, atol=1e-5
    )
    before = len(drawn)
    np.testing.assert_array_equal(read(call(1)), read(array))
    assert len(drawn) == before

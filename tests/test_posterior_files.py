"""Saving and loading: the same posterior, in another process, without pickle."""

import json
import subprocess
import sys
import zipfile

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jinn
from jinn.bijectors import Chain, Coupling, Permute
from jinn.distributions import StandardNormal
from jinn.flows.specification import is_specified
from jinn.inference.posterior import wrapped

pytestmark = pytest.mark.no_type_hook

Y = jnp.array([0.3, -0.2])
OPTIONS = {"condition_dim": 2, "depth": 2, "hidden": (8,), "mixing": "orthogonal"}


def model(key, n):
    x = jax.random.uniform(key, (n, 3), minval=-1.0, maxval=1.0)
    return x, x[:, :2] ** 2


def train(flow, **options):
    return jinn.fit_posterior(
        jax.random.key(0), model, flow=flow, steps=3, batch_size=32, progress=False, **options
    )


@pytest.fixture(scope="module")
def posterior():
    flow = jinn.flows.real_nvp(3, rngs=0, **OPTIONS)
    return train(flow, support=(-1.0, np.array([1.0, np.inf, 1.0])))


def same(a, b):
    key = jax.random.key(1)
    samples = a.sample(key, (5,), Y)
    np.testing.assert_array_equal(samples, b.sample(key, (5,), Y))
    np.testing.assert_array_equal(a.log_prob(samples, Y), b.log_prob(samples, Y))


def test_samples_densities_and_history_come_back(posterior, tmp_path):
    posterior.save(tmp_path / "posterior")
    loaded = jinn.Posterior.load(tmp_path / "posterior")
    same(posterior, loaded)
    assert jax.tree.structure(loaded) == jax.tree.structure(posterior)
    assert loaded.training.history.keys() == posterior.training.history.keys()
    for name, values in posterior.training.history.items():
        np.testing.assert_array_equal(values, loaded.training.history[name])


def test_another_process_loads_it_without_the_script(posterior, tmp_path):
    posterior.save(tmp_path / "posterior")
    code = (
        "import jax, jinn, json, sys; p = jinn.Posterior.load(sys.argv[1]); "
        "print(json.dumps(p.sample(jax.random.key(1), (5,), [0.3, -0.2]).tolist()))"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "posterior")]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    samples = posterior.sample(jax.random.key(1), (5,), Y)
    np.testing.assert_allclose(json.loads(printed), samples, rtol=1e-5)


def test_the_file_holds_no_pickle(posterior, tmp_path):
    posterior.save(tmp_path / "posterior")
    with zipfile.ZipFile(tmp_path / "posterior") as file:
        assert all(name.endswith(".npy") for name in file.namelist())
    for array in np.load(tmp_path / "posterior", allow_pickle=False).values():
        assert array.dtype != object


@pytest.mark.thorough
def test_types_that_numpy_does_not_know(tmp_path):
    flow = jinn.flows.real_nvp(3, rngs=0, param_dtype=jnp.bfloat16, **OPTIONS)
    posterior = train(flow)
    posterior.save(tmp_path / "posterior")
    loaded = jinn.Posterior.load(tmp_path / "posterior")
    dtypes = [leaf.dtype for leaf in jax.tree.leaves(loaded)]
    assert dtypes == [leaf.dtype for leaf in jax.tree.leaves(posterior)]
    assert jnp.bfloat16 in dtypes
    same(posterior, loaded)


def own_flow(seed, width=8):
    mask = (False, True, True)
    coupling = Coupling((3,), mask=mask, condition_shape=(2,), hidden=(width,), rngs=seed)
    return jinn.Flow(Chain([Permute((3,), rngs=seed), coupling]), StandardNormal((3,)))


def test_a_flow_of_ones_own_is_loaded_with_its_structure(tmp_path):
    posterior = train(own_flow(0))
    with pytest.warns(UserWarning, match=r"not made by a named builder.*load\(path, flow=\.\.\.\)"):
        posterior.save(tmp_path / "posterior")
    same(posterior, jinn.Posterior.load(tmp_path / "posterior", flow=own_flow(1)))
    with pytest.raises(ValueError, match="no named builder made it; pass flow="):
        jinn.Posterior.load(tmp_path / "posterior")
    with pytest.raises(ValueError, match=r"do not fit the flow in 4 places:.*pass flow= a flow"):
        jinn.Posterior.load(tmp_path / "posterior", flow=own_flow(0, width=9))


def test_a_posterior_put_together_by_hand(tmp_path):
    flow = jinn.flows.real_nvp(3, rngs=4, **OPTIONS)
    posterior = jinn.Posterior(flow, np.zeros(2), np.ones(2))
    posterior.save(tmp_path / "posterior")
    same(posterior, jinn.Posterior.load(tmp_path / "posterior"))


def same_with(flow, posterior, path):
    with pytest.warns(UserWarning, match=r"or its parts were changed since.*load\(path, flow="):
        posterior.save(path)
    with pytest.raises(ValueError, match="pass flow= a flow built as the saved one was"):
        jinn.Posterior.load(path)
    loaded = jinn.Posterior.load(path, flow=flow)
    assert jax.tree.structure(loaded) == jax.tree.structure(posterior)
    jax.tree.map(np.testing.assert_array_equal, loaded, posterior)


def test_a_specification_that_is_out_of_date_is_not_saved(posterior, tmp_path):
    path, flow, numbers = tmp_path / "posterior", posterior.flow, (np.zeros(2), np.ones(2))
    tuned = wrapped(flow, (-1.0, 1.0), 0.0, 1.0)  # as jinn.fit_posterior(flow=posterior.flow)
    same_with(flow, jinn.Posterior(tuned, *numbers, wrapping="bounded"), path)
    same_with(flow, jinn.Posterior(flow, *numbers), path)
    same_with(flow, jinn.Posterior(jinn.flows.Ensemble([flow, flow]), *numbers), path)
    based = jinn.flows.real_nvp(3, rngs=0, **OPTIONS)
    based.base = jinn.distributions.Uniform((3,))
    same_with(based, jinn.Posterior(wrapped(based, None, 0.0, 1.0), *numbers, wrapping="affine"),
              path)  # fmt: skip


def test_a_posterior_of_which_no_file_could_be_loaded_is_not_saved(posterior, tmp_path):
    other = jax.tree.map(lambda leaf: leaf, posterior)
    other.flow = jinn.flows.real_nvp(3, rngs=0, **OPTIONS)
    with pytest.raises(ValueError, match=r"not wrapped .*nothing was written.* jinn.Posterior\("):
        other.save(tmp_path / "posterior")
    assert not list(tmp_path.iterdir())


def test_weights_alone_may_change(posterior, tmp_path):
    changed = jax.tree.map(lambda leaf: (1.5 * leaf).astype(jnp.bfloat16), posterior)
    changed.save(tmp_path / "posterior")
    loaded = jinn.Posterior.load(tmp_path / "posterior")
    jax.tree.map(np.testing.assert_array_equal, loaded, changed)


@pytest.mark.parametrize("name", ["nice", "real_nvp", "gin", "neural_spline_flow"])
def test_every_named_flow_is_specified(name):
    build = getattr(jinn.flows, name)
    assert is_specified(build(4, depth=2, hidden=4, rngs=1))
    mixed = build(4, condition_dim=2, depth=2, hidden=[4], mixing="plu", rngs=1)
    assert is_specified(jinn.initialize(mixed, jnp.eye(4), jnp.ones((4, 2))))
    mixed.base = jinn.distributions.Uniform((4,))
    assert not is_specified(mixed)


def test_files_that_are_none(posterior, tmp_path):
    with pytest.raises(FileNotFoundError):
        jinn.Posterior.load(tmp_path / "missing")
    (tmp_path / "text").write_text("hello")
    with pytest.raises(ValueError, match="text: this is no file saved by jinn, or it is damaged"):
        jinn.Posterior.load(tmp_path / "text")
    np.savez(tmp_path / "other.npz", a=np.ones(3))
    with pytest.raises(ValueError, match=r"other.npz: this is no file saved by jinn"):
        jinn.Posterior.load(tmp_path / "other.npz")
    np.save(tmp_path / "array.npy", np.ones(3))
    with pytest.raises(ValueError, match=r"array.npy: this is no file saved by jinn"):
        jinn.Posterior.load(tmp_path / "array.npy")
    for text in ("[1]", "3", '{"dtypes": {}}', '{"dtypes": [], "content": {}}'):
        np.savez(tmp_path / "foreign.npz", description=np.array(text))
        with pytest.raises(ValueError, match=r"foreign.npz: this is no file saved by jinn"):
            jinn.Posterior.load(tmp_path / "foreign.npz")
    posterior.save(tmp_path / "posterior")
    whole = (tmp_path / "posterior").read_bytes()
    (tmp_path / "torn").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match="torn: this is no file saved by jinn, or it is damaged"):
        jinn.Posterior.load(tmp_path / "torn")

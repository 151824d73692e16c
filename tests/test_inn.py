"""The bidirectional INN: its lengths, both directions, densities, files, and its latents' check."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jinn
from jinn.bijectors import ActNorm, Affine, Invert
from jinn.bijectors.base import Buffer
from jinn.bijectors.module import needs_initialization
from jinn.flows import INN, inn, residual_flow
from jinn.flows.inn_parts import inn_sizes
from jinn.flows.specification import is_specified
from jinn.flows.standardization import restored, standardized, statistics
from jinn.inference import check_latent
from jinn.losses import negative_log_likelihood

KEY = jax.random.key(0)
SMALL = {"depth": 1, "hidden": (4,), "rngs": 0}


def pairs(rows=200):
    x = 3 + 2 * jax.random.normal(KEY, (rows, 3))
    return x, jnp.stack([10 * x[:, 0] - 5, jnp.full(rows, 7.0)], 1)


def moved(model):
    """The model after some training, as it were."""
    leaves, treedef = jax.tree.flatten(model.bijector)
    keys = jax.random.split(KEY, len(leaves))
    model.bijector = jax.tree.unflatten(
        treedef,
        [a + 0.2 * jax.random.normal(k, a.shape) for a, k in zip(leaves, keys, strict=True)],
    )
    return model


@pytest.fixture(scope="module")
def model():
    """x of 3 elements, y of 2, one of which is constant, z of 1."""
    return moved(jinn.initialize(inn(3, 2, y_noise=1e-3, **SMALL), *pairs()))


@pytest.mark.parametrize(
    ("x", "y", "options", "expected"),
    [
        (4, 2, {}, (4, 2, 2, 0, 0)),
        (4, 1, {"z_dim": 5}, (4, 1, 5, 2, 0)),
        (4, 2, {"padding": 3}, (4, 2, 2, 3, 3)),
        (2, 2, {}, (2, 2, 2, 2, 0)),
        (2, 5, {}, (2, 5, 2, 5, 0)),
        (2, 5, {"padding": 4}, (2, 5, 1, 4, 0)),
        (2, None, {"categories": 8}, (2, 8, 2, 8, 0)),
        (2, None, {"categories": 8, "padding": 14}, (2, 8, 2, 14, 6)),
    ],
)
def test_z_and_the_padding_are_sized(x, y, options, expected):
    sizes = inn_sizes("inn", x, y, **options)
    assert sizes == expected
    assert sizes.total == sizes.x + sizes.x_padding == sizes.y + sizes.z + sizes.z_padding


def test_shapes(model):
    x, y = pairs()
    assert model.predict(x.reshape(20, 10, 3)).shape == (20, 10, 2)
    assert model.predict(x[0]).shape == (2,)
    assert model.latent(x).shape == (200, 1)
    assert model.sample(KEY, 5, y[0]).shape == (5, 3)
    assert model.sample(KEY, (5, 4), y[:7]).shape == (5, 4, 7, 3)
    assert model.log_prob(x[:, None], y[:7]).shape == (200, 7)
    assert repr(model).startswith("INN([x 3, padding 0] <-> [y 2, z 1, padding 0], Stack, param")
    assert repr(model).endswith("; predict and sample are both fast (one pass))")
    slow = jax.eval_shape(lambda: inn(3, 2, architecture="maf", **SMALL))
    assert repr(slow).endswith("; predict is fast, sample is slow)")


def test_data_standardise_x_and_y():
    x, y = pairs()
    fresh = inn(3, 2, **SMALL)
    assert needs_initialization(fresh)
    ready = jinn.initialize(fresh, x, y)
    assert not needs_initialization(ready) and needs_initialization(fresh)
    for values in (ready.standardize(x), ready.encode(y)[:, :1]):
        np.testing.assert_allclose(values.mean(0), 0, atol=1e-5)
        np.testing.assert_allclose(values.std(0), 1, atol=1e-5)
    np.testing.assert_allclose(ready.encode(y)[:, 1], 0)  # it does not vary


def test_standardisation_is_for_numbers_of_any_size():
    x = np.array(3 + 2 * jax.random.normal(KEY, (200, 2)))
    mean, scale = statistics(jnp.asarray(x))
    np.testing.assert_array_equal(mean[...], jnp.mean(x, 0))
    np.testing.assert_array_equal(scale[...], jnp.std(x, 0))
    for size in (1e-30, 1e37):  # whose squares are no float32
        mean, scale = statistics(jnp.asarray(size * x))
        np.testing.assert_allclose(mean[...] / size, x.mean(0), rtol=1e-5)
        np.testing.assert_allclose(scale[...] / size, x.std(0), rtol=1e-5)
    half = statistics(jnp.asarray(x, jnp.float16))
    assert half[0].dtype == half[1].dtype == jnp.float32
    np.testing.assert_allclose(half[1][...], x.std(0), rtol=1e-3)
    far = Buffer(jnp.full(1, -1e5)), Buffer(jnp.full(1, 8e4))  # which no float16 holds
    for dtype in (jnp.float16, jnp.bfloat16):
        u = standardized(jnp.full((2, 1), 6e4, dtype), *far)
        assert u.dtype == dtype
        np.testing.assert_allclose(u.astype(jnp.float32), 2.0, rtol=1e-2)
        np.testing.assert_allclose(restored(u, *far).astype(jnp.float32), 6e4, rtol=1e-2)
    for constant in (0.0, 0.1, 1e-35):
        _, scale = statistics(jnp.full((7, 1), constant))
        np.testing.assert_array_equal(scale[...], 1)


def test_little_padding_is_not_blown_up():
    x = pairs()[0][:, :2]
    model = jinn.initialize(INN(ActNorm((5,)), 2, 3), x, jnp.tile(x, 2)[:, :3])
    np.testing.assert_allclose(model.bijector.log_scale[2:], 0, atol=0.2)


def test_samples_are_what_the_forward_map_takes_for_y(model):
    y = jnp.array([[20.0, 7.0], [40.0, 7.0]])
    x = model.sample(KEY, (500,), y)
    noise = (model.predict(x) - y[None]) / model.y_scale[...][None, None]
    np.testing.assert_allclose(noise.std(axis=(0, 1)), 1e-3, rtol=0.15)
    z = model.latent(x)
    np.testing.assert_allclose([z.mean(), z.std()], [0, 1], atol=0.1)
    np.testing.assert_array_equal(x, model.sample(KEY, 500, y.astype(jnp.bfloat16)))  # 20 and 40
    np.testing.assert_array_equal(x, model.sample(KEY, 500, y))


def test_the_density_counts_every_change_of_units(model):
    """p(x | y) = N(f_y(x); y, s^2) N(f_z(x); 0, 1) |det df/dx|, all in the user's units."""
    x, y = pairs(5)
    y = model.predict(x) + 2e-3 * model.y_scale[...][None]

    def outputs(x):
        return jnp.concatenate([model.predict(x), model.latent(x)])

    jacobians = jax.jit(jax.vmap(jax.jacrev(outputs)))(x)
    scales = 1e-3 * model.y_scale[...][None]
    normal = jax.scipy.stats.norm.logpdf
    expected = normal(model.predict(x), y, scales).sum(1) + normal(model.latent(x)).sum(1)
    expected = expected + jnp.linalg.slogdet(jacobians)[1]
    np.testing.assert_allclose(model.log_prob(x, y), expected, rtol=1e-3, atol=1e-2)


def test_the_density_counts_what_pads_a_short_z():
    model = moved(inn(3, 1, z_dim=1, y_noise=0.1, padding_noise=0.05, **SMALL))
    x = jax.random.normal(KEY, (5, 3))
    out, log_det = model.bijector.forward_and_log_det(x)
    y = out[:, :1] + 0.02
    scales = jnp.array([[0.1, 1.0, 0.05]])
    expected = jax.scipy.stats.norm.logpdf(out, jnp.pad(y, ((0, 0), (0, 2))), scales)
    np.testing.assert_allclose(model.log_prob(x, y), expected.sum(1) + log_det, rtol=1e-4)


def test_many_rows_are_taken_in_chunks(model, monkeypatch):
    monkeypatch.setattr("jinn.flows.chunks.CHUNK_ROWS", 2)
    x, y = pairs(7)
    for call in (model.predict, model.latent):
        np.testing.assert_allclose(call(x), [call(row) for row in x], rtol=1e-4, atol=1e-5)
    expected = [[model.log_prob(row, other) for other in y[:3]] for row in x]
    np.testing.assert_allclose(model.log_prob(x[:, None], y[:3]), expected, rtol=1e-4)


def test_the_memory_of_predictions_does_not_grow_with_the_hidden_layers_of_all_rows():
    wide = inn(3, 2, depth=1, hidden=(64,), rngs=0)
    x = jax.ShapeDtypeStruct((100_000, 3), jnp.float32)
    for call in (INN.predict, INN.latent):
        memory = jax.jit(call).lower(wide, x).compile().memory_analysis()
        assert memory.temp_size_in_bytes < 10e6  # one hidden layer of all rows takes 26 MB


def test_the_density_is_trained_by_the_default_loss(model):
    batch = pairs(20)
    expected = -np.mean(model.log_prob(*batch))
    np.testing.assert_allclose(negative_log_likelihood(model, batch, KEY)[0], expected, rtol=1e-5)


def test_padding_is_zero_in_predictions_and_dropped_from_samples():
    padded = moved(inn(2, 3, padding=5, padding_noise=1e-3, y_noise=1e-3, **SMALL))
    x = pairs(6)[0][:, :2]
    zeros = jnp.zeros((6, 5))
    out = padded.split_forward(x, zeros)
    assert [leaf.shape for leaf in out[:3]] == [(6, 3), (6, 2), (6, 2)] and out.log_det is None
    joined = padded.bijector.forward(jnp.concatenate([x, zeros], 1))
    np.testing.assert_allclose(jnp.concatenate(out[:3], 1), joined, atol=1e-6)
    np.testing.assert_allclose(padded.predict(x), joined[:, :3], atol=1e-6)
    np.testing.assert_allclose(padded.latent(x), joined[:, 3:5], atol=1e-6)
    back, padding = padded.split_inverse(*out[:3])
    np.testing.assert_allclose(back, x, atol=1e-4)
    np.testing.assert_allclose(padding, 0, atol=1e-4)
    assert padded.sample(KEY, (4,), jnp.zeros((6, 3))).shape == (4, 6, 2)


def test_labels():
    model = inn(2, categories=3, **SMALL)
    labels = jnp.array([0, 2, 1, 2])
    np.testing.assert_array_equal(model.encode(labels), np.eye(3)[labels])
    x = model.sample(KEY, (5,), labels)
    assert x.shape == (5, 4, 2) and model.sample(KEY, (), 1).shape == (2,)
    found = model.predict(x)
    assert found.shape == (5, 4) and jnp.issubdtype(found.dtype, jnp.integer)
    assert "y one of 3" in str(model)


def test_labels_of_small_types_reach_every_category():
    model = INN(Affine((302,)), 2, categories=300)
    for labels in (np.array([0, 44, 255], np.uint8), np.array([0, 44, 127], np.int8)):
        for found in (model.encode(labels), jax.jit(model.encode)(labels)):
            np.testing.assert_array_equal(found, np.eye(300)[labels.astype(int)])


def test_labels_that_cannot_be_looked_at_are_nan_where_they_are_out_of_range():
    model = INN(Affine((5,)), 2, categories=3)
    found = jax.jit(model.encode)(jnp.array([1, 3, -1]))
    np.testing.assert_array_equal(found, [[0, 1, 0], [np.nan] * 3, [np.nan] * 3])
    x = jnp.array([[0.0, 1.0], [jnp.nan, 1.0]])
    np.testing.assert_array_equal(model.predict(x), [1, -1])


def test_entries_without_a_solution_are_announced():
    model = INN(Invert(residual_flow(2, **SMALL).bijector), 2, 1)
    x = jnp.array([[0.0, 1.0], [jnp.nan, 1.0]])
    for name, call in (("predict", model.predict), ("latent", model.latent)):
        with pytest.warns(RuntimeWarning, match=f"INN.{name}: no result for 1 of 2"):
            call(x)
    with pytest.warns(RuntimeWarning, match="INN.log_prob: no result for 1 of 2"):
        model.log_prob(x, x[:1, 1:])


def test_transformations_take_it_as_a_pytree(model):
    x, y = pairs(4)
    np.testing.assert_allclose(jax.jit(INN.predict)(model, x), model.predict(x), rtol=1e-5)
    by_row = jax.vmap(model.log_prob)(x, y)
    np.testing.assert_allclose(by_row, model.log_prob(x, y), rtol=1e-4)


def test_a_saved_one_comes_back(model, tmp_path):
    assert is_specified(model)
    model.save(tmp_path / "inn")
    loaded = INN.load(tmp_path / "inn")
    assert jax.tree.structure(loaded) == jax.tree.structure(model)
    jax.tree.map(np.testing.assert_array_equal, loaded, model)
    own = INN(Affine((3,), learned=True), 3, 1)
    with pytest.warns(UserWarning, match="not built by jinn.flows.inn"):
        own.save(tmp_path / "own")
    again = INN.load(tmp_path / "own", model=own)
    jax.tree.map(np.testing.assert_array_equal, again, own)


def as_they_are(x_dim, y_dim):
    """y is the first elements of x, z the others."""
    return INN(Affine((x_dim,), learned=False), x_dim, y_dim)


@pytest.mark.thorough
def test_the_check_of_latents_tells_good_from_bad():
    good = jax.random.normal(KEY, (300, 3))
    model = as_they_are(3, 1)
    found = check_latent(model, good, good[:, :1], draws=50)
    assert found.mmd < found.mmd_threshold and found.joint_mmd < found.joint_threshold
    expected = np.abs(np.corrcoef(good.T)[0, 1:]).max()
    np.testing.assert_allclose(found.correlation, expected, rtol=1e-4)
    assert found == check_latent(model, good, good[:, :1], draws=50, key=0)
    wide = check_latent(model, good * jnp.array([[1.0, 1.5, 1.0]]), good[:, :1], draws=50)
    assert wide.mmd > wide.mmd_threshold
    np.testing.assert_allclose(wide.correlation, expected, rtol=1e-4)
    bent = good.at[:, 1].set(jnp.sqrt(0.5) * (good[:, 0] ** 2 - 1))  # dependent, not correlated
    bent = check_latent(model, bent, good[:, :1], draws=50)
    assert bent.joint_mmd > bent.joint_threshold
    leaning = good.at[:, 1].add(good[:, 0])
    leaning = check_latent(model, leaning, good[:, :1], draws=50)
    assert leaning.correlation > leaning.correlation_threshold


def test_the_check_of_latents_takes_the_first_rows_for_mmds_and_all_for_correlations():
    x = jax.random.normal(KEY, (300, 3))
    model = as_they_are(3, 1)
    few, some = (check_latent(model, x[:n], x[:n, :1], draws=20, mmd_rows=50) for n in (200, 300))
    changed = check_latent(model, x.at[50:].mul(9.0), x[:, :1], draws=20, mmd_rows=50)
    np.testing.assert_allclose(some.mmd, changed.mmd)  # the draws are those of 300 rows
    assert few.correlation != some.correlation
    assert some.correlation_threshold < few.correlation_threshold


def test_correlations_are_those_of_numbers_of_any_size():
    x = jax.random.normal(KEY, (300, 2))
    y = x[:, :1] + x[:, 1:]
    expected = np.abs(np.corrcoef(np.concatenate([x, y], 1).T)[:2, 2]).max()
    for size in (1e-30, 1e-4, 1e30):
        found = check_latent(as_they_are(2, 1), size * x, y, draws=2, mmd_rows=3)
        np.testing.assert_allclose(found.correlation, expected, rtol=1e-4)
    half = check_latent(as_they_are(2, 1), (1000 * x).astype(jnp.float16), y, draws=2, mmd_rows=3)
    np.testing.assert_allclose(half.correlation, expected, rtol=1e-2)


def test_the_check_of_latents_shows_numbers_that_are_not_finite():
    x = jax.random.normal(KEY, (5, 2))
    found = check_latent(as_they_are(2, 1), x.at[3].set(jnp.nan), x[:, :1], draws=2)
    assert jnp.isnan(found.mmd) and jnp.isnan(found.joint_mmd) and jnp.isnan(found.correlation)
    constant = check_latent(as_they_are(2, 1), x, jnp.full((5, 1), 0.1), draws=2)
    np.testing.assert_allclose(constant.correlation, 0, atol=1e-6)

"""The multi-scale flow of images: latents, conditions, initialisation, training, description."""

import json
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jinn
from experiments.colorize.settings import PRESETS
from jinn.bijectors import ActNorm, Haar
from jinn.bijectors.module import needs_initialization
from jinn.flows import Stage, multiscale_flow
from jinn.flows.specification import build_specified, have_one_form, is_specified
from jinn.networks import FeatureExtractor
from tests.test_conv_networks import convolutions

KEY = jax.random.key(0)
SMALL = {"scales": 2, "depth": 1, "hidden": 4, "features": 2, "rngs": 0}


def perturbed(module, size=0.1):
    """The module with other parameters, since couplings start as the identity."""
    leaves, treedef = jax.tree.flatten(module)
    generator = np.random.default_rng(9)
    changed = [
        leaf + size * generator.normal(size=leaf.shape).astype(leaf.dtype) if learns else leaf
        for leaf, learns in zip(leaves, jax.tree.leaves(jinn.trainable(module)), strict=True)
    ]
    return jax.tree.unflatten(treedef, changed)


def test_latents_by_name():
    flow = jax.eval_shape(lambda: multiscale_flow((32, 32, 3), scales=3, rngs=0))
    assert dict(flow.bijector.event_shape_out) == {
        "scale_1": (16, 16, 6),
        "scale_2": (8, 8, 12),
        "last": (4, 4, 48),
    }
    one = jax.eval_shape(lambda: multiscale_flow((8, 8, 1), scales=1, rngs=0))
    assert one.bijector.event_shape_out == (4, 4, 4)


def test_depth_adds_neither_leaves_nor_program():
    def size(depth):
        flow = jax.eval_shape(lambda: multiscale_flow((4, 4, 1), **SMALL | {"depth": depth}))
        log_prob = jax.make_jaxpr(lambda flow, x: flow._log_prob(x, None, None))
        program = log_prob(flow, jnp.ones((4, 4, 1)))
        return len(jax.tree.leaves(flow)), str(program).count("\n")

    assert size(2) == size(9)


@pytest.fixture(scope="module")
def conditional():
    return perturbed(multiscale_flow((4, 4, 3), condition_shape=(8, 8, 1), **SMALL))


def test_samples_and_densities_of_batches_of_conditions(conditional):
    condition = jax.random.normal(KEY, (5, 8, 8, 1))
    x, log_prob = conditional.sample_and_log_prob(KEY, (2,), condition)
    assert x.shape == (2, 5, 4, 4, 3)
    assert log_prob.shape == (2, 5)
    found = conditional.log_prob(x, condition)
    np.testing.assert_allclose(found, log_prob, rtol=1e-4)
    np.testing.assert_allclose(conditional.sample(KEY, (2,), condition), x, atol=1e-3)
    other = conditional.log_prob(x, condition[::-1])
    assert np.abs(other - found)[:, [0, 1, 3, 4]].min() > 1e-3
    one = conditional.log_prob(x[0, 0], condition[0])
    np.testing.assert_allclose(one, found[0, 0], rtol=1e-4)


def test_images_are_evaluated_in_chunks(conditional, monkeypatch):
    x = jax.random.normal(KEY, (2, 5, 4, 4, 3))
    condition = jax.random.normal(KEY, (5, 8, 8, 1))
    whole = conditional.log_prob(x, condition)
    monkeypatch.setattr("jinn.flows.chunks.CHUNK_ROWS", 16)
    monkeypatch.setattr("jinn.flows.chunks.SMALL_EVENT", 12)  # four rows of 48 elements
    chunks = jax.jit(lambda flow: flow._log_prob(x, condition, None))(conditional)
    np.testing.assert_allclose(chunks, whole, rtol=1e-5)


def test_the_condition_goes_once_through_the_extractor(conditional):
    def pictures(f, *args):
        return [s for s in convolutions(jax.make_jaxpr(f)(*args).jaxpr) if s[-1] == 1]

    picture = jnp.ones((8, 8, 1))
    assert pictures(lambda c: conditional.log_prob(jnp.ones((9, 4, 4, 3)), c), picture) == [
        (1, 8, 8, 1)
    ]
    assert pictures(lambda c: conditional.sample(KEY, (9,), c), picture) == [(1, 8, 8, 1)]


def test_maps_with_batches_of_their_own():
    shapes = {"scale_1": (2, 2, 3), "scale_2": (1, 1, 2)}
    flow = perturbed(multiscale_flow((4, 4, 1), condition_shape=shapes, **SMALL))
    maps = {name: jax.random.normal(KEY, (3, *shape)) for name, shape in shapes.items()}
    x = jax.random.normal(KEY, (3, 4, 4, 1))
    found = flow.log_prob(x, maps)
    maps["scale_2"] = maps["scale_2"][1]
    shared = flow.log_prob(x, maps)
    np.testing.assert_allclose(shared[1], found[1], atol=1e-4)
    assert np.abs(shared - found)[[0, 2]].min() > 1e-4


def test_every_scale_sees_its_map():
    """The density's gradient with respect to each entry of the condition is not 0."""
    shapes = {"scale_1": (2, 2, 3), "scale_2": (1, 1, 2), "vector": (2,)}
    flow = perturbed(multiscale_flow((4, 4, 1), condition_shape=shapes, fully_connected=1, **SMALL))
    maps = {name: jnp.ones(shape) for name, shape in shapes.items()}
    x = jax.random.normal(KEY, (4, 4, 1))
    gradient = jax.jit(jax.grad(lambda c: flow.log_prob(x, c)))(maps)
    assert all(np.abs(part).max() > 1e-4 for part in gradient.values())


@pytest.mark.thorough
def test_initialization_normalizes_channels():
    x = 3.0 + 0.5 * jax.random.normal(KEY, (64, 8, 8, 3))
    flow = multiscale_flow((8, 8, 3), **SMALL | {"depth": 2})
    assert needs_initialization(flow)
    flow = jinn.initialize(flow, x)
    assert not needs_initialization(flow)
    haar, stack, *_ = flow.bijector
    assert isinstance(haar, Haar)
    first = stack[0][0]
    assert isinstance(first, ActNorm)
    z = first.forward(haar.forward(x))
    np.testing.assert_allclose(z.mean((0, 1, 2)), 0.0, atol=1e-4)
    np.testing.assert_allclose(z.var((0, 1, 2)), 1.0, atol=1e-3)
    # At the second scale too, behind what left.
    inner = flow.bijector[-1].rest
    kept = stack.forward(haar.forward(x))[..., :6]
    z = inner[1][0][0].forward(inner[0].forward(kept))
    np.testing.assert_allclose(z.mean((0, 1, 2)), 0.0, atol=1e-4)
    np.testing.assert_allclose(z.var((0, 1, 2)), 1.0, atol=1e-3)


@pytest.mark.thorough
def test_backprop_by_recomputation():
    """The same gradient, in less memory."""

    def gradient(backprop):
        options = SMALL | {"depth": 6, "hidden": (8, 8), "activation": "tanh"}
        flow = perturbed(multiscale_flow((8, 8, 2), backprop=backprop, **options), 0.05)
        x = jax.random.normal(KEY, (32, 8, 8, 2))
        leaves, treedef = jax.tree.flatten(flow)

        def loss(leaves):
            return jax.tree.unflatten(treedef, leaves)._log_prob(x, None, None).mean()

        compiled = jax.jit(jax.grad(loss)).lower(leaves).compile()
        return compiled(leaves), compiled.memory_analysis().temp_size_in_bytes

    (stored, much), (recomputed, little) = gradient("store"), gradient("remat")
    assert little < 0.8 * much
    for a, b in zip(stored, recomputed, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-3)


def test_bfloat16_networks_keep_float32_densities():
    x = jax.random.normal(KEY, (3, 4, 4, 3))
    wide, narrow = (
        perturbed(multiscale_flow((4, 4, 3), condition_shape=(2,), dtype=dtype, **SMALL))
        for dtype in (None, jnp.bfloat16)
    )
    found, exact = (flow.log_prob(x, jnp.ones(2)) for flow in (narrow, wide))
    assert found.dtype == jnp.float32
    np.testing.assert_allclose(found, exact, rtol=0.02)
    assert np.abs(found - exact).max() > 1e-3


@pytest.mark.slow
def test_it_learns_the_density_of_correlated_pixels():
    """Pixels of a Gaussian: at the optimum the loss is its entropy, 10.44 nats; at first 22.71."""
    places = np.stack(np.meshgrid(*[np.arange(4)] * 2, indexing="ij"), -1).reshape(16, 2)
    distance = np.abs(places[:, None] - places[None]).sum(-1)
    covariance = 0.8**distance
    factor = jnp.asarray(np.linalg.cholesky(covariance), jnp.float32)
    optimum = 0.5 * (np.linalg.slogdet(covariance)[1] + 16 * math.log(2 * math.pi * math.e))

    def simulate(key, n):
        return (jax.random.normal(key, (n, 16)) @ factor.T).reshape(n, 4, 4, 1)

    flow = multiscale_flow((4, 4, 1), scales=2, depth=2, hidden=16, fully_connected=1, rngs=0)
    start = -flow.log_prob(simulate(KEY, 4096)).mean()
    result = jinn.fit(KEY, flow, simulate, steps=400, batch_size=256, progress=False)
    end = -result.flow.log_prob(simulate(jax.random.key(1), 4096)).mean()
    assert start - optimum > 12.0
    assert -0.2 < end - optimum < 0.4


# --- Its description ------------------------------------------------------------------------------


def test_the_colourisation_network():
    """Latent sizes as published, and as many parameters as counted by hand from the layers."""
    paper = PRESETS["paper"]
    flow = jax.eval_shape(
        lambda: multiscale_flow((64, 64, 2), condition_shape=(256, 256, 1), rngs=0, **paper.network)
    )
    latents = {name: math.prod(shape) for name, shape in flow.bijector.event_shape_out.items()}
    assert latents == {"scale_2": 4096, "scale_3": 2048, "scale_4": 1536, "last": 512}

    def convolutional(channels, hidden, features, size):
        # Two networks a block, from half of the channels to scale and shift of the other half.
        taps, half = size**2, channels // 2
        first = taps * (half + features) * hidden + hidden
        return 2 * (first + taps * hidden**2 + hidden + taps * hidden * channels + channels)

    def dense(elements, hidden, features):
        first = (elements // 2 + features) * hidden + hidden
        return 2 * (first + 2 * (hidden**2 + hidden) + hidden * elements + elements)

    expected = (
        4 * convolutional(2, 32, 64, 3)
        + 2 * convolutional(8, 64, 0, 1)
        + 6 * convolutional(8, 64, 128, 3)
        + 2 * convolutional(32, 128, 0, 1)
        + 6 * convolutional(16, 128, 256, 3)
        + 2 * convolutional(64, 256, 0, 1)
        + 6 * convolutional(32, 256, 256, 3)
        + 2 * convolutional(128, 256, 0, 1)
        + 8 * dense(512, 512, 512)
    )
    params = jax.tree.leaves(jinn.trainable(flow.bijector.bijector))
    leaves = jax.tree.leaves(flow.bijector.bijector)
    found = sum(leaf.size for leaf, learns in zip(leaves, params, strict=True) if learns)
    assert found == expected
    assert is_specified(flow)


def test_description():
    options = {
        "condition_shape": (8, 8, 1),
        "scales": (Stage(depth=1, mask="checkerboard"), Stage("haar", keep=2)),
        "hidden": 4,
        "features": (2, 3),
        "dtype": jnp.bfloat16,
    }
    flow = multiscale_flow((4, 4, 1), **options, rngs=0)
    assert json.loads(flow.specification)["arguments"]["scales"][1]["keep"] == 2
    again = build_specified(flow.specification, rngs=1)
    assert have_one_form(flow, again)
    assert again.specification == flow.specification


def test_a_posterior_of_images_is_saved_and_loaded(tmp_path, conditional):
    posterior = jinn.Posterior(conditional, jnp.zeros((8, 8, 1)), jnp.ones((8, 8, 1)))
    posterior.save(tmp_path / "posterior")
    loaded = jinn.Posterior.load(tmp_path / "posterior")
    x, y = jax.random.normal(KEY, (4, 4, 3)), jax.random.normal(KEY, (8, 8, 1))
    np.testing.assert_allclose(loaded.log_prob(x, y), posterior.log_prob(x, y), atol=1e-4)


# --- The feature extractor ------------------------------------------------------------------------


def test_feature_maps():
    sizes = {"fine": (8, 12), "coarse": (2, 3)}
    network = FeatureExtractor((16, 24, 3), sizes, channels=(4, 6), vector=5, blocks=2, rngs=0)
    expected = {"fine": (8, 12, 4), "coarse": (2, 3, 6), "vector": (5,)}
    assert network.shapes == expected
    pictures = jax.random.normal(KEY, (3, 2, 16, 24, 3))
    maps = jax.jit(lambda network, picture: network(picture))(network, pictures)
    assert {name: array.shape[2:] for name, array in maps.items()} == expected
    one = network(pictures[1, 1])
    for name, array in maps.items():
        np.testing.assert_allclose(array[1, 1], one[name], atol=1e-5)
        assert np.std(array) > 0.02
    narrow = FeatureExtractor((8, 8, 1), {"a": (8, 8)}, dtype=jnp.bfloat16, rngs=0)
    assert narrow(jnp.ones((8, 8, 1)))["a"].dtype == jnp.bfloat16

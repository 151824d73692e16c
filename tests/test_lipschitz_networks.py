"""Networks for residual maps keep their Lipschitz bound, and follow their weights."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jinn
from jinn.functional.convolution import convolve
from jinn.functional.spectral import convolution_norm_bound, spectral_norm
from jinn.networks import LipschitzConvNet, LipschitzMLP
from jinn.networks.spectral import CONTRACTIONS, SpectralKernel

IMAGE = (4, 5, 2)
X = jnp.asarray(np.random.default_rng(0).normal(size=(6, 3)), jnp.float32)
IMAGES = jnp.asarray(np.random.default_rng(0).normal(size=(3, *IMAGE)), jnp.float32)


def grown(module, factor):
    """The module with larger parameters, and the state that follows them."""

    def grow(leaf, learned):
        return leaf * (factor if learned else 1)

    module = jax.tree.map(grow, module, jinn.trainable(module))
    for _ in range(5):
        module = jinn.refresh(module)
    return module


def convolution_matrix(kernel, size):
    shape = (*size, kernel.shape[2])
    n = int(np.prod(shape))
    return convolve(jnp.eye(n, dtype=kernel.dtype).reshape(n, *shape), kernel).reshape(n, -1)


@pytest.mark.parametrize("name", CONTRACTIONS)
def test_activations_do_not_stretch(name):
    slope = jax.vmap(jax.grad(CONTRACTIONS[name]))(jnp.linspace(-20.0, 20.0, 4001))
    assert 0.99 < jnp.max(jnp.abs(slope)) <= 1 + 1e-6


def test_power_iteration_finds_the_norm_and_its_gradient():
    weights = jnp.asarray(np.random.default_rng(0).normal(size=(7, 5)), jnp.float32)
    start = jnp.ones(7)
    norm, vector = spectral_norm(jnp.matmul, weights, start, steps=200)
    u, s, vt = np.linalg.svd(weights)
    np.testing.assert_allclose(norm, s[0], rtol=1e-5)
    np.testing.assert_allclose(jnp.abs(vector), np.abs(u[:, 0]), atol=1e-3)
    gradient = jax.grad(lambda w: spectral_norm(jnp.matmul, w, vector, steps=3)[0])(weights)
    np.testing.assert_allclose(gradient, np.outer(u[:, 0], vt[0]), atol=1e-3)
    none = jax.grad(lambda w: spectral_norm(jnp.matmul, w, start, steps=1)[0])(0 * weights)
    np.testing.assert_array_equal(none, 0)


def test_the_bound_of_a_convolution_is_certain_and_close():
    kernel = jnp.asarray(np.random.default_rng(0).normal(size=(3, 3, 2, 3)), jnp.float32)
    matrix = convolution_matrix(kernel, (6, 7))
    true = np.linalg.norm(matrix, 2)
    bound = convolution_norm_bound(kernel, (6, 7))
    assert true <= bound <= 1.3 * true
    found, _ = spectral_norm(convolve, kernel, jnp.ones((6, 7, 2)), steps=300)
    np.testing.assert_allclose(found, true, rtol=1e-4)


@pytest.mark.parametrize("image_size", [None, (4, 5)])
def test_kernels_are_scaled_only_where_they_are_too_large(image_size):
    shape = (3, 4) if image_size is None else (3, 3, 2, 3)
    kernel = SpectralKernel(shape, bound=0.7, image_size=image_size, key=jax.random.key(0))
    small, large = grown(kernel, 1e-3), grown(kernel, 50.0)
    np.testing.assert_array_equal(small(), small.kernel[...])

    def norm(kernel):
        matrix = kernel() if image_size is None else convolution_matrix(kernel(), image_size)
        return np.linalg.norm(matrix, 2)

    np.testing.assert_allclose(norm(large), 0.7, rtol=1e-2)
    assert norm(large) <= large.certified_norm() * (1 + 1e-5)


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("network", "activation"), [*(("mlp", name) for name in CONTRACTIONS), ("conv", "lipswish")]
)
def test_networks_keep_the_bound_whatever_the_condition(network, activation):
    options = {
        "hidden": (8, 8),
        "condition_shape": (2,),
        "coefficient": 0.8,
        "activation": activation,
        "rngs": 0,
    }
    if network == "mlp":
        g, x = LipschitzMLP(3, **options), X
    else:
        g, x = LipschitzConvNet(IMAGE, **options), IMAGES
    g = grown(g, 20.0)
    if network == "mlp":
        assert 0.75 < g.lipschitz_bound() < 0.82
    else:
        assert 0.75 < g.lipschitz_bound() < 1.3  # convolutions with zeros around are smaller
    size = x[0].size
    for condition in (jnp.zeros(2), jnp.full(2, 30.0)):
        jacobian = jax.vmap(jax.jacrev(lambda x, c=condition: g(x, c)))(x).reshape(-1, size, size)
        assert jnp.max(jnp.linalg.norm(jacobian, 2, axis=(-2, -1))) <= 0.8 * 1.01
    assert jnp.any(jnp.abs(g(x, jnp.zeros(2)) - g(x, jnp.full(2, 30.0))) > 0.1)


@pytest.mark.thorough
def test_conditions_have_a_batch_of_their_own():
    shape = {"a": (2,), "b": (2, 2)}
    for make, x in (
        (lambda: LipschitzMLP(3, hidden=8, condition_shape=shape, rngs=0), X[:2]),
        (lambda: LipschitzConvNet(IMAGE, hidden=4, condition_shape=shape, rngs=0), IMAGES[:2]),
    ):
        g = make()
        condition = {"a": jnp.ones((5, 1, 2)), "b": jnp.ones((2, 2, 2))}
        out = g(jnp.stack([x] * 5), condition)
        assert out.shape == (5, *x.shape)
        one = g(x[1], {"a": jnp.ones(2), "b": jnp.ones((2, 2))})
        np.testing.assert_allclose(out[4, 1], one, atol=1e-5)
        none = g(x[:0], {"a": jnp.ones((0, 2)), "b": jnp.ones((2, 2))})
        assert none.shape == (0, *x.shape[1:])


@pytest.mark.thorough
def test_refresh_follows_the_weights_of_a_stack_and_changes_nothing_else():
    flow = jinn.flows.residual_flow(3, condition_dim=2, depth=3, hidden=(8, 8), rngs=0)
    rng = np.random.default_rng(0)

    def change(leaf, learned):
        return leaf + learned * jnp.asarray(rng.normal(size=leaf.shape), leaf.dtype)

    changed = jax.tree.map(change, flow, jinn.trainable(flow))

    def worst(flow):
        bounds = [block[-1].lipschitz_bound() for block in flow.bijector]
        return max(float(bound) for bound in bounds)

    refreshed = changed
    for _ in range(10):
        refreshed = jax.jit(jinn.refresh)(refreshed)
    assert worst(refreshed) < 0.9 * 1.005
    assert worst(refreshed) < worst(changed)
    learned = jax.tree.leaves(jinn.trainable(flow))
    before, after = jax.tree.leaves(changed), jax.tree.leaves(refreshed)
    for a, b, is_learned in zip(before, after, learned, strict=True):
        assert a.shape == b.shape and (not is_learned or jnp.array_equal(a, b))
    assert jax.tree.structure(refreshed) == jax.tree.structure(flow)

"""What distinguishes the members of the coupling family from one another."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jinn import functional as F
from jinn.bijectors import (
    ActNorm,
    Coupling,
    Stack,
    TwoSidedCoupling,
    half_mask,
    initialize,
    trainable,
)
from jinn.bijectors import transformers as t
from jinn.flows import gin, nice
from jinn.networks import MLP, SeparateNetworks
from jinn.training import fit

X = jnp.asarray(np.random.default_rng(0).normal(size=(5, 4)), jnp.float32)
C = jnp.asarray(np.random.default_rng(1).normal(size=(5, 3)), jnp.float32)
HALF = half_mask(4)
OPPOSITE = tuple(not m for m in HALF)


def shaken(module, size=0.5):
    """The same module with parameters far from zero."""
    generator = np.random.default_rng(2)

    def shake(leaf, may_change):
        noise = size * jnp.asarray(generator.normal(size=leaf.shape), leaf.dtype)
        return leaf + noise if may_change else leaf

    return jax.tree.map(shake, module, trainable(module))


# --- The laws for log-scales ----------------------------------------------------------------------


@pytest.mark.parametrize("limit", [0.5, 4.0])
def test_arctan_clamp_is_freias_law(limit):
    s = jnp.linspace(-30.0, 30.0, 61)
    clamped = F.arctan_clamp(s, limit)
    np.testing.assert_allclose(clamped, limit * 0.63662 * np.arctan(s), rtol=1e-5, atol=1e-6)
    assert np.all(np.abs(clamped) < limit)


def test_the_law_is_the_transformers():
    params = jnp.stack([jnp.zeros(4), jnp.linspace(-9.0, 9.0, 4)])
    for law, clamp in (("tanh", F.soft_clamp), ("arctan", F.arctan_clamp)):
        _, log_slopes = t.Affine(1.5, law).forward(jnp.ones(4), params)
        np.testing.assert_allclose(log_slopes, clamp(params[1], 1.5), rtol=1e-6)


# --- Volume-preserving ----------------------------------------------------------------------------


def test_volume_preserving_log_scales_sum_to_zero():
    shift, log_scale = X[::-1], 3.0 * X
    y, log_slopes = F.volume_preserving_forward(X, shift, log_scale)
    scales = (y - shift) / X
    np.testing.assert_allclose(np.log(scales).sum(-1), 0.0, atol=1e-5)
    assert np.abs(np.log(scales)).max() > 1.0
    assert np.all(np.asarray(log_slopes) == 0)
    back, _ = F.volume_preserving_inverse(y, shift, log_scale)
    np.testing.assert_allclose(back, X, rtol=1e-5)


def test_volume_preserving_takes_the_mean_over_the_elements_that_belong():
    belongs = np.array([True, False, True, True])
    y, _ = F.volume_preserving_forward(X, 0 * X, 3.0 * X, where=belongs[None])
    np.testing.assert_allclose(np.log((y / X)[:, belongs]).sum(-1), 0.0, atol=1e-5)


@pytest.mark.parametrize(
    "mask",
    [HALF, (True, False, True, True), np.indices((2, 3, 2)).sum(0) % 2 == 0, np.ones((2, 2)) == 1],
    ids=["half", "alternating", "checkerboard", "all"],
)
def test_log_det_is_exactly_zero_and_the_volume_kept(mask):
    shape = np.shape(mask)
    n_params = 2 * int(F.coupling_sizes(mask)[1])

    def conditioner(u, condition):
        offset = np.sin(np.arange(np.prod(shape[:-1], dtype=int) * n_params, dtype=np.float32))
        u = 0.3 * u.sum(-1, keepdims=True)
        return u + jnp.broadcast_to(
            offset.reshape(*shape[:-1], n_params), (*u.shape[:-1], n_params)
        )

    coupling = Coupling(shape, mask=mask, conditioner=conditioner, transformer="volume_preserving")
    x = jax.random.normal(jax.random.key(0), (3, *shape))
    y, log_det = coupling.forward_and_log_det(x)
    assert np.all(np.asarray(log_det) == 0) and log_det.shape == (3,)
    assert np.abs(y - x).max() > 0.1
    jacobian = jax.jacrev(lambda x: coupling.forward(x.reshape(shape)).ravel())(x[0].ravel())
    np.testing.assert_allclose(np.linalg.slogdet(jacobian)[1], 0.0, atol=1e-5)
    assert np.abs(np.diag(jacobian)).max() > 1.05


# --- Two sides, separate networks -----------------------------------------------------------------


@pytest.mark.parametrize("transformer", ["affine", "rational_quadratic_spline"])
def test_two_sides_are_two_couplings(transformer):
    options = {"transformer": transformer, "condition_shape": (3,)}
    both = shaken(TwoSidedCoupling((4,), mask=HALF, hidden=(8,), rngs=0, **options))
    first, second = (
        Coupling((4,), mask=mask, conditioner=network, **options)
        for mask, network in ((HALF, both.first_conditioner), (OPPOSITE, both.second_conditioner))
    )
    middle, log_det = first.forward_and_log_det(X, C)
    np.testing.assert_array_equal(middle[:, :2], X[:, :2])
    expected, second_log_det = second.forward_and_log_det(middle, C)
    y, total = both.forward_and_log_det(X, C)
    np.testing.assert_allclose(y, expected, rtol=1e-6)
    np.testing.assert_allclose(total, log_det + second_log_det, rtol=1e-5)
    assert np.all(np.abs(y - X) > 1e-4)


def test_the_formula_of_the_papers_block():
    """v1 = u1 exp(s2(u2)) + t2(u2), v2 = u2 exp(s1(v1)) + t1(v1), with plain functions."""

    def network(seed):
        weights = np.random.default_rng(seed).normal(size=(2, 4)).astype(np.float32)
        return lambda u: jnp.tanh(u @ weights)

    net1, net2 = network(0), network(1)
    u1, u2 = X[:, 2:], X[:, :2]
    t2, s2 = jnp.split(net1(u2), 2, axis=-1)
    v1 = u1 * np.exp(2.0 * np.tanh(s2 / 2.0)) + t2
    t1, s1 = jnp.split(net2(v1), 2, axis=-1)
    v2 = u2 * np.exp(2.0 * np.tanh(s1 / 2.0)) + t1
    y, _ = F.two_sided_coupling_forward(X, (net1, net2), t.Affine(2.0), mask=HALF)
    np.testing.assert_allclose(y, np.concatenate([v2, v1], axis=-1), rtol=1e-5)
    back, _ = F.two_sided_coupling_inverse(y, (net1, net2), t.Affine(2.0), mask=HALF)
    np.testing.assert_allclose(back, X, rtol=1e-4, atol=1e-5)


def test_separate_networks_are_each_an_mlp():
    def make(key):
        return MLP(2, 3, hidden=(4,), condition_shape=(3,), zero_init_last=False, rngs=key)

    networks = SeparateNetworks(make, 2, rngs=0)
    u = X[:, :2]
    out = networks(u, C)
    assert out.shape == (5, 6)
    for i in range(2):
        one = jax.tree.map(lambda leaf, i=i: leaf[i], networks.networks)
        np.testing.assert_allclose(out[:, 3 * i : 3 * i + 3], one(u, C), rtol=1e-5)
    assert np.abs(out[:, :3] - out[:, 3:]).max() > 0.1


def test_separate_networks_share_nothing_between_shift_and_scale():
    coupling = shaken(Coupling((4,), mask=HALF, hidden=(8,), separate_networks=True, rngs=0))
    gradient = jax.grad(lambda c: c.log_det(X).sum())(coupling)
    shift, scale = (
        jax.tree.leaves(jax.tree.map(lambda leaf, i=i: leaf[i], gradient)) for i in range(2)
    )
    assert all(np.all(leaf == 0) for leaf in shift)
    assert all(np.any(leaf != 0) for leaf in scale)


def test_separate_networks_see_the_pixels_of_an_image_one_by_one():
    def make(key):
        return MLP(1, 2, hidden=(4,), condition_shape=(3,), zero_init_last=False, rngs=key)

    mask = np.broadcast_to([False, True, True], (2, 2, 3))
    coupling = Coupling(
        (2, 2, 3), mask=mask, conditioner=SeparateNetworks(make, 2, rngs=0), condition_shape=(3,)
    )
    image = jax.random.normal(jax.random.key(3), (5, 2, 2, 3))
    y = coupling.forward(image, C)
    swapped = coupling.forward(image[:, ::-1], C)
    np.testing.assert_allclose(swapped, y[:, ::-1], rtol=1e-5)


# --- The flows ------------------------------------------------------------------------------------


@pytest.mark.parametrize("mixing", ["permute", "orthogonal", "householder", "plu"])
def test_gin_keeps_the_volume_exactly_whatever_mixes(mixing):
    flow = gin(4, condition_dim=3, depth=2, hidden=(8,), mixing=mixing, rngs=0)
    bijector = shaken(flow.bijector)
    y, log_det = bijector.forward_and_log_det(X, C)
    assert np.all(np.asarray(log_det) == 0)
    assert np.abs(y - X).max() > 0.1
    x, log_det = bijector.inverse_and_log_det(y, C)
    assert np.all(np.asarray(log_det) == 0)
    np.testing.assert_allclose(x, X, atol=1e-4)


def test_nice_scales_once_at_the_end_and_starts_from_data():
    flow = initialize(nice(4, depth=3, hidden=(8,), rngs=0), 5.0 * X + 2.0)
    stack, scaling = flow.bijector
    assert isinstance(stack, Stack) and isinstance(scaling, ActNorm)
    assert np.all(np.asarray(stack.log_det(X)) == 0)
    z = flow.bijector.forward(5.0 * X + 2.0)
    np.testing.assert_allclose(z.mean(0), 0.0, atol=1e-5)
    np.testing.assert_allclose(z.std(0), 1.0, rtol=1e-4)


@pytest.mark.parametrize("make", [nice, gin])
def test_learns_scale_and_shift_of_a_gaussian(make):
    generator = np.random.default_rng(0)
    x = generator.normal(size=(4000, 3)) @ np.diag([0.1, 1.0, 5.0]) + [1.0, 0.0, -1.0]
    flow = make(3, depth=2, hidden=(8,), rngs=0)
    result = fit(jax.random.key(0), flow, x, steps=400, learning_rate=3e-2, progress=False)
    entropy = 1.5 * np.log(2 * np.pi * np.e) + np.log(0.5)
    assert result.history["validation_loss"].min() == pytest.approx(entropy, abs=0.15)

"""ConditionalAffine and EmbedCondition: what their networks see and how often; and Reshape."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jinn.bijectors import (
    ActNorm,
    Chain,
    ConditionalAffine,
    Coupling,
    EmbedCondition,
    Invert,
    Reshape,
    Stack,
    half_mask,
    initialize,
    trainable,
)
from jinn.bijectors.module import first_not_finite, needs_initialization
from jinn.distributions import Distribution, StandardNormal
from jinn.flows import Flow
from jinn.networks import MLP

KEY = jax.random.key(0)


class Recorder:
    """A function of the condition that keeps the shapes it was called with."""

    def __init__(self, function):
        self.function, self.shapes = function, []

    def __call__(self, condition):
        self.shapes.append(jax.tree.map(jnp.shape, condition))
        return self.function(condition)


def two_waves(condition):
    return jnp.concatenate([jnp.sin(condition), jnp.cos(condition)], axis=-1)


# --- ConditionalAffine ----------------------------------------------------------------------------


def test_conditional_affine_by_hand():
    def parameters(condition):  # shifts 1, c; raw log-scales 0.1, 100
        return jnp.stack([1.0 + 0 * condition, condition, 0.1 + 0 * condition, 100.0 + condition])

    affine = ConditionalAffine(
        (2,),
        condition_shape=(),
        conditioner=lambda c: jnp.moveaxis(parameters(c), 0, -1),
        clamp=0.5,
    )
    x, c = np.array([[3.0, 4.0], [5.0, -6.0]], np.float32), np.float32(7.0)
    y, log_det = affine.forward_and_log_det(x, c)
    log_scale = 0.5 * np.tanh(np.array([0.1, 107.0]) / 0.5)
    np.testing.assert_allclose(y, x * np.exp(log_scale) + [1.0, 7.0], rtol=1e-6)
    np.testing.assert_allclose(log_det, [log_scale.sum()] * 2, rtol=1e-6)


def test_conditional_affine_sees_the_condition_at_its_own_batch():
    network = Recorder(lambda c: jnp.tile(c, 3))
    affine = ConditionalAffine((1, 3), condition_shape=(2,), conditioner=network)
    x, c = jax.random.normal(KEY, (5, 4, 1, 3)), jax.random.normal(KEY, (4, 2))
    together = affine.forward(x, c)
    assert network.shapes == [(4, 2)]
    alone = jax.vmap(affine.forward, (1, 0), 1)(x, c)
    np.testing.assert_allclose(together, alone, rtol=1e-6)


def test_conditional_affine_starts_as_the_identity():
    affine = ConditionalAffine((3,), condition_shape={"a": (2,), "b": ()}, hidden=(8,), rngs=0)
    x = jax.random.normal(KEY, (5, 3))
    condition = {"a": jnp.ones((5, 2)), "b": 1.0}
    y, log_det = jax.jit(affine.forward_and_log_det)(x, condition)
    np.testing.assert_array_equal(y, x)
    np.testing.assert_array_equal(log_det, np.zeros(5))


# --- EmbedCondition -------------------------------------------------------------------------------


def coupling(condition_shape, rngs=0):
    return Coupling(
        (2,), mask=half_mask(2), condition_shape=condition_shape, hidden=(8,), rngs=rngs
    )


def shaken(module):
    rng = np.random.default_rng(0)
    return jax.tree.map(
        lambda leaf, learned: jnp.asarray(leaf + 0.3 * rng.normal(size=leaf.shape) * learned, "f4"),
        module,
        trainable(module),
    )


def test_the_network_is_evaluated_once_and_shared():
    inner = shaken(
        Chain([coupling((4,)), Stack(lambda key: coupling((4,), key), 3, rngs=0), coupling((4,))])
    )
    network = Recorder(two_waves)
    embed = EmbedCondition(inner, network, (2,))
    x, c = jax.random.normal(KEY, (5, 3, 2)), jax.random.normal(KEY, (3, 2))
    y, log_det = jax.jit(embed.forward_and_log_det)(x, c)
    assert network.shapes == [(3, 2)]
    expected, expected_log_det = jax.jit(inner.forward_and_log_det)(x, two_waves(c))
    np.testing.assert_allclose(y, expected, rtol=1e-5)
    np.testing.assert_allclose(log_det, expected_log_det, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(jax.jit(embed.inverse)(y, c), x, atol=1e-4)
    assert network.shapes == [(3, 2), (3, 2)]


@pytest.mark.parametrize("condition_shape", [(3,), {"image": (2, 2), "number": ()}], ids=str)
def test_an_mlp_embeds_arrays_and_dicts(condition_shape):
    network = MLP(0, 4, hidden=(8,), condition_shape=condition_shape, zero_init_last=False, rngs=0)
    embed = EmbedCondition(shaken(coupling((4,))), network, condition_shape)
    condition = jax.tree.map(
        lambda shape: jax.random.normal(KEY, (6, *shape)),
        condition_shape,
        is_leaf=lambda node: isinstance(node, tuple),
    )
    x = jax.random.normal(KEY, (6, 2))

    @jax.jit
    @partial(jax.grad, has_aux=True)
    def run(embed):
        y = embed.forward(x, condition)
        by_hand = embed.bijector.forward(x, embed.network(jnp.zeros((6, 0)), condition))
        return jnp.sum(y), (y, by_hand)

    gradient, (y, by_hand) = run(embed)
    np.testing.assert_allclose(y, by_hand, rtol=1e-5)
    assert all(leaf.any() for leaf in jax.tree.leaves(gradient.network) if leaf.size)


def test_an_embedding_may_be_a_dict():
    shape = {"sum": (), "both": (2,)}
    embed = EmbedCondition(
        shaken(coupling(shape)), lambda c: {"sum": jnp.sum(c, -1), "both": c[..., :2]}, (3,)
    )
    x, c = jax.random.normal(KEY, (5, 2)), jax.random.normal(KEY, (5, 3))
    np.testing.assert_allclose(embed.inverse(embed.forward(x, c), c), x, atol=1e-5)


def test_initialize_reaches_inside():
    block = Chain([coupling((4,)), ActNorm((2,))])
    embed = EmbedCondition(shaken(block), two_waves, (2,))
    x, c = 3 + 2 * jax.random.normal(KEY, (256, 2)), jax.random.normal(KEY, (256, 2))
    for bijector in (embed, Chain([Invert(Invert(embed))])):
        new = initialize(bijector, x, c)
        assert needs_initialization(bijector) and not needs_initialization(new)
        y = new.forward(x, c)
        np.testing.assert_allclose(y.mean(0), 0.0, atol=1e-4)
        np.testing.assert_allclose(y.std(0), 1.0, atol=1e-3)


class Around(Distribution):
    """A normal density around the condition itself."""

    def __init__(self):
        self._declare((2,), (2,))

    def _log_prob(self, x, condition):
        return StandardNormal((2,)).log_prob(x - jnp.broadcast_to(condition, x.shape))

    def _sample(self, key, batch, condition):
        noise = StandardNormal((2,)).sample(key, batch)
        return jnp.broadcast_to(condition, noise.shape) + noise


def test_a_flow_whose_base_is_conditioned_on_the_raw_condition():
    inner = shaken(Stack(lambda key: coupling((4,), key), 2, rngs=0))
    flow = Flow(EmbedCondition(inner, two_waves, (2,)), Around())
    assert flow.condition_shape == (2,)
    c = jax.random.normal(KEY, (3, 2))

    @jax.jit
    def run(flow, c):
        x, log_prob = flow.sample_and_log_prob(KEY, (4,), c)
        z, log_det = inner.forward_and_log_det(x, two_waves(c))
        by_hand = Around().log_prob(z, c) + log_det
        return x, flow.sample(KEY, (4,), c), log_prob, flow.log_prob(x, c), by_hand

    x, again, log_prob, evaluated, by_hand = run(flow, c)
    assert x.shape == (4, 3, 2)
    np.testing.assert_allclose(again, x, rtol=1e-5)
    np.testing.assert_allclose(log_prob, evaluated, atol=1e-4)
    np.testing.assert_allclose(log_prob, by_hand, atol=1e-4)


def test_initialize_where_the_base_alone_takes_the_condition():
    x, c = 3.0 + 2.0 * jax.random.normal(KEY, (500, 2)), jnp.ones((500, 2))
    new = initialize(Flow(ActNorm((2,)), Around()), x, c)
    np.testing.assert_allclose(new.bijector.forward(x).mean(0), 0.0, atol=1e-4)


def test_the_first_part_that_is_not_finite_is_found_in_wrappers():
    def conditional(function):
        return ConditionalAffine((2,), condition_shape=(2,), conditioner=function)

    fine = conditional(lambda c: jnp.concatenate([c, c], -1))
    wrong = conditional(lambda c: jnp.concatenate([c, jnp.log(c)], -1))
    chain = Chain([ActNorm((2,)), Chain([fine, wrong]), fine])
    x, c = jnp.ones((3, 2)), jnp.ones((3, 2))
    for wrapped, name in (
        (EmbedCondition(chain, lambda c: -c, (2,)), "bijector"),
        (Invert(EmbedCondition(chain, lambda c: -c, (2,))), "bijector.bijector"),
        (EmbedCondition(Invert(chain), lambda c: -c, (2,)), "bijector.bijector"),
    ):
        assert first_not_finite(wrapped, x, c) == f"{name}.bijector[1][1] (ConditionalAffine)"
        assert first_not_finite(wrapped, x, -c) is None


# --- Reshape --------------------------------------------------------------------------------------


def test_reshape_keeps_the_order_of_elements():
    reshape = Reshape((2, 3), (3, 2))
    x = jnp.arange(24.0).reshape(4, 2, 3)
    y, log_det = reshape.forward_and_log_det(x)
    np.testing.assert_array_equal(y.reshape(4, 6), x.reshape(4, 6))
    np.testing.assert_array_equal(reshape.inverse(y), x)
    assert y.shape == (4, 3, 2) and log_det.shape == (4,) and not log_det.any()

"""The perceptron that conditions couplings, and what constructors take as randomness."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jinn.bijectors import Coupling, trainable
from jinn.flows import real_nvp
from jinn.networks import MLP, as_key
from jinn.networks.activations import ACTIVATIONS

X = jnp.asarray(np.random.default_rng(0).normal(size=(7, 3)), jnp.float32)
CONDITION = jnp.asarray(np.random.default_rng(1).normal(size=(7, 2)), jnp.float32)

call = jax.jit(lambda mlp, *arguments: mlp(*arguments))
forward = jax.jit(lambda bijector, x: bijector.forward_and_log_det(x))
inverse = jax.jit(lambda bijector, y: bijector.inverse_and_log_det(y))


def numpy_activation(name, h):
    return np.asarray(jax.jit(ACTIVATIONS[name])(h))


def by_hand(mlp, x, condition=None):
    """The network's formula in NumPy, the parts of the first layer on joined inputs."""
    parts = {} if condition is None else condition
    parts = parts if isinstance(parts, dict) else {"condition": parts}
    flat = [np.asarray(parts[name]).reshape(len(x), -1) for name in mlp.condition_kernels]
    weights = [mlp.input_kernel, *mlp.condition_kernels.values()]
    joined = np.concatenate([np.asarray(x), *flat], axis=-1)
    h = joined @ np.concatenate([w[...] for w in weights]) + np.asarray(mlp.biases[0][...])
    h = numpy_activation(mlp.activation, h)
    for kernel, bias in zip(mlp.kernels, mlp.biases[1:], strict=True):
        update = h @ np.asarray(kernel[...]) + np.asarray(bias[...])
        update = numpy_activation(mlp.activation, update)
        h = h + update if mlp.residual else update
    return h @ np.asarray(mlp.last_kernel[...]).T + np.asarray(mlp.last_bias[...])


@pytest.mark.parametrize("residual", [False, True])
def test_formula(residual):
    mlp = MLP(
        3,
        4,
        hidden=(8, 8, 8),
        condition_shape=(2,),
        residual=residual,
        zero_init_last=False,
        rngs=0,
    )
    np.testing.assert_allclose(call(mlp, X, CONDITION), by_hand(mlp, X, CONDITION), atol=1e-5)


def test_residual_changes_the_network():
    plain, residual = (
        MLP(3, 4, hidden=(8, 8), residual=r, zero_init_last=False, rngs=0) for r in (False, True)
    )
    assert np.abs(call(plain, X) - call(residual, X)).max() > 0.1


@pytest.mark.parametrize("name", sorted(ACTIVATIONS))
def test_activations_by_name(name):
    mlp = MLP(3, 4, hidden=(8,), activation=name, zero_init_last=False, rngs=0)
    np.testing.assert_allclose(call(mlp, X), by_hand(mlp, X), atol=1e-5)


def test_conditions_that_are_dicts_or_have_axes():
    shape = {"image": (2, 3), "scalar": ()}
    mlp = MLP(3, 4, hidden=(8,), condition_shape=shape, zero_init_last=False, rngs=0)
    condition = {"image": jnp.arange(42.0).reshape(7, 2, 3) / 42, "scalar": jnp.arange(7.0) / 7}
    out = call(mlp, X, condition)
    np.testing.assert_allclose(out, by_hand(mlp, X, condition), atol=1e-5)
    assert {k: w.shape for k, w in mlp.condition_kernels.items()} == {
        "image": (6, 8),
        "scalar": (1, 8),
    }
    # Each entry has a batch of its own.
    own = call(mlp, X, {"image": condition["image"][:1], "scalar": condition["scalar"][0]})
    np.testing.assert_allclose(own[0], out[0], atol=1e-6)


@pytest.mark.parametrize("x_batch", [(), (7,), (5, 7)])
@pytest.mark.parametrize("condition_batch", [(), (7,), (5, 1)])
def test_batches_broadcast(x_batch, condition_batch):
    mlp = MLP(3, 4, hidden=(8,), condition_shape=(2,), zero_init_last=False, rngs=0)
    x = jax.random.normal(jax.random.key(0), (*x_batch, 3))
    condition = jax.random.normal(jax.random.key(1), (*condition_batch, 2))
    batch = np.broadcast_shapes(x_batch, condition_batch)
    out = call(mlp, x, condition)
    assert out.shape == (*batch, 4)
    copied = call(mlp, jnp.broadcast_to(x, (*batch, 3)), jnp.broadcast_to(condition, (*batch, 2)))
    np.testing.assert_allclose(out, copied, atol=1e-6)


def test_without_inputs_it_is_a_function_of_the_condition():
    mlp = MLP(0, 4, hidden=(8,), condition_shape=(2,), zero_init_last=False, rngs=0)
    np.testing.assert_allclose(
        mlp(jnp.zeros((7, 0)), CONDITION), by_hand(mlp, jnp.zeros((7, 0)), CONDITION), atol=1e-5
    )
    constant = MLP(0, 4, hidden=(8,), zero_init_last=False, rngs=0)
    assert constant(jnp.zeros((7, 0))).shape == (7, 4)


# --- What a condition costs -----------------------------------------------------------------------


def products(jaxpr):
    """The shapes of both operands of every matrix product, inner programs included."""
    for equation in jaxpr.eqns:
        if equation.primitive.name == "dot_general":
            yield tuple(operand.aval.shape for operand in equation.invars)
        for value in jax.tree.leaves(
            list(equation.params.values()), is_leaf=lambda v: hasattr(v, "eqns")
        ):
            inner = getattr(value, "jaxpr", value)
            if hasattr(inner, "eqns"):
                yield from products(inner)


def products_with(weights, f, *args):
    shapes = list(products(jax.make_jaxpr(f)(*args).jaxpr))
    return [pair for pair in shapes if weights in pair]


@pytest.mark.parametrize("batch", [(), (1,)])
def test_one_condition_for_many_inputs_costs_one_product(batch):
    mlp = MLP(3, 4, hidden=(8,), condition_shape=(5,), rngs=0)
    found = products_with((5, 8), mlp, jnp.ones((1000, 3)), jnp.ones((*batch, 5)))
    assert found == [((*batch, 5), (5, 8))]
    assert products_with((8, 8), mlp, jnp.ones((1000, 3)), jnp.ones((*batch, 5))) == []


def test_one_condition_for_many_samples_costs_one_product_a_block():
    flow = real_nvp(3, condition_dim=5, depth=2, hidden=(8,), rngs=0)
    key, condition = jax.random.key(0), jnp.ones(5)
    for f in (flow.sample, flow.sample_and_log_prob):
        found = products_with((5, 8), lambda c, f=f: f(key, (1000,), c), condition)
        assert found == [((5,), (5, 8))]
    found = products_with((5, 8), lambda c: flow.log_prob(jnp.ones((1000, 3)), c), condition)
    assert found == [((5,), (5, 8))]


# --- Parameters -----------------------------------------------------------------------------------


def test_the_last_layer_starts_at_zero():
    mlp = MLP(3, 4, hidden=(8,), rngs=0)
    np.testing.assert_array_equal(call(mlp, X), np.zeros((7, 4)))
    coupling = Coupling((3,), mask=(True, False, True), hidden=(8,), rngs=0)
    np.testing.assert_array_equal(forward(coupling, X)[0], X)


def test_initial_activations_neither_vanish_nor_grow():
    """Six layers deep, the variance stays within the factors that the activation costs."""
    mlp = MLP(64, 64, hidden=(64,) * 6, activation="relu", zero_init_last=False, rngs=0)
    x = np.random.default_rng(0).normal(size=(100, 64)).astype(np.float32)
    assert 0.05 < np.std(call(mlp, jnp.asarray(x))) < 2


def test_parameters_may_be_narrower_than_the_computation():
    mlp = MLP(3, 4, hidden=(8,), param_dtype=jnp.bfloat16, zero_init_last=False, rngs=0)
    assert {leaf.dtype for leaf in jax.tree.leaves(mlp)} == {jnp.dtype(jnp.bfloat16)}
    assert mlp(X).dtype == jnp.float32


@pytest.mark.parametrize("transformer", ["affine", "rational_quadratic_spline"])
def test_networks_in_bfloat16_keep_events_and_log_determinants_in_float32(transformer):
    options = {"mask": (True, False, True), "transformer": transformer, "hidden": (8,), "rngs": 0}
    narrow = Coupling((3,), dtype=jnp.bfloat16, **options)
    wide = Coupling((3,), **options)
    narrow, wide = (shaken(coupling) for coupling in (narrow, wide))
    assert narrow.conditioner(X[:, :1], None).dtype == jnp.bfloat16
    y, log_det = forward(narrow, X)
    assert y.dtype == log_det.dtype == jnp.float32
    expected, expected_log_det = forward(wide, X)
    assert 0 < np.abs(y - expected).max() < 0.1
    assert 0 < np.abs(log_det - expected_log_det).max() < 0.1
    # The parameters are the same in both directions, so that rounding does not break the inverse.
    back, back_log_det = inverse(narrow, y)
    np.testing.assert_allclose(back, X, atol=1e-5)
    np.testing.assert_allclose(back_log_det, -log_det, atol=1e-4)


def shaken(module):
    """The same module with its parameters away from their start."""
    rng = np.random.default_rng(0)

    def move(leaf, learned):
        noise = 0.2 * rng.normal(size=leaf.shape) * learned
        return jnp.asarray(np.asarray(leaf) + noise, leaf.dtype)

    return jax.tree.map(move, module, trainable(module))


def test_narrow_events_have_wide_log_determinants():
    coupling = shaken(Coupling((3,), mask=(True, False, True), hidden=(8,), rngs=0))
    y, log_det = forward(coupling, X.astype(jnp.bfloat16))
    assert y.dtype == jnp.bfloat16 and log_det.dtype == jnp.float32


def test_wide_events_are_computed_wide(x64):
    coupling = shaken(Coupling((3,), mask=(True, False, True), hidden=(8,), rngs=0))
    x = jnp.asarray(X, jnp.float64)
    y, log_det = forward(coupling, x)
    assert y.dtype == log_det.dtype == jnp.float64
    np.testing.assert_allclose(inverse(coupling, y)[0], x, atol=1e-13)


# --- Randomness -----------------------------------------------------------------------------------


def same(one, other):
    return all(
        np.array_equal(a, b)
        for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True)
    )


def test_forms_of_rngs():
    def mlp(rngs):
        return MLP(3, 4, hidden=(8,), rngs=rngs)

    assert same(mlp(1), mlp(jax.random.key(1))) and same(mlp(1), mlp(jax.random.PRNGKey(1)))
    assert not same(mlp(1), mlp(2))
    assert same(mlp(nnx.Rngs(1)), mlp(nnx.Rngs(1)))
    assert jax.jit(lambda seed: jax.random.key_data(as_key(seed)))(1).shape == (2,)


@pytest.mark.parametrize("streams", [{"default": 0}, {"params": 0}])
def test_rngs_of_flax_advance(streams):
    rngs = nnx.Rngs(**streams)
    assert not same(MLP(3, 4, hidden=(8,), rngs=rngs), MLP(3, 4, hidden=(8,), rngs=rngs))

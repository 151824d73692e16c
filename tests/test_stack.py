"""A stack is its blocks one after the other, at a size that does not grow with depth."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jinn.bijectors import (
    ActNorm,
    Chain,
    Coupling,
    Invert,
    MaskedAutoregressive,
    Permute,
    Stack,
    initialize,
    trainable,
)
from jinn.bijectors.base import Bijector, zeros_log_det
from jinn.bijectors.module import needs_initialization

MASK = (False, True, True)
KEY = jax.random.key(0)
X = jnp.asarray(np.random.default_rng(0).normal(size=(5, 3)), jnp.float32)
CONDITION = jnp.asarray(np.random.default_rng(1).normal(size=(5, 2)), jnp.float32)


def make_block(key):
    permutation_key, coupling_key = jax.random.split(key)
    return Chain(
        [
            ActNorm((3,)),
            Permute((3,), rngs=permutation_key),
            Coupling((3,), mask=MASK, condition_shape=(2,), hidden=(8,), rngs=coupling_key),
        ]
    )


def shaken(module, size=0.2):
    """The same module with its parameters away from their start."""
    rng = np.random.default_rng(0)

    def move(leaf, learned):
        return jnp.asarray(np.asarray(leaf) + size * rng.normal(size=leaf.shape) * learned)

    return jax.tree.map(move, module, trainable(module))


def build(depth=3, **options):
    return shaken(Stack(make_block, depth, rngs=0, **options))


def allclose(one, other, **tolerances):
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        np.testing.assert_allclose(a, b, **tolerances)


def test_equals_the_chain_of_its_blocks():
    stack = build()
    chain = Chain([stack[i] for i in range(3)])
    assert chain.condition_shape == stack.condition_shape == (2,)

    @jax.jit
    def run(bijector):
        y, log_det = bijector.forward_and_log_det(X, CONDITION)
        back = bijector.inverse_and_log_det(y, CONDITION)
        alone = bijector.forward(X, CONDITION), bijector.inverse(X, CONDITION)
        swapped = Invert(bijector).forward_and_log_det(X, CONDITION)
        return back, y, log_det, alone, swapped

    allclose(run(stack), run(chain), atol=1e-5)
    allclose(run(stack)[0][0], X, atol=1e-5)


def test_initialization_equals_that_of_the_chain():
    stack = build()
    assert needs_initialization(stack)
    chain = Chain(list(stack))
    x, condition = (jnp.asarray(np.random.default_rng(2).normal(2, 3, (200, n))) for n in (3, 2))
    new, new_chain = (jax.jit(initialize)(b, x, condition) for b in (stack, chain))
    assert not needs_initialization(new) and needs_initialization(stack)
    assert jax.tree.structure(new) == jax.tree.structure(stack)
    for i in range(3):
        allclose(new[i], new_chain[i], rtol=1e-4, atol=1e-4)
    normalised = jax.jit(lambda b: b[0].bijectors[0].forward(x))(new)
    np.testing.assert_allclose(np.std(normalised, 0), 1, rtol=1e-4)


def test_blocks_by_index():
    stack = build()
    assert len(stack) == 3 and isinstance(stack[0], Chain)
    allclose(stack[-1], stack[2])
    allclose(stack[-3], stack[0])
    assert [type(block) for block in stack] == [Chain] * 3
    assert jax.tree.structure(stack[0]) == jax.tree.structure(stack.block)
    for index in (3, -4, 100):
        with pytest.raises(IndexError, match=f"Stack: index {index} is out of range for 3 blocks"):
            stack[index]


# --- Keys -----------------------------------------------------------------------------------------


def test_every_block_is_made_from_a_key_of_its_own():
    stack = Stack(make_block, 3, rngs=KEY)
    for i, key in enumerate(jax.random.split(KEY, 3)):
        allclose(stack[i], jax.jit(make_block)(key), atol=1e-6)
    kernels = stack.block.bijectors[2].conditioner.input_kernel[...]
    assert kernels.shape == (3, 1, 8)
    assert len(np.unique(kernels.reshape(3, -1), axis=0)) == 3
    same = [Stack(make_block, 3, rngs=rngs) for rngs in (0, jax.random.key(0))]
    allclose(*same)


class Noisy(Bijector):
    """The identity, with a log-determinant drawn from the key."""

    def __init__(self):
        self._declare((3,))

    def _forward(self, x, condition, *, key, with_log_det):
        zeros = zeros_log_det(x, self.event_shape)
        return x, zeros if key is None else zeros + jax.random.normal(key)

    _inverse = _forward


@pytest.mark.parametrize("key", [KEY, jax.random.PRNGKey(0)], ids=["typed", "raw"])
def test_every_block_gets_a_key_of_its_own_the_same_in_both_directions(key):
    stack, chain = Stack(lambda key: Noisy(), 4, rngs=0), Chain([Noisy() for _ in range(4)])
    expected = sum(jax.random.normal(k) for k in jax.random.split(key, 4))
    for bijector in (stack, chain):
        for call in (bijector.forward_and_log_det, bijector.inverse_and_log_det):
            np.testing.assert_allclose(call(X, key=key)[1], np.full(5, expected), rtol=1e-5)
            np.testing.assert_array_equal(call(X)[1], np.zeros(5))
            np.testing.assert_array_equal(call(X)[0], X)


def test_blocks_without_arrays():
    stack = Stack(lambda key: Permute((3,), "reverse"), 3, rngs=0)
    np.testing.assert_array_equal(stack.forward(X), X[:, ::-1])
    np.testing.assert_array_equal(initialize(stack, X).inverse(X), X[:, ::-1])


# --- Size and memory ------------------------------------------------------------------------------


def loss(stack, x):
    z, log_det = stack.forward_and_log_det(x, CONDITION)
    return jnp.mean(jnp.sum(z**2, axis=-1) - log_det)


def test_leaves_and_programs_do_not_grow_with_depth():
    stacks = [jax.eval_shape(lambda d=depth: Stack(make_block, d, rngs=0)) for depth in (2, 64)]
    leaves = [jax.tree.leaves(stack) for stack in stacks]
    assert len(leaves[0]) == len(leaves[1]) == len(jax.tree.leaves(build().block))
    assert {leaf.shape[0] for leaf in leaves[1]} == {64}
    programs = []
    for stack in stacks:
        text = jax.jit(jax.value_and_grad(loss)).lower(stack, X).as_text()
        programs.append(re.sub(r"\d+", "#", text))
    assert len(programs[0].splitlines()) == len(programs[1].splitlines())
    assert programs[0] == programs[1]


def test_remat_and_store_agree():
    store, remat = (build(backprop=backprop) for backprop in ("store", "remat"))
    assert (store.backprop, remat.backprop) == ("store", "remat")
    run = jax.jit(jax.value_and_grad(loss, argnums=(0, 1)))
    (value, gradients), (expected, expected_gradients) = run(store, X), run(remat, X)
    np.testing.assert_allclose(value, expected, rtol=1e-6)
    allclose(gradients, expected_gradients, rtol=1e-5, atol=1e-6)
    chain = Chain(list(store))
    value, (gradient, by_x) = run(chain, X)
    np.testing.assert_allclose(value, expected, rtol=1e-5)
    np.testing.assert_allclose(by_x, gradients[1], rtol=1e-4, atol=1e-5)
    for i in range(3):
        allclose(gradient[i], gradients[0][i], rtol=1e-4, atol=1e-5)


def stored_bytes(backprop, depth):
    """What the backward pass keeps of the forward pass: the residuals, without the arguments."""
    stack = jax.eval_shape(lambda: Stack(make_block, depth, rngs=0, backprop=backprop))
    x, condition = jnp.ones((512, 3)), jnp.ones((512, 2))

    def forward(stack, x):
        return jax.vjp(lambda x: stack.forward_and_log_det(x, condition)[1], x)

    _, pullback = jax.eval_shape(forward, stack, x)
    own = sum(leaf.size for leaf in jax.tree.leaves(stack))
    kept = sum(leaf.size for leaf in jax.tree.leaves(pullback) if jnp.ndim(leaf))
    return 4 * (kept - own)


def test_remat_keeps_the_inputs_of_the_blocks_only():
    depth, batch, event, hidden, n_params = 16, 512, 3, 8, 4
    inputs = depth * batch * event * 4
    shared = batch * (event + 2 + 1) * 4  # x, the condition and the log-determinants, once
    assert stored_bytes("remat", depth) <= inputs + shared
    products = depth * batch * (hidden * 2 + n_params) * 4
    assert inputs < stored_bytes("store", depth) <= inputs + products + shared


def test_unrolled_in_the_fast_direction_only():
    """Written out where a block takes one pass, a loop where each is a loop, the same values."""

    def layer(key):
        return MaskedAutoregressive((3,), condition_shape=(2,), hidden=(8,), rngs=key)

    scanned, unrolled = (shaken(Stack(layer, 3, rngs=0, unroll=u)) for u in (False, True))
    for run in ("forward_and_log_det", "inverse_and_log_det"):

        def call(stack, run=run):
            return getattr(stack, run)(X, CONDITION)

        one, other = jax.jit(call)(scanned), jax.jit(call)(unrolled)
        allclose(one, other, atol=1e-5)
        loops = jax.jit(call).lower(unrolled).as_text().count("stablehlo.while")
        assert loops == (0 if run == "forward_and_log_det" else 2)


class Promoting(Bijector):
    """Gives float32 for events of fewer bits."""

    def __init__(self):
        self._declare((3,))
        self.scale = nnx.Param(jnp.ones(()))

    def _forward(self, x, condition, *, key, with_log_det):
        return x * self.scale[...].astype(jnp.float32), zeros_log_det(x, (3,))

    _inverse = _forward


def test_blocks_that_change_the_type_of_events_are_named():
    stack = Stack(lambda key: Promoting(), 2, rngs=0)
    stack.forward(X)
    with pytest.raises(ValueError, match=r"expected Promoting to give events of the type that it"):
        stack.forward(X.astype(jnp.bfloat16))

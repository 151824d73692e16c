"""The all-in-one block against its parts, and bijectors in other coordinates."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jinn
from jinn.bijectors import (
    ActNorm,
    Affine,
    Chain,
    Conjugate,
    Householder,
    Invert,
    Permute,
    Stack,
    trainable,
)
from jinn.flows import Flow, all_in_one_block

N, ROWS, CLAMP = 5, 6, 1.5
RNG = np.random.default_rng(0)
X, C = RNG.normal(size=(ROWS, N)), RNG.normal(size=(ROWS, 2))
SHIFT, LOG_SCALE = RNG.normal(size=(2, N))
MAPS = RNG.normal(size=(4, 6))


def conditioner(u, c):
    """Three shifts and three raw log-scales from two elements and the condition."""
    return jnp.sin(jnp.concatenate([u, c], -1) @ MAPS)


def block(**options):
    made = all_in_one_block(
        (N,),
        condition_shape=(2,),
        conditioner=conditioner,
        clamp=CLAMP,
        param_dtype=float,
        rngs=3,
        **options,
    )

    def move(leaf):
        if not isinstance(leaf, ActNorm):
            return leaf
        leaf.shift[...], leaf.log_scale[...] = jnp.asarray(SHIFT), jnp.asarray(LOG_SCALE)
        return leaf

    return jax.tree.map(move, made, is_leaf=lambda node: isinstance(node, ActNorm))


def by_hand(matrix, *, reverse, volume_preserving):
    """In numpy: `R (s * coupling(R^-1 x) + t)` with the matrix R."""
    start = X @ np.linalg.inv(matrix).T if reverse else X
    u, v = start[:, :2], start[:, 2:]
    params = np.sin(np.concatenate([u, C], -1) @ MAPS)
    shift, s = params[:, :3], CLAMP * np.tanh(params[:, 3:] / CLAMP)
    if volume_preserving:
        s = s - s.mean(1, keepdims=True)
    y = np.concatenate([u, v * np.exp(s) + shift], 1)
    log_det = s.sum(1)
    if not volume_preserving:
        y = y * np.exp(LOG_SCALE) + SHIFT
        log_det = log_det + LOG_SCALE.sum()
    return y @ matrix.T, log_det + (not reverse) * np.linalg.slogdet(matrix)[1]


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("volume_preserving", [False, True])
@pytest.mark.parametrize("mixing", ["permute", "orthogonal", "householder", "plu"])
def test_it_is_its_parts(mixing, volume_preserving, reverse, x64):
    options = {"reverse": reverse, "volume_preserving": volume_preserving}
    made = block(mixing=mixing, **options)
    mix = made.outer if reverse else made[-1]
    matrix = np.asarray(mix.forward(jnp.eye(N))).T
    if mixing != "plu":
        np.testing.assert_allclose(matrix @ matrix.T, np.eye(N), atol=1e-12)
    assert not np.allclose(matrix, np.eye(N))
    y, log_det = made.forward_and_log_det(X, C)
    expected, expected_log_det = by_hand(matrix, **options)
    np.testing.assert_allclose(y, expected, atol=1e-10)
    np.testing.assert_allclose(log_det, expected_log_det, atol=1e-10)
    np.testing.assert_allclose(made.inverse(y, C), X, atol=1e-10)


def test_blocks_are_stacked_and_start_from_data():
    def make(key):
        return all_in_one_block((3,), hidden=(4,), mixing="householder", reverse=True, rngs=key)

    flow = Flow(Stack(make, 3, rngs=0), jinn.distributions.StandardNormal((3,)))
    x = 5.0 * jax.random.normal(jax.random.key(0), (400, 3)) + 2.0
    z = jinn.initialize(flow, x).bijector.forward(x)
    covariance = np.cov(np.asarray(z).T)
    np.testing.assert_allclose(z.mean(0), 0.0, atol=1e-4)
    np.testing.assert_allclose(np.trace(covariance), 3.0, atol=0.02)


# --- Conjugate ------------------------------------------------------------------------------------


def test_conjugate_is_a_chain_with_one_outer_bijector():
    outer = Householder((3,), rngs=0)
    inner = Affine((3,), shift=[1.0, 2.0, 3.0], scale=[0.5, 1.0, 2.0])
    conjugate, chain = Conjugate(outer, inner), Chain([Invert(outer), inner, outer])
    x = jnp.asarray(X[:, :3], jnp.float32)
    for name in ("forward_and_log_det", "inverse_and_log_det"):
        for got, expected in zip(getattr(conjugate, name)(x), getattr(chain, name)(x), strict=True):
            np.testing.assert_allclose(got, expected, atol=1e-5)
    outputs = list(conjugate._outputs("b", x, None, inverse=False))
    assert [name for name, _, _ in outputs] == [
        "b.outer (Householder)",
        "b.inner (Affine)",
        "b.outer (Householder)",
    ]
    np.testing.assert_allclose(outputs[0][1], outer.inverse(x), atol=1e-5)
    np.testing.assert_allclose(outputs[-1][1], conjugate.forward(x), atol=1e-5)
    count = [sum(jax.tree.leaves(trainable(b))) for b in (conjugate, chain)]
    assert count == [3, 4]


def test_conjugate_is_as_fast_as_its_parts():
    slow = jinn.bijectors.Planar((2,), rngs=0)
    fast = Affine((2,))
    assert slow.fast_direction == "forward"
    assert Conjugate(fast, slow).fast_direction == "forward"
    assert Conjugate(slow, fast).fast_direction == "neither"
    assert Conjugate(Permute((2,), "reverse"), fast).fast_direction == "both"


def test_conjugate_reports_the_solves_in_order():
    outer, inner = (jinn.bijectors.Planar((2,), rngs=i) for i in range(2))
    conjugate = Conjugate(outer, inner)
    x = jnp.asarray(X[:, :2], jnp.float32)
    for inverse in (False, True):
        y, expected = x, []
        for part, backwards in ((outer, True), (inner, inverse), (outer, False)):
            run = part.inverse_with_info if backwards else part.forward_with_info
            y, _, info = run(y)
            expected.append(info)
        run = conjugate.inverse_with_info if inverse else conjugate.forward_with_info
        got, _, infos = run(x)
        np.testing.assert_allclose(got, y, atol=1e-6)
        for one, other in zip(infos, expected, strict=True):
            np.testing.assert_array_equal(one.steps, other.steps)
            np.testing.assert_array_equal(one.evaluations, other.evaluations)

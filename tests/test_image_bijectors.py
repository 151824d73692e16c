"""1x1 convolutions, masks and flattening of images."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jinn.bijectors import (
    PLU,
    ActNorm,
    Bijector,
    Chain,
    Conv1x1,
    Coupling,
    Haar,
    Orthogonal,
    Reshape,
    channel_mask,
    checkerboard_mask,
    half_mask,
    initialize,
    trainable,
)

X = jax.random.normal(jax.random.key(0), (5, 4, 6, 3))


def moved(bijector: Bijector) -> Bijector:
    """Adds 0.1 to every parameter."""
    marks = trainable(bijector)
    return jax.tree.map(lambda leaf, learned: leaf + 0.1 * learned, bijector, marks)


@pytest.mark.parametrize(
    ("kind", "other"),
    [
        ("orthogonal", Orthogonal((4, 6, 3), rngs=1)),
        ("learned_orthogonal", Orthogonal((4, 6, 3), learned=True, rngs=1)),
        ("plu", PLU((4, 6, 3), rngs=1)),
    ],
)
def test_conv_1x1_is_one_matrix_at_every_pixel(kind, other) -> None:
    conv, other = map(moved, (Conv1x1((4, 6, 3), kind=kind, rngs=1), other))
    z, log_det = conv.forward_and_log_det(X)
    np.testing.assert_allclose(z, other.forward(X), rtol=1e-5, atol=1e-6)
    matrix = jax.jacobian(Conv1x1.forward, argnums=1)(conv, X[0])[1, 2, :, 1, 2]
    np.testing.assert_allclose(z, X @ matrix.T, atol=1e-5)
    expected = 4 * 6 * np.linalg.slogdet(matrix)[1]
    np.testing.assert_allclose(log_det, np.full(5, expected), atol=1e-3)
    assert kind == "plu" or not log_det.any()
    assert kind != "plu" or abs(expected) > 1.0


def test_what_conv_1x1_learns() -> None:
    counts = {}
    for kind in ("orthogonal", "learned_orthogonal", "plu"):
        gradient = jax.grad(lambda conv: jnp.sum(jnp.sin(conv.forward(X))))(
            Conv1x1((4, 6, 3), kind=kind, rngs=0)
        )
        counts[kind] = sum(int(jnp.sum(leaf != 0)) for leaf in jax.tree.leaves(gradient))
    assert counts == {"orthogonal": 0, "learned_orthogonal": 3, "plu": 9}


def test_masks_of_images() -> None:
    channels = channel_mask((2, 3, 5))
    np.testing.assert_array_equal(channels, np.broadcast_to(half_mask(5), (2, 3, 5)))
    board = checkerboard_mask((2, 3, 2))
    expected = np.array([[False, True, False], [True, False, True]])
    np.testing.assert_array_equal(board, np.stack([expected, expected], -1))
    np.testing.assert_array_equal(checkerboard_mask((4, 1))[:, 0], [False, True, False, True])
    for mask in (channels, board):
        assert mask.dtype == bool
        mask[0, 0, 0] = True  # a copy of one's own, not a view of shared memory
        assert mask.sum() < mask.size


@pytest.mark.parametrize("mask", [channel_mask((4, 4, 2)), ~checkerboard_mask((4, 4, 2))])
def test_a_coupling_moves_what_the_mask_says(mask) -> None:
    def conditioner(x, condition):
        near = x + jnp.roll(x, 1, -2) + jnp.roll(x, 1, -3)
        return jnp.concatenate([jnp.sin(near) + 1.0, jnp.cos(near)], -1)

    x = X[:, :, :4, :2]
    coupling = Coupling((4, 4, 2), mask=mask, conditioner=conditioner)
    z = coupling.forward(x)
    np.testing.assert_array_equal(np.asarray(z != x), np.broadcast_to(mask, x.shape))
    np.testing.assert_allclose(coupling.inverse(z), x, atol=1e-5)


def test_actnorm_of_images_standardises_every_channel_over_all_pixels() -> None:
    x = X * jnp.array([[[[0.1, 3.0, 20.0]]]]) + jnp.array([[[[5.0, -2.0, 100.0]]]])
    chain = initialize(Chain([ActNorm((4, 6, 3)), Haar((4, 6, 3)), ActNorm((2, 3, 12))]), x)
    first = chain[0].forward(x)
    for y in (first, chain.forward(x)):
        np.testing.assert_allclose(jnp.mean(y, (0, 1, 2)), 0.0, atol=1e-4)
        np.testing.assert_allclose(jnp.var(y, (0, 1, 2)), 1.0, atol=1e-3)
    assert chain[0].shift.shape == (3,) and chain[2].shift.shape == (12,)


def test_reshape_flattens_images_row_by_row() -> None:
    flatten = Reshape((4, 6, 3), (72,))
    z, log_det = flatten.forward_and_log_det(X)
    np.testing.assert_array_equal(z, np.asarray(X).reshape(5, 72))
    np.testing.assert_array_equal(log_det, np.zeros(5))
    np.testing.assert_array_equal(flatten.inverse(z), X)

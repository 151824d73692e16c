"""Householder, PLU and TriangularAffine: what they start as, and what an optimiser leaves true."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jinn.bijectors import PLU, Householder, Invert, Stack, TriangularAffine, trainable

KEY = jax.random.key(0)


def matrix_of(bijector, n):
    """The matrix that a linear bijector multiplies by."""
    return np.asarray(jax.jit(bijector.forward)(jnp.eye(n))).T


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_plu_starts_as_an_orthogonal_matrix(dtype):
    plu = PLU((5,), param_dtype=dtype, rngs=0)
    matrix = matrix_of(plu, 5)
    atol = 10 * float(jnp.finfo(dtype).eps)
    np.testing.assert_allclose(matrix @ matrix.T, np.eye(5), atol=atol)
    np.testing.assert_allclose(plu.log_det(jnp.zeros(5)), 0.0, atol=atol)
    assert np.abs(matrix).max() < 0.99  # it mixes
    assert plu.triangles.dtype == dtype and sorted(plu.permutation.tolist()) == list(range(5))


@pytest.mark.parametrize("n", [1, 3, 12])
def test_every_plu_starts_orthogonal_and_its_own(n):
    """All draws, with the matrix that LU took apart, up to the signs of its columns."""
    keys = jax.random.split(KEY, 20)
    layers = jax.vmap(lambda key: PLU((n,), rngs=key))(keys)
    matrices = jax.jit(jax.vmap(lambda layer: layer.forward(jnp.eye(n)).T))(layers)
    drawn = jax.vmap(lambda key: jax.random.orthogonal(key, n))(keys)
    signs = np.sign(np.einsum("kij,kij->kj", matrices, drawn))
    np.testing.assert_allclose(matrices, drawn * signs[:, None], atol=1e-5)
    permutations = {tuple(layer.tolist()) for layer in jax.vmap(lambda b: b.permutation)(layers)}
    assert len(permutations) > 10 or n < 12


def test_householder_stays_orthogonal_however_its_vectors_move():
    householder = Householder((4,), rngs=0)
    for factor in (1.0, 1e-20, -300.0):
        moved = jax.tree.map(lambda leaf, f=factor: f * leaf + 1e-3 * f, householder)
        matrix = matrix_of(moved, 4)
        np.testing.assert_allclose(matrix @ matrix.T, np.eye(4), atol=1e-6)
    assert householder.vectors.shape == (4, 4)
    few = Householder((4,), n_reflections=3, rngs=0)
    np.testing.assert_allclose(np.linalg.det(matrix_of(few, 4)), -1.0, rtol=1e-5)


def test_a_sign_is_not_trained():
    one = Householder((1,), n_reflections=3, rngs=0)
    np.testing.assert_array_equal(one.forward(jnp.array([2.0])), [-2.0])
    assert jax.tree.leaves(trainable(one)) == [False]


@pytest.mark.parametrize("kind", [Householder, PLU])
def test_blocks_of_a_stack_have_matrices_of_their_own(kind):
    stack = Stack(lambda key: kind((3,), rngs=key), 4, rngs=0)
    matrices = [matrix_of(stack[i], 3) for i in range(4)]
    for i in range(4):
        for j in range(i):
            assert np.abs(matrices[i] - matrices[j]).max() > 0.1
    whole = matrices[3] @ matrices[2] @ matrices[1] @ matrices[0]
    np.testing.assert_allclose(matrix_of(stack, 3), whole, atol=1e-5)
    assert all(jnp.issubdtype(leaf.dtype, jnp.floating) for leaf in jax.tree.leaves(stack))


def test_a_triangular_map_whitens_and_colours():
    covariance = np.array([[4.0, 1.0, 0.0], [1.0, 2.0, -0.5], [0.0, -0.5, 1.0]])
    mean, factor = np.array([1.0, -2.0, 3.0]), np.linalg.cholesky(covariance)
    colour = TriangularAffine((3,), shift=mean, matrix=factor, learned=False)
    x = np.array([[0.3, -1.0, 2.0]], np.float32)
    y, log_det = colour.forward_and_log_det(x)
    np.testing.assert_allclose(y, x @ factor.T + mean, rtol=1e-5)
    np.testing.assert_allclose(log_det, np.linalg.slogdet(covariance)[1] / 2, rtol=1e-5)
    white = TriangularAffine(
        (3,), shift=-np.linalg.solve(factor, mean), matrix=np.linalg.inv(factor)
    )
    np.testing.assert_allclose(white.forward(y), x, atol=1e-5)
    np.testing.assert_allclose(Invert(colour).forward(y), x, atol=1e-5)
    assert not any(jax.tree.leaves(trainable(colour))) and all(jax.tree.leaves(trainable(white)))
    np.testing.assert_array_equal(TriangularAffine((3,)).forward(x), x)


@pytest.mark.parametrize("kind", [Householder, PLU, TriangularAffine])
def test_images_are_mixed_pixel_by_pixel(kind):
    bijector = kind((2, 3, 4), **({} if kind is TriangularAffine else {"rngs": 0}))
    bijector = jax.tree.map(lambda leaf, t: leaf + 0.3 * t, bijector, trainable(bijector))
    x = jax.random.normal(KEY, (5, 2, 3, 4))
    y, log_det = jax.jit(bijector.forward_and_log_det)(x)
    matrix = matrix_of_pixels(bijector)
    offset = y - jnp.einsum("ij,bhwj->bhwi", matrix, x)
    np.testing.assert_allclose(offset, jnp.broadcast_to(offset[:1, :1, :1], y.shape), atol=1e-5)
    np.testing.assert_allclose(log_det, np.full(5, 6 * np.linalg.slogdet(matrix)[1]), atol=1e-5)


def matrix_of_pixels(bijector):
    """The matrix that multiplies each pixel of images of shape (2, 3, 4)."""
    basis = jnp.broadcast_to(jnp.eye(4)[:, None, None], (4, 2, 3, 4))
    images = bijector.forward(basis) - bijector.forward(0 * basis)
    return np.asarray(images[:, 1, 2]).T

"""Cayley's map, Householder products and the bijectors that learn them, against matrices."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg

from jinn import functional as F
from jinn.bijectors import Householder, Orthogonal, trainable

PARAMETRIZATIONS = ["exponential", "cayley", "householder"]


def skew(entries, n):
    upper = np.zeros((n, n))
    upper[np.triu_indices(n, 1)] = entries
    return upper - upper.T


@pytest.mark.parametrize("size", [1e-3, 1.0, 100.0])
def test_cayley_is_its_formula_and_a_rotation(size, x64):
    n = 5
    entries = size * np.random.default_rng(0).normal(size=n * (n - 1) // 2)
    matrix = F.skew_cayley(jnp.asarray(entries), n)
    half = skew(entries, n) / 2
    np.testing.assert_allclose(matrix, np.linalg.inv(np.eye(n) - half) @ (np.eye(n) + half))
    np.testing.assert_allclose(matrix.T @ matrix, np.eye(n), atol=1e-12)
    np.testing.assert_allclose(np.linalg.det(matrix), 1.0)
    if size < 0.01:  # the same as the exponential to second order
        np.testing.assert_allclose(matrix, scipy.linalg.expm(skew(entries, n)), atol=1e-8)


@pytest.mark.parametrize(("k", "n"), [(3, 4), (4, 4), (6, 2), (1, 1), (0, 3)])
def test_householder_matrix_is_what_the_forward_map_multiplies_by(k, n, x64):
    vectors = jnp.asarray(np.random.default_rng(1).normal(size=(k, n)))
    matrix = F.householder_matrix(vectors)
    expected = np.eye(n)
    for v in np.asarray(vectors):
        expected = (np.eye(n) - 2 * np.outer(v, v) / (v @ v)) @ expected
    np.testing.assert_allclose(matrix, expected, atol=1e-14)
    x = jnp.asarray(np.random.default_rng(2).normal(size=(5, n)))
    if k:
        np.testing.assert_allclose(F.householder_forward(x, vectors)[0], x @ expected.T, atol=1e-13)


def test_householder_with_vectors_of_their_own(x64):
    rng = np.random.default_rng(3)
    x, vectors = jnp.asarray(rng.normal(size=(6, 5, 4))), jnp.asarray(rng.normal(size=(6, 1, 3, 4)))
    y, log_det = F.householder_forward(x, vectors)
    assert log_det.shape == (6, 5) and not log_det.any()
    for i in range(6):
        alone, _ = F.householder_forward(x[i], vectors[i, 0])
        np.testing.assert_allclose(y[i], alone, atol=1e-13)
    np.testing.assert_allclose(F.householder_inverse(y, vectors)[0], x, atol=1e-13)


@pytest.mark.parametrize("n", [1, 2, 5])
@pytest.mark.parametrize("parametrization", PARAMETRIZATIONS)
def test_a_learned_matrix_starts_at_the_draw_and_stays_orthogonal(parametrization, n):
    fixed = Orthogonal((n,), rngs=0)
    learned = Orthogonal((n,), learned=True, parametrization=parametrization, rngs=0)
    np.testing.assert_allclose(learned.matrix(), fixed.matrix(), atol=1e-6)
    rng = np.random.default_rng(4)
    moved = jax.tree.map(
        lambda leaf, free: leaf + free * jnp.asarray(rng.normal(size=leaf.shape), leaf.dtype),
        learned,
        trainable(learned),
    )
    matrix = moved.matrix()
    np.testing.assert_allclose(matrix.T @ matrix, np.eye(n), atol=3e-6)
    assert n == 1 or np.abs(matrix - fixed.matrix()).max() > 0.1
    # A rotation away from the draw, whose determinant it keeps.
    dets = [np.linalg.det(np.asarray(b.matrix(), float)) for b in (moved, fixed)]
    np.testing.assert_allclose(*dets, atol=1e-5)


@pytest.mark.parametrize("parametrization", PARAMETRIZATIONS)
def test_a_learned_matrix_reaches_a_given_rotation(parametrization):
    """By gradient descent, from the draw, on the distance to the target."""
    learned = Orthogonal((4,), learned=True, parametrization=parametrization, rngs=0)
    turn = F.skew_exponential(jnp.linspace(-0.6, 0.7, 6), 4)
    target = Orthogonal((4,), rngs=0).matrix() @ turn
    free = trainable(learned)

    @jax.jit
    def descend(module):
        def step(module, _):
            slopes = jax.grad(lambda m: jnp.sum((m.matrix() - target) ** 2))(module)
            return jax.tree.map(lambda p, g, f: p - 0.1 * g * f, module, slopes, free), None

        return jax.lax.scan(step, module, length=400)[0]

    np.testing.assert_allclose(descend(learned).matrix(), target, atol=1e-3)


def test_conditional_householder_has_a_matrix_for_each_condition():
    def network(condition):
        return jnp.concatenate([condition, jnp.sin(condition)], axis=-1)

    bijector = Householder((3,), n_reflections=2, condition_shape=(3,), conditioner=network, rngs=0)
    c = jnp.asarray(np.random.default_rng(5).normal(size=(4, 3)), jnp.float32)
    matrices = [bijector.forward(jnp.eye(3), one).T for one in c]
    for one, matrix in zip(c, matrices, strict=True):
        vectors = bijector.vectors[...] + network(one).reshape(2, 3)
        np.testing.assert_allclose(matrix, F.householder_matrix(vectors), atol=1e-6)
    assert np.abs(matrices[0] - matrices[1]).max() > 0.1

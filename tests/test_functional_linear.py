"""Householder products, triangular maps and PLU, against the matrices that they stand for."""

import hypothesis.extra.numpy as npst
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jinn import functional as F


def random(*shape, dtype=np.float32):
    return jnp.asarray(np.random.default_rng(0).normal(size=shape), dtype)


def floats(*shape, size=2.0):
    elements = st.floats(-size, size, width=32, allow_subnormal=False)
    return npst.arrays(np.float32, shape, elements=elements)


# --- Householder ----------------------------------------------------------------------------------


def product_of_reflections(vectors):
    """`H_k ... H_1` in float64; rows of zeros reflect nothing."""
    matrix = np.eye(vectors.shape[1])
    for v in np.asarray(vectors, float):
        norm = np.linalg.norm(v)
        unit = v / norm if norm else v
        matrix = matrix - 2 * np.outer(unit, unit @ matrix)
    return matrix


reflect = jax.jit(F.householder_forward)
reflect_back = jax.jit(F.householder_inverse)


@given(floats(4, 3))
def test_householder_is_the_product_of_its_reflections(vectors):
    x = random(6, 3)
    y, log_det = reflect(x, vectors)
    np.testing.assert_allclose(y, np.asarray(x) @ product_of_reflections(vectors).T, atol=3e-5)
    assert log_det.shape == (6,) and not log_det.any()
    back, log_det = reflect_back(y, vectors)
    np.testing.assert_allclose(back, x, atol=3e-5)
    assert log_det.shape == (6,) and not log_det.any()


@pytest.mark.parametrize(("k", "n"), [(1, 1), (1, 2), (5, 5), (9, 4), (2, 40), (1, 17)])
def test_householder_in_all_proportions(k, n, x64):
    vectors, x = random(k, n, dtype=float), random(2, 3, n, dtype=float)
    matrix = product_of_reflections(vectors)
    y, log_det = F.householder_forward(x, vectors)
    np.testing.assert_allclose(y, x @ matrix.T, atol=1e-13)
    assert y.dtype == log_det.dtype == jnp.float64 and log_det.shape == (2, 3)
    np.testing.assert_allclose(F.householder_inverse(y, vectors)[0], x, atol=1e-13)
    np.testing.assert_allclose(np.linalg.det(matrix), (-1) ** k)


def test_householder_takes_vectors_of_any_length():
    vectors, x = random(3, 4), random(5, 4)
    y, _ = reflect(x, vectors)
    for lengths in ([1e-28, 1.0, 1e30], [1e4, 1e-20, 1e-25]):
        scaled = vectors * np.array(lengths, np.float32)[:, None]
        np.testing.assert_allclose(reflect(x, scaled)[0], y, atol=1e-6)
    without = vectors * np.array([1, 0, 1], np.float32)[:, None]
    np.testing.assert_allclose(reflect(x, without)[0], reflect(x, without[::2])[0], atol=1e-6)


def test_householder_has_finite_gradients():
    """Also at no length, at hardly any, and where all vectors are the same."""
    x = random(5, 3)

    @jax.jit
    def gradients(vectors):
        return jax.grad(lambda v: jnp.sum(jnp.sin(F.householder_forward(x, v)[0])))(vectors)

    start = random(4, 3)
    for vectors in (start, start * 0, start * 1e-20, start * 1e-40, jnp.ones((4, 3))):
        assert np.isfinite(gradients(vectors)).all()
    assert np.all(np.abs(gradients(start)).max(1) > 1e-3)
    # Only directions count.
    np.testing.assert_allclose(np.sum(gradients(start) * start, 1), 0.0, atol=1e-5)


# --- Triangular and PLU ---------------------------------------------------------------------------


def triangular_matrix(triangle):
    triangle = np.asarray(triangle, float)
    return np.tril(triangle, -1) + np.diag(np.exp(np.diag(triangle)))


def plu_matrix(triangles, permutation):
    triangles = np.asarray(triangles, float)
    lower = np.tril(triangles, -1) + np.eye(len(triangles))
    return np.eye(len(triangles))[list(permutation)] @ lower @ triangular_matrix(triangles.T).T


@jax.jit
def both_there_and_back(x, shift, triangles, permutation):
    results = []
    for forward, inverse, parameters in (
        (F.triangular_forward, F.triangular_inverse, (shift, triangles)),
        (F.plu_forward, F.plu_inverse, (triangles, permutation)),
    ):
        y, log_det = forward(x, *parameters)
        results.append((y, log_det, *inverse(y, *parameters)))
    return results


def check_there_and_back(x, shift, triangles, permutation, unit):
    results = both_there_and_back(x, shift, triangles, jnp.asarray(permutation))
    x, shift = np.asarray(x), np.asarray(shift)
    lower, plu = triangular_matrix(triangles), plu_matrix(triangles, permutation)
    for (y, log_det, back, back_log_det), matrix, offset in zip(
        results, (lower, plu), (shift, 0.0), strict=True
    ):
        condition = np.linalg.cond(np.abs(matrix)) * np.linalg.cond(matrix)
        np.testing.assert_allclose(y, x @ matrix.T + offset, atol=unit * np.abs(matrix).sum())
        np.testing.assert_allclose(back, x, atol=unit * condition)
        expected = np.full(x.shape[:-1], np.linalg.slogdet(matrix)[1])
        np.testing.assert_allclose(log_det, expected, atol=20 * unit)
        np.testing.assert_array_equal(back_log_det, -log_det)


@given(floats(3, size=4), floats(3, 3, size=1.5), st.permutations(range(3)))
def test_triangles_there_and_back(shift, triangles, permutation):
    check_there_and_back(random(2, 3, 3), shift, triangles, permutation, 1e-5)


@pytest.mark.parametrize("n", [1, 2, 6])
def test_triangles_in_float64(n, x64):
    triangles, x = random(n, n, dtype=float), random(4, n, dtype=float)
    permutation = np.random.default_rng(1).permutation(n)
    results = both_there_and_back(x, random(n, dtype=float), triangles, jnp.asarray(permutation))
    assert all(part.dtype == jnp.float64 for part in jax.tree.leaves(results))
    check_there_and_back(x, random(n, dtype=float), triangles, permutation, 1e-13)


def test_only_one_triangle_of_a_triangular_map_is_read():
    x, shift, triangle = random(5, 3), random(3), random(3, 3)
    for f in (F.triangular_forward, F.triangular_inverse):
        for part, expected in zip(
            f(x, shift, jnp.tril(triangle)), f(x, shift, triangle), strict=True
        ):
            np.testing.assert_array_equal(part, expected)


def test_plu_has_the_determinant_of_its_jacobian():
    x, triangles, permutation = random(4), random(4, 4), jnp.array([2, 0, 3, 1])
    for f in (F.plu_forward, F.plu_inverse):
        jacobian = jax.jacrev(lambda x, f=f: f(x, triangles, permutation)[0])(x)
        _, log_det = f(x, triangles, permutation)
        np.testing.assert_allclose(log_det, np.linalg.slogdet(jacobian)[1], rtol=1e-4)


def test_linear_maps_keep_narrow_types():
    @jax.jit
    def run(x, square, thin):
        return (
            F.householder_forward(x, square),
            F.householder_forward(jnp.tile(x, 6), thin),
            F.triangular_inverse(x, square[0], square),
            F.plu_inverse(x, square, jnp.arange(3)),
        )

    for y, log_det in run(*(random(*s, dtype=jnp.bfloat16) for s in ((2, 3), (3, 3), (1, 18)))):
        assert y.dtype == jnp.bfloat16 and log_det.dtype == jnp.float32
        assert np.isfinite(np.asarray(y, float)).all()


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16])
def test_rotations_in_narrow_types(dtype):
    entries = random(6, dtype=dtype)
    rotation = F.skew_exponential(entries, 4)
    assert rotation.dtype == dtype
    expected = F.skew_exponential(entries.astype(jnp.float32), 4)
    atol = float(jnp.finfo(dtype).eps)
    np.testing.assert_allclose(np.asarray(rotation, float), expected, atol=atol)

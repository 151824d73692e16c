"""Linear maps by a given matrix against NumPy, and scaling alone."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jinn import functional as F
from jinn.bijectors import Affine, Linear, trainable

RNG = np.random.default_rng(0)
MATRIX, SHIFT = RNG.normal(size=(4, 4)), RNG.normal(size=4)


@pytest.mark.parametrize("batch", [(), (5,), (2, 3)])
def test_both_directions_are_the_matrix(batch, x64):
    x = RNG.normal(size=(*batch, 4))
    args = jnp.asarray(MATRIX), jnp.asarray(SHIFT)
    y, log_det = F.linear_forward(jnp.asarray(x), *args)
    np.testing.assert_allclose(y, x @ MATRIX.T + SHIFT, atol=1e-13)
    np.testing.assert_allclose(log_det, np.full(batch, np.linalg.slogdet(MATRIX)[1]), rtol=1e-12)
    back, back_log_det = F.linear_inverse(y, *args)
    np.testing.assert_allclose(back, x, atol=1e-12)
    np.testing.assert_array_equal(back_log_det, -log_det)


def test_a_singular_matrix_is_told_by_the_log_det():
    y, log_det = F.linear_forward(jnp.ones((3, 2)), jnp.ones((2, 2)), jnp.zeros(2))
    np.testing.assert_allclose(y, 2.0)
    assert np.isneginf(log_det).all()


def test_nothing_is_learned_and_images_count_each_pixel():
    image = Linear((2, 3, 4), MATRIX, shift=SHIFT)
    assert not any(jax.tree.leaves(trainable(image)))
    x = jnp.asarray(RNG.normal(size=(5, 2, 3, 4)), jnp.float32)
    y, log_det = image.forward_and_log_det(x)
    np.testing.assert_allclose(y, np.asarray(x) @ MATRIX.T + SHIFT, atol=1e-4)
    np.testing.assert_allclose(log_det, 6 * np.linalg.slogdet(MATRIX)[1], rtol=1e-4)


def test_a_learned_scale_leaves_the_shift_alone():
    scaling = Affine((3,), shift=[1.0, 2.0, 3.0], learned="scale")
    free = trainable(scaling)
    assert jax.tree.leaves(free.log_scale) == [True] and jax.tree.leaves(free.shift) == [False]
    slopes = jax.grad(lambda b: b.forward(jnp.ones(3)).sum())(scaling)
    np.testing.assert_array_equal(slopes.shift[...], 0.0)
    np.testing.assert_allclose(slopes.log_scale[...], 1.0)

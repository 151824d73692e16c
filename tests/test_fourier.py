"""Convolutions in Fourier space against the dense circulant matrix."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jinn import functional as F
from jinn.bijectors import FourierConvolution

CASES = [  # space, channels, size of the kernel
    ((6,), 1, (3,)),
    ((5,), 2, (4,)),
    ((4,), 3, (1,)),
    ((3,), 1, (8,)),
    ((1,), 2, (3,)),
    ((4, 5), 2, (3, 3)),
    ((5, 4), 1, (2, 6)),
    ((3, 2), 3, (1, 2)),
    ((2, 3, 4), 1, (3, 3, 3)),
]


def circulant(kernel, space):
    """The matrix of the convolution, from x to y both flattened, entry by entry."""
    size, channels = kernel.shape[:-2], kernel.shape[-1]
    matrix = np.zeros((*space, channels, *space, channels))
    for i in itertools.product(*map(range, space)):
        for p in itertools.product(*map(range, size)):
            j = tuple((a + b - s // 2) % n for a, b, s, n in zip(i, p, size, space, strict=True))
            for c, d in itertools.product(range(channels), repeat=2):
                matrix[(*i, d, *j, c)] += kernel[(*p, c, d)]
    n = int(np.prod(space)) * channels
    return matrix.reshape(n, n)


def draw(space, channels, size, batch=(2, 3)):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(*batch, *space, channels))
    return x, rng.normal(size=(*size, channels, channels))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("space", "channels", "size"), CASES)
def test_it_is_the_circulant_matrix(space, channels, size, dtype):
    x, kernel = draw(space, channels, size)
    matrix = circulant(kernel, space)
    flat = x.reshape(2, 3, -1)
    tolerance = 1e-9 if dtype == "float64" else 1e-4
    with jax.enable_x64(dtype == "float64"):
        args = jnp.asarray(x, dtype), jnp.asarray(kernel, dtype)
        y, log_det = jax.jit(F.fourier_convolution_forward)(*args)
        back, back_log_det = jax.jit(F.fourier_convolution_inverse)(*args)
    assert y.shape == back.shape == x.shape and y.dtype == back.dtype == dtype
    assert log_det.shape == back_log_det.shape == (2, 3)
    np.testing.assert_allclose(y.reshape(flat.shape), flat @ matrix.T, atol=10 * tolerance)
    solved = np.linalg.solve(matrix, flat.reshape(6, -1).T).T.reshape(flat.shape)
    worst = np.linalg.cond(matrix)
    np.testing.assert_allclose(back.reshape(flat.shape), solved, atol=worst * tolerance)
    expected = np.linalg.slogdet(matrix)[1]
    np.testing.assert_allclose(log_det, expected, atol=worst * tolerance)
    np.testing.assert_allclose(back_log_det, -expected, atol=worst * tolerance)


def test_it_is_what_networks_call_a_convolution():
    x, kernel = draw((6, 7), 2, (3, 5), (4,))
    padded = jnp.pad(jnp.asarray(x), ((0, 0), (1, 1), (2, 2), (0, 0)), mode="wrap")
    expected = jax.lax.conv_general_dilated(
        padded, jnp.asarray(kernel), (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    y, _ = F.fourier_convolution_forward(jnp.asarray(x), jnp.asarray(kernel))
    np.testing.assert_allclose(y, expected, atol=1e-4)


@pytest.mark.parametrize("space", [(5,), (4, 3)])
def test_gradients_are_those_of_the_matrix(space, x64):
    x, kernel = draw(space, 2, (3,) * len(space), (1,))

    def places(kernel):  # where each entry of the kernel stands in the matrix, linearly
        return jax.jacfwd(lambda x: F.fourier_convolution_forward(x[None], kernel)[0][0])(
            jnp.asarray(x[0])
        ).reshape(x.size, x.size)

    by_matrix = jax.grad(lambda k: jnp.linalg.slogdet(places(k))[1])(jnp.asarray(kernel))
    for f, sign in ((F.fourier_convolution_forward, 1), (F.fourier_convolution_inverse, -1)):
        gradient = jax.grad(lambda k, f=f: f(jnp.asarray(x), k)[1].sum())(jnp.asarray(kernel))
        np.testing.assert_allclose(gradient, sign * by_matrix, atol=1e-9)


def test_a_kernel_that_leaves_a_frequency_out_has_no_log_det():
    kernel = jnp.asarray([0.5, 0.5]).reshape(2, 1, 1)  # an average of neighbours
    x = jnp.ones((4, 1))
    y, log_det = F.fourier_convolution_forward(x, kernel)
    np.testing.assert_allclose(y, x, atol=1e-6)
    assert log_det < -14 or np.isneginf(log_det)
    assert np.isfinite(F.fourier_convolution_forward(jnp.ones((5, 1)), kernel)[1])


def test_the_bijector_starts_as_an_orthogonal_mixing_of_channels():
    bijector = FourierConvolution((4, 5, 3), kernel_size=[3, 2], rngs=0)
    x = jnp.asarray(np.random.default_rng(1).normal(size=(4, 5, 3)), jnp.float32)
    y, log_det = bijector.forward_and_log_det(x)
    matrix = bijector.kernel[...][1, 1]
    np.testing.assert_allclose(matrix @ matrix.T, np.eye(3), atol=1e-6)
    np.testing.assert_allclose(y, x @ matrix, atol=1e-5)
    np.testing.assert_allclose(log_det, 0.0, atol=1e-4)

"""Haar wavelets and squeezing as functions: against PyWavelets, the Jacobian and each other."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import pywt

from jinn.bijectors import Bijector, Haar, Squeeze
from jinn.functional import haar_forward, haar_inverse, squeeze_forward, squeeze_inverse

SHAPES = [(8, 8, 1), (16, 16, 3), (12, 20, 2), (3, 4, 2, 5), (2, 1, 6, 4, 1)]
OPTIONS = [
    {},
    {"averaging": True},
    {"rebalance": 0.5},
    {"order": "channel"},
    {"averaging": True, "rebalance": 3.0, "order": "channel"},
]


def images(shape: tuple, dtype: str = "float32") -> jax.Array:
    return jnp.asarray(np.random.default_rng(0).normal(size=shape), dtype)


@pytest.mark.parametrize("order", ["band", "channel"])
@pytest.mark.parametrize("shape", SHAPES)
def test_haar_agrees_with_pywavelets(shape: tuple, order: str) -> None:
    x = images(shape)
    average, details = pywt.dwt2(np.asarray(x, np.float64), "haar", axes=(-3, -2))
    bands = np.stack([average, *details], axis=-2 if order == "band" else -1)
    y, log_det = haar_forward(x, order=order)
    np.testing.assert_allclose(y, bands.reshape(*bands.shape[:-2], -1), atol=1e-6)
    np.testing.assert_array_equal(log_det, np.zeros(shape[:-3]))


def test_the_bands_of_a_block_have_the_signs_that_are_documented() -> None:
    p, q, r, s = 1.0, 20.0, 300.0, 4000.0
    y, _ = haar_forward(jnp.array([[[p], [q]], [[r], [s]]]))
    expected = [p + q + r + s, p + q - r - s, p - q + r - s, p - q - r + s]
    np.testing.assert_allclose(y[0, 0], np.array(expected) / 2)


def test_averaging_and_rebalance_scale_the_bands() -> None:
    x = images((3, 6, 4, 2))
    plain = np.asarray(haar_forward(x)[0]).reshape(3, 3, 2, 4, 2)
    blocks = x.reshape(3, 3, 2, 2, 2, 2)
    mean = haar_forward(x, averaging=True)[0].reshape(plain.shape)
    np.testing.assert_allclose(mean[..., 0, :], blocks.mean(axis=(2, 4)), atol=1e-6)
    np.testing.assert_allclose(mean[..., 1:, :], plain[..., 1:, :], atol=1e-6)
    halved = haar_forward(x, rebalance=0.5)[0].reshape(plain.shape)
    np.testing.assert_allclose(halved, plain / 2, atol=1e-6)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.usefixtures("x64")
def test_haar_and_its_log_det_against_the_jacobian(options: dict) -> None:
    x = images((4, 6, 2), "float64")
    y, log_det = haar_forward(x, **options)
    back, inverse_log_det = haar_inverse(y, **options)
    np.testing.assert_allclose(back, x, atol=1e-14)
    for jacobian in (jax.jacrev, jax.jacfwd):
        matrix = jacobian(lambda x: haar_forward(x, **options)[0].ravel())(x).reshape(48, 48)
        np.testing.assert_allclose(log_det, np.linalg.slogdet(matrix)[1], atol=1e-12)
        matrix = jacobian(lambda y: haar_inverse(y, **options)[0].ravel())(y).reshape(48, 48)
        np.testing.assert_allclose(inverse_log_det, np.linalg.slogdet(matrix)[1], atol=1e-12)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("shape", SHAPES)
def test_haar_inverse_undoes_it(shape: tuple, options: dict) -> None:
    x = images(shape)
    y, log_det = haar_forward(x, **options)
    assert y.shape == (*shape[:-3], shape[-3] // 2, shape[-2] // 2, 4 * shape[-1])
    back, inverse_log_det = haar_inverse(y, **options)
    np.testing.assert_allclose(back, x, atol=1e-5)
    np.testing.assert_array_equal(inverse_log_det, -log_det)
    assert log_det.shape == shape[:-3] and log_det.dtype == jnp.float32


@pytest.mark.parametrize("shape", SHAPES)
def test_squeeze_orders_the_pixels_of_a_block_row_by_row(shape: tuple) -> None:
    x = images(shape)
    y, log_det = squeeze_forward(x)
    pixels = [x[..., a::2, b::2, :] for a in (0, 1) for b in (0, 1)]
    np.testing.assert_array_equal(y, np.concatenate(pixels, axis=-1))
    back, inverse_log_det = squeeze_inverse(y)
    np.testing.assert_array_equal(back, x)
    for zeros in (log_det, inverse_log_det):
        np.testing.assert_array_equal(zeros, np.zeros(shape[:-3]))


@pytest.mark.parametrize("function", [haar_forward, haar_inverse, squeeze_forward, squeeze_inverse])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_type_is_kept_and_log_dets_are_wide(function: Callable, dtype: str) -> None:
    y, log_det = function(images((2, 4, 6, 4), dtype))
    assert y.dtype == dtype and log_det.dtype == jnp.float32


@pytest.mark.parametrize("bijector", [Haar((4, 6, 1)), Squeeze((4, 6, 1))], ids=["Haar", "Squeeze"])
def test_nothing_modifies_its_input(bijector: Bijector) -> None:
    for run, shape in ((bijector.forward, (2, 4, 6, 1)), (bijector.inverse, (2, 2, 3, 4))):
        x = np.array(images(shape))
        x.setflags(write=False)
        before = x.copy()
        run(x)
        np.testing.assert_array_equal(x, before)


@pytest.mark.no_type_hook
def test_images_of_integers_and_booleans_are_real_numbers() -> None:
    for dtype in (bool, np.uint8, np.int32):
        x = jnp.ones((2, 2, 1), dtype)
        y, _ = haar_forward(x, rebalance=np.float32(1))
        np.testing.assert_array_equal(np.ravel(y), [2, 0, 0, 0])
        assert jnp.issubdtype(y.dtype, jnp.floating)


def test_a_huge_block_does_not_disturb_its_neighbours() -> None:
    x = jnp.zeros((4, 4, 1)).at[0, 0].set(jnp.inf)
    y, _ = haar_forward(x)
    assert jnp.isfinite(y[1]).all() and jnp.isfinite(y[0, 1]).all()

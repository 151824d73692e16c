"""The maximum mean discrepancy against a plain NumPy double sum."""

import hypothesis.extra.numpy as npst
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jinn.functional.kernels import mmd_squared

BANDWIDTHS = (0.05, 0.2, 0.9)
CONDITIONS = (np.zeros((5, 3)), np.zeros((5, 3)))
KERNELS = ("inverse_multiquadratic", "gaussian")


def naive_mmd_squared(x, y, bandwidths=BANDWIDTHS, kernel=KERNELS[0], unbiased=True):
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)

    def mean(a, b, skip_diagonal):
        d2 = np.sum((a[:, None, :] - b[None, :, :]) ** 2, axis=-1)
        if kernel == "gaussian":
            k = sum(np.exp(-d2 / (2 * h**2)) for h in bandwidths)
        else:
            k = sum(1 / (1 + d2 / h**2) for h in bandwidths)
        if skip_diagonal:
            n = len(a)
            return (k.sum() - np.trace(k)) / (n * (n - 1))
        return k.mean()

    return mean(x, x, unbiased) - 2 * mean(x, y, False) + mean(y, y, unbiased)


def normal(seed, *shape, scale=1.0):
    return np.random.default_rng(seed).normal(scale=scale, size=shape).astype(np.float32)


@st.composite
def two_samples(draw):
    dim = draw(st.integers(1, 20))
    values = st.floats(-10, 10, width=32)
    rows = st.integers(2, 6)
    return tuple(draw(npst.arrays(np.float32, (draw(rows), dim), elements=values)) for _ in "xy")


@given(two_samples(), st.sampled_from(KERNELS), st.booleans())
@settings(max_examples=30, deadline=None)
def test_agrees_with_the_double_sum(samples, kernel, unbiased):
    x, y = samples
    value = mmd_squared(x, y, kernel=kernel, unbiased=unbiased)
    expected = naive_mmd_squared(x, y, kernel=kernel, unbiased=unbiased)
    # The product form, for more than 16 dimensions, is good to eps |x|^2 in the squared distance.
    tolerance = 2e-5 if x.shape[1] <= 16 else 6e-2
    np.testing.assert_allclose(value, expected, atol=tolerance)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("unbiased", [True, False])
@pytest.mark.parametrize("dim", [1, 16, 17])
def test_samples_of_different_size(kernel, unbiased, dim):
    x, y = normal(0, 300, dim, scale=0.3), normal(1, 411, dim, scale=0.4)
    value = mmd_squared(x, y, kernel=kernel, unbiased=unbiased)
    expected = naive_mmd_squared(x, y, kernel=kernel, unbiased=unbiased)
    assert value.shape == () and value.dtype == jnp.float32
    np.testing.assert_allclose(value, expected, atol=2e-6)


def test_rows_that_do_not_fill_the_last_block(monkeypatch):
    x, y = normal(0, 237, 3), normal(1, 101, 3)
    whole = jax.value_and_grad(lambda x: mmd_squared(x, y, bandwidths=(0.5,)))(x)
    monkeypatch.setattr("jinn.functional.kernels._PAIRS_PER_BLOCK", 1000)
    # A bandwidth of its own, since the block size is no part of the compilation cache's key.
    blocks = jax.value_and_grad(lambda x: mmd_squared(x, y, bandwidths=(0.5 + 1e-12,)))(x)
    np.testing.assert_allclose(blocks[0], whole[0], atol=1e-6)
    np.testing.assert_allclose(blocks[1], whole[1], atol=1e-7)


@pytest.mark.parametrize("dim", [4, 40])
def test_float64_is_respected(dim):
    with jax.enable_x64(True):
        x = normal(0, 50, dim).astype(np.float64)
        y = normal(1, 60, dim).astype(np.float64)
        value = mmd_squared(x, y, bandwidths=(0.5, 5.0))
        assert value.dtype == jnp.float64
        expected = naive_mmd_squared(x, y, bandwidths=(0.5, 5.0))
        np.testing.assert_allclose(value, expected, rtol=1e-11, atol=1e-13)


def test_close_points_far_from_the_origin():
    x = np.float32(1000.0) + normal(0, 40, 4, scale=1e-2)
    y = np.float32(1000.0) + normal(1, 40, 4, scale=1e-2)
    np.testing.assert_allclose(mmd_squared(x, y), naive_mmd_squared(x, y), atol=1e-6)


def test_the_unbiased_estimate_has_mean_zero_for_equal_distributions():
    x = jax.random.normal(jax.random.key(0), (400, 50, 2))
    y = jax.random.normal(jax.random.key(1), (400, 50, 2))
    values = np.asarray(jax.vmap(mmd_squared)(x, y))
    assert abs(values.mean()) < 4 * values.std() / np.sqrt(len(values))
    biased = np.asarray(jax.vmap(lambda x, y: mmd_squared(x, y, unbiased=False))(x, y))
    assert np.all(biased > 0)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("dim", [4, 20])
def test_gradient_is_finite_at_coincident_points_and_right_elsewhere(kernel, dim):
    x = normal(0, 8, dim)
    x[1] = x[0]
    y = normal(1, 7, dim)
    y[0] = x[0]
    gradients = jax.grad(lambda x, y: mmd_squared(x, y, kernel=kernel), argnums=(0, 1))(x, y)
    assert all(np.isfinite(g).all() for g in gradients)
    with jax.enable_x64(True):
        x, y = normal(2, 8, dim).astype(np.float64), normal(3, 7, dim).astype(np.float64)

        def f(x):
            return mmd_squared(x, y, kernel=kernel, bandwidths=(3.0,))

        gradient = jax.grad(f)(x)
        for index in ((0, 0), (5, dim - 1)):
            step = np.zeros_like(x)
            step[index] = 1e-6
            expected = (f(x + step) - f(x - step)) / 2e-6
            np.testing.assert_allclose(gradient[index], expected, rtol=1e-6, atol=1e-10)


def test_under_jit_and_vmap():
    x, y = normal(0, 3, 20, 4), normal(1, 3, 25, 4)
    values = jax.jit(jax.vmap(mmd_squared))(x, y)
    expected = [naive_mmd_squared(a, b) for a, b in zip(x, y, strict=True)]
    np.testing.assert_allclose(values, expected, atol=2e-6)
    shared = jax.vmap(mmd_squared, in_axes=(None, 0))(x[0], y)
    np.testing.assert_allclose(shared, [naive_mmd_squared(x[0], b) for b in y], atol=2e-6)


def plain_mmd_squared(x, y, a, b, kernel, unbiased, length):
    """The double sum with a weight by the conditions, all pairs at once."""

    def mean(u, v, s, t, skip_diagonal):
        d2, c2 = (jnp.sum((p[:, None] - q[None]) ** 2, -1) for p, q in ((u, v), (s, t)))
        if kernel == "gaussian":
            k = sum(jnp.exp(-d2 / (2 * h**2)) for h in (0.5, 2.0))
        else:
            k = sum(1 / (1 + d2 / h**2) for h in (0.5, 2.0))
        k = k * jnp.exp(-c2 / (2 * length**2))
        count = len(u) * (len(v) - skip_diagonal)
        return jnp.sum(k * (1 - skip_diagonal * jnp.eye(len(u), len(v)))) / count

    own = float(unbiased)
    return mean(x, x, a, a, own) - 2 * mean(x, y, a, b, 0.0) + mean(y, y, b, b, own)


@pytest.mark.parametrize(("kernel", "dim"), [(KERNELS[0], 3), (KERNELS[1], 17)])
def test_blocks_give_the_value_and_the_gradient_of_all_pairs_at_once(kernel, dim, x64, monkeypatch):
    monkeypatch.setattr("jinn.functional.kernels._PAIRS_PER_BLOCK", 100)
    sizes = ((23, dim), (19, dim), (23, 2), (19, 2))
    points = [normal(i, *size).astype(np.float64) for i, size in enumerate(sizes)]
    unbiased, length = dim == 3, 0.7

    def found(x, y, a, b):
        options = {"bandwidths": (0.5, 2.0), "kernel": kernel, "unbiased": unbiased}
        return mmd_squared(x, y, conditions=(a, b), condition_bandwidth=length, **options)

    def expected(x, y, a, b):
        return plain_mmd_squared(x, y, a, b, kernel, unbiased, length)

    every = range(4)
    both = [jax.jit(jax.value_and_grad(f, argnums=every)) for f in (found, expected)]
    (value, gradients), (plain, plain_gradients) = (f(*points) for f in both)
    np.testing.assert_allclose(value, plain, atol=1e-12)
    for one, other in zip(gradients, plain_gradients, strict=True):
        assert np.abs(other).max() > 1e-4
        np.testing.assert_allclose(one, other, atol=1e-12)
    tangents = [normal(9 + i, *size).astype(np.float64) for i, size in enumerate(sizes)]
    change = sum(np.vdot(g, t) for g, t in zip(plain_gradients, tangents, strict=True))
    np.testing.assert_allclose(jax.jvp(found, points, tangents)[1], change, atol=1e-12)
    of_y = jax.grad(found, argnums=1)(*points)  # one gradient alone
    np.testing.assert_allclose(of_y, plain_gradients[1], atol=1e-12)


def test_memory_of_the_gradient_grows_with_the_rows_not_with_the_pairs():
    def bytes_used(rows):
        points, conditions = ((rows, 4), (rows, 2))
        shapes = [jax.ShapeDtypeStruct(s, jnp.float32) for s in (points, points, conditions)]

        def f(x, y, a):
            return mmd_squared(x, y, conditions=(a, a), condition_bandwidth=0.5)

        compiled = jax.jit(jax.value_and_grad(f, argnums=(0, 1))).lower(*shapes).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    small, large = bytes_used(4096), bytes_used(16_384)
    assert large - small < 4 * 16_384 * 200  # 16 times the pairs, of which each would take 4 bytes
    assert large < 100e6  # beside 1 GB for one matrix of all pairs


@pytest.mark.parametrize("dim", [4, 64])
@pytest.mark.parametrize("gradient", [False, True])
def test_ten_thousand_points_stay_far_below_a_gigabyte(dim, gradient):
    shape = jax.ShapeDtypeStruct((10_000, dim), jnp.float32)
    function = jax.value_and_grad(mmd_squared, argnums=(0, 1)) if gradient else mmd_squared
    analysis = jax.jit(function).lower(shape, shape).compile().memory_analysis()
    assert analysis.temp_size_in_bytes < 200e6


def test_integers_and_half_precision_are_widened():
    x = np.arange(8).reshape(4, 2)
    assert mmd_squared(x, x + 1).dtype == jnp.float32
    half = jnp.asarray(x, jnp.bfloat16)
    np.testing.assert_allclose(mmd_squared(half, x + 1), mmd_squared(x, x + 1), atol=1e-6)


@pytest.mark.no_type_hook
@pytest.mark.parametrize(
    ("x", "y", "options", "text"),
    [
        ((1, 2), (5, 2), {}, "at least 2 rows in x, got 1; the unbiased estimate would be NaN"),
        ((5, 2), (1, 2), {}, "at least 2 rows in y, got 1"),
        ((5, 2), (0, 2), {"unbiased": False}, "at least 1 rows in y, got 0"),
        ((5, 2), (5, 3), {}, r"expected x of shape \(n, dim\).*\(5, 2\) and \(5, 3\)"),
        ((5,), (5,), {}, r"reshape scalars to \(n, 1\)"),
        ((5, 2), (5, 2), {"kernel": "laplace"}, "unknown kernel 'laplace'; choose from"),
        ((5, 2), (5, 2), {"bandwidths": (0.1, 0.0)}, "expected positive bandwidths"),
        ((5, 2), (5, 2), {"bandwidths": ()}, "expected positive bandwidths"),
        ((5, 2), (5, 2), {"bandwidths": (0.1, 1e-30)}, r"of float32, got \(0.1, 1e-30\)"),
        ((5, 2), (5, 2), {"bandwidths": float("inf")}, "in the range of float32, got inf"),
        ((5, 2), (5, 2), {"bandwidths": None}, "expected positive bandwidths, .* got None"),
        ((5, 2), (5, 2), {"condition_bandwidth": 1.0}, "1.0 and no conditions"),
        ((5, 2), (5, 2), {"conditions": CONDITIONS}, "a positive condition_bandwidth"),
        (
            (5, 2),
            (5, 2),
            {"conditions": CONDITIONS[0], "condition_bandwidth": 1.0},
            r"expected conditions=\(a, b\).* and conditions, a ndarray",
        ),
        (
            (5, 2),
            (4, 2),
            {"conditions": CONDITIONS, "condition_bandwidth": 1.0},
            r"conditions of shapes \(5, k\) and \(4, k\), got \(5, 3\) and \(5, 3\)",
        ),
    ],
)
def test_errors(x, y, options, text):
    with pytest.raises(ValueError, match=text):
        mmd_squared(np.zeros(x, np.float32), np.zeros(y, np.float32), **options)

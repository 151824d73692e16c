"""The rational-quadratic spline against the textbook's formulas, in NumPy and float64."""

import hypothesis.extra.numpy as npst
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jinn.functional import rational_quadratic_spline_forward as spline_forward
from jinn.functional import rational_quadratic_spline_inverse as spline_inverse
from jinn.functional.knots import MIN_BIN, MIN_SLOPE

BINS, BOUND, N = 6, 4.0, 64
EPS = 2.0**-23

forward = jax.jit(lambda x, p: spline_forward(x, *split(p), bound=BOUND))
inverse = jax.jit(lambda y, p: spline_inverse(y, *split(p), bound=BOUND))


def split(params):
    return params[:BINS], params[BINS : 2 * BINS], params[2 * BINS :]


# --- The textbook ---------------------------------------------------------------------------------


def textbook_knots(params):
    """Abscissas, ordinates and slopes of all knots, for the parameters of one element."""
    widths, heights, slopes = split(np.asarray(params, np.float64))

    def edges(raw):
        share = np.exp(raw - raw.max())
        share = MIN_BIN + (1 - BINS * MIN_BIN) * share / share.sum()
        return BOUND * (2 * np.concatenate([[0.0], np.cumsum(share)]) - 1)

    positive = np.logaddexp(0, slopes + np.log(np.expm1(1 - MIN_SLOPE))) + MIN_SLOPE
    return edges(widths), edges(heights), np.concatenate([[1.0], positive, [1.0]])


def textbook_forward(x, params):
    """Durkan et al. (2019), equations 4 and 5."""
    if abs(x) >= BOUND:
        return x, 0.0
    xs, ys, d = textbook_knots(params)
    k = np.clip(np.searchsorted(xs, x, side="right") - 1, 0, BINS - 1)
    width, height = xs[k + 1] - xs[k], ys[k + 1] - ys[k]
    s, xi = height / width, (x - xs[k]) / width
    denominator = s + (d[k + 1] + d[k] - 2 * s) * xi * (1 - xi)
    y = ys[k] + height * (s * xi**2 + d[k] * xi * (1 - xi)) / denominator
    slope = s**2 * (d[k + 1] * xi**2 + 2 * s * xi * (1 - xi) + d[k] * (1 - xi) ** 2)
    return y, np.log(slope / denominator**2)


def textbook_inverse(y, params):
    """Equations 6 to 8."""
    if abs(y) >= BOUND:
        return y, 0.0
    xs, ys, d = textbook_knots(params)
    k = np.clip(np.searchsorted(ys, y, side="right") - 1, 0, BINS - 1)
    width, height = xs[k + 1] - xs[k], ys[k + 1] - ys[k]
    s, rise = height / width, y - ys[k]
    a = height * (s - d[k]) + rise * (d[k + 1] + d[k] - 2 * s)
    b = height * d[k] - rise * (d[k + 1] + d[k] - 2 * s)
    c = -s * rise
    root = 2 * c / (-b - np.sqrt(b**2 - 4 * a * c))
    x = root * width + xs[k]
    return x, -textbook_forward(x, params)[1]


def over_elements(f, x, params):
    """A textbook function over many elements; parameters have the bins in front."""
    pairs = [f(value, params[:, i]) for i, value in enumerate(np.asarray(x, np.float64))]
    return np.array(pairs).T


def draw(seed, scale, dtype=jnp.float32):
    rng = np.random.default_rng(seed)
    x = rng.uniform(-1.3 * BOUND, 1.3 * BOUND, N)
    return jnp.asarray(x, dtype), jnp.asarray(rng.normal(0, scale, (3 * BINS - 1, N)), dtype)


# --- Against the textbook -------------------------------------------------------------------------


@pytest.mark.parametrize("scale", [0.01, 1.0, 3.0, 10.0])
def test_both_directions_agree_with_the_textbook(scale, x64):
    x, params = draw(0, scale, jnp.float64)
    y, log_slope = forward(x, params)
    expected_y, expected_log_slope = over_elements(textbook_forward, x, params)
    np.testing.assert_allclose(y, expected_y, atol=1e-10)
    np.testing.assert_allclose(log_slope, expected_log_slope, atol=1e-9)
    back, back_log_slope = inverse(expected_y, params)
    np.testing.assert_allclose(back, x, atol=1e-8)
    np.testing.assert_allclose(back_log_slope, -expected_log_slope, atol=1e-6)


@given(st.integers(0, 10_000), st.sampled_from([0.3, 1.0, 3.0]))
def test_float32_is_as_good_as_its_rounding_allows(seed, scale):
    x, params = draw(seed, scale)
    y, log_slope = forward(x, params)
    expected_y, expected_log_slope = over_elements(textbook_forward, x, params)
    knots = [textbook_knots(params[:, i])[:2] for i in range(N)]
    thinnest = np.array([np.diff(xs).min() for xs, _ in knots])
    flattest = np.array([np.diff(ys).min() for _, ys in knots])
    steepest = np.array([(np.diff(ys) / np.diff(xs)).max() for xs, ys in knots])
    rounding = 10 * EPS * BOUND
    np.testing.assert_array_less(np.abs(y - expected_y), rounding * (1 + 3 * steepest))
    # A knot that is moved by rounding moves the place within the bin.
    moved = np.minimum(rounding / thinnest + rounding / flattest, 1)
    curved = 1 + np.abs(np.max(params, 0)) + np.exp(np.abs(expected_log_slope))
    np.testing.assert_array_less(np.abs(log_slope - expected_log_slope), 20 * moved * curved)


@given(npst.arrays(np.float32, (3 * BINS - 1, N), elements=st.floats(-3, 3, width=32)))
def test_there_and_back(params):
    """The inverse meets y to rounding times the slope, however flat or steep the spline."""
    x = jnp.linspace(-1.2 * BOUND, 1.2 * BOUND, N)
    y, log_slope = forward(x, params)
    back, back_log_slope = inverse(y, params)
    again = over_elements(textbook_forward, back, params)
    steepness = 1 + np.exp(np.maximum(log_slope, again[1]))
    np.testing.assert_array_less(np.abs(again[0] - y), 40 * EPS * BOUND * steepness)
    np.testing.assert_allclose(back_log_slope, -again[1], rtol=0.02, atol=0.02)


def test_log_slope_is_that_of_autodiff_knots_and_edges_included(x64):
    x, params = draw(3, 2.0, jnp.float64)
    knots = [np.stack(textbook_knots(params[:, i])[:2])[:, i % (BINS + 1)] for i in range(N // 2)]
    for f, at in zip((forward, inverse), np.transpose(knots), strict=True):
        some = x.at[: N // 2].set(at)
        slope = jax.jit(jax.grad(lambda x, f=f: jnp.sum(f(x, params)[0])))(some)
        np.testing.assert_allclose(f(some, params)[1], np.log(slope), atol=1e-9)


# --- Laws -----------------------------------------------------------------------------------------


def test_zero_parameters_give_the_identity():
    x = np.linspace(-2 * BOUND, 2 * BOUND, N, dtype=np.float32)
    for f in (forward, inverse):
        y, log_slope = f(x, np.zeros((3 * BINS - 1, N), np.float32))
        np.testing.assert_allclose(y, x, atol=2e-6)
        np.testing.assert_allclose(log_slope, 0.0, atol=2e-6)


def test_identity_outside_the_box():
    _, params = draw(0, 3.0)
    x = np.geomspace(1.0001 * BOUND, 1e4, N, dtype=np.float32)
    for f in (forward, inverse):
        for sign in (-1, 1):
            y, log_slope = f(sign * x, params)
            np.testing.assert_array_equal(y, sign * x)
            np.testing.assert_array_equal(log_slope, 0.0)


@pytest.mark.parametrize("f", [forward, inverse], ids=["forward", "inverse"])
@pytest.mark.parametrize("scale", [0.3, 3.0])
def test_continuous_with_its_slope_at_knots_and_edges(f, scale, x64):
    params = np.random.default_rng(1).normal(0, scale, 3 * BINS - 1)
    xs, ys, slopes = textbook_knots(params)
    at, log_slopes = (xs, np.log(slopes)) if f is forward else (ys, -np.log(slopes))
    values = ys if f is forward else xs
    step = 1e-11
    for side in (-step, 0.0, step):
        wide = np.broadcast_to(params[:, None], (params.size, at.size))
        value, log_slope = f(at + side, wide)
        np.testing.assert_allclose(value, values, atol=1e-7)
        np.testing.assert_allclose(log_slope, log_slopes, atol=1e-5)


@pytest.mark.parametrize("f", [forward, inverse], ids=["forward", "inverse"])
@given(params=npst.arrays(np.float32, 3 * BINS - 1, elements=st.floats(-5, 5, width=32)))
def test_increasing(f, params):
    x = np.linspace(-1.1 * BOUND, 1.1 * BOUND, N, dtype=np.float32)
    y, log_slope = f(x, np.broadcast_to(params[:, None], (params.size, N)))
    assert np.all(np.diff(y) >= 0)
    assert np.isfinite(log_slope).all()


# --- Hard cases of the quadratic ------------------------------------------------------------------


@pytest.mark.parametrize("size", [0.0, 1e-8, 1e-6, 1e-4, 1e-2])
def test_inverse_in_nearly_linear_bins(size):
    """Where the bin is a straight line, the quadratic's leading coefficient vanishes."""
    rng = np.random.default_rng(0)
    params = (size * rng.normal(size=(3 * BINS - 1, N))).astype(np.float32)
    x = np.linspace(-BOUND, BOUND, N, dtype=np.float32)
    back, log_slope = inverse(x, params)
    expected, expected_log_slope = over_elements(textbook_inverse, x, params)
    np.testing.assert_allclose(back, expected, atol=20 * EPS * BOUND)
    np.testing.assert_allclose(log_slope, expected_log_slope, atol=1e-4)


@pytest.mark.parametrize("slope", [-12.0, 0.0, 12.0])
@pytest.mark.parametrize("height", [-12.0, 12.0])
def test_inverse_in_steep_and_flat_bins(height, slope):
    """One bin as high or as flat as can be, with steep and flat knots around it."""
    params = np.zeros((3 * BINS - 1, N), np.float32)
    params[BINS + 2] = height
    params[2 * BINS + 1] = slope
    x = np.linspace(-BOUND, BOUND, N, dtype=np.float32)
    y, _ = forward(x, params)
    back, log_slope = inverse(y, params)
    _, expected_log_slope = over_elements(textbook_forward, np.asarray(back), params)
    again, _ = over_elements(textbook_forward, np.asarray(back), params)
    # In float32, y is met to its rounding: times the slope, for that of x.
    steepness = 1 + np.exp(expected_log_slope)
    np.testing.assert_array_less(np.abs(again - y), 40 * EPS * BOUND * steepness)
    assert np.all(np.diff(back) >= -4 * EPS * BOUND)
    np.testing.assert_allclose(log_slope, -expected_log_slope, rtol=0.02, atol=0.02)


# --- Finite values and gradients ------------------------------------------------------------------


def hard_parameters(size):
    """All of one size, each kind in each sign, single outliers, and random signs."""
    rng = np.random.default_rng(0)
    cases = [np.full(3 * BINS - 1, sign * size) for sign in (-1, 1)]
    for part in split(np.arange(3 * BINS - 1)):
        for sign in (-1, 1):
            cases.append(np.zeros(3 * BINS - 1))
            cases[-1][part] = sign * size
            cases.append(cases[-1].copy())
            cases[-1][part[1:]] *= -1
    cases += [size * rng.choice([-1.0, 1.0], 3 * BINS - 1) for _ in range(6)]
    return np.array(cases, np.float32)


@jax.jit
def gradients(x, params):
    """Of both outputs of both directions, with respect to values and parameters."""
    parts = [lambda x, p, f=f, i=i: jnp.sum(f(x, p)[i]) for f in (forward, inverse) for i in (0, 1)]
    return [jax.grad(part, argnums=(0, 1))(x, params) for part in parts]


@pytest.mark.parametrize("size", [1e-3, 3.0, 30.0, 1e3])
def test_values_and_gradients_are_finite(size):
    """At knots, box edges, their neighbours, and far outside."""
    points, columns = [], []
    for params in hard_parameters(size):
        xs, ys, _ = textbook_knots(params)
        at = np.concatenate([xs, ys, [-BOUND, BOUND, 0.0, 1e4, -1e4]]).astype(np.float32)
        at = np.concatenate([at, np.nextafter(at, np.float32(np.inf)), np.nextafter(at, -at)])
        points.append(at)
        columns.append(np.broadcast_to(params[:, None], (params.size, at.size)))
    x, params = np.concatenate(points), np.concatenate(columns, axis=1)
    for f in (forward, inverse):
        value, log_slope = f(x, params)
        assert np.isfinite(value).all() and np.isfinite(log_slope).all()
        assert np.all(np.abs(value) <= np.maximum(np.abs(x), BOUND * (1 + 4 * EPS)))
    for by_x, by_params in gradients(x, params):
        assert np.isfinite(by_x).all() and np.isfinite(by_params).all()


@given(
    npst.arrays(np.float32, N, elements=st.floats(-1e4, 1e4, width=32)),
    npst.arrays(np.float32, (3 * BINS - 1, N), elements=st.floats(-30, 30, width=32)),
)
def test_values_and_gradients_are_finite_anywhere(x, params):
    for f in (forward, inverse):
        assert all(np.isfinite(part).all() for part in f(x, params))
    assert all(np.isfinite(part).all() for part in jax.tree.leaves(gradients(x, params)))


def test_elements_of_any_rank(x64):
    x, params = draw(0, 1.0, jnp.float64)
    shaped = forward(x.reshape(2, 8, 4), params.reshape(-1, 2, 8, 4))
    for got, flat in zip(shaped, forward(x, params), strict=True):
        np.testing.assert_allclose(got, flat.reshape(2, 8, 4), rtol=1e-9)
    value, log_slope = forward(x[0], params[:, 0])
    assert value.shape == log_slope.shape == ()

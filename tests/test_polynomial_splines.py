"""Linear, quadratic, cubic and circular splines against formulas in NumPy, and against nflows."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jinn import functional as F
from jinn.bijectors import transformers as t
from jinn.functional.knots import MIN_BIN, MIN_SLOPE

BINS, BOUND, N = 5, 3.0, 40
SPLINES = {
    "linear": t.LinearSpline(BINS, BOUND),
    "quadratic": t.QuadraticSpline(BINS, BOUND),
    "cubic": t.CubicSpline(BINS, BOUND),
    "circular": t.CircularSpline(BINS, BOUND),
    "rational quadratic": t.RationalQuadraticSpline(BINS, BOUND),
}
every_spline = pytest.mark.parametrize("name", SPLINES)


def draw(name, scale=1.0, dtype=np.float64, reach=1.3):
    rng = np.random.default_rng(0)
    x = rng.uniform(-reach * BOUND, reach * BOUND, N)
    return x.astype(dtype), rng.normal(0, scale, (SPLINES[name].n_params, N)).astype(dtype)


def run(name, direction):
    return jax.jit(getattr(SPLINES[name], direction))


# --- The formulas of the papers, for one element --------------------------------------------------


def sizes(raw):
    share = np.exp(raw - raw.max())
    return MIN_BIN + (1 - len(raw) * MIN_BIN) * share / share.sum()


def edges(parts):
    return BOUND * (2 * np.concatenate([[0.0], np.cumsum(parts)]) - 1)


def knots_of(name, p):
    """Abscissas, ordinates and slopes at the knots; for a linear spline no slopes."""
    if name == "linear":
        return np.linspace(-BOUND, BOUND, BINS + 1), edges(sizes(p)), None
    xs, width = edges(sizes(p[:BINS])), 2 * BOUND * sizes(p[:BINS])
    if name == "quadratic":
        inner = np.logaddexp(0, p[BINS:]) + MIN_SLOPE

        def area(scale):
            slopes = np.concatenate([[1.0], scale * inner, [1.0]])
            return np.sum(width * (slopes[1:] + slopes[:-1]) / 2)

        scale = (2 * BOUND - area(0.0)) / (area(1.0) - area(0.0))
        slopes = np.concatenate([[1.0], scale * inner, [1.0]]) * (1 - MIN_SLOPE) + MIN_SLOPE
        ys = np.concatenate([[0.0], np.cumsum(width * (slopes[1:] + slopes[:-1]) / 2)]) - BOUND
        return xs, ys, slopes
    ys, height = edges(sizes(p[BINS : 2 * BINS])), 2 * BOUND * sizes(p[BINS : 2 * BINS])
    s = height / width
    if name == "cubic":
        slopes = np.empty(BINS + 1)
        for k in range(1, BINS):  # Steffen's equation 11
            q = (s[k - 1] * width[k] + s[k] * width[k - 1]) / (width[k - 1] + width[k])
            slopes[k] = 2 * min(s[k - 1], s[k], 0.5 * q)
        start = (1 - MIN_SLOPE) / (2 - MIN_SLOPE)
        share = 1 / (1 + np.exp(-p[2 * BINS :]) / start)
        slopes[[0, -1]] = s[[0, -1]] * (MIN_SLOPE + (3 - 2 * MIN_SLOPE) * share)
        return xs, ys, slopes
    raw = np.append(p[2 * BINS :], p[2 * BINS])  # circular: the first knot is the last
    return xs, ys, MIN_SLOPE + np.logaddexp(0, raw + np.log(np.expm1(1 - MIN_SLOPE)))


def textbook(name, x, p):
    """Value and log-slope at one number."""
    turns = np.floor((x + BOUND) / (2 * BOUND)) if name == "circular" else 0.0
    x = x - 2 * BOUND * turns
    if abs(x) >= BOUND:
        return x, 0.0
    xs, ys, slopes = knots_of(name, p)
    k = np.clip(np.searchsorted(xs, x, side="right") - 1, 0, BINS - 1)
    width, height = xs[k + 1] - xs[k], ys[k + 1] - ys[k]
    u, s = (x - xs[k]) / width, height / width
    if name == "linear":
        return ys[k] + height * u, np.log(s)
    d0, d1 = slopes[k : k + 2]
    if name == "quadratic":
        return ys[k] + width * (d0 * u + (d1 - d0) * u**2 / 2), np.log(d0 + (d1 - d0) * u)
    if name == "cubic":
        a, b = (d0 + d1 - 2 * s) / width**2, (3 * s - 2 * d0 - d1) / width
        h = x - xs[k]
        return ys[k] + d0 * h + b * h**2 + a * h**3, np.log(d0 + 2 * b * h + 3 * a * h**2)
    denominator = s + (d1 + d0 - 2 * s) * u * (1 - u)
    y = ys[k] + height * (s * u**2 + d0 * u * (1 - u)) / denominator + 2 * BOUND * turns
    slope = s**2 * (d1 * u**2 + 2 * s * u * (1 - u) + d0 * (1 - u) ** 2)
    return y, np.log(slope / denominator**2)


@pytest.mark.parametrize("scale", [0.1, 1.0, 3.0])
@pytest.mark.parametrize("name", ["linear", "quadratic", "cubic", "circular"])
def test_both_directions_agree_with_the_formulas(name, scale, x64):
    x, params = draw(name, scale)
    expected = np.array([textbook(name, x[i], params[:, i]) for i in range(N)]).T
    y, log_slope = run(name, "forward")(x, params)
    np.testing.assert_allclose(y, expected[0], atol=1e-10)
    np.testing.assert_allclose(log_slope, expected[1], atol=1e-9)
    back, back_log_slope = run(name, "inverse")(expected[0], params)
    np.testing.assert_allclose(back, x, atol=1e-8)
    np.testing.assert_allclose(back_log_slope, -expected[1], atol=1e-6)


# --- nflows, where it is installed ----------------------------------------------------------------


def nflows_arguments(name, p):
    """What gives nflows' function the same knots, for parameters with the bins in front."""
    import torch

    def log_share(raw):
        return np.log(np.apply_along_axis(sizes, 0, raw))

    widths, shift = p[:BINS], np.log(np.expm1(1 - MIN_SLOPE))
    exact = {"min_bin_width": 0.0, "min_bin_height": 0.0}
    if name == "linear":
        arguments, options = {"unnormalized_pdf": log_share(p)}, {}
    elif name == "quadratic":
        slopes = np.stack([knots_of(name, column)[2] for column in p.T], axis=1)
        heights = np.log(np.expm1(100.0 * slopes - 1e-3))  # they are normalised again
        arguments = {"unnormalized_widths": log_share(widths), "unnormalized_heights": heights}
        options = exact
    else:
        arguments = {"unnormalized_widths": widths, "unnormalized_heights": p[BINS : 2 * BINS]}
        options = {}
        if name == "cubic":
            start = np.log((1 - MIN_SLOPE) / (2 - MIN_SLOPE))
            share = MIN_SLOPE + (3 - 2 * MIN_SLOPE) / (1 + np.exp(-p[2 * BINS :] - start))
            raw = np.log(share / (3 - share))
            arguments["unnorm_derivatives_left"] = raw[:1]
            arguments["unnorm_derivatives_right"] = raw[1:]
        else:
            ends = np.zeros((1, p.shape[1]))
            arguments["unnormalized_derivatives"] = shift + np.concatenate(
                [ends, p[2 * BINS :], ends]
            )
    return {key: torch.from_numpy(value.T.copy()) for key, value in arguments.items()}, options


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", ["linear", "quadratic", "cubic", "rational quadratic"])
def test_agrees_with_nflows(name, dtype):
    splines = pytest.importorskip("nflows.transforms.splines")
    import torch

    functions = {
        "linear": splines.linear_spline,
        "quadratic": splines.quadratic_spline,
        "cubic": splines.cubic_spline,
        "rational quadratic": splines.rational_quadratic_spline,
    }
    box = {"left": -BOUND, "right": BOUND, "bottom": -BOUND, "top": BOUND}
    x, params = draw(name, reach=0.999)
    arguments, options = nflows_arguments(name, params)
    tolerance = 1e-9 if dtype == "float64" else 1e-4
    default = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        y, log_slope = functions[name](torch.from_numpy(x), **arguments, **options, **box)
        with jax.enable_x64(dtype == "float64"):
            args = jnp.asarray(x, dtype), jnp.asarray(params, dtype)
            got, got_log_slope = run(name, "forward")(*args)
            np.testing.assert_allclose(got, y, atol=tolerance)
            np.testing.assert_allclose(got_log_slope, log_slope, atol=tolerance)
            back, _ = run(name, "inverse")(jnp.asarray(y.numpy(), dtype), args[1])
        # nflows' closed form of a cubic's root is good to 1e-5, and its search for the bin moves
        # the last edge by 1e-6, which its linear spline then takes for a slope.
        if name not in ("linear", "cubic"):
            other, _ = functions[name](y, **arguments, **options, **box, inverse=True)
            np.testing.assert_allclose(back, other, atol=10 * tolerance)
        np.testing.assert_allclose(back, x, atol=10 * tolerance)
    finally:
        torch.set_default_dtype(default)


# --- Laws -----------------------------------------------------------------------------------------


@every_spline
def test_zero_parameters_give_the_identity(name):
    x = np.linspace(-2 * BOUND, 2 * BOUND, N, dtype=np.float32)
    for direction in ("forward", "inverse"):
        y, log_slope = run(name, direction)(x, np.zeros((SPLINES[name].n_params, N), np.float32))
        np.testing.assert_allclose(y, x, atol=3e-6)
        np.testing.assert_allclose(log_slope, 0.0, atol=3e-6)


@pytest.mark.parametrize("name", ["linear", "quadratic", "cubic"])
def test_identity_outside_the_box(name):
    x = np.geomspace(1.0001 * BOUND, 1e4, N, dtype=np.float32)
    _, params = draw(name, 3.0, np.float32)
    for direction in ("forward", "inverse"):
        for sign in (-1, 1):
            y, log_slope = run(name, direction)(sign * x, params)
            np.testing.assert_array_equal(y, sign * x)
            np.testing.assert_array_equal(log_slope, 0.0)


@every_spline
def test_log_slope_is_that_of_autodiff(name, x64):
    x, params = draw(name, 2.0)
    for direction in ("forward", "inverse"):
        f = run(name, direction)
        slope = jax.grad(lambda x, f=f: jnp.sum(f(x, params)[0]))(x)
        np.testing.assert_allclose(f(x, params)[1], np.log(slope), atol=1e-8)


@pytest.mark.parametrize("name", ["quadratic", "cubic", "circular"])
def test_continuous_with_its_slope_at_knots(name, x64):
    params = np.random.default_rng(1).normal(0, 1.0, SPLINES[name].n_params)
    xs, ys, slopes = knots_of(name, params)
    inner = slice(1, -1) if name == "cubic" else slice(None)
    wide = np.broadcast_to(params[:, None], (params.size, xs[inner].size))
    for step in (-1e-11, 0.0, 1e-11):
        y, log_slope = run(name, "forward")(xs[inner] + step, wide)
        np.testing.assert_allclose(y, ys[inner], atol=1e-8)
        np.testing.assert_allclose(log_slope, np.log(slopes[inner]), atol=1e-6)
        x, log_slope = run(name, "inverse")(ys[inner] + step, wide)
        np.testing.assert_allclose(x, xs[inner], atol=1e-8)
        np.testing.assert_allclose(log_slope, -np.log(slopes[inner]), atol=1e-6)


def test_a_circle_is_periodic_with_its_slope(x64):
    x, params = draw("circular", 1.0)
    f = run("circular", "forward")
    y, log_slope = f(x, params)
    for turns in (-3, 1, 200):
        moved, moved_log_slope = f(x + 2 * BOUND * turns, params)
        np.testing.assert_allclose(moved, y + 2 * BOUND * turns, atol=1e-8)
        np.testing.assert_allclose(moved_log_slope, log_slope, atol=1e-8)
    joint = np.full(N, BOUND)
    sides = [f(joint + step, params)[1] for step in (-1e-10, 1e-10)]
    np.testing.assert_allclose(*sides, atol=1e-5)
    assert np.abs(sides[0]).max() > 0.5


@every_spline
@pytest.mark.parametrize("size", [3.0, 30.0, 1e3])
def test_values_and_gradients_are_finite(name, size):
    n = SPLINES[name].n_params
    rng = np.random.default_rng(2)
    x = np.concatenate([np.linspace(-BOUND, BOUND, 29), [0.0, 1e4, -1e4]]).astype(np.float32)
    columns = [np.full(n, size), np.full(n, -size)] + [
        size * rng.choice([-1.0, 1.0], n) for _ in range(6)
    ]
    params = np.repeat(np.array(columns, np.float32).T, x.size, axis=1)
    x = np.tile(x, len(columns))
    for direction in ("forward", "inverse"):
        f = run(name, direction)

        def total(x, params, f=f):
            y, log_slope = f(x, params)
            return jnp.sum(y) + jnp.sum(log_slope), (y, log_slope)

        gradients, outputs = jax.jit(jax.grad(total, argnums=(0, 1), has_aux=True))(x, params)
        for leaf in jax.tree.leaves((gradients, outputs)):
            assert np.isfinite(leaf).all()


@pytest.mark.thorough
@every_spline
@pytest.mark.parametrize("scale", [1.0, 5.0])
def test_there_and_back_in_float32(name, scale):
    """The inverse meets y to rounding times the slope, however flat or steep the spline."""
    x, params = draw(name, scale, np.float32)
    y, _ = run(name, "forward")(x, params)
    back, _ = run(name, "inverse")(y, params)
    exact = np.array([textbook_or_jinn(name, back[i], params[:, i]) for i in range(N)]).T
    steepness = 1 + np.exp(np.maximum(exact[1], 0))
    np.testing.assert_array_less(np.abs(exact[0] - y), 2e-5 * steepness)


def textbook_or_jinn(name, x, p):
    if name == "rational quadratic":
        with jax.enable_x64(True):
            return run(name, "forward")(np.float64(x), p.astype(np.float64))
    return textbook(name, float(x), p.astype(np.float64))


@every_spline
def test_parameters_of_a_smaller_batch_are_shared(name):
    x, params = draw(name, 1.0, np.float32)
    x, params = x.reshape(8, 5), params[:, :5].reshape(-1, 1, 5)
    shared = run(name, "forward")(x, params)
    copied = run(name, "forward")(x, np.broadcast_to(params, (params.shape[0], 8, 5)))
    for one, other in zip(shared, copied, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


def test_a_learned_domain_is_the_spline_between_two_affine_maps(x64):
    inner = SPLINES["quadratic"]
    spline = t.LearnedDomain(inner, clamp=1.0)
    assert spline.n_params == 4 + inner.n_params
    x, params = draw("quadratic", 1.0)
    x, box = jnp.asarray(x), np.array([[0.7], [-0.4], [-1.2], [0.9]]) * np.ones(N)
    whole, params = jnp.asarray(np.concatenate([box, params])), jnp.asarray(params)
    sizes_x, sizes_y = np.exp(np.tanh(-0.4)), np.exp(np.tanh(0.9))
    y, log_slope = spline.forward(x, whole)
    middle, inner_log_slope = inner.forward((x - 0.7) / sizes_x, params)
    np.testing.assert_allclose(y, sizes_y * middle - 1.2, rtol=1e-12)
    np.testing.assert_allclose(log_slope, inner_log_slope + np.log(sizes_y / sizes_x), atol=1e-12)
    back, back_log_slope = spline.inverse(y, whole)
    np.testing.assert_allclose(back, x, atol=1e-9)
    np.testing.assert_allclose(back_log_slope, -log_slope, atol=1e-7)


# --- The root -------------------------------------------------------------------------------------


def test_increasing_root_meets_flat_and_steep_functions(x64):
    y = jnp.asarray([-1e6, -1.0, 0.0, 1e-9, 3.0, 1e6])
    ends = jnp.full(y.shape, 1e3)
    for f in (jnp.cbrt, lambda x: x**3, jnp.arcsinh, lambda x: x + 1e4 * jnp.tanh(1e4 * x)):
        target = f(jnp.cbrt(y))
        x, info = F.increasing_root(lambda x, f=f, v=target: f(x) - v, -ends, ends)
        np.testing.assert_allclose(f(x), target, atol=1e-9, rtol=1e-9)
        assert info.converged.all() and (info.evaluations >= info.steps).all()


def test_increasing_root_is_differentiable_twice_in_both_modes(x64):
    def root(y):
        return F.increasing_root(lambda x: jnp.exp(x) - y, -jnp.ones(()), jnp.asarray(4.0))[0]

    y = jnp.asarray(2.5)
    np.testing.assert_allclose(root(y), np.log(2.5), rtol=1e-14)
    for derivative in (jax.grad, jax.jacfwd):
        np.testing.assert_allclose(derivative(root)(y), 1 / 2.5, rtol=1e-12)
        np.testing.assert_allclose(derivative(derivative(root))(y), -1 / 2.5**2, rtol=1e-12)


def test_an_increasing_root_that_does_not_converge_is_nan():
    one = jnp.ones(2)
    x, info = F.increasing_root(lambda x: x**3 - 0.1, -one, one, max_steps=2)
    assert np.isnan(x).all() and not info.converged.any()


def test_no_root_among_many_stops_short():
    """XLA rounds the same value in two ways in a compiled loop, for one element in ten thousand."""
    jax.config.update("jax_disable_most_optimizations", False)  # the fixture sets it anew
    spline = t.CubicSpline(3, 2.0)
    raw = [-0.15, 0.12, 0.33, 0.03, 0.35, -0.09, -0.13, 0.21]
    x = jnp.linspace(-2, 2, 100_001)
    params = jnp.broadcast_to(jnp.asarray(raw, jnp.float32)[:, None], (8, x.size))
    y, _ = spline.forward(x, params)
    back, _ = spline.inverse(y, params)
    np.testing.assert_allclose(back, x, atol=2e-6)

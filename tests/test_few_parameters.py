"""Planar, radial and Sylvester flows against their formulas and the autodiff Jacobian."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jinn import functional as F
from jinn.bijectors import Planar, Radial, Sylvester

N, M, ROWS = 4, 3, 6
MAPS = {
    "planar": (F.planar_forward, F.planar_inverse),
    "radial": (F.radial_forward, F.radial_inverse),
    "sylvester": (F.sylvester_forward, F.sylvester_inverse),
}
every_map = pytest.mark.parametrize("name", MAPS)


def draw(name, scale=1.0, dtype=float):
    rng = np.random.default_rng(0)

    def normal(*shape):
        return jnp.asarray(scale * rng.normal(size=shape), dtype)

    x = jnp.asarray(3 * rng.normal(size=(ROWS, N)), dtype)
    if name == "planar":
        return x, (normal(N), normal(N), normal())
    if name == "radial":
        return x, (normal(N), normal(), normal())
    matrix = jnp.asarray(np.linalg.qr(rng.normal(size=(N, M)))[0], dtype)
    return x, (matrix, normal(M, M), normal(M, M), normal(M))


def positive(raw):
    return 1e-3 + np.logaddexp(0, raw + np.log(np.expm1(1 - 1e-3)))


def formula(name, x, params):
    """Of the papers, for rows of x."""
    if name == "planar":
        u, w, b = map(np.asarray, params)
        v = u + (positive(w @ u) - 1 - w @ u) * w / (w @ w)
        return x + np.tanh(x @ w + b)[:, None] * v
    if name == "radial":
        center, size, strength = map(np.asarray, params)
        alpha = positive(size)
        beta = alpha * (positive(strength) - 1)
        offset = x - center
        return x + beta * offset / (alpha + np.linalg.norm(offset, axis=1))[:, None]
    q, outer, inner, b = map(np.asarray, params)
    s = np.triu(inner, 1) + np.diag(positive(np.diag(inner)))
    r = np.triu(outer, 1) + np.diag((positive(np.diag(outer)) - 1) / np.diag(s))
    return x + np.stack([q @ r @ np.tanh(s @ q.T @ row + b) for row in x])


@every_map
@pytest.mark.parametrize("scale", [0.3, 1.0, 4.0])
def test_it_is_the_formula_with_the_jacobian_of_autodiff(name, scale, x64):
    x, params = draw(name, scale)
    forward, inverse = map(jax.jit, MAPS[name])
    y, log_det = forward(x, *params)
    np.testing.assert_allclose(y, formula(name, np.asarray(x), params), atol=1e-11)
    back, back_log_det = inverse(y, *params)
    np.testing.assert_allclose(back, x, atol=1e-9)
    np.testing.assert_allclose(back_log_det, -log_det, atol=1e-9)
    for f, at, expected in ((forward, x, log_det), (inverse, y, back_log_det)):
        jacobians = jax.vmap(jax.jacrev(lambda v, f=f: f(v, *params)[0]))(at)
        signs, logs = np.linalg.slogdet(jacobians)
        np.testing.assert_array_equal(signs, 1)
        np.testing.assert_allclose(expected, logs, atol=1e-8)


@pytest.mark.thorough
@every_map
def test_the_inverse_has_the_gradients_of_the_implicit_function_theorem(name, x64):
    """With respect to the parameters, against `-J^-1 df/dp` at the solution."""
    x, params = draw(name)
    x, params = x[0], params[1:] if name == "sylvester" else params
    forward, inverse = MAPS[name]
    if name == "sylvester":
        matrix = draw(name)[1][0]
        forward, inverse = (lambda v, *p, f=f: f(v, matrix, *p) for f in (forward, inverse))
    y = forward(x, *params)[0]
    jacobian = jax.jacfwd(lambda v: forward(v, *params)[0])(x)
    for i in range(len(params)):
        by_forward = jax.jacfwd(lambda *p: forward(x, *p)[0], argnums=i)(*params)
        flat = np.asarray(by_forward).reshape(N, -1)
        for derivative in (jax.jacfwd, jax.jacrev):
            by_inverse = derivative(lambda *p: inverse(y, *p)[0], argnums=i)(*params)
            expected = -np.linalg.solve(jacobian, flat)
            np.testing.assert_allclose(np.asarray(by_inverse).reshape(N, -1), expected, atol=1e-8)


@every_map
def test_hard_parameters_stay_invertible_and_finite(name):
    """Far out, at the edge of invertibility, and at the centre of a radial flow."""
    for scale in (0.0, 3.0, 30.0):
        x, params = draw(name, scale, jnp.float32)
        center = params[0] if name == "radial" else jnp.zeros(N)
        x = jnp.concatenate([x, 1e4 * x[:1], 0 * x[:1], center[None]])
        for f in MAPS[name]:

            def total(x, params, f=f):
                y, log_det = f(x, *params)
                return jnp.sum(y) + jnp.sum(log_det), (y, log_det)

            results = jax.jit(jax.grad(total, argnums=(0, 1), has_aux=True))(x, params)
            assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(results))


def test_a_planar_flow_on_the_edge_of_invertibility(x64):
    """w.v is as low as it may be: the map is nearly flat where the planes meet 0."""
    u, w, b = jnp.asarray([-50.0, 0.0]), jnp.asarray([1.0, 0.0]), jnp.asarray(0.0)
    x = jnp.stack([jnp.linspace(-0.3, 0.3, 7), jnp.ones(7)], axis=1)
    y, log_det = F.planar_forward(x, u, w, b)
    np.testing.assert_allclose(log_det[3], np.log(1e-3), rtol=1e-6)
    back, _, info = F.planar_inverse_with_info(y, u, w, b)
    np.testing.assert_allclose(back, x, atol=1e-9)
    assert info.converged.all() and info.steps.max() < 60


def test_a_planar_flow_is_a_sylvester_flow_of_one_direction(x64):
    w = jnp.asarray([0.6, 0.8])
    x = jnp.asarray(np.random.default_rng(1).normal(size=(5, 2)))
    raw, b = jnp.asarray(0.7), jnp.asarray(0.2)
    y, log_det = F.planar_forward(x, raw * w, w, b)
    expected = F.sylvester_forward(x, w[:, None], raw.reshape(1, 1), jnp.zeros((1, 1)), b[None])
    np.testing.assert_allclose(y, expected[0], atol=1e-12)
    np.testing.assert_allclose(log_det, expected[1], atol=1e-12)


@pytest.mark.parametrize("kind", [Planar, Radial, Sylvester])
def test_they_start_as_the_identity_and_report_their_solves(kind):
    bijector = kind((3,), rngs=0)
    x = jnp.asarray(np.random.default_rng(2).normal(size=(5, 3)), jnp.float32)
    y, log_det = bijector.forward_and_log_det(x)
    np.testing.assert_allclose(y, x, atol=1e-6)
    np.testing.assert_allclose(log_det, 0.0, atol=1e-6)
    info = bijector.inverse_with_info(y)[2]
    if kind is not Radial:
        assert bijector.fast_direction == "forward"
        assert info.converged.shape == (5,) and info.converged.all()
        assert bijector.forward_with_info(x)[2].steps.max() == 0

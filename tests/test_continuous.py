"""Continuous maps: solves, divergences, adjoints, entries that fail, against what is known."""

import warnings
from functools import partial

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.scipy.linalg import expm

from jinn import functional as F
from jinn.bijectors import Continuous
from jinn.distributions import StandardNormal
from jinn.flows import Flow, continuous_flow, with_solver
from jinn.functional.divergence import draw_probes, estimated_divergence
from jinn.networks import VectorField

MATRIX = jnp.array([[-0.5, 1.0], [-1.2, 0.3]])
X = jnp.asarray(np.random.default_rng(0).normal(size=(3, 2)), jnp.float32)


def linear(time, x):
    return x @ MATRIX.T


def growing(time, x):
    """Reaches infinity at time 1 / x."""
    return x**2


# --- solves ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"stepping": "per_sample", "solver": "dopri5"},
        {"solver": "rk4", "steps": 16},
        {"solver": diffrax.Dopri8(), "controller": diffrax.PIDController(1e-6, 1e-6)},
    ],
    ids=["default", "per sample", "rk4", "objects"],
)
def test_a_linear_field_is_a_matrix_exponential(options):
    run = jax.jit(partial(F.continuous_forward, vector_field=linear, with_info=True, **options))
    y, log_det, info = run(X)
    np.testing.assert_allclose(y, X @ expm(MATRIX).T, atol=3e-5)
    np.testing.assert_allclose(log_det, np.full(3, jnp.trace(MATRIX)), atol=1e-5)
    assert info.converged.all() and (info.steps > 0).all()
    back, log_det = jax.jit(partial(F.continuous_inverse, vector_field=linear, **options))(y)
    np.testing.assert_allclose(back, X, atol=5e-5)
    np.testing.assert_allclose(log_det, np.full(3, -jnp.trace(MATRIX)), atol=1e-5)


@pytest.mark.parametrize(
    "options", [{}, {"solver": "rk4", "steps": 8}, {"solver": "bosh3", "rtol": 1e-3}], ids=str
)
def test_evaluations_are_counted(options):
    calls = []

    def counted(time, x):
        jax.debug.callback(lambda: calls.append(None))
        return linear(time, x)

    run = partial(F.continuous_forward, with_log_det=False, with_info=True, **options)
    *_, info = jax.jit(lambda x: run(x, counted))(X)
    jax.effects_barrier()
    np.testing.assert_array_equal(info.evaluations, len(calls))
    if "steps" in options:
        assert len(calls) == 32


def test_one_entry_rules_the_steps_of_all_or_each_its_own():
    """Tolerances hold for each entry of a batch that shares steps, even among very many."""
    x = jnp.zeros((2000, 2)).at[0].set(3.0)

    def field(time, x):
        return jnp.sin(4 * x) * x

    def run(x, **options):
        return jax.jit(lambda x: F.continuous_forward(x, field, with_info=True, **options))(x)

    alone = run(x[:1])
    for stepping in ("joint", "per_sample"):
        y, _, info = run(x, stepping=stepping)
        np.testing.assert_allclose(y[:1], alone[0], atol=1e-4)
        assert info.steps[0] > 0.7 * alone[2].steps[0]
        assert (info.steps[1] == info.steps[0]) == (stepping == "joint")


@pytest.mark.slow
def test_adjoints_agree():
    field = VectorField(2, hidden=(8,), zero_init_last=False, rngs=0)

    def loss(field, x, adjoint):
        options = {"adjoint": adjoint, "rtol": 1e-6, "atol": 1e-6, "max_steps": 32}
        y, log_det = F.continuous_forward(x, field, **options)
        return jnp.sum(y**2) + jnp.sum(log_det)

    gradient = jax.jit(jax.grad(loss, argnums=(0, 1)), static_argnums=2)
    expected = jax.tree.leaves(gradient(field, X, "direct"))
    for adjoint in ("recursive_checkpoint", "backsolve"):
        for a, b in zip(jax.tree.leaves(gradient(field, X, adjoint)), expected, strict=True):
            np.testing.assert_allclose(a, b, atol=2e-4)


def test_regularizers_of_a_linear_field():
    run = jax.jit(
        partial(F.continuous_forward, vector_field=linear, regularization=True, with_info=True)
    )
    _, _, info = run(X)
    times = np.linspace(0, 1, 201)
    speeds = [np.sum((X @ expm(t * MATRIX).T @ MATRIX.T) ** 2, -1) for t in times]
    np.testing.assert_allclose(info.kinetic, np.trapezoid(speeds, times, axis=0), rtol=1e-3)
    np.testing.assert_allclose(info.squared_jacobian, np.full(3, jnp.sum(MATRIX**2)), rtol=1e-4)


# --- entries that fail ----------------------------------------------------------------------------


def test_an_entry_that_is_not_finite_spoils_no_other():
    run = jax.jit(partial(F.continuous_forward, vector_field=linear, with_info=True))
    good, _, _ = run(X)
    y, log_det, info = run(X.at[1, 0].set(jnp.nan))
    np.testing.assert_array_equal(info.converged, [True, False, True])
    np.testing.assert_array_equal(np.isnan(y).all(1), [False, True, False])
    np.testing.assert_array_equal(np.isnan(log_det), [False, True, False])
    np.testing.assert_allclose(y[::2], good[::2], atol=1e-5)


def test_a_solve_that_is_not_finished_says_so():
    x = jnp.array([[0.1], [5.0], [0.2]])

    def run(x, stepping):
        options = {"max_steps": 30, "with_info": True, "stepping": stepping}
        return F.continuous_forward(x, growing, **options)

    with warnings.catch_warnings():
        warnings.simplefilter("error")  # none under jit
        y, log_det, info = jax.jit(partial(run, stepping="per_sample"))(x)
        everything, *_ = jax.jit(partial(run, stepping="joint"))(x)
    np.testing.assert_array_equal(info.converged, [True, False, True])
    np.testing.assert_array_equal(np.isnan(y[:, 0]), ~info.converged)
    np.testing.assert_array_equal(np.isnan(log_det), ~info.converged)
    np.testing.assert_allclose(y[::2, 0], [0.1 / 0.9, 0.2 / 0.8], atol=1e-4)
    assert info.steps[1] == 30 and np.isnan(everything).all()


def test_outside_of_jit_a_warning_names_the_entries():
    bijector = Continuous((1,), vector_field=lambda t, x: growing(t, x), max_steps=30)
    text = "Continuous.forward: .* 3 of 3 batch entries, .*: 0, 1, 2.*max_steps=30.*per_sample"
    with pytest.warns(RuntimeWarning, match=text):
        assert np.isnan(bijector.forward(np.array([[0.1], [5.0], [0.2]]))).all()
    text = "1 of 2 batch entries, which are NaN: 1. .* raise max_steps=30 or loosen rtol=1e-05"
    with pytest.warns(RuntimeWarning, match=text):
        bijector.with_solver(stepping="per_sample").forward(np.array([[0.1], [5.0]]))


def test_a_flow_names_the_entries_that_a_solve_failed_for():
    def grows_outside(time, x):
        return jnp.where(jnp.abs(x) > 1, 1e9 * x**3, 0)

    bijector = Continuous((1,), vector_field=grows_outside, max_steps=30, stepping="per_sample")
    flow = Flow(bijector, StandardNormal((1,)))
    text = r"Flow.log_prob: .* 1 of 3 batch entries, which are NaN: 1\. .*see forward_with_info"
    with pytest.warns(RuntimeWarning, match=text):
        log_prob = flow.log_prob(np.array([[0.1], [5.0], [0.2]], np.float32))
    np.testing.assert_array_equal(np.isnan(log_prob), [False, True, False])
    text = r"Flow.sample: .* of 100 batch entries, .*\(0, 0\).*see inverse_with_info"
    with pytest.warns(RuntimeWarning, match=text):
        flow.sample(jax.random.key(0), (10, 10))


# --- divergences ----------------------------------------------------------------------------------


def jacobians(field, time, x, condition):
    rows = jax.vmap(jax.jacrev(lambda x, c: field(time, x, c)), in_axes=(0, 0))
    return rows(x, condition)


@pytest.mark.parametrize("modulation", ["concat", "concatsquash", "film"])
@pytest.mark.parametrize("hidden", [(5,), (6, 7), (6, 6)])
def test_a_field_knows_its_divergence(modulation, hidden):
    field = VectorField(
        3,
        hidden=hidden,
        condition_shape=(2,),
        modulation=modulation,
        residual=hidden == (6, 6),
        zero_init_last=False,
        rngs=0,
    )
    generator = np.random.default_rng(0)
    x = jnp.asarray(generator.normal(size=(4, 3)), jnp.float32)
    condition = jnp.asarray(generator.normal(size=(4, 2)), jnp.float32)
    time = jnp.asarray(0.3)
    expected = jnp.trace(jax.jit(jacobians)(field, time, x, condition), axis1=1, axis2=2)
    prepared = field.prepare(condition)
    value, divergence = field.velocity_and_divergence(time, x, prepared)
    np.testing.assert_allclose(value, field(time, x, condition), atol=1e-5)
    np.testing.assert_allclose(divergence, expected, atol=1e-5)
    assert np.abs(expected).max() > 0.01
    general = F.exact_divergence(lambda x: field(time, x, condition), x)
    np.testing.assert_allclose(general.divergence, expected, atol=1e-5)


def test_a_field_of_many_layers_leaves_its_divergence_to_others():
    field = VectorField(2, hidden=(4, 4, 4), rngs=0)
    assert field.velocity_and_divergence(jnp.asarray(0.0), X, None) is None


def test_probes_of_an_empty_batch():
    x = jnp.ones((0, 3))
    options = {"event_ndim": 1, "estimator": "hutch++", "probes": 4}
    drawn = draw_probes(jax.random.key(0), jnp.sin, x, **options)
    assert drawn.directions.shape == (4, 0, 3) and drawn.basis.shape == (3, 0, 3)


def test_a_large_jacobian_is_taken_in_parts():
    matrix = jnp.asarray(np.random.default_rng(0).normal(size=(40, 40)), jnp.float32)
    x = jnp.ones((2, 40))
    found = F.exact_divergence(lambda x: x @ matrix.T, x, squared_jacobian=True)
    np.testing.assert_allclose(found.divergence, np.full(2, np.trace(matrix)), rtol=1e-4)
    np.testing.assert_allclose(found.squared_jacobian, np.full(2, np.sum(matrix**2)), rtol=1e-4)


@pytest.mark.parametrize(("estimator", "probes"), [("hutchinson", 1), ("hutch++", 2)])
def test_estimates_are_unbiased(estimator, probes):
    generator = np.random.default_rng(0)
    matrix = jnp.asarray(generator.normal(size=(6, 6)), jnp.float32)
    x = jnp.asarray(generator.normal(size=(2, 6)), jnp.float32)

    def field(x):
        return jnp.tanh(x @ matrix.T)

    def estimate(key):
        drawn = draw_probes(key, field, x, event_ndim=1, estimator=estimator, probes=probes)
        return estimated_divergence(field, x, drawn, squared_jacobian=True)[1:]

    estimates = jax.jit(jax.vmap(estimate))(jax.random.split(jax.random.key(0), 4096))
    exact = F.exact_divergence(field, x, squared_jacobian=True)[1:]
    for found, expected in zip(estimates, exact, strict=True):
        error = np.std(found, axis=0) / 64
        assert (np.abs(np.mean(found, axis=0) - expected) < 4 * error + 1e-5).all()
        assert (error > 1e-3).all()


def test_hutch_plus_plus_is_exact_with_a_full_basis_and_better_with_a_part():
    generator = np.random.default_rng(0)
    low_rank = generator.normal(size=(8, 1)) @ generator.normal(size=(1, 8))
    matrix = jnp.asarray(low_rank + 0.01 * generator.normal(size=(8, 8)), jnp.float32)
    x = jnp.ones(8)

    def field(x):
        return x @ matrix.T

    @partial(jax.jit, static_argnums=(1, 2))
    def spread(keys, estimator, probes):
        def estimate(key):
            drawn = draw_probes(key, field, x, event_ndim=1, estimator=estimator, probes=probes)
            return estimated_divergence(field, x, drawn).divergence

        return jax.vmap(estimate)(keys)

    keys, trace = jax.random.split(jax.random.key(0), 100), jnp.trace(matrix)
    errors = {
        name: float(np.abs(spread(keys, *options) - trace).max())
        for name, options in {
            "all": ("hutch++", 8),
            "some": ("hutch++", 2),
            "none": ("hutchinson", 4),
        }.items()
    }
    assert errors["all"] < 1e-4
    assert errors["some"] < 0.2 * errors["none"]


def test_a_key_makes_estimates_only_above_32_elements_or_if_asked():
    small, large = (
        Continuous((n,), vector_field=lambda t, x: x * jnp.roll(x, 1, -1), solver="rk4", steps=1)
        for n in (2, 33)
    )
    key = jax.random.key(0)
    for bijector, estimates in ((small, False), (large, True)):
        x = jnp.linspace(-0.1, 0.1, bijector.event_shape[0])
        assert (bijector.log_det(x) != bijector.log_det(x, key=key)) == estimates
        assert bijector.log_det(x, key=key) == bijector.log_det(x, key=key)


# --- the bijector and the flow --------------------------------------------------------------------


@pytest.mark.parametrize("stepping", ["joint", "per_sample"])
def test_the_condition_keeps_its_own_batch(stepping):
    seen = set()

    def field(time, x, condition):
        seen.add(condition.shape)
        return jnp.sin(x) * condition[..., :1]

    options = {"solver": "rk4", "steps": 1, "stepping": stepping}
    bijector = Continuous((3,), vector_field=field, condition_shape=(2,), **options)
    condition = jnp.asarray(np.random.default_rng(0).normal(size=(5, 2)), jnp.float32)
    x = jnp.linspace(-1, 1, 60).reshape(4, 5, 3)
    y = bijector.forward(x, condition)
    assert (1, 5, 2) in seen and (4, 5, 2) not in seen
    assert stepping == "joint" or (2,) in seen
    np.testing.assert_allclose(y[1, 2], bijector.forward(x[1, 2], condition[2]), atol=1e-6)


def test_one_velocity_an_event():
    def field(time, x, condition):
        return time * x + condition["a"]

    shape = {"a": (2,)}
    condition = {"a": jnp.ones((3, 2))}
    times = jnp.array([0.0, 0.5, 1.0])
    bijector = Continuous((2,), vector_field=field, condition_shape=shape)
    np.testing.assert_allclose(bijector.velocity(times, X, condition), times[:, None] * X + 1)
    bijector = Continuous((2,), condition_shape=shape, hidden=(4,), rngs=0)
    moved = jax.tree.map(lambda leaf: leaf + 0.3, bijector)
    single = [
        moved.vector_field(times[i], X[i], {"a": condition["a"][i]}) for i in range(len(times))
    ]
    np.testing.assert_allclose(moved.velocity(times, X, condition), jnp.stack(single), atol=1e-6)


@pytest.mark.thorough
def test_another_solver_with_the_same_weights():
    flow = continuous_flow(2, hidden=(4,), rngs=0)
    flow = jax.tree.map(lambda leaf: leaf + 0.3, flow)
    fast = with_solver(flow, solver="rk4", steps=8)
    *_, info = fast.bijector.inverse_with_info(X)
    np.testing.assert_array_equal(info.evaluations, 32)
    np.testing.assert_allclose(fast.bijector.forward(X), flow.bijector.forward(X), atol=1e-3)
    assert flow.bijector.solver.solver == "tsit5"
    assert '"steps": 8' in fast.specification and '"steps": null' in flow.specification
    assert with_solver(flow, solver=diffrax.Heun()).specification is None

"""The errors of continuous maps, of their flows and of their losses."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jinn import functional as F
from jinn.bijectors import Chain, Continuous
from jinn.flows import Flow, continuous_flow, real_nvp, with_solver
from jinn.losses import flow_matching, regularized_likelihood
from jinn.networks import VectorField
from tests.errors import raises

X = jnp.ones((3, 2))


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        ({"solver": "rk5"}, ("expected solver to be one of ['bosh3', ", "'rk5'")),
        ({"solver": 4}, ("expected solver to be one of", "or a diffrax AbstractSolver, got 4")),
        ({"adjoint": "forward"}, ("expected adjoint to be one of ['backsolve', ", "'forward'")),
        ({"stepping": "each"}, ('expected stepping to be "joint" or "per_sample", got \'each\'',)),
        ({"controller": "pid"}, ("expected controller to be a diffrax step-size", "'pid'")),
        ({"rtol": 0.0}, ("expected rtol > 0 and atol > 0, got 0.0",)),
        ({"max_steps": 0}, ("expected max_steps >= 1", "max_steps=0")),
        ({"steps": 0}, ("expected max_steps >= 1 and steps >= 1 or None", "steps=0")),
        ({"solver": "rk4"}, ("'rk4' has no estimate of its error", "steps=8")),
        ({"divergence": "hutch"}, ("divergence", "one of ['auto', 'exact', ", "'hutch'")),
        ({"probes": 0}, ("expected probes >= 1, got 0",)),
    ],
    ids=str,
)
def test_options(options, parts):
    with raises(*parts):
        F.continuous_forward(X, lambda t, x: x, key=jax.random.key(0), **options)
    with raises(*parts):
        Continuous((2,), hidden=(4,), rngs=0, **options)
    with raises(*parts):
        continuous_flow(2, hidden=(4,), rngs=0, **options) if "controller" not in options else (
            Continuous((2,), vector_field=lambda t, x: x, **options)
        )


@pytest.mark.parametrize(
    "field", [lambda t, x: x[..., :1], lambda t, x: jnp.sum(x), lambda t, x: x[0]]
)
def test_the_shape_that_a_field_returns(field):
    with raises("expected the vector field to return the shape of x, (3, 2), got"):
        F.continuous_forward(X, field)
    with raises("expected the vector field to return the shape of x, (3, 2), got"):
        Continuous((2,), vector_field=field).forward(X)


def test_unknown_options():
    parts = ("ODE solver: unknown options ['step']; expected some of ['solver', 'rtol', ",)
    with raises(*parts):
        F.continuous_forward(X, lambda t, x: x, step=4)
    with raises(*parts):
        Continuous((2,), hidden=(4,), rngs=0, step=4)
    with raises(*parts):
        with_solver(continuous_flow(2, hidden=(4,), rngs=0), step=4)


def test_numbers_of_numpy_can_be_written():
    flow = with_solver(continuous_flow(2, hidden=(4,), rngs=0), steps=np.int64(8))
    assert '"steps": 8' in (flow.specification or "")


def test_integers_are_numbers():
    options = {"solver": "rk4", "steps": 4}
    found, _ = F.continuous_forward(jnp.array([[1, 2]]), lambda t, x: -x, **options)
    np.testing.assert_allclose(found, np.exp(-1.0) * np.array([[1.0, 2.0]]), rtol=1e-3)
    flow = continuous_flow(2, hidden=(4,), rngs=0)
    whole = np.arange(8).reshape(4, 2)
    loss = flow_matching()
    np.testing.assert_array_equal(loss(flow, whole)[0], loss(flow, whole.astype("float32"))[0])


def test_regularization_needs_the_log_determinant():
    with raises("regularization needs with_log_det=True"):
        F.continuous_forward(X, lambda t, x: x, regularization=True, with_log_det=False)


def test_bijector_and_flow():
    with raises("Continuous: events of shape (2, 2, 1) need a vector_field of their own"):
        Continuous((2, 2, 1), rngs=0)
    with raises("Continuous: the default field needs rngs, such as rngs=0"):
        Continuous((2,))
    with raises("Continuous: expected vector_field to be callable, got int"):
        Continuous((2,), vector_field=3)
    with raises("Continuous: a VectorField of size 3 is for events of shape (3,)", "got", "(2,)"):
        Continuous((2,), vector_field=VectorField(3, rngs=0))
    with raises("a VectorField of size 2 is for events of shape (2,)", "(3, 3, 2)", "on vectors"):
        Continuous((3, 3, 2), vector_field=VectorField(2, rngs=0))
    with raises("Continuous event_shape: expected the shape of one array"):
        Continuous({"a": (2,)}, rngs=0)
    with raises("continuous_flow: expected event_dim >= 1 and condition_dim >= 0, got 0 and 0"):
        continuous_flow(0, rngs=0)
    with raises("with_solver: Flow has no Continuous bijector"):
        with_solver(real_nvp(2, depth=1, hidden=(4,), rngs=0), steps=8)
    with raises("expected solver to be one of"):
        with_solver(continuous_flow(2, hidden=(4,), rngs=0), solver="best")


@pytest.mark.parametrize(
    ("options", "part"),
    [
        ({"size": 0}, "expected size >= 1"),
        ({"frequencies": -1}, "frequencies=-1"),
        ({"hidden": ()}, "hidden=()"),
        ({"hidden": (4, 0)}, "hidden=(4, 0)"),
        ({"modulation": "gate"}, "expected modulation to be one of ['concat', "),
        ({"residual": True, "hidden": (4, 5)}, "residual=True needs hidden layers of equal width"),
        ({"activation": "sin"}, "activation: expected one of"),
    ],
    ids=str,
)
def test_vector_field(options, part):
    with raises(part):
        VectorField(**{"size": 2, "rngs": 0, **options})


def test_the_condition_of_a_vector_field():
    field = VectorField(2, hidden=(4,), condition_shape=(3,), rngs=0)
    with raises("VectorField: expected the condition's entries ['condition'], got []"):
        field(jnp.asarray(0.0), X)
    with raises("VectorField: expected the condition's entries ['condition'], got ['a']"):
        field(jnp.asarray(0.0), X, {"a": np.ones((3, 3))})


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        ({"path": "cubic"}, ("path to be one of ['linear', 'variance_preserving'], got 'cubic'",)),
        ({"coupling": "optimal"}, ("coupling to be one of ['independent', ", "'optimal'")),
        ({"time_weighting": "late"}, ("time_weighting to be one of", "or a function", "'late'")),
    ],
    ids=str,
)
def test_flow_matching_names(options, parts):
    with raises("flow_matching: expected", *parts):
        flow_matching(**options)


def test_batches_of_flow_matching():
    flow = continuous_flow(2, condition_dim=1, hidden=(4,), rngs=0)
    loss, c = flow_matching(), jnp.ones((3, 1))
    with raises("flow_matching: x: expected shape (*batch, 2), got (3, 1)"):
        loss(flow, (X[:, :1], c))
    with raises("expected a batch of rows", "event_shape=(2,), got the batch axes ()"):
        loss(flow, (X[0], c[0]))
    with raises("expected a batch of rows", "got the batch axes (3, 3)"):
        loss(flow, (jnp.stack([X] * 3), c))
    with raises("flow_matching: the batch (3,) of x and the batch (2,) of the condition do not"):
        loss(flow, (X, c[:2]))
    with raises("flow_matching: the condition is missing"):
        loss(flow, X)
    with raises("one weight for each of the times (3,), got shape (3, 1)"):
        flow_matching(time_weighting=lambda t: t[:, None])(flow, (X, c))


def test_losses_need_a_continuous_bijector():
    other = real_nvp(2, depth=1, hidden=(4,), rngs=0)
    continuous = continuous_flow(2, hidden=(4,), rngs=0)
    twice = Flow(Chain([continuous.bijector, continuous.bijector]), continuous.base)
    with raises("flow_matching: expected a flow with one Continuous bijector", "got 0 among"):
        flow_matching()(other, X)
    with raises("flow_matching: expected a flow with one Continuous bijector", "got 2 among"):
        flow_matching()(twice, X)
    with raises("regularized_likelihood: expected a flow with a Continuous bijector", "['Stack']"):
        regularized_likelihood()(other, X)
    with raises("regularized_likelihood: expected kinetic >= 0 and jacobian >= 0, got -1"):
        regularized_likelihood(kinetic=-1)

"""Bijectors and flows within programs on a mesh with explicit axes, as `jax.make_mesh` makes it."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

import jinn
from jinn.bijectors import Coupling, half_mask
from jinn.bijectors.transformers import RationalQuadraticSpline
from jinn.flows.chunks import CHUNK_ROWS
from jinn.flows.ensemble import Ensemble
from jinn.functional.spline import rational_quadratic_spline_forward

SIZES: dict[str, Any] = {"depth": 2, "hidden": (8, 8), "rngs": 0}
X = jax.random.normal(jax.random.key(0), (8, 3))
Y = jax.random.normal(jax.random.key(1), (8, 2))


@pytest.fixture
def mesh():
    return jax.make_mesh((2,), ("data",), axis_types=(AxisType.Explicit,))


def flow(**options: Any) -> jinn.Flow:
    return jinn.flows.real_nvp(event_dim=3, condition_dim=2, **SIZES, **options)


def split(tree: Any, mesh: Any, *spec: Any) -> Any:
    return jax.device_put(tree, NamedSharding(mesh, PartitionSpec(*(spec or ("data",)))))


def check(function: Callable[..., Any], model: Any, mesh: Any, *events: Any) -> Any:
    """Compare what a program gives on the mesh with what it gives elsewhere."""
    expected = jax.jit(function)(model, *events)
    with jax.set_mesh(mesh):
        found = jax.jit(function)(model, *split(events, mesh))
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        if a.dtype != jax.dtypes.float0:
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
    return found


def test_a_flow_is_evaluated_sampled_and_trained(mesh):
    model = flow()
    found = check(lambda flow, x, y: flow.log_prob(x, y), model, mesh, X, Y)
    assert found.sharding.spec == PartitionSpec("data")
    check(lambda f, x, y: jax.grad(lambda f: -f.log_prob(x, y).mean())(f), model, mesh, X, Y)
    key = jax.random.key(2)
    samples = check(lambda flow, y: flow.sample(key, (3,), y), model, mesh, Y)
    assert samples.sharding.spec == PartitionSpec(None, "data", None)
    check(lambda flow, y: flow.sample_and_log_prob(key, (), y), model, mesh, Y)
    eager = model.log_prob(*split((X, Y), mesh))
    np.testing.assert_allclose(eager, found, rtol=1e-4, atol=1e-5)


def test_more_rows_than_a_chunk(mesh):
    x = jnp.resize(X, (2 * CHUNK_ROWS, 3))
    check(lambda flow, x: flow.log_prob(x, Y[0]), flow(), mesh, x)


def test_an_ensemble(mesh):
    model = Ensemble([flow(), flow()])
    check(lambda flow, x, y: flow.log_prob(x, y), model, mesh, X, Y)


def test_bijectors_alone(mesh):
    stack = flow(backprop="invert").bijector
    check(lambda b, x, y: b.forward_and_log_det(x, y), stack, mesh, X, Y)
    check(lambda b, x, y: b.inverse(x, y), stack, mesh, X, Y)
    spline = RationalQuadraticSpline(4, 2.0)
    shape = {"a": (2,), "b": ()}
    coupling = Coupling(
        (3,), mask=half_mask(3), transformer=spline, condition_shape=shape, hidden=(4,), rngs=0
    )

    def run(coupling: Coupling, x: Any, rows: Any) -> Any:
        return coupling.forward_and_log_det(x, {"a": Y[0], "b": rows})

    check(run, coupling, mesh, X, Y[:, 0])


def test_images(mesh):
    images = jax.random.normal(jax.random.key(3), (8, 8, 8, 3))
    model = jinn.flows.multiscale_flow((8, 8, 3), hidden=8, rngs=0)
    check(lambda flow, x: flow.log_prob(x), model, mesh, images)


def test_splines_of_arrays(mesh):
    raw = jax.random.normal(jax.random.key(4), (4, 8, 3))
    expected = rational_quadratic_spline_forward(X, raw, raw, raw[:3], bound=2.0)
    parts = split((raw, raw, raw[:3]), mesh, None, "data")
    with jax.set_mesh(mesh):
        found = rational_quadratic_spline_forward(split(X, mesh), *parts, bound=2.0)
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
        assert a.sharding.spec[0] == "data"

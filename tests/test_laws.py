"""Every bijector in the registry obeys the laws of bijectors, in float32 and in float64."""

from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jinn.bijectors import (
    ActNorm,
    Bijector,
    Chain,
    Coupling,
    Invert,
    Permute,
    Stack,
    check_bijector,
    half_mask,
    initialize,
    trainable,
)
from jinn.bijectors.module import needs_initialization
from jinn.bijectors.transformers import RationalQuadraticSpline
from tests.registry import CASES
from tests.registry_images import IMAGE_CASES
from tests.registry_multiscale import MULTISCALE_CASES

IMAGES = IMAGE_CASES | MULTISCALE_CASES

AS_USERS_COMPILE = (
    "coupling affine",
    "coupling rational_quadratic_spline, image, channels",
    "stack plu",
    "real_nvp 5|3 learned_orthogonal",
    "graph, nested",
    "residual",
    "maf 3|2",
)
"""Slow tests in float64, which are compiled with all of XLA's optimizations."""


def _cases() -> list[Any]:
    """Every case twice: float32 with the type hook, and float64 without it.

    The tests that are run by default hold the first case of every class, in float32; the thorough
    ones all cases in float32, and in float64 the first of every class and all images.
    """
    cases: list[Any] = []
    kinds: set[type[Bijector]] = set()
    for name, case in CASES.items():
        first = case.kind not in kinds
        kinds.add(case.kind)
        cases.append(pytest.param(name, "float32", marks=[] if first else [pytest.mark.thorough]))
        if name in AS_USERS_COMPILE:
            kind = pytest.mark.slow
        elif first or name in IMAGES:
            kind = pytest.mark.thorough
        else:
            kind = pytest.mark.exhaustive
        cases.append(pytest.param(name, "float64", marks=[pytest.mark.no_type_hook, kind]))
    return cases


def test_cases_to_compile_as_users_do_are_there() -> None:
    assert set(AS_USERS_COMPILE) <= set(CASES)


@pytest.mark.parametrize(("name", "dtype"), _cases())
def test_laws(name: str, dtype: str) -> None:
    case = CASES[name]
    with jax.enable_x64(dtype == "float64"):
        bijector, x, condition = case.data(jnp.dtype(dtype))
        assert type(bijector) is case.kind
        check_bijector(
            bijector,
            x,
            condition,
            domain=case.domain,
            codomain=case.codomain,
            solver_tolerance=case.solver_tolerance(dtype),
            perturbation=case.perturbation,
        )


BINS, BOUND, MIN_BIN = 5, 2.0, 1e-3


def spline_at_its_knots(dtype: str, direction: str) -> tuple[Callable, jax.Array, jax.Array]:
    """A spline as a function of (point, parameters), its knots and edges, and its parameters."""
    spline = RationalQuadraticSpline(BINS, BOUND)
    params = np.random.default_rng(2).uniform(-2, 2, spline.n_params)
    raw = params[:BINS] if direction == "forward" else params[BINS : 2 * BINS]
    softmax = np.exp(raw) / np.exp(raw).sum()
    sizes = 2 * BOUND * (MIN_BIN + (1 - MIN_BIN * BINS) * softmax)
    knots = np.concatenate([[-BOUND], np.cumsum(sizes)[:-1] - BOUND, [BOUND]])
    run = getattr(spline, direction)
    return run, jnp.asarray(knots, dtype), jnp.asarray(params, dtype)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("direction", ["forward", "inverse"])
def test_a_spline_is_smooth_at_its_knots_and_edges(direction: str, dtype: str) -> None:
    with jax.enable_x64(dtype == "float64"):
        run, knots, params = spline_at_its_knots(dtype, direction)
        eps = float(jnp.finfo(dtype).eps)
        sides = [np.nextafter(knots, np.asarray(end, dtype)) for end in (-9.0, 9.0)]
        sides += [knots - 64 * eps, knots, knots + 64 * eps]

        @jax.jit
        def evaluate(x: jax.Array, params: jax.Array) -> Any:
            def value(x: jax.Array, params: jax.Array) -> Any:
                y, log_slope = run(x, params)
                return y, (y, log_slope)

            def each(x: jax.Array) -> Any:
                slopes, outputs = jax.grad(value, argnums=(0, 1), has_aux=True)(x, params)
                return outputs, slopes, jax.grad(lambda x, p: run(x, p)[1], (0, 1))(x, params)

            return jax.vmap(each)(x)

        (y, log_slope), (slope, by_params), others = evaluate(jnp.concatenate(sides), params)
        for leaf in jax.tree.leaves((by_params, others)):
            assert jnp.isfinite(leaf).all()
        y, log_slope, slope = (a.reshape(5, -1) for a in (y, log_slope, slope))
        np.testing.assert_allclose(y, np.tile(y[3], (5, 1)), atol=1e4 * eps)
        np.testing.assert_allclose(log_slope, np.tile(log_slope[3], (5, 1)), atol=1e4 * eps)
        np.testing.assert_allclose(np.log(slope), log_slope, atol=1e4 * eps)
        np.testing.assert_allclose(log_slope[:, [0, -1]], 0.0, atol=1e4 * eps)


def test_a_spline_coupling_is_finite_at_the_knots_of_its_start() -> None:
    """Before training the knots are round numbers, which data may well be."""
    spline = RationalQuadraticSpline(bins=4, bound=2.0)
    coupling = Coupling((2,), mask=half_mask(2), transformer=spline, hidden=(4,), rngs=0)
    x = jnp.stack(jnp.meshgrid(jnp.arange(-3.0, 4.0), jnp.arange(-3.0, 4.0)), -1)

    def total(coupling: Coupling, x: jax.Array, y: jax.Array) -> Any:
        outputs = (*coupling.forward_and_log_det(x), *coupling.inverse_and_log_det(y))
        return sum(jnp.sum(part) for part in outputs), outputs

    gradients, outputs = jax.jit(jax.grad(total, argnums=(0, 1, 2), has_aux=True))(coupling, x, x)
    for output, expected in zip(outputs, (x, x[..., 0] * 0) * 2, strict=True):
        np.testing.assert_allclose(output, expected, atol=1e-6)
    assert all(jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(gradients))


def _far_from_identity(bijector: Bijector) -> Bijector:
    generator = np.random.default_rng(3)

    def move(leaf: Any, learned: bool) -> jax.Array:
        return leaf + learned * jnp.asarray(0.5 * generator.normal(size=leaf.shape), leaf.dtype)

    return jax.tree.map(move, bijector, trainable(bijector))


def _block(key: jax.Array) -> Chain:
    coupling = Coupling((3,), mask=half_mask(3), condition_shape=(2,), hidden=(8,), rngs=key)
    return Chain([ActNorm((3,)), coupling, Permute((3,), "reverse")])


def _actnorm_outputs(bijector: Bijector, x: Any, c: Any, inverse: bool) -> Iterator[Any]:
    """What comes out of each ActNorm on the way of x through a bijector, and at last x's image."""
    run = bijector.inverse if inverse else bijector.forward
    if isinstance(bijector, Invert):
        yield from _actnorm_outputs(bijector.bijector, x, c, not inverse)
    elif isinstance(bijector, Chain | Stack):
        members = [bijector[i] for i in range(len(bijector))]
        for member in members[::-1] if inverse else members:
            *found, x = _actnorm_outputs(member, x, c, inverse)
            yield from found
        yield x
    else:
        y = run(x, None if bijector.condition_shape is None else c)
        yield from [y] * (1 + isinstance(bijector, ActNorm))


@pytest.mark.parametrize(
    ("bijector", "n"),
    [
        (ActNorm((3,)), 1),
        (Invert(ActNorm((3,))), 1),
        (Chain([_block(jax.random.key(0)), Invert(_block(jax.random.key(1)))]), 2),
        (Stack(_block, 3, rngs=0), 3),
        (Invert(Stack(_block, 2, rngs=0)), 2),
        (Chain([ActNorm((3,)), Invert(Invert(Stack(_block, 2, rngs=0)))]), 3),
    ],
    ids=["ActNorm", "Invert", "Chain", "Stack", "Invert Stack", "nested"],
)
def test_initialize_standardises_after_every_actnorm(bijector: Bijector, n: int) -> None:
    bijector = _far_from_identity(bijector)
    generator = np.random.default_rng(4)
    x = jnp.asarray(generator.normal([1.0, -2.0, 30.0], [0.1, 1.0, 7.0], (64, 3)), jnp.float32)
    c = jnp.asarray(generator.normal(size=(64, 2)), jnp.float32)
    condition = None if bijector.condition_shape is None else c
    new = initialize(bijector, x, condition)
    assert needs_initialization(bijector) and not needs_initialization(new)
    *outputs, image = _actnorm_outputs(new, x, c, inverse=False)
    assert len(outputs) == n
    for y in outputs:
        np.testing.assert_allclose(jnp.mean(y, 0), 0.0, atol=1e-4)
        np.testing.assert_allclose(jnp.var(y, 0), 1.0, atol=1e-3)
    np.testing.assert_allclose(image, new.forward(x, condition), atol=1e-4)

"""`backprop="invert"`: the gradients of "store", from the output alone."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec

from benchmarks.memory import SMOKE, compare_gradients
from jinn import bijectors
from jinn.bijectors import (
    ActNorm,
    Chain,
    ConditionalAffine,
    Coupling,
    Elementwise,
    FactorOut,
    Householder,
    Invert,
    InvertibleResidual,
    LeakyReLU,
    MaskedAutoregressive,
    Permute,
    Stack,
    TwoSidedCoupling,
    checkerboard_mask,
    reconstruction_drift,
)
from jinn.bijectors.base import Bijector
from jinn.bijectors.transformers import (
    Affine,
    Composed,
    CubicSpline,
    LearnedDomain,
    RationalQuadraticSpline,
    Sigmoidal,
    VolumePreserving,
)
from jinn.flows import gin, maf, multiscale_flow, neural_spline_flow, nice, real_nvp
from jinn.functional.coupling import coupling_forward, coupling_inverse, coupling_pullback
from tests.reversible import MASK, OPTIONS, D, agree, kept, loss, normal, shaken

SMALL = {"rngs": 0, "hidden": (4,), "depth": 2, "param_dtype": D}


def block(key):
    coupling = Coupling((4,), mask=MASK, rngs=key, **OPTIONS)
    return Chain([ActNorm((4,), param_dtype=D), Permute((4,), permutation=(1, 3, 0, 2)), coupling])


def dicts(backprop):
    """A chain whose output is a dict, with a coupling that is inverted and one of two sides."""
    last = TwoSidedCoupling((2,), mask=(True, False), rngs=1, **OPTIONS)
    rest = Invert(Chain([last, Householder((2,), param_dtype=D, rngs=2)]))
    first = Coupling((4,), mask=MASK, rngs=0, **OPTIONS)
    leave = FactorOut(rest, channels=2, name="left", rest_name="last")
    return Chain([first, leave], backprop=backprop)


@pytest.mark.no_type_hook
@pytest.mark.usefixtures("x64")
def test_gradients_of_a_stack_are_those_of_store():
    agree(lambda b: Stack(block, 3, rngs=0, backprop=b), normal((3, 4)), normal((3, 2), 1))


@pytest.mark.no_type_hook
@pytest.mark.usefixtures("x64")
def test_gradients_of_a_chain_of_dicts_with_one_condition_are_those_of_store():
    agree(dicts, normal((3, 4)), normal((2,), 1))


@pytest.mark.no_type_hook
@pytest.mark.usefixtures("x64")
def test_members_without_an_analytic_inverse_are_kept():
    def make(backprop):
        made = MaskedAutoregressive((2,), transformer="affine", hidden=(4,), param_dtype=D, rngs=0)
        return Chain([made, ActNorm((2,), param_dtype=D)], backprop=backprop)

    agree(make, normal((3, 2)))


@pytest.mark.thorough
@pytest.mark.no_type_hook
@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize(
    ("build", "shape", "condition"),
    [
        (partial(real_nvp, 4, condition_dim=2, mixing="plu", **SMALL), (4,), (2,)),
        (partial(real_nvp, 4, two_sided=True, mixing="orthogonal", **SMALL), (4,), None),
        (partial(neural_spline_flow, 4, condition_dim=2, **SMALL), (4,), (2,)),
        (partial(nice, 4, mixing="learned_orthogonal", **SMALL), (4,), None),
        (partial(gin, 4, condition_dim=2, mixing="householder", **SMALL), (4,), (2,)),
        (partial(maf, 3, condition_dim=2, **SMALL), (3,), (2,)),
        (
            partial(multiscale_flow, (4, 4, 3), scales=2, condition_shape=(2,), **SMALL),
            (4, 4, 3),
            (2,),
        ),
        (
            partial(
                multiscale_flow, (4, 4, 2), scales=1, fully_connected=1, two_sided=True, **SMALL
            ),
            (4, 4, 2),
            None,
        ),
    ],
)
def test_gradients_of_named_flows_are_those_of_store(build, shape, condition):
    c = None if condition is None else normal((3, *condition), 1)
    agree(lambda b: build(backprop=b).bijector, normal((3, *shape)), c, tolerance=1e-9)


@pytest.mark.thorough
@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-4), ("float64", 1e-9)])
@pytest.mark.no_type_hook
def test_gradients_of_a_deep_flow_are_those_of_store(dtype, tolerance):
    settings = replace(SMOKE, event=16, condition=4, hidden=(32, 32), compared_depth=64)
    found = compare_gradients(settings, dtype)
    assert 0 < found["gradient_difference"] < tolerance
    assert 0 < found["drift"] < tolerance


@pytest.mark.thorough
@pytest.mark.no_type_hook
@pytest.mark.usefixtures("x64")
def test_stochastic_log_determinants_draw_the_same_again():
    def make(backprop):
        def residual(key):
            options = {"hidden": (4,), "coefficient": 0.5, "param_dtype": D, "rngs": key}
            return InvertibleResidual((2,), estimator="russian_roulette", **options)

        return Stack(residual, 2, rngs=0, backprop=backprop)

    agree(make, normal((3, 2)), key=jax.random.key(3), tolerance=1e-8)


@pytest.mark.no_type_hook
@pytest.mark.parametrize(
    ("mask", "transformer"),
    [(np.array(MASK), Affine()), (checkerboard_mask((2, 2, 1)), VolumePreserving())],
)
@pytest.mark.parametrize("inverse", [False, True])
@pytest.mark.usefixtures("x64")
def test_pullback_of_a_coupling_evaluates_its_network_once(mask, transformer, inverse):
    n = 1 if mask.ndim == 3 else 2
    weight = normal((n, transformer.n_params * n))
    x, by_y, by_log_det = normal((5, *mask.shape), 1), normal((5, *mask.shape), 2), normal((5,), 3)
    calls = []

    def conditioner(weight, u):
        calls.append(u)
        return jnp.sin(u @ weight)

    def run(x, weight):
        couple = coupling_inverse if inverse else coupling_forward
        return couple(x, partial(conditioner, weight), transformer, mask=mask)

    (y, _), pull = jax.vjp(run, x, weight)
    calls.clear()
    rebuilt, by_x, by_weight = coupling_pullback(
        y, by_y, by_log_det, conditioner, weight, transformer, mask=mask, inverse=inverse
    )
    assert len(calls) == 1
    np.testing.assert_allclose(rebuilt, x, atol=1e-13)
    for one, other in zip((by_x, by_weight), pull((by_y, by_log_det)), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-12)


@pytest.mark.parametrize(
    "build",
    [
        partial(real_nvp, 4, hidden=(4,), rngs=0),
        partial(neural_spline_flow, 4, hidden=(4,), rngs=0),
        partial(gin, 4, hidden=(4,), two_sided=True, rngs=0),
        partial(multiscale_flow, (4, 4, 1), scales=1, hidden=4, rngs=0),
    ],
)
def test_coupling_flows_keep_nothing_but_the_output(build):
    flow = build(depth=2, backprop="invert")
    x = jnp.zeros((3, *flow.event_shape))
    assert kept(flow.bijector, x) == []


def test_a_residual_block_keeps_its_input():
    def make(key):
        return Chain([ActNorm((2,)), InvertibleResidual((2,), hidden=(4,), rngs=key)])

    x = jnp.zeros((3, 2))
    assert [leaf.shape for leaf in kept(Stack(make, 5, rngs=0), x)] == [(5, 3, 2)]


@pytest.mark.parametrize(
    ("transformer", "analytic"),
    [
        (Composed((Affine(), RationalQuadraticSpline())), True),
        (Composed((Affine(), CubicSpline())), False),
        (LearnedDomain(), True),
        (LearnedDomain(CubicSpline()), False),
        (Sigmoidal(), False),
    ],
)
def test_couplings_and_maps_of_elements_are_as_analytic_as_their_transformer(transformer, analytic):
    assert Coupling((4,), mask=MASK, transformer=transformer, rngs=0).analytic_inverse is analytic
    assert Elementwise((4,), transformer).analytic_inverse is analytic


def test_memory_does_not_grow_with_depth():
    def temporaries(depth, backprop):
        flow = real_nvp(4, condition_dim=2, hidden=(32,), depth=depth, backprop=backprop, rngs=0)

        def loss(flow, x, c):
            return -flow.log_prob(x, c).mean()

        gradient = jax.jit(jax.value_and_grad(loss))
        compiled = gradient.lower(flow, jnp.zeros((512, 4)), jnp.zeros((512, 2))).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    deep = temporaries(32, "invert")
    assert deep <= 1.1 * temporaries(4, "invert")
    assert deep < 0.2 * temporaries(32, "store")


class Careless(Bijector):
    """Multiplies by 2, and divides by a little less."""

    analytic_inverse = True

    def __init__(self):
        self._declare((2,))

    def _forward(self, x, condition, *, key, with_log_det):
        return 2 * x, None

    def _inverse(self, y, condition, *, key, with_log_det):
        return y / 1.9, None


def test_drift_tells_how_well_inputs_are_rebuilt():
    flow = real_nvp(4, depth=8, hidden=(8,), rngs=0)
    x = jnp.asarray(normal((3, 4)), jnp.float32)
    exact, inverse = (
        reconstruction_drift(shaken(flow.bijector), x, inverse=inverse) for inverse in (False, True)
    )
    assert exact.shape == inverse.shape == (3,)
    assert float(exact.max()) < 1e-5 and float(inverse.max()) < 1e-5
    careless = reconstruction_drift(Chain([Careless(), ActNorm((2,))]), jnp.ones((2,)))
    np.testing.assert_allclose(careless, (2 / 1.9 - 1) / 2, rtol=1e-4)


def test_drift_behind_a_member_that_keeps_its_input_is_seen():
    chain = Chain([LeakyReLU((2,)), Careless()], backprop="invert")
    assert not chain.analytic_inverse
    drift = reconstruction_drift(chain, jnp.ones((3, 2)))
    np.testing.assert_allclose(drift, (2 / 1.9 - 1) / 2, rtol=1e-4)
    assert reconstruction_drift(chain, jnp.ones((0, 2))).shape == (0,)


def test_drift_of_what_overflows_is_infinite():
    chain = Chain([bijectors.Affine((2,), scale=1e30), bijectors.Affine((2,), scale=1e30)])
    drift = jax.jit(reconstruction_drift)(chain, jnp.array([[1.0, 2.0], [0.0, 0.0]]))
    np.testing.assert_array_equal(drift, [jnp.inf, 0.0])


def small(backprop):
    return Chain(
        [ConditionalAffine((3,), hidden=(4,), condition_shape=(2,), rngs=0), ActNorm((3,))],
        backprop=backprop,
    )


def test_forward_mode_is_refused():
    chain, x = small("invert"), jnp.ones((3,))
    with pytest.raises(TypeError, match="can't apply forward-mode"):
        jax.jvp(lambda x: chain.forward(x, jnp.ones((2,))), (x,), (x,))


@pytest.mark.thorough
def test_gradients_pass_through_vmap_checkpoint_and_jit():
    x = jnp.asarray(normal((3, 4)), jnp.float32)
    condition = jnp.asarray(normal((3, 2), 1), jnp.float32)
    results = []
    for backprop in ("store", "invert"):
        stack = Stack(
            lambda key: Coupling((4,), mask=MASK, condition_shape=(2,), hidden=(4,), rngs=key),
            2,
            rngs=0,
            backprop=backprop,
        )
        run = jax.checkpoint(jax.jit(loss))
        gradient = jax.vmap(jax.grad(run, argnums=(0, 1, 2)), in_axes=(None, 0, 0))
        results.append(jax.tree.leaves(gradient(shaken(stack), x, condition)))
    for one, other in zip(*results, strict=True):
        np.testing.assert_allclose(one, other, atol=2e-5)


@pytest.mark.thorough
def test_gradients_of_sharded_batches():
    mesh = jax.make_mesh((1,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    split, whole = PartitionSpec("data"), PartitionSpec()
    x = jnp.asarray(normal((4, 3)), jnp.float32)
    condition = jnp.asarray(normal((4, 2), 1), jnp.float32)

    def gradients(backprop):
        def value(chain, x, condition):
            return jax.lax.psum(loss(chain, x, condition), "data")

        specs = (whole, split, split)
        sharded = jax.shard_map(value, mesh=mesh, in_specs=specs, out_specs=whole)
        return jax.tree.leaves(jax.jit(jax.grad(sharded))(small(backprop), x, condition))

    for one, other in zip(gradients("store"), gradients("invert"), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


@pytest.mark.thorough
def test_networks_in_bfloat16():
    found = []
    for backprop in ("store", "invert"):
        flow = real_nvp(4, depth=2, hidden=(4,), dtype=jnp.bfloat16, backprop=backprop, rngs=0)
        x = jnp.asarray(normal((3, 4)), jnp.float32)
        found.append(jax.jit(jax.grad(loss))(shaken(flow.bijector), x, None))
    for one, other in zip(*map(jax.tree.leaves, found), strict=True):
        assert one.dtype == other.dtype
        np.testing.assert_allclose(one, other, rtol=0.05, atol=0.05)

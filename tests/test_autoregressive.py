"""What distinguishes masked networks, autoregressive bijectors and the flows made of them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jinn
from jinn.bijectors import MaskedAutoregressive, trainable
from jinn.flows import iaf, maf
from jinn.flows.specification import build_specified, have_one_form, is_specified
from jinn.networks import MaskedMLP

X = jnp.asarray(np.random.default_rng(0).normal(size=(6, 4)), jnp.float32)
C = jnp.asarray(np.random.default_rng(1).normal(size=(6, 3)), jnp.float32)
ORDER = (2, 0, 3, 1)


def shaken(module, size=0.5):
    """The same module with parameters far from zero."""
    generator = np.random.default_rng(2)

    def shake(leaf, may_change):
        noise = size * jnp.asarray(generator.normal(size=leaf.shape), leaf.dtype)
        return leaf + noise if may_change else leaf

    return jax.tree.map(shake, module, trainable(module))


# --- MaskedMLP ------------------------------------------------------------------------------------


@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("order", [None, ORDER])
def test_sparsity_with_and_without_a_condition(order, residual):
    options = {"hidden": (9, 9), "order": order, "residual": residual, "rngs": 0}
    places = list(order or range(4))
    earlier = np.tri(4, k=-1, dtype=bool)
    for condition_shape, given in (((3,), (C[0],)), (None, ())):
        mlp = shaken(MaskedMLP(4, 2, condition_shape=condition_shape, **options))
        jacobians = jax.jit(jax.jacrev(lambda mlp, *a: mlp(*a), argnums=(1, 2)[: 1 + len(given)]))
        by_x, *by_condition = jacobians(mlp, X[0], *given)
        for part in np.asarray(by_x).reshape(2, 4, 4)[:, places][..., places]:
            assert np.all(part[~earlier] == 0) and np.all(part[earlier] != 0)
        assert all(np.all(part != 0) for part in by_condition)  # the first element's too


def test_masks_are_no_parameters_and_masked_weights_do_nothing():
    bijector = shaken(MaskedAutoregressive((4,), hidden=(6, 6), order=ORDER, rngs=0))
    leaves = jax.tree.leaves(bijector)
    assert len(leaves) == 6 and all(leaf.dtype == jnp.float32 for leaf in leaves)

    @jax.jit
    def both(bijector, x):
        return *bijector.forward_and_log_det(x), *bijector.inverse_and_log_det(x)

    def slope(bijector):
        return sum(jnp.sum(jnp.abs(part)) for part in both(bijector, X))

    gradient = jax.jit(jax.grad(slope))(bijector)
    moved = jax.tree.map(lambda leaf, g: jnp.where(g == 0, leaf + 5.0, leaf), bijector, gradient)
    kernels = [net.conditioner.kernels[0][...] for net in (bijector, moved)]
    assert 10 <= np.sum(kernels[0] != kernels[1]) < 20  # of 36
    for one, other in zip(both(bijector, X), both(moved, X), strict=True):
        np.testing.assert_array_equal(one, other)


def test_all_units_start_with_the_same_variance():
    mlp = MaskedMLP(32, 2, hidden=(256, 256), zero_init_last=False, rngs=0)
    x = jnp.asarray(np.random.default_rng(0).normal(size=(4096, 32)), jnp.float32)
    net = mlp.bind()
    mask = np.arange(31)[:, None] < 1 + np.arange(256) * 31 // 256
    variance = np.var(x[:, :31] @ np.where(mask, net.kernels[0], 0), 0)
    for units in (variance[:40], variance[-40:]):
        assert 0.7 < units.mean() < 1.3


def test_the_computation_may_be_narrow():
    mlp = MaskedMLP(4, 2, hidden=(8,), dtype=jnp.bfloat16, zero_init_last=False, rngs=0)
    out = mlp(X)
    assert out.dtype == jnp.bfloat16 and mlp.last_kernel.dtype == jnp.float32
    wide = MaskedMLP(4, 2, hidden=(8,), zero_init_last=False, rngs=0)(X)
    np.testing.assert_allclose(out.astype(jnp.float32), wide, atol=0.05)


# --- The bijector ---------------------------------------------------------------------------------


def loops(jaxpr):
    """The scans of a program, with the numbers of multiplications in their dots, all steps' sum."""
    for equation in jaxpr.eqns:
        if equation.primitive.name == "scan":
            body = equation.params["jaxpr"].jaxpr
            yield equation.params["length"], equation.params["length"] * multiplications(body)
        else:
            for inner in inner_programs(equation):
                yield from loops(inner)


def multiplications(jaxpr):
    total = sum(map(multiplications, [i for e in jaxpr.eqns for i in inner_programs(e)]))
    for equation in jaxpr.eqns:
        if equation.primitive.name == "dot_general":
            (axes, _), _ = equation.params["dimension_numbers"]
            shape = equation.invars[0].aval.shape
            summed = np.prod([shape[axis] for axis in axes])
            total += int(equation.outvars[0].aval.size * summed)
    return total


def inner_programs(equation):
    for value in equation.params.values():
        inner = getattr(value, "jaxpr", value)
        if hasattr(inner, "eqns"):
            yield inner


def test_the_inverse_is_a_loop_whose_work_grows_no_faster_than_the_event():
    work = {}
    for size in (8, 16, 32, 64):
        bijector = MaskedAutoregressive((size,), hidden=(128, 128), rngs=0)
        y = jnp.zeros((100, size))
        program = jax.make_jaxpr(lambda b, y: b.inverse_and_log_det(y))(bijector, y).jaxpr
        lengths, parts = zip(*loops(program), strict=True)
        assert sum(lengths) == size and len(lengths) <= 4
        work[size] = sum(parts)
    assert all(work[2 * size] < 2 * work[size] for size in (8, 16, 32))
    assert work[64] < 3 * 100 * 64 * 128 * 8  # at most that of a few passes, not of 64


def test_the_condition_keeps_its_own_batch():
    bijector = shaken(MaskedAutoregressive((4,), hidden=(8,), condition_shape=(3,), rngs=0))
    x = X[None] + 0.01 * jnp.arange(50.0)[:, None, None]
    copied = jnp.broadcast_to(C, (50, 6, 3))
    for run in (bijector.forward_and_log_det, bijector.inverse_and_log_det):
        for found, expected in zip(run(x, C), run(x, copied), strict=True):
            np.testing.assert_allclose(found, expected, atol=1e-5)
        program = jax.make_jaxpr(run)(x, C).jaxpr
        pairs = [[v.aval.shape for v in e.invars] for e in program.eqns if is_dot(e)]
        assert [(6, 3), (3, 8)] in pairs  # of the condition; what x meets is (3, 8) too
        assert len([pair for pair in pairs if pair[0][-1] == 3 and len(pair[0]) == 2]) == 1


def is_dot(equation):
    return equation.primitive.name == "dot_general"


def test_narrow_events_have_wide_log_determinants():
    bijector = shaken(MaskedAutoregressive((4,), hidden=(8,), rngs=0))
    y, log_det = bijector.forward_and_log_det(X.astype(jnp.bfloat16))
    x, back_log_det = bijector.inverse_and_log_det(y)
    assert x.dtype == y.dtype == jnp.bfloat16
    assert log_det.dtype == back_log_det.dtype == jnp.float32


def test_a_masked_network_of_ones_own_brings_its_order():
    mlp = MaskedMLP(4, 1, hidden=(8,), order=ORDER, rngs=0)
    bijector = MaskedAutoregressive((4,), conditioner=mlp, transformer="additive")
    assert bijector.order == ORDER


# --- The flows ------------------------------------------------------------------------------------


def test_repr_says_which_direction_is_fast():
    options = {"condition_dim": 2, "depth": 2, "hidden": (8,), "rngs": 0}
    assert "log_prob is fast, sample is slow" in repr(maf(3, **options))
    assert "sample is fast, log_prob is slow" in repr(iaf(3, **options))


@pytest.mark.parametrize("make", [maf, iaf])
def test_samples_come_with_their_density(make):
    flow = shaken(make(3, condition_dim=3, depth=2, hidden=(8,), mixing="reverse", rngs=0), 0.2)
    x, log_prob = flow.sample_and_log_prob(jax.random.key(0), (40,), C)
    assert x.shape == (40, 6, 3)
    np.testing.assert_allclose(flow.log_prob(x, C), log_prob, atol=1e-4)


@pytest.mark.parametrize("make", [maf, iaf])
def test_specifications(make):
    options = {
        "condition_dim": 2,
        "depth": 2,
        "hidden": (8, 8),
        "mixing": "plu",
        "transformer": "rational_quadratic_spline",
        "bins": 3,
        "residual": True,
    }
    flow = make(3, rngs=0, **options)
    assert is_specified(flow)
    assert have_one_form(flow, build_specified(flow.specification))


@pytest.mark.thorough
@pytest.mark.no_type_hook
def test_a_posterior_comes_back_from_a_file(tmp_path):
    def model(key, n):
        x = jax.random.normal(key, (n, 3))
        return x, x[:, :2]

    flow = maf(3, condition_dim=2, depth=2, hidden=(8,), rngs=0)
    options = {"steps": 3, "batch_size": 32, "progress": False}
    posterior = jinn.fit_posterior(jax.random.key(0), model, flow=flow, **options)
    posterior.save(tmp_path / "posterior")
    loaded = jinn.Posterior.load(tmp_path / "posterior")
    found = loaded.log_prob(X[:, :3], C[:, :2])
    np.testing.assert_array_equal(found, posterior.log_prob(X[:, :3], C[:, :2]))

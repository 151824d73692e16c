"""Flows as densities: normalised, sampled as evaluated, in any batch and in chunks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jinn.bijectors import (
    Affine,
    Chain,
    ConditionalAffine,
    Coupling,
    Invert,
    Logit,
    Sigmoid,
    Stack,
    trainable,
)
from jinn.bijectors.base import Bijector
from jinn.distributions import StandardNormal, Uniform
from jinn.distributions.base import Distribution
from jinn.flows import Flow, neural_spline_flow, real_nvp

BUILDERS = {"real_nvp": real_nvp, "neural_spline_flow": neural_spline_flow}
KEY = jax.random.key(0)


def shaken(module, size):
    """The same module with its parameters away from their start."""
    rng = np.random.default_rng(0)

    def move(leaf, learned):
        return jnp.asarray(np.asarray(leaf) + size * rng.normal(size=leaf.shape) * learned)

    return jax.tree.map(move, module, trainable(module))


def random(*shape):
    return jnp.asarray(np.random.default_rng(0).normal(size=shape), jnp.float32)


def build(name, event_dim, *, size=0.2, **options):
    return shaken(BUILDERS[name](event_dim, depth=2, hidden=(8,), rngs=0, **options), size)


# --- Densities ------------------------------------------------------------------------------------


@pytest.mark.parametrize("condition_dim", [0, 2])
@pytest.mark.parametrize("event_dim", [1, 2])
@pytest.mark.parametrize("name", BUILDERS)
def test_integrates_to_one(name, event_dim, condition_dim):
    flow = build(name, event_dim, condition_dim=condition_dim, size=0.12)
    condition = jnp.array([0.5, -1.0]) if condition_dim else None
    extent, points = 12.0, (8001 if event_dim == 1 else 801)
    grid = np.linspace(-extent, extent, points, dtype=np.float32)
    x = np.stack(np.meshgrid(*[grid] * event_dim), axis=-1)
    log_prob = np.asarray(jax.jit(flow.log_prob)(x, condition))
    assert log_prob.max() - np.median(log_prob) > 10  # the grid holds the mass
    mass = np.exp(log_prob.astype(float)).sum() * (2 * extent / (points - 1)) ** event_dim
    np.testing.assert_allclose(mass, 1.0, atol=1e-3)


def test_change_of_variables_by_hand():
    bijector = Affine((2,), shift=[1.0, -1.0], scale=[2.0, 0.5])
    x = np.array([[0.3, 0.4], [-2.0, 7.0]], np.float32)
    z = x * [2.0, 0.5] + [1.0, -1.0]
    expected = -np.log(2 * np.pi) - (z**2).sum(-1) / 2 + np.log(2.0 * 0.5)
    flow = Flow(bijector, StandardNormal((2,)))
    np.testing.assert_allclose(flow.log_prob(x), expected, rtol=1e-5)


def test_logistic_density_from_a_uniform_base():
    flow = Flow(Sigmoid((1,)), Uniform((1,)))
    x = np.linspace(-8, 8, 17, dtype=np.float32)[:, None]
    np.testing.assert_allclose(
        flow.log_prob(x), -np.abs(x[:, 0]) - 2 * np.log1p(np.exp(-np.abs(x[:, 0]))), rtol=1e-5
    )


def test_no_density_outside_the_support():
    flow = Flow(Logit((1,)), StandardNormal((1,)))
    log_prob = flow.log_prob(np.array([[-0.1], [0.5], [1.1]], np.float32))
    assert np.isfinite(log_prob[1]) and log_prob[0] == log_prob[2] == -np.inf


# --- Shapes ---------------------------------------------------------------------------------------

CONDITIONAL = build("real_nvp", 3, condition_dim=2)
log_prob_of = jax.jit(CONDITIONAL.log_prob)


@pytest.mark.parametrize("x_batch", [(), (5,), (4, 5)])
@pytest.mark.parametrize("condition_batch", [(), (5,), (4, 1), (6, 1, 5)])
def test_conditions_with_fewer_more_and_equal_batch_axes(x_batch, condition_batch):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(*x_batch, 3)).astype(np.float32)
    condition = rng.normal(size=(*condition_batch, 2)).astype(np.float32)
    batch = np.broadcast_shapes(x_batch, condition_batch)
    log_prob = log_prob_of(x, condition)
    assert log_prob.shape == batch
    copies = [np.broadcast_to(x, (*batch, 3)), np.broadcast_to(condition, (*batch, 2))]
    flat = log_prob_of(*(np.resize(c.reshape(-1, c.shape[-1]), (120, c.shape[-1])) for c in copies))
    np.testing.assert_allclose(log_prob.reshape(-1), flat[: log_prob.size], rtol=2e-5)


@pytest.mark.parametrize("shape", [(), (3,), (2, 3)])
@pytest.mark.parametrize("condition_batch", [(), (4,), (2, 4)])
def test_sample_shapes(shape, condition_batch):
    condition = jnp.ones((*condition_batch, 2))
    both = jax.jit(CONDITIONAL.sample_and_log_prob, static_argnums=1)
    x, log_prob = jax.eval_shape(lambda c: both(KEY, shape, c), condition)
    assert x.shape == (*shape, *condition_batch, 3)
    assert log_prob.shape == (*shape, *condition_batch)
    x = jax.eval_shape(lambda c: CONDITIONAL.sample(KEY, shape, c), condition)
    assert x.shape == (*shape, *condition_batch, 3)


def test_no_samples():
    assert CONDITIONAL.sample(KEY, (0,), jnp.ones((4, 2))).shape == (0, 4, 3)


# --- Sampling -------------------------------------------------------------------------------------


@pytest.mark.parametrize("condition_dim", [0, 2])
@pytest.mark.parametrize("name", BUILDERS)
def test_samples_come_with_their_own_log_prob(name, condition_dim):
    flow = build(name, 3, condition_dim=condition_dim, size=0.1)
    condition = random(4, 2) if condition_dim else None

    @jax.jit
    def draw(condition):
        x, log_prob = flow.sample_and_log_prob(KEY, (50,), condition)
        return x, log_prob, flow.sample(KEY, (50,), condition), flow.log_prob(x, condition)

    x, log_prob, same, again = draw(condition)
    np.testing.assert_allclose(log_prob, again, rtol=1e-4, atol=1e-3)
    np.testing.assert_allclose(x, same, rtol=1e-5, atol=1e-5)


def test_samples_follow_the_density():
    """Their histogram is that of exp(log_prob), for each condition its own."""
    flow = build("neural_spline_flow", 1, condition_dim=2)
    conditions = jnp.array([[0.5, -1.0], [-2.0, 1.0]])
    n = 20_000
    x = np.asarray(jax.jit(flow.sample, static_argnums=1)(KEY, (n,), conditions))
    edges = np.linspace(-8, 8, 10_001, dtype=np.float32)
    for i in range(2):
        density = np.exp(jax.jit(flow.log_prob)(edges[:, None], conditions[i]))
        cdf = np.cumsum(density) * (edges[1] - edges[0])
        observed = np.searchsorted(np.sort(x[:, i, 0]), edges) / n
        assert np.abs(observed - cdf).max() < 2.2 / n**0.5  # Kolmogorov-Smirnov, p < 1e-4


@pytest.mark.parametrize(
    ("shape", "conditions"),
    [((48,), None), ((50,), ()), ((7, 9), (2,)), ((5,), (4, 10)), ((), (70,)), ((3,), (2, 1, 40))],
)
def test_chunks_are_independent_draws_with_their_densities(shape, conditions, monkeypatch):
    """Chunks that fit, that leave a rest, and that are smaller than one draw a condition."""
    monkeypatch.setattr("jinn.flows.chunks.DRAWN_ROWS", 32)
    monkeypatch.setattr("jinn.flows.chunks.CHUNK_ROWS", 16)
    flow = build("real_nvp", 2, condition_dim=0 if conditions is None else 2)
    condition = None if conditions is None else random(*conditions, 2)
    draw = jax.jit(lambda condition: flow.sample_and_log_prob(KEY, shape, condition))
    samples, log_probs = draw(condition)
    assert samples.shape == (*shape, *(conditions or ()), 2)
    assert len(np.unique(samples.reshape(-1, 2), axis=0)) == samples.size // 2
    expected = jax.jit(flow.log_prob)(samples, condition)
    np.testing.assert_allclose(log_probs, expected, rtol=1e-4, atol=1e-4)
    without = jax.jit(lambda condition: flow.sample(KEY, shape, condition))(condition)
    np.testing.assert_allclose(without, samples, rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize(
    ("x_batch", "conditions"),
    [((50,), None), ((48,), (48,)), ((50,), (1,)), ((3,), (15, 3)), ((3, 1, 21), (2, 21))],
)
def test_chunks_change_no_density(x_batch, conditions, monkeypatch):
    flow = build("real_nvp", 2, condition_dim=0 if conditions is None else 2)
    x, condition = random(*x_batch, 2), None if conditions is None else random(*conditions, 2)

    def evaluate(flow, x, condition):
        gradient = jax.grad(lambda x: flow.log_prob(x, condition).sum())(x)
        return flow.log_prob(x, condition), gradient

    whole = jax.jit(evaluate)(flow, x, condition)
    monkeypatch.setattr("jinn.flows.chunks.CHUNK_ROWS", 8)
    chunks = jax.jit(lambda *arguments: evaluate(*arguments))(flow, x, condition)
    for a, b in zip(chunks, whole, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)


class Around(Distribution):
    """Normal elements about the condition."""

    def __init__(self):
        self._declare((2,), (2,))

    def _log_prob(self, x, condition):
        gaps = x - condition.reshape(*[1] * (x.ndim - condition.ndim), *condition.shape)
        return -0.5 * jnp.sum(gaps**2, -1) - np.log(2 * np.pi)

    def _sample(self, key, batch, condition):
        return jax.random.normal(key, (*batch, 2)) + condition


@pytest.mark.parametrize("conditions", [(50,), (3, 50), (5, 1), ()])
@pytest.mark.parametrize("x_batch", [(50,), (1,), ()])
def test_a_condition_of_the_base_alone_in_chunks(x_batch, conditions, monkeypatch):
    monkeypatch.setattr("jinn.flows.chunks.CHUNK_ROWS", 8)
    flow = Flow(Affine((2,), scale=2.0), Around())
    x, condition = random(*x_batch, 2), random(*conditions, 2)
    batch = np.broadcast_shapes(x_batch, conditions)
    wide_x, wide_condition = (np.broadcast_to(a, (*batch, 2)) for a in (x, condition))
    expected = flow.base.log_prob(2 * wide_x, wide_condition) + 2 * np.log(2)
    np.testing.assert_allclose(flow.log_prob(x, condition), expected, rtol=1e-5)


def test_memory_for_densities_does_not_hold_all_events_at_once():
    x = jnp.zeros((10**5, 2))
    lowered = jax.jit(build("neural_spline_flow", 2).log_prob).lower(x)
    assert lowered.compile().memory_analysis().temp_size_in_bytes < 4 * x.nbytes


def test_memory_beyond_the_samples_does_not_grow_with_their_number():
    flow = build("neural_spline_flow", 2)
    temporaries = []
    for n in (10**6, 10**7):
        lowered = jax.jit(lambda flow, n=n: flow.sample_and_log_prob(KEY, (n,))).lower(flow)
        temporaries.append(lowered.compile().memory_analysis().temp_size_in_bytes)
    assert max(temporaries) < 2**22
    assert temporaries[1] < 1.1 * temporaries[0]


def test_memory_beyond_the_samples_does_not_grow_with_the_number_of_conditions():
    flow = build("real_nvp", 2, condition_dim=2)
    temporaries = []
    for n in (10**6, 10**7):
        condition = jax.ShapeDtypeStruct((n, 2), jnp.float32)
        lowered = jax.jit(lambda flow, c: flow.sample(KEY, (2,), c)).lower(flow, condition)
        temporaries.append(lowered.compile().memory_analysis().temp_size_in_bytes)
    assert max(temporaries) < 2**23
    assert temporaries[1] < 1.1 * temporaries[0]


def test_conditions_in_chunks_keep_their_own(monkeypatch):
    """Also where the entries of a dict have batches of their own."""
    monkeypatch.setattr("jinn.flows.chunks.DRAWN_ROWS", 4)
    shape = {"row": (2,), "column": (), "all": (1,)}

    def network(c):
        return jnp.concatenate([c["row"] + 100 * c["column"][..., None], 0 * c["row"]], -1)

    mapped = ConditionalAffine((2,), condition_shape=shape, conditioner=network)
    flow = Flow(Invert(mapped), Uniform((2,), 0.0, 0.5))
    condition = {"row": np.zeros((3, 1, 2)), "column": np.arange(5.0), "all": np.zeros(1)}
    condition["row"] += np.arange(3.0)[:, None, None]
    samples = np.asarray(flow.sample(KEY, (2,), condition))
    assert samples.shape == (2, 3, 5, 2)
    expected = np.arange(3.0)[:, None, None] + 100 * np.arange(5.0)[:, None]
    assert np.all((samples >= expected) & (samples <= expected + 0.51))
    assert len(np.unique(samples - expected)) == samples.size


@pytest.mark.parametrize("chunk_rows", [7, 4096])
def test_calls_outside_of_jit_compile_once(chunk_rows, monkeypatch):
    monkeypatch.setattr("jinn.flows.chunks.CHUNK_ROWS", chunk_rows)
    traces = []

    class Counted(Bijector):
        def __init__(self):
            self._declare((2,))

        def _forward(self, x, condition, *, key, with_log_det):
            traces.append(x.shape)
            return x, jnp.zeros(x.shape[:-1])

        _inverse = _forward

    flow = Flow(Stack(lambda key: Counted(), 2, rngs=0), StandardNormal((2,)))
    for call in (
        lambda: flow.log_prob(np.ones((20, 2))),
        lambda: flow.sample(KEY, (20,)),
        lambda: flow.sample_and_log_prob(KEY, (20,)),
    ):
        call()
        assert traces
        traces.clear()
        call()
        assert not traces


def test_keys_decide_the_samples():
    draw = jax.jit(CONDITIONAL.sample, static_argnums=1)
    condition = jnp.ones(2)
    first, again = draw(KEY, (5,), condition), draw(KEY, (5,), condition)
    np.testing.assert_array_equal(first, again)
    assert not np.allclose(first, draw(jax.random.key(1), (5,), condition))
    many = draw(KEY, (5,), jnp.ones((2, 2)))
    assert not np.allclose(many[:, 0], many[:, 1])


# --- Structure ------------------------------------------------------------------------------------


def test_declares_its_shapes_and_parts():
    flow = Flow(Chain([Affine((2,)), Logit((2,))]), StandardNormal((2,)))
    assert flow.event_shape == (2,) and flow.condition_shape is None
    assert isinstance(flow.bijector, Chain) and isinstance(flow.base, StandardNormal)
    assert CONDITIONAL.condition_shape == (2,)


def test_a_condition_may_be_a_dict():
    shape = {"label": (), "curve": (2,)}
    bijector = Coupling((2,), mask=(False, True), condition_shape=shape, hidden=(8,), rngs=0)
    flow = Flow(shaken(bijector, 0.2), StandardNormal((2,)))
    condition = {"label": np.array([0.5, 2.0]), "curve": np.ones(2)}
    x = flow.sample(KEY, (3,), condition)
    assert x.shape == (3, 2, 2) and flow.log_prob(x, condition).shape == (3, 2)


@pytest.mark.parametrize(
    ("direction", "cost", "inverted"),
    [
        ("both", "log_prob and sample are both fast", "log_prob and sample are both fast"),
        ("forward", "log_prob is fast, sample is slow", "sample is fast, log_prob is slow"),
        ("inverse", "sample is fast, log_prob is slow", "log_prob is fast, sample is slow"),
    ],
)
def test_repr_says_which_direction_is_fast(direction, cost, inverted):
    bijector = Affine((2,))
    bijector.fast_direction = direction
    base = StandardNormal((2,))
    for wrapped in (bijector, Chain([Logit((2,)), bijector]), Invert(Invert(bijector))):
        assert cost in repr(Flow(wrapped, base))
    assert inverted in repr(Flow(Invert(bijector), base))


def test_repr_names_parts_shapes_and_size():
    flow = Flow(Affine((2,)), StandardNormal((2,)))
    text = "Flow(Affine, StandardNormal, event_shape=(2,), condition_shape=None, parameters=4; "
    assert repr(flow).startswith(text) and str(flow) == repr(flow)
    assert "Flow(Affine, StandardNormal, " in repr(trainable(flow))
    assert "parameters=0;" in repr(Flow(Affine((2,), learned=False), StandardNormal((2,))))

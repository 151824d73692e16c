"""Base densities against their formulas, and their samples against them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from jinn.bijectors import Affine, trainable
from jinn.distributions import Distribution, Joint, Normal, StandardNormal, StudentT, Uniform
from jinn.flows import Flow

LOW, HIGH = np.array([-1.0, 0.5, 2.0], np.float32), np.array([1.0, 0.75, 5.0], np.float32)
KEY = jax.random.key(0)


@pytest.mark.parametrize("event_shape", [(), (3,), (2, 3)])
@pytest.mark.parametrize("batch", [(), (5,), (4, 5)])
def test_standard_normal_formula(event_shape, batch):
    x = np.random.default_rng(0).normal(size=(*batch, *event_shape)).astype(np.float32)
    log_prob = StandardNormal(event_shape).log_prob(x)
    assert log_prob.shape == batch
    elements = -0.5 * np.log(2 * np.pi) - x.astype(float) ** 2 / 2
    np.testing.assert_allclose(log_prob, elements.reshape(*batch, -1).sum(-1), rtol=1e-5)


def test_standard_normal_over_a_dict():
    base = StandardNormal({"a": (2,), "b": (3, 2)})
    x = base.sample(KEY, (4,))
    assert {name: part.shape for name, part in x.items()} == {"a": (4, 2), "b": (4, 3, 2)}
    joint = StandardNormal((8,)).log_prob(np.concatenate([x["a"], x["b"].reshape(4, 6)], axis=1))
    np.testing.assert_allclose(base.log_prob(x), joint, rtol=1e-5)
    assert np.abs(np.corrcoef(x["a"][:, 0], x["b"][:, 0, 0])[0, 1]) < 0.999


def test_uniform_is_flat_inside_and_nothing_outside():
    base = Uniform((3,), LOW, HIGH)
    inside = -np.log((HIGH - LOW).astype(float)).sum()
    for x in (LOW, HIGH, (LOW + HIGH) / 2):
        np.testing.assert_allclose(base.log_prob(x), inside, rtol=1e-6)
    for i in range(3):
        for beyond in (np.nextafter(LOW, -np.inf), np.nextafter(HIGH, np.inf), HIGH + 1e4):
            x = np.where(np.arange(3) == i, beyond, (LOW + HIGH) / 2).astype(np.float32)
            assert base.log_prob(x) == -np.inf
    x = np.stack([LOW - 1, LOW])
    np.testing.assert_allclose(base.log_prob(x), [-np.inf, inside], rtol=1e-6)
    assert np.isfinite(jax.grad(base.log_prob)(jnp.asarray(LOW))).all()


def test_uniform_bounds_broadcast_and_are_not_trained():
    base = Uniform((2, 3), high=2.0)
    assert base.log_prob(np.ones((7, 2, 3), np.float32)).shape == (7,)
    np.testing.assert_allclose(base.log_prob(np.ones((2, 3))), -6 * np.log(2), rtol=1e-6)
    assert not any(jax.tree.leaves(trainable(base)))


@pytest.mark.parametrize(
    "base",
    [
        StandardNormal((3,)),
        Uniform((3,), LOW, HIGH),
        Normal((3,), 1.0, HIGH),
    ],
    ids=lambda b: type(b).__name__,
)
@pytest.mark.parametrize("shape", [(), (4,), (2, 5)])
def test_sample_shapes(base, shape):
    x = base.sample(KEY, shape)
    assert x.shape == (*shape, 3)
    assert np.isfinite(base.log_prob(x)).all()


def test_samples_have_the_moments_of_their_densities():
    n = 40_000
    x = np.asarray(StandardNormal((3,)).sample(KEY, (n,)))
    np.testing.assert_allclose(x.mean(0), 0, atol=5 / n**0.5)
    np.testing.assert_allclose(np.cov(x.T), np.eye(3), atol=8 / n**0.5)
    x = np.asarray(Uniform((3,), LOW, HIGH).sample(KEY, (n,)))
    unit = (x - LOW) / (HIGH - LOW)
    assert np.all((unit >= 0) & (unit <= 1))
    np.testing.assert_allclose(unit.mean(0), 0.5, atol=1.5 / n**0.5)
    np.testing.assert_allclose(np.cov(unit.T), np.eye(3) / 12, atol=1 / n**0.5)


def test_precision_follows_the_event(x64):
    x = np.linspace(0, 1, 3)
    assert StandardNormal((3,)).log_prob(x).dtype == jnp.float64
    np.testing.assert_allclose(
        StandardNormal((3,)).log_prob(x), (-np.log(2 * np.pi) - x**2).sum() / 2, rtol=1e-14
    )
    assert StandardNormal((3,)).log_prob(jnp.ones(3, jnp.bfloat16)).dtype == jnp.float32
    assert Uniform((3,)).log_prob(x).dtype == jnp.float64


# --- Location and scale ---------------------------------------------------------------------------

MEAN, SCALE, NU = np.array([1.0, -3.0]), np.array([0.2, 30.0]), np.array([0.7, 5.0])
DENSITIES = {
    "normal": (lambda **o: Normal((2,), MEAN, SCALE, **o), scipy.stats.norm(MEAN, SCALE)),
    "student": (
        lambda **o: StudentT((2,), MEAN, SCALE, degrees_of_freedom=NU, **o),
        scipy.stats.t(NU, MEAN, SCALE),
    ),
}


@pytest.mark.parametrize("name", DENSITIES)
def test_location_scale_densities_are_those_of_scipy(name, x64):
    make, exact = DENSITIES[name]
    x = MEAN + SCALE * 3 * np.random.default_rng(0).normal(size=(4, 5, 2))
    for learned in (False, True):
        base = make(learned=learned)
        np.testing.assert_allclose(base.log_prob(x), exact.logpdf(x).sum(-1), rtol=1e-10)
        assert set(jax.tree.leaves(trainable(base))) == {learned}
    assert make().log_prob(x.astype(np.float32)).dtype == jnp.float32
    assert make().log_prob(jnp.asarray(x, jnp.bfloat16)).dtype == jnp.float32


@pytest.mark.parametrize("name", DENSITIES)
def test_location_scale_samples_are_those_of_scipy(name):
    make, exact = DENSITIES[name]
    x = np.asarray(make(learned=True).sample(KEY, (40, 100)), float).reshape(-1, 2)
    uniform = exact.cdf(x)
    for i in range(2):
        assert scipy.stats.kstest(uniform[:, i], "uniform").pvalue > 1e-3
    assert abs(np.corrcoef(uniform.T)[0, 1]) < 0.06


def test_student_t_far_out():
    """The square of an element would leave float32."""
    x = jnp.asarray([-1e30, -1e20, -1.0, 0.0, 1.0, 1e20, 1e30])
    base = StudentT((), 0.5, 2.0, degrees_of_freedom=1.5)
    values, slopes = jax.vmap(jax.value_and_grad(base.log_prob))(x)
    exact = scipy.stats.t(1.5, 0.5, 2.0)
    np.testing.assert_allclose(values, exact.logpdf(np.asarray(x, float)), rtol=1e-5)
    t = (np.asarray(x, float) - 0.5) / 2
    np.testing.assert_allclose(slopes, -2.5 * t / (1.5 + t**2) / 2, rtol=1e-5)


def test_student_t_for_all_degrees_of_freedom():
    """Also where differences of log-gammas would cancel."""
    nu = np.geomspace(0.02, 1e7, 80)
    base = StudentT((80,), degrees_of_freedom=nu, learned=True)
    nu = np.exp(np.asarray(base.log_degrees_of_freedom[...], float))  # after rounding
    for x in (0.0, 0.5, 40.0):

        def elements(log_nu, x=x):
            def one(log_nu):
                base = StudentT((), degrees_of_freedom=jnp.exp(log_nu), learned=True)
                return base.log_prob(x)

            return jax.vmap(jax.value_and_grad(one))(log_nu)

        values, slopes = jax.jit(elements)(base.log_degrees_of_freedom[...])
        np.testing.assert_allclose(values, scipy.stats.t(nu).logpdf(x), rtol=2e-5, atol=1e-5)
        step = 1e-4
        numerical = scipy.stats.t(nu * np.exp(step)).logpdf(x)
        numerical = (numerical - scipy.stats.t(nu * np.exp(-step)).logpdf(x)) / (2 * step)
        held = nu < 1e4  # beyond, the numerical slope is rounding
        np.testing.assert_allclose(slopes[held], numerical[held], rtol=1e-3, atol=3e-4)
        assert np.isfinite(slopes).all()


@pytest.mark.parametrize("name", DENSITIES)
def test_location_scale_densities_are_finite_at_extremes(name):
    base = DENSITIES[name][0](learned=True)
    x = jnp.array([[0.0, 1e4], [1e4, -1e4], [1e-30, 0.0]])

    @jax.jit
    def run(base, x):
        return base.log_prob(x), jax.grad(lambda b, x: jnp.sum(b.log_prob(x)), (0, 1))(base, x)

    for shift in (-3.0, 3.0):
        moved = jax.tree.map(lambda leaf, s=shift: 0 * leaf + s, base)
        for leaf in jax.tree.leaves(run(moved, x)):
            assert np.isfinite(leaf).all()


@pytest.mark.parametrize("name", DENSITIES)
def test_learned_bases_in_flows_and_ensembles(name):
    make, _ = DENSITIES[name]

    def flow(key):
        shift = jax.random.normal(key, (2,))
        return Flow(Affine((2,), shift=shift), make(learned=True))

    x = np.array([[0.5, -1.0], [2.0, 3.0]], np.float32)
    one = jax.jit(flow)(KEY)
    expected = make().log_prob(x + np.asarray(one.bijector.shift))
    np.testing.assert_allclose(one.log_prob(x), expected, rtol=1e-5)
    gradient = jax.jit(jax.grad(lambda f: jnp.sum(f.log_prob(x))))(one)
    assert all(leaf.all() for leaf in jax.tree.leaves(gradient.base))
    ensemble = jax.vmap(flow)(jax.random.split(KEY, 3))
    log_probs = jax.jit(jax.vmap(lambda f: f.log_prob(x)))(ensemble)
    assert log_probs.shape == (3, 2) and len(np.unique(log_probs[:, 0])) == 3
    draws = jax.vmap(lambda f: f.sample(KEY, (5,)))(ensemble)
    assert draws.shape == (3, 5, 2)


def test_a_learned_base_finds_the_moments_of_its_data():
    """The gradient of the likelihood vanishes at the sample's mean and deviation."""
    x = jax.random.normal(KEY, (100, 2)) * jnp.array([[2.0, 0.1]]) + jnp.array([[5.0, -1.0]])
    base = Normal((2,), x.mean(0), x.std(0), learned=True)
    gradient = jax.grad(lambda b: jnp.mean(b.log_prob(x)))(base)
    for leaf in jax.tree.leaves(gradient):
        np.testing.assert_allclose(leaf, 0.0, atol=1e-4)


class Around(Distribution):
    """A normal distribution around the condition."""

    def __init__(self):
        self._declare((2,), (2,))

    def _log_prob(self, x, condition):
        return StandardNormal((2,)).log_prob(x - jnp.broadcast_to(condition, x.shape))

    def _sample(self, key, batch, condition):
        return jnp.broadcast_to(condition, (*batch, 2)) + jax.random.normal(key, (*batch, 2))


def test_a_joint_density_is_the_sum_of_its_parts():
    joint = Joint({"b": Around(), "a": Normal((3,), 1.0, learned=True)})
    assert joint.event_shape == {"a": (3,), "b": (2,)} and joint.condition_shape == (2,)
    c = jnp.asarray([[100.0, -100.0], [0.0, 0.0]])
    x = joint.sample(KEY, (4,), c)
    assert {name: part.shape for name, part in x.items()} == {"a": (4, 2, 3), "b": (4, 2, 2)}
    assert np.abs(np.asarray(x["b"]) - np.asarray(c)).max() < 9 and len(np.unique(x["a"])) == 24
    expected = joint.parts["a"].log_prob(x["a"]) + joint.parts["b"].log_prob(x["b"], c)
    log_prob = jax.jit(lambda joint: joint.log_prob(x, c))(joint)
    np.testing.assert_allclose(log_prob, expected, rtol=1e-6)
    gradient = jax.grad(lambda joint: joint.log_prob(x, c).sum())(joint)
    assert all(leaf.any() for leaf in jax.tree.leaves(gradient))

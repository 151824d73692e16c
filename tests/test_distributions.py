"""Base densities against their formulas, and their samples against them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jinn.bijectors import trainable
from jinn.distributions import StandardNormal, Uniform

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
    "base", [StandardNormal((3,)), Uniform((3,), LOW, HIGH)], ids=lambda b: type(b).__name__
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

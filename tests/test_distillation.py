"""Density distillation: the student comes to be the teacher, by fast directions alone."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jinn
from jinn.bijectors import Chain, ConditionalAffine, TriangularAffine
from jinn.distributions import StandardNormal
from jinn.flows import Flow, iaf, maf
from jinn.losses import distillation

MATRIX = np.array([[0.5, 0.0], [-1.2, 0.8]])  # from x - mean to latents
KEY = jax.random.key(0)


def moved_by_the_condition(condition):
    """Shifts of both elements, and no scales."""
    return jnp.concatenate([-2 * condition, condition, 0 * condition, 0 * condition], axis=-1)


def gaussian():
    """x | c is normal with mean (2 c, -c) and covariance (MATRIX^T MATRIX)^-1."""
    shift = ConditionalAffine((2,), condition_shape=(1,), conditioner=moved_by_the_condition)
    whiten = TriangularAffine((2,), matrix=MATRIX, learned=False)
    return Flow(Chain([shift, whiten]), StandardNormal((2,)))


def student(**options):
    return iaf(2, condition_dim=1, depth=2, hidden=(16,), rngs=0, **options)


def batch(key, n):
    condition = jax.random.normal(key, (n, 1))
    return jnp.concatenate([2 * condition, -condition], -1), condition


def test_a_student_learns_a_known_density():
    loss = distillation(gaussian())
    result = jinn.fit(
        KEY,
        student(),
        batch,
        loss=loss,
        steps=600,
        learning_rate=1e-2,
        batch_size=256,
        progress=False,
        validation=0,
    )
    divergence, metrics = jax.jit(lambda flow, batch: loss(flow, batch, KEY))(
        result.flow, batch(KEY, 4096)
    )
    assert abs(divergence) < 0.01
    entropy = math.log(2 * math.pi * math.e) - math.log(np.linalg.det(MATRIX))
    np.testing.assert_allclose(metrics["entropy"], entropy, atol=0.05)
    x = result.flow.sample(KEY, (20_000,), jnp.array([[1.0], [-1.0]]))
    np.testing.assert_allclose(x.mean(0), [[2.0, -1.0], [-2.0, 1.0]], atol=0.1)
    covariance = np.linalg.inv(MATRIX.T @ MATRIX)
    np.testing.assert_allclose(np.cov(x[:, 0].T), covariance, rtol=0.1)


def test_the_loss_is_the_divergence_of_normals():
    """Teacher N(0, 1/4), student N(0, 1): KL = log(1/2) - 1/2 + 4/2 for each element."""
    narrow = TriangularAffine((3,), matrix=2 * np.eye(3), learned=False)
    teacher = Flow(narrow, StandardNormal((3,)))
    normal = iaf(3, depth=1, hidden=(4,), rngs=0)
    loss = jax.jit(lambda flow, x, key: distillation(teacher)(flow, x, key)[0])
    found = loss(normal, jnp.zeros((20_000, 3)), KEY)
    np.testing.assert_allclose(found, 3 * (2 - 0.5 - math.log(2)), rtol=0.03)
    assert loss(normal, jnp.zeros((8, 3)), None) == loss(normal, jnp.ones((8, 3)), None)


def test_the_likelihood_of_the_data_is_added():
    data, taught = batch(KEY, 64), student()
    loss, metrics = distillation(gaussian(), likelihood_weight=0.5)(taught, data, KEY)
    without, _ = distillation(gaussian())(taught, data, KEY)
    expected = -taught.log_prob(*data).mean()
    np.testing.assert_allclose(metrics["negative_log_likelihood"], expected, rtol=1e-6)
    np.testing.assert_allclose(loss, without + 0.5 * expected, rtol=1e-6)
    with pytest.raises(ValueError, match=r"likelihood_weight of at least 0, got -1\.0"):
        distillation(gaussian(), likelihood_weight=-1.0)


def test_the_teacher_gets_no_gradient_and_the_student_does():
    teacher = maf(2, condition_dim=1, depth=1, hidden=(4,), rngs=0)
    moved = jax.tree.map(lambda leaf: leaf + 0.1, (teacher, student()))

    def loss(pair):
        return distillation(pair[0])(pair[1], batch(KEY, 8), KEY)[0]

    of_teacher, of_student = jax.jit(jax.grad(loss))(moved)
    assert all(np.all(leaf == 0) for leaf in jax.tree.leaves(of_teacher))
    assert any(np.any(leaf != 0) for leaf in jax.tree.leaves(of_student))


def scan_lengths(jaxpr):
    for equation in jaxpr.eqns:
        if equation.primitive.name == "scan":
            yield equation.params["length"]
        for value in equation.params.values():
            inner = getattr(value, "jaxpr", value)
            if hasattr(inner, "eqns"):
                yield from scan_lengths(inner)


def test_no_slow_direction_is_used():
    """Loops over 3 blocks, none over 5 elements."""
    options = {"condition_dim": 1, "depth": 3, "hidden": (4,), "rngs": 0}
    teacher, pupil = maf(5, **options), iaf(5, **options)
    rows = (jnp.zeros((8, 5)), jnp.zeros((8, 1)))
    lengths = scan_lengths(
        jax.make_jaxpr(lambda flow: distillation(teacher)(flow, rows, KEY)[0])(pupil).jaxpr
    )
    assert set(lengths) == {3}

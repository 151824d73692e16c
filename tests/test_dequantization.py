"""Dequantised flows: the bound on the probability of integers, training on them, bits."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jinn
from jinn.bijectors import (
    ActNorm,
    Affine,
    Bijector,
    Chain,
    Coupling,
    Logit,
    Power,
    checkerboard_mask,
)
from jinn.bijectors.module import needs_initialization
from jinn.distributions import StandardNormal, Uniform
from jinn.flows import Dequantized, real_nvp
from jinn.functional import bits_per_dimension, dequantize, quantize

KEY = jax.random.key(0)
LEVELS = 8


def ramp(shape: tuple[int, ...] = (1,)) -> jinn.Flow:
    """The density p(y) = 2 y on the unit interval: P(x) = (2 x + 1) / levels^2 an element."""
    return jinn.Flow(Power(shape, 2.0), Uniform(shape, 0.0, 1.0))


def exact(x: Any) -> jax.Array:
    return jnp.log((2.0 * x + 1.0) / LEVELS**2).sum(-1)


class Posterior(Bijector):
    """Maps u to its distribution function given x where u has the density (x + u) / (x + 1/2)."""

    def __init__(self) -> None:
        self._declare((1,), condition_shape=(1,))

    def _forward(self, x, condition, *, key, with_log_det):
        level = LEVELS * jnp.broadcast_to(condition, x.shape) - 0.5
        z = (2 * level * x + x**2) / (2 * level + 1)
        return z, jnp.log((level + x) / (level + 0.5))[..., 0]

    def _inverse(self, y, condition, *, key, with_log_det):
        level = LEVELS * jnp.broadcast_to(condition, y.shape) - 0.5
        x = y * (2 * level + 1) / (level + jnp.sqrt(level**2 + y * (2 * level + 1)))
        return x, -jnp.log((level + x) / (level + 0.5))[..., 0]


@pytest.mark.parametrize("levels", [2, 256, 65536])
def test_quantize_undoes_dequantize(levels: int) -> None:
    x = jnp.arange(levels)
    for noise in (0.0, 0.5, float(np.nextafter(np.float32(1), np.float32(0)))):
        y = dequantize(x, jnp.full(levels, noise), levels=levels)
        assert ((y >= 0) & (y < 1)).all()
        if noise < 0.9:  # rounding carries what is closer to the next level there
            np.testing.assert_array_equal(quantize(y, levels=levels), x)
    assert quantize(y, levels=levels).dtype == (jnp.uint8 if levels <= 256 else jnp.int32)
    ends = quantize(jnp.array([-0.1, 1.0, 3.0]), levels=levels)
    np.testing.assert_array_equal(ends, [0, levels - 1, levels - 1])


def test_bits_of_a_uniform_density_are_those_of_its_levels() -> None:
    flow = jinn.Flow(Affine((3, 2, 1), learned=False), Uniform((3, 2, 1), 0.0, 1.0))
    x = jnp.zeros((5, 3, 2, 1), jnp.uint8)
    for levels in (2, 17, 256):
        log_prob = Dequantized(flow, levels=levels).log_prob(x, key=KEY)
        np.testing.assert_allclose(bits_per_dimension(log_prob, 6), math.log2(levels), rtol=1e-6)


def test_uniform_noise_gives_a_bound_that_many_draws_make_tight() -> None:
    model = Dequantized(ramp((2,)), levels=LEVELS)
    x = jnp.stack(jnp.meshgrid(jnp.arange(LEVELS), jnp.arange(LEVELS)), -1)
    keys = jax.random.split(KEY, 400)
    draws = jax.jit(jax.vmap(lambda key: model.log_prob(x, key=key)))(keys)
    mean, error = draws.mean(0), draws.std(0) / math.sqrt(len(keys))
    # E log(x + u) in closed form, below log(x + 1/2).
    plogp = [jnp.where(n > 0, n * jnp.log(jnp.maximum(n, 1)), 0.0) for n in (x + 1, x)]
    expected = (plogp[0] - plogp[1] - 1 + math.log(2 / LEVELS**2)).sum(-1)
    assert (jnp.abs(mean - expected) < 5 * error + 1e-4).all()
    assert (expected < exact(x)).all()
    tight = model.log_prob(x, key=KEY, samples=20_000)
    np.testing.assert_allclose(tight, exact(x), atol=0.03)
    np.testing.assert_allclose(jnp.exp(exact(x)).sum(), 1.0, rtol=1e-6)


@pytest.mark.thorough
def test_noise_from_the_posterior_makes_every_draw_exact() -> None:
    noise = jinn.Flow(Posterior(), Uniform((1,), 0.0, 1.0))
    jinn.check_bijector(
        noise.bijector,
        jnp.linspace(0.1, 0.9, 8)[:, None],
        dequantize(jnp.arange(LEVELS), jnp.full(LEVELS, 0.5), levels=LEVELS)[:, None],
        domain=(0.0, 1.0),
        codomain=(0.0, 1.0),
    )
    model = Dequantized(ramp(), levels=LEVELS, noise=noise)
    x = jnp.arange(LEVELS, dtype=jnp.uint8)[:, None]
    for seed in range(3):
        for samples in (1, 4):
            log_prob = model.log_prob(x, key=jax.random.key(seed), samples=samples)
            np.testing.assert_allclose(log_prob, exact(x), atol=1e-4)


def test_samples_are_integers_of_the_distribution() -> None:
    x = Dequantized(ramp(), levels=LEVELS).sample(KEY, (20_000,))
    assert x.dtype == jnp.uint8 and x.shape == (20_000, 1)
    frequencies = np.bincount(np.asarray(x)[:, 0], minlength=LEVELS) / len(x)
    expected = (2 * np.arange(LEVELS) + 1) / LEVELS**2
    np.testing.assert_allclose(frequencies, expected, atol=5 * 0.5 / math.sqrt(len(x)))


@pytest.mark.thorough
def test_batches_of_conditions_broadcast() -> None:
    flow = real_nvp(2, condition_dim=1, depth=1, hidden=(4,), rngs=0)
    model = Dequantized(flow, levels=LEVELS)
    x, condition = jnp.zeros((5, 2), int), jnp.ones((3, 1, 1))
    for samples in (1, 4):
        assert model.log_prob(x, condition, key=KEY, samples=samples).shape == (3, 5)
    assert model.log_prob(x[0], condition[0, 0], key=KEY).shape == ()
    assert model.sample(KEY, (4,), condition).shape == (4, 3, 1, 2)


def test_values_that_are_no_level_are_nan_under_jit() -> None:
    model = Dequantized(ramp(), levels=LEVELS)
    x = jnp.array([[0.0], [7.0], [8.0], [-1.0], [2.5], [jnp.nan]])
    log_prob = jax.jit(model.log_prob)(x, key=KEY)
    np.testing.assert_array_equal(jnp.isnan(log_prob), [False, False, True, True, True, True])


def test_noise_beyond_its_cell_is_nan() -> None:
    everywhere = jinn.Flow(
        Chain([Affine((1,)), Coupling((1,), mask=[True], condition_shape=(1,), rngs=0)]),
        StandardNormal((1,)),
    )
    model = Dequantized(ramp(), levels=LEVELS, noise=everywhere)
    log_prob = model.log_prob(jnp.full((200, 1), 3), key=KEY)
    assert jnp.isnan(log_prob).any() and jnp.isfinite(log_prob).any()


def one_convolution(x: jax.Array, condition: jax.Array) -> jax.Array:
    """Parameters of an affine coupling from a picture, by a fixed convolution."""
    picture = jnp.broadcast_to(condition, x.shape)
    near = picture + sum(jnp.roll(picture + x, 1, axis) for axis in (-3, -2))
    return jnp.concatenate([jnp.sin(near), jnp.cos(near) - 1], -1)


def image_model() -> Dequantized:
    shape = (4, 4, 1)
    flow = jinn.Flow(Chain([Logit(shape), ActNorm(shape)]), StandardNormal(shape))
    coupling = Coupling(
        shape, mask=checkerboard_mask(shape), conditioner=one_convolution, condition_shape=shape
    )
    bijector = Chain([Logit(shape), ActNorm(shape), coupling])
    return Dequantized(flow, levels=16, noise=jinn.Flow(bijector, StandardNormal(shape)))


@pytest.mark.thorough
def test_fit_takes_uint8_and_trains_flow_and_noise_together() -> None:
    images = jnp.clip(jnp.round(8 + 2 * jax.random.normal(KEY, (256, 4, 4, 1))), 0, 15)
    images = images.astype(jnp.uint8)
    model = image_model()
    assert needs_initialization(model)
    ready = jinn.initialize(model, images)
    assert not needs_initialization(ready)
    z = ready.flow.bijector.forward(dequantize(images, jnp.full(images.shape, 0.5), levels=16))
    np.testing.assert_allclose(jnp.mean(z), 0.0, atol=0.05)
    result = jinn.fit(
        KEY, model, images, steps=200, batch_size=64, learning_rate=0.02, progress=False
    )
    trained = result.flow
    assert isinstance(trained, Dequantized) and result.skipped_steps == 0
    bits = [
        bits_per_dimension(m.log_prob(images, key=KEY, samples=16).mean(), 16)
        for m in (ready, trained)
    ]
    entropy = math.log2(2 * math.sqrt(2 * math.pi * math.e))
    assert entropy - 0.05 < bits[1] < bits[0] - 0.01
    for name in ("flow", "noise"):
        before, after = (getattr(m, name).bijector[1].log_scale[...] for m in (ready, trained))
        assert not np.allclose(before, after, atol=1e-3)
    assert trained.sample(KEY, (3,)).dtype == jnp.uint8


@pytest.mark.thorough
def test_bound_is_differentiable_in_the_noise() -> None:
    model = image_model()
    x = jnp.full((2, 4, 4, 1), 7, jnp.uint8)
    gradient = jax.grad(lambda m: m.log_prob(x, key=KEY, samples=2).sum())(model)
    leaves = jax.tree.leaves(gradient)
    assert all(jnp.isfinite(leaf).all() for leaf in leaves)
    assert jnp.any(gradient.noise.bijector[1].shift[...] != 0)
    assert jnp.any(gradient.flow.bijector[1].shift[...] != 0)

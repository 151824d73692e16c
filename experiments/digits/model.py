"""The flow of digits given their class, what is drawn of it, and what it makes of a digit."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array

from experiments.digits.bijectors import ClassWhitening, NormalQuantile
from experiments.digits.data import CLASSES, Digits
from experiments.digits.settings import Settings
from jinn.bijectors import Affine, Bijector, Chain, Elementwise
from jinn.bijectors.transformers import LinearSpline
from jinn.flows import Dequantized, Flow, multiscale_flow
from jinn.functional import dequantize, quantize

FITTED_ROWS = 10_000
"""The most training digits that the bijectors in front are fitted to."""
NOISES = 5
"""Draws of the noise of each of them."""


def make_model(settings: Settings, digits: Digits, rngs: jax.Array) -> Dequantized:
    """Makes the flow that is trained.

    Two things of the training digits are known in closed form, and go in front of the multi-scale
    flow: how often each pixel has each level, which a spline makes normal, and each class's mean
    and covariance, which are taken out.

    Args:
        settings: Its settings.
        digits: The digits; of the test digits nothing is used.
        rngs: A JAX key.

    Returns:
        The model of pictures `(height, width, 1)`, its conditions one-hot vectors of classes.
    """
    keys = jax.random.split(rngs)
    shape = (*digits.x.shape[1:], 1)
    flow = multiscale_flow(shape, condition_shape=(CLASSES,), rngs=keys[0], **settings.options)
    x, y = digits.x[:FITTED_ROWS], digits.y[:FITTED_ROWS]
    front = [*_equalize(shape, x, digits.levels)] if settings.equalize else []
    if settings.shrinkage is not None:
        noise = jax.random.uniform(keys[1], (NOISES, *x.shape))
        z = dequantize(jnp.broadcast_to(jnp.asarray(x), noise.shape), noise, levels=digits.levels)
        z = Chain(front).forward(z[..., None]) if front else z
        z = np.asarray(z, np.float64).reshape(NOISES * len(x), -1)
        moments = class_moments(z, np.tile(y, NOISES), settings.shrinkage)
        front.append(ClassWhitening(shape, *moments))
    return Dequantized(Flow(Chain([*front, flow.bijector]), flow.base), levels=digits.levels)


def _equalize(shape: tuple[int, ...], x: np.ndarray, levels: int) -> list[Bijector]:
    """Makes each pixel of [0, 1] standard normal, by how often it has each level."""
    pixels = x.reshape(len(x), -1)
    counts = np.stack([np.sum(pixels == level, axis=0) for level in range(levels)]) + 0.5
    spline = Elementwise(shape, transformer=LinearSpline(bins=levels, bound=1.0))
    spline.parameters = nnx.Param(jnp.asarray(np.log(counts), jnp.float32).reshape(levels, *shape))
    return [
        Affine(shape, shift=-1.0, scale=2.0, learned=False),
        spline,
        Affine(shape, shift=0.5, scale=0.5, learned=False),
        NormalQuantile(shape),
    ]


def class_moments(z: np.ndarray, y: np.ndarray, shrinkage: float) -> tuple[np.ndarray, np.ndarray]:
    """Means of the classes, and covariances drawn towards the mean of all covariances.

    Args:
        z: Vectors, `(n, elements)`.
        y: Their classes.
        shrinkage: From 0, each class's own covariance, to 1, one for all.

    Returns:
        Means `(classes, elements)` and covariances `(classes, elements, elements)`.
    """
    means = np.stack([z[y == label].mean(0) for label in range(CLASSES)])
    own = np.stack([np.cov(z[y == label].T) for label in range(CLASSES)])
    return means, (1 - shrinkage) * own + shrinkage * own.mean(0)


def number_count(model: Dequantized) -> int:
    """How many numbers a model is made of, those that are fitted in closed form among them."""
    return sum(leaf.size for leaf in jax.tree.leaves(model))


def one_hot(y: Any) -> Array:
    """The conditions of classes."""
    return jax.nn.one_hot(jnp.asarray(y), CLASSES)


def draw(model: Dequantized, key: jax.Array, n: int, temperature: float) -> np.ndarray:
    """Draws pictures of each class.

    Args:
        model: The model.
        key: A JAX key.
        n: Number of pictures of each class.
        temperature: Factor of the latents, 1 for draws of the distribution.

    Returns:
        The pictures, `(n, classes, height, width)`.
    """
    return np.asarray(_draw(model, key, n, temperature))


@jax.jit(static_argnums=2)
def _draw(model: Dequantized, key: jax.Array, n: int, temperature: float) -> Array:
    latents = model.flow.base.sample(key, (n, CLASSES))
    latents = jax.tree.map(lambda z: temperature * z, latents)
    pixels = model.flow.bijector.inverse(latents, jnp.eye(CLASSES))
    return quantize(pixels, levels=model.levels)[..., 0]


@jax.jit
def transfer(model: Dequantized, x: Any, y: Any) -> Array:
    """Decodes each digit's latent as every class: the style is kept, the digit another.

    Args:
        model: The model.
        x: Digits, `(n, height, width)`; of each pixel's cell the middle is taken.
        y: Their classes.

    Returns:
        The pictures, `(n, classes, height, width)`; that of the digit's own class is the digit.
    """
    middle = jnp.full((*x.shape, 1), 0.5)
    pixels = dequantize(jnp.asarray(x)[..., None], middle, levels=model.levels)
    latents = model.flow.bijector.forward(pixels, one_hot(y))
    latents = jax.tree.map(lambda z: z[:, None], latents)
    decoded = model.flow.bijector.inverse(latents, jnp.eye(CLASSES))
    return quantize(decoded, levels=model.levels)[..., 0]

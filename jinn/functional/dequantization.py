"""Integers as real numbers, and the unit in which their densities are compared."""

import math

import jax.numpy as jnp
from jaxtyping import Array, Float, Integer, Shaped


def dequantize(
    x: Shaped[Array, "*shape"], noise: Float[Array, "*shape"], *, levels: int
) -> Float[Array, "*shape"]:
    """Spread integers over the unit interval, `y = (x + noise) / levels`.

    Args:
        x: Integers 0 to levels - 1, as integers or floats.
        noise: Values in [0, 1), where in its cell each lies.
        levels: Number of levels.

    Returns:
        Values in [0, 1) in the type of the noise; what rounding puts at 1 comes just below it.

    Reference:
        A note on the evaluation of generative models (Theis, van den Oord, Bethge, 2016), section
        3.1, https://arxiv.org/abs/1511.01844
    """
    y = (x.astype(noise.dtype) + noise) / levels
    return jnp.minimum(y, 1 - float(jnp.finfo(noise.dtype).epsneg))


def quantize(y: Float[Array, "*shape"], *, levels: int) -> Integer[Array, "*shape"]:
    """Round values down to their level, `x = floor(levels * y)`, the inverse of `dequantize`.

    Args:
        y: Values; those outside of [0, 1) go to the nearest level.
        levels: Number of levels.

    Returns:
        Integers 0 to levels - 1, of type uint8 if they fit, else int32.
    """
    x = jnp.clip(jnp.floor(levels * y), 0, levels - 1)
    return x.astype(jnp.uint8 if levels <= 256 else jnp.int32)


def bits_per_dimension(log_prob: Float[Array, "*batch"], size: int) -> Float[Array, "*batch"]:
    """Negative log-likelihood in bits an element, `-log p / (size * log 2)`.

    Of a density p of `y = x / levels` in place of x itself, give `log p - size * log(levels)`;
    `jinn.flows.Dequantized` has done so.

    Args:
        log_prob: Log-likelihoods of events, in nats.
        size: Number of elements of an event, such as height * width * channels.

    Returns:
        Bits per dimension; the fewer the better. A uniform density of 256 levels has 8.

    Reference:
        Density estimation using Real NVP (Dinh, Sohl-Dickstein, Bengio, 2017), section 4,
        https://arxiv.org/abs/1605.08803
    """
    return -log_prob / (size * math.log(2))

"""Random words for the lanes of a simulation: the generator sfc32, one for each lane.

Eight cheap integer operations a word; JAX's own threefry needs six times as long, which would be
most of a photon's step. States are seeded from a JAX key.

Reference:
    PractRand, small fast counting generator. Doty-Humphrey. https://pracrand.sourceforge.net
"""

import jax
import jax.numpy as jnp

Words = tuple[jax.Array, jax.Array, jax.Array, jax.Array]

_MIXING = 12  # words to be left out after seeding


def start_words(seeds: jax.Array) -> Words:
    """Gives states (...,) from seeds of 32-bit words that stand on the second axis, (n, 3, ...)."""
    first, second, third = jnp.moveaxis(seeds, 1, 0)
    words = (first, second, third, jnp.ones_like(first))
    return jax.lax.fori_loop(0, _MIXING, lambda _, words: next_word(words)[1], words)


def next_word(words: Words) -> tuple[jax.Array, Words]:
    """Gives one word of 32 random bits for each state, and the states after it."""
    a, b, c, counter = words
    word = a + b + counter
    rotated = (c << 21) | (c >> 11)
    return word, (b ^ (b >> 9), c + (c << 3), rotated + word, counter + 1)


def uniform(word: jax.Array) -> jax.Array:
    """Gives a number inside (0, 1) from a word's upper 24 bits."""
    return ((word >> 8).astype(jnp.int32).astype(jnp.float32) + 0.5) * 2.0**-24

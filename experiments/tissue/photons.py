"""One step of many photons in layered tissue: moved, absorbed, scattered, refracted, ended."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from experiments.tissue.fresnel import fresnel
from experiments.tissue.random_words import uniform

ROULETTE_WEIGHT = 1e-4
ROULETTE_CHANCE = 1 / 8
"""A photon of a smaller weight lives on with this chance, its weight divided by it."""


class Coefficients(NamedTuple):
    """Of one tissue, (layers,), and the refractive indices around and in it."""

    absorption: jax.Array
    scattering: jax.Array
    anisotropy: jax.Array
    thickness: jax.Array
    refractive_index: jax.Array


class Photons(NamedTuple):
    """One photon a lane; weight 0 where there is none."""

    weight: jax.Array
    depth: jax.Array  # mm below the layer's top
    cosine: jax.Array  # of the direction, positive downwards
    layer: jax.Array
    optical: jax.Array  # optical depth still to go; 0 to draw one
    absorbed: tuple[jax.Array, ...]  # by layer


class Sums(NamedTuple):
    """Over a lane's ended photons: reflected, transmitted, absorbed by layer; then squares."""

    values: tuple[jax.Array, ...]
    squares: tuple[jax.Array, ...]


def step(
    photons: Photons, sums: Sums, words: list[jax.Array], tissue: Coefficients
) -> tuple[Photons, Sums]:
    """Takes every photon to its next scattering, or to the boundary before that.

    Args:
        photons: The photons of the lanes.
        sums: What has become of those that have ended, by lane.
        words: Three random words for each lane.
        tissue: The tissue.

    Returns:
        Photons and sums after the step.
    """
    absorption, scattering, anisotropy, thickness, refractive_index = tissue
    layers = len(refractive_index) - 2
    alive = photons.weight > 0
    layer = photons.layer

    def here(values):
        """The value of each photon's layer."""
        found = values[0]
        for index in range(1, layers):
            found = jnp.where(layer == index, values[index], found)
        return found

    # To the next event.
    extinction = absorption + scattering
    optical = jnp.where(photons.optical > 0, photons.optical, -jnp.log(uniform(words[0])))
    down = photons.cosine > 0
    cosine = jnp.maximum(jnp.abs(photons.cosine), 1e-7)
    here_extinction, here_thickness = here(extinction), here(thickness)
    distance = jnp.where(down, here_thickness - photons.depth, photons.depth)
    needed = distance * here_extinction / cosine
    crosses = optical >= needed
    moved = photons.depth + photons.cosine * optical / jnp.where(crosses, 1.0, here_extinction)
    choice, azimuth = uniform(words[1]), uniform(words[2])

    # Absorption, roulette and scattering.
    interacts = alive & ~crosses
    absorbing = absorption / jnp.where(extinction > 0, extinction, 1.0)
    deposit = jnp.where(interacts, photons.weight * here(absorbing), 0.0)
    absorbed = [a + jnp.where(layer == i, deposit, 0.0) for i, a in enumerate(photons.absorbed)]
    weight = photons.weight - deposit
    survives = (words[2] & 7) == 0  # bits that the azimuth leaves unused
    low = interacts & (weight < ROULETTE_WEIGHT)
    weight = jnp.where(low, jnp.where(survives, weight / ROULETTE_CHANCE, 0.0), weight)
    scattered = henyey_greenstein(photons.cosine, here(anisotropy), choice, azimuth)

    # Reflection or refraction.
    ratios_down = refractive_index[1:-1] / refractive_index[2:]
    ratios_up = refractive_index[1:-1] / refractive_index[:-2]
    ratio = jnp.where(down, here(ratios_down), here(ratios_up))
    refracted, reflectance = fresnel(cosine, ratio)
    passes = crosses & (choice >= reflectance)
    sign = jnp.where(down, 1.0, -1.0)
    crossed_cosine = sign * jnp.where(passes, refracted, -cosine)
    next_layer = jnp.where(passes, layer + jnp.where(down, 1, -1), layer)
    above = here(jnp.concatenate([thickness[:1], thickness[:-1]]))
    entered = jnp.where(down, 0.0, above)
    kept = jnp.where(down, here_thickness, 0.0)

    # Photons that have ended.
    up_and_out = alive & (next_layer < 0)
    down_and_out = alive & (next_layer >= layers)
    out = up_and_out | down_and_out
    ended = out | (alive & (weight == 0))
    scores = [
        jnp.where(up_and_out, weight, 0.0),
        jnp.where(down_and_out, weight, 0.0),
        *(jnp.where(ended, a, 0.0) for a in absorbed),
    ]
    sums = Sums(
        tuple(s + score for s, score in zip(sums.values, scores, strict=True)),
        tuple(s + score**2 for s, score in zip(sums.squares, scores, strict=True)),
    )
    photons = Photons(
        weight=jnp.where(out, 0.0, weight),
        depth=jnp.where(crosses, jnp.where(passes, entered, kept), moved),
        cosine=jnp.where(crosses, crossed_cosine, scattered),
        layer=jnp.where(out, 0, next_layer),
        optical=jnp.where(crosses, optical - needed, 0.0),
        absorbed=tuple(jnp.where(ended, 0.0, a) for a in absorbed),
    )
    return photons, sums


def henyey_greenstein(
    cosine: jax.Array, anisotropy: jax.Array, choice: jax.Array, azimuth: jax.Array
) -> jax.Array:
    """Draws the direction cosine after a scattering.

    Args:
        cosine: Direction cosine before it.
        anisotropy: Mean cosine of the scattering angle, in (-1, 1).
        choice: Uniform in (0, 1), for the angle.
        azimuth: Uniform in (0, 1), for the azimuth.

    Returns:
        The direction cosine.

    Reference:
        Diffuse radiation in the galaxy. Henyey, Greenstein, 1941. https://doi.org/10.1086/144246
    """
    # The inverse of the distribution function, in a form that has no pole at anisotropy 0.
    g, s = anisotropy, 2.0 * choice - 1.0
    polynomial = s + 0.5 * g * (3.0 + s * s) + g * g * s + 0.5 * g**3 * (s * s - 1.0)
    scattering = polynomial / (1.0 + g * s) ** 2
    sines = jnp.sqrt(jnp.maximum((1.0 - cosine**2) * (1.0 - scattering**2), 0.0))
    return jnp.clip(cosine * scattering + sines * jnp.cos(jnp.pi * azimuth), -1.0, 1.0)

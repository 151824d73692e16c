"""Photon transport in layered tissue by Monte Carlo, with a fixed number of photons in flight.

A photon starts straight down with the weight that the surface lets in. It goes optical depths drawn
from the exponential distribution, leaves the share of its weight that is absorbed wherever one
ends, is scattered by Henyey and Greenstein's phase function, is reflected or refracted at
boundaries by Fresnel's equations, and ends outside or, when its weight is small, by Russian
roulette. Layers are plane and only totals are asked for, so depth and direction cosine are all of
its place.

Reference:
    MCML: Monte Carlo modeling of light transport in multi-layered tissues. Wang, Jacques, Zheng,
    1995. https://doi.org/10.1016/0169-2607(95)01640-F
"""

from functools import partial
from numbers import Integral
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, PartitionSpec

from experiments.tissue.photons import Coefficients, Photons, Sums, step
from experiments.tissue.random_words import next_word, start_words
from experiments.tissue.tissue import PROPERTIES, Tissue, check_tissue

STREAMS = 8
"""Lanes have so many groups of their own random numbers and photons, whatever the devices."""
LANES = 8192
STEPS_PER_SUM = 256
"""Sums over so many steps are rounded; those over all steps carry along what rounding loses."""


class Light(NamedTuple):
    """Where the light goes, as shares of what comes in; standard errors of what is estimated.

    Attributes:
        specular: Reflected by the surface itself, exact, (...).
        reflectance: Diffuse: leaves through the surface after having entered, (...).
        transmittance: Leaves below, unscattered light included, (...).
        absorption: By layer, (..., layers).
        reflectance_error: Standard error of the reflectance.
        transmittance_error: Standard error of the transmittance.
        absorption_error: Standard errors of the absorption.
    """

    specular: jax.Array
    reflectance: jax.Array
    transmittance: jax.Array
    absorption: jax.Array
    reflectance_error: jax.Array
    transmittance_error: jax.Array
    absorption_error: jax.Array


def simulate(
    key: jax.Array, tissue: Tissue, *, photons: int, lanes: int = LANES, mesh: Mesh | None = None
) -> Light:
    """Follows photons through one tissue, or through each of a batch.

    The same key gives the same photons on any devices. Memory is that of the lanes: it depends
    neither on the number of photons nor on that of tissues. Jitted; goes under `jax.vmap`.

    Args:
        key: A JAX key.
        tissue: The tissue, its arrays of shape (..., layers).
        photons: Number of photons for each tissue.
        lanes: Photons in flight at a time; a lane starts a photon when its last one has ended.
        mesh: Devices to share the lanes of each tissue, at most `STREAMS`; None for the default
            device.

    Returns:
        Shares of the light and their standard errors, (...).

    Raises:
        ValueError: For photons or lanes that are not positive whole numbers, a mesh that does not
            divide the streams, or no tissue; see `check_tissue`.
    """
    if not isinstance(photons, Integral) or photons < 1:
        raise ValueError(
            f"simulate: expected a whole number of at least 1 photon, got {photons!r}; 10,000 give "
            "a reflectance to about 0.005."
        )
    if not isinstance(lanes, Integral) or lanes < STREAMS or lanes % STREAMS:
        raise ValueError(
            f"simulate: expected a multiple of {STREAMS} lanes, got {lanes!r}; leave lanes out."
        )
    if mesh is not None and STREAMS % mesh.size:
        raise ValueError(
            f"simulate: expected a number of devices that divides {STREAMS}, got a mesh of "
            f"{mesh.size}; give fewer."
        )
    tissue = check_tissue(tissue)
    rows = tuple(
        getattr(tissue, name).astype(jnp.float32).reshape(-1, tissue.layers) for name in PROPERTIES
    )
    quotas = np.full(STREAMS, photons // STREAMS) + (np.arange(STREAMS) < photons % STREAMS)
    means, errors = _simulate(
        key,
        rows,
        np.asarray(tissue.refractive_index, np.float32),
        quotas.astype(np.int32),
        lanes=lanes,
        mesh=mesh,
    )
    shape = (*tissue.batch, 2 + tissue.layers)
    means, errors = (value.reshape(shape) for value in (means, errors))
    specular = jnp.full(tissue.batch, specular_reflectance(tissue))
    return Light(
        specular,
        *(means[..., 0], means[..., 1], means[..., 2:]),
        *(errors[..., 0], errors[..., 1], errors[..., 2:]),
    )


def specular_reflectance(tissue: Tissue) -> float:
    """Share of the light that the surface reflects before it enters, by Fresnel's equations."""
    above, first = tissue.refractive_index[:2]
    return ((above - first) / (above + first)) ** 2


@partial(jax.jit, static_argnames=("lanes", "mesh"))
def _simulate(
    key: jax.Array,
    rows: tuple[jax.Array, ...],
    refractive_index: jax.Array,
    quotas: jax.Array,
    *,
    lanes: int,
    mesh: Mesh | None,
) -> tuple[jax.Array, jax.Array]:
    """Means and standard errors: tissues (n, layers) -> (n, 2 + layers) each, one after another."""
    photons = quotas.astype(jnp.float32).sum()
    follow = partial(_follow, lanes=lanes // STREAMS)
    if mesh is not None:
        split, whole = PartitionSpec(mesh.axis_names), PartitionSpec()
        follow = jax.shard_map(
            follow, mesh=mesh, in_specs=(split, split, whole), out_specs=split, check_vma=False
        )

    def one(row: tuple[jax.Array, ...]) -> tuple[jax.Array, jax.Array]:
        key, absorption, scattering, anisotropy, thickness = row
        coefficients = Coefficients(absorption, scattering, anisotropy, thickness, refractive_index)
        values, squares = follow(jax.random.split(key, STREAMS), quotas, coefficients)
        return values.sum(axis=0) / photons, squares.sum(axis=0) / photons

    means, squares = jax.lax.map(one, (jax.random.split(key, len(rows[0])), *rows))
    variances = jnp.maximum(squares - means**2, 0.0) / jnp.maximum(photons - 1, 1)
    return means, jnp.sqrt(variances)


def _follow(
    keys: jax.Array, quotas: jax.Array, tissue: Coefficients, *, lanes: int
) -> tuple[jax.Array, jax.Array]:
    """Sums over each stream's photons: keys and quotas (streams,) -> (streams, 2 + layers) twice.

    All is float32, whatever the default. Sums are kept by lane and added up in the end, those of
    few steps to those of all with compensation (Kahan), so that none grows so large that what is
    added would be rounded away.
    """
    layers = len(tissue.refractive_index) - 2
    shape = (len(keys), lanes)
    zero = jnp.zeros(shape, jnp.float32)
    photons = Photons(zero, zero, zero, zero.astype(jnp.int32), zero, (zero,) * layers)
    none = Sums((zero,) * (2 + layers), (zero,) * (2 + layers))
    draw = partial(jax.random.bits, shape=(3, lanes), dtype=jnp.uint32)
    words = start_words(jax.vmap(draw)(keys))
    above, first = tissue.refractive_index[:2]
    entering = 1.0 - ((above - first) / (above + first)) ** 2

    def unfinished(photons: Photons, left: jax.Array) -> jax.Array:
        return jnp.any(left > 0) | jnp.any(photons.weight > 0)

    def advance(carry: tuple) -> tuple:
        words, photons, left, sums, steps = carry
        launched = _launched(photons.weight == 0, left)
        left = left - launched.sum(axis=-1, dtype=left.dtype)
        photons = photons._replace(
            weight=jnp.where(launched, entering, photons.weight),
            depth=jnp.where(launched, 0.0, photons.depth),
            cosine=jnp.where(launched, 1.0, photons.cosine),
            layer=jnp.where(launched, 0, photons.layer),
            optical=jnp.where(launched, 0.0, photons.optical),
        )
        drawn = []
        for _ in range(3):
            word, words = next_word(words)
            drawn.append(word)
        photons, sums = step(photons, sums, drawn, tissue)
        return words, photons, left, sums, steps + 1

    def advance_and_add(carry: tuple) -> tuple:
        words, photons, left, total, lost = carry
        words, photons, left, sums, _ = jax.lax.while_loop(
            lambda carry: unfinished(carry[1], carry[2]) & (carry[4] < STEPS_PER_SUM),
            advance,
            (words, photons, left, none, 0),
        )
        added = jax.tree.map(jnp.subtract, sums, lost)
        grown = jax.tree.map(jnp.add, total, added)
        lost = jax.tree.map(lambda new, old, part: (new - old) - part, grown, total, added)
        return words, photons, left, grown, lost

    _, _, _, sums, _ = jax.lax.while_loop(
        lambda carry: unfinished(carry[1], carry[2]),
        advance_and_add,
        (words, photons, quotas, none, none),
    )
    values, squares = (jnp.stack([v.sum(axis=-1) for v in part], axis=-1) for part in sums)
    return values, squares


def _launched(idle: jax.Array, left: jax.Array) -> jax.Array:
    """Which idle lanes start a photon: all while there are enough left, then the first of them."""
    return jax.lax.cond(
        jnp.all(left >= idle.sum(axis=-1, dtype=left.dtype)),
        lambda: idle,
        lambda: idle & (jnp.cumsum(idle, axis=-1, dtype=left.dtype) <= left[:, None]),
    )

"""Tissues that the prior knows nothing of: a layer of blood on top, or a dye in the blood."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np

from experiments.tissue import problem
from experiments.tissue.adding_doubling import add_and_double
from experiments.tissue.optics import BANDS, absorption, scattering

FILM = {"oxygenation": 0.8, "blood": 1.0, "mie": 2.0, "anisotropy": 0.95, "thickness": 0.03}
"""A film of blood on the tissue; its thickness is in mm."""
POOL = 0.3
"""Thickness in mm of as much blood as darkens even the red bands."""
DYE_PEAK, DYE_WIDTH, DYE_STRENGTH = 665.0, 25.0, 1.0
"""Of a blue dye, like methylene blue: nm, nm, and 1/mm at its peak where blood is 5 % of volume."""


def under_pool(x: jax.Array) -> jax.Array:
    """Gives the spectrum of a tissue under a pool of blood, (13,) -> (8,)."""
    return under_film(x, POOL)


def under_film(x: jax.Array, thickness: float = FILM["thickness"]) -> jax.Array:
    """Gives the spectrum of a tissue with a film of blood on top, (13,) -> (8,)."""
    below = problem.to_tissue(x)
    top = {
        "absorption": absorption(FILM["oxygenation"], FILM["blood"]),
        "scattering": scattering(FILM["mie"], FILM["anisotropy"]),
        "anisotropy": jnp.full(len(BANDS), FILM["anisotropy"]),
        "thickness": jnp.full(len(BANDS), thickness),
    }
    stacked = {
        name: jnp.concatenate([values[:, None], getattr(below, name)], axis=-1)
        for name, values in top.items()
    }
    index = problem.REFRACTIVE_INDEX
    indices = (index[0], index[1], *index[1:])
    return add_and_double(replace(below, **stacked, refractive_index=indices)).reflectance


def dyed(x: jax.Array) -> jax.Array:
    """Gives the spectrum of a tissue with a dye in its blood, (13,) -> (8,)."""
    tissue = problem.to_tissue(x)
    blood = x[1::4]  # of every layer
    peak = DYE_STRENGTH * np.exp(-0.5 * ((np.array(BANDS) - DYE_PEAK) / DYE_WIDTH) ** 2)
    dye = jnp.asarray(peak, float)[:, None] * blood[None] / 0.05
    return add_and_double(replace(tissue, absorption=tissue.absorption + dye)).reflectance

"""From physiology to optical coefficients: what blood absorbs and what tissue scatters.

Reference:
    Robust near real-time estimation of physiological parameters from megapixel multispectral
    images with inverse Monte Carlo and random forest regression. Wirkert et al., 2016.
    https://doi.org/10.1007/s11548-016-1376-5
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

BANDS = (470.0, 480.0, 511.0, 560.0, 580.0, 600.0, 660.0, 700.0)
"""Centres of the camera's bands, in nm."""
HAEMOGLOBIN = 120.0
"""Of blood, in g/l."""
MOLAR_MASS = 64500.0
"""Of haemoglobin, in g/mol."""
REFERENCE_WAVELENGTH = 500.0
"""In nm: there `scattering` is what the amplitudes say."""

TABLE = np.loadtxt(
    Path(__file__).with_name("data") / "haemoglobin_prahl.csv", delimiter=",", skiprows=3
)
"""Rows of wavelength in nm and extinction of oxygenated and of deoxygenated haemoglobin in
1/(cm M), decadic, as Prahl compiled them."""


def haemoglobin_absorption(wavelengths: Sequence[float] | np.ndarray) -> np.ndarray:
    """Absorption coefficients of whole blood, oxygenated and deoxygenated.

    Args:
        wavelengths: In nm, (bands,); between those of the table by straight lines.

    Returns:
        In 1/mm, to the base e, (2, bands).

    Raises:
        ValueError: For wavelengths outside the table.
    """
    nm = np.asarray(wavelengths, float)
    low, high = TABLE[[0, -1], 0]
    if nm.ndim != 1 or not np.all((nm >= low) & (nm <= high)):
        raise ValueError(
            f"haemoglobin_absorption: expected wavelengths from {low:g} to {high:g} nm in one "
            f"dimension, got {nm.tolist()}; leave out what the table of spectra does not cover."
        )
    molar = np.stack([np.interp(nm, TABLE[:, 0], column) for column in TABLE.T[1:]])
    return np.log(10) * HAEMOGLOBIN / MOLAR_MASS * molar / 10  # from 1/cm to 1/mm


def absorption(
    oxygenation: jax.Array | float,
    blood: jax.Array | float,
    wavelengths: Sequence[float] | np.ndarray = BANDS,
) -> jax.Array:
    """Absorption coefficients of tissue, of which only the blood absorbs.

    Args:
        oxygenation: Share of the haemoglobin that carries oxygen, (...).
        blood: Share of the volume that is blood, (...).
        wavelengths: In nm, (bands,).

    Returns:
        In 1/mm, (..., bands).
    """
    oxygenated, deoxygenated = haemoglobin_absorption(wavelengths)
    carrying = jnp.asarray(blood) * oxygenation
    return _outer(carrying, oxygenated) + _outer(blood - carrying, deoxygenated)


def scattering(
    amplitude: jax.Array | float,
    anisotropy: jax.Array | float,
    wavelengths: Sequence[float] | np.ndarray = BANDS,
    *,
    power: float = 1.286,
    rayleigh: jax.Array | float = 0.0,
) -> jax.Array:
    """Scattering coefficients mu_s = mu_s' / (1 - g), mu_s' by power laws.

    Args:
        amplitude: mu_s' by Mie scattering at `REFERENCE_WAVELENGTH`, in 1/mm, (...).
        anisotropy: g, in (-1, 1), (...).
        wavelengths: In nm, (bands,).
        power: The negative exponent of Mie scattering.
        rayleigh: mu_s' by Rayleigh scattering at `REFERENCE_WAVELENGTH`, in 1/mm, (...).

    Returns:
        In 1/mm, (..., bands).
    """
    relative = np.asarray(wavelengths, float) / REFERENCE_WAVELENGTH
    mie, ray = jnp.broadcast_arrays(amplitude / (1 - anisotropy), rayleigh / (1 - anisotropy))
    return _outer(mie, relative**-power) + _outer(ray, relative**-4)


def _outer(values: Any, bands: np.ndarray) -> jax.Array:
    return jnp.tensordot(jnp.asarray(values, float), jnp.asarray(bands, float), axes=0)

"""From physiology to optical coefficients: what blood absorbs and what tissue scatters.

Reference:
    Robust near real-time estimation of physiological parameters from megapixel multispectral
    images with inverse Monte Carlo and random forest regression. Wirkert et al., 2016.
    https://doi.org/10.1007/s11548-016-1376-5
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

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
    nm = _check_wavelengths("haemoglobin_absorption", wavelengths)
    low, high = TABLE[[0, -1], 0]
    if not np.all((nm >= low) & (nm <= high)):
        raise ValueError(
            f"haemoglobin_absorption: expected wavelengths from {low:g} to {high:g} nm, got "
            f"{nm.tolist()}; leave out what the table of spectra does not cover."
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

    Raises:
        ValueError: For shares outside [0, 1], where they are known, or wavelengths outside the
            table.
    """
    for name, share in (("oxygenation", oxygenation), ("blood", blood)):
        _check("absorption", name, share, lambda v: (v >= 0) & (v <= 1), "a share from 0 to 1")
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

    Raises:
        ValueError: For amplitudes below 0 or anisotropies that are not between -1 and 1, where they
            are known, or wavelengths that are not positive.
    """
    for name, value in (("amplitude", amplitude), ("rayleigh", rayleigh)):
        _check(
            "scattering", name, value, lambda v: (v >= 0) & (v < np.inf), "finite and not negative"
        )
    expected = "between -1 and 1, both excluded"
    _check("scattering", "anisotropy", anisotropy, lambda v: np.abs(v) < 1, expected)
    relative = _check_wavelengths("scattering", wavelengths) / REFERENCE_WAVELENGTH
    mie, ray = jnp.broadcast_arrays(amplitude / (1 - anisotropy), rayleigh / (1 - anisotropy))
    return _outer(mie, relative**-power) + _outer(ray, relative**-4)


def _check_wavelengths(function: str, wavelengths: Any) -> np.ndarray:
    nm = np.asarray(wavelengths, float)
    if nm.ndim != 1 or not np.all((nm > 0) & (nm < np.inf)):
        raise ValueError(
            f"{function}: expected wavelengths in one dimension, positive, in nm, got "
            f"{nm.tolist()}; a single one is [{BANDS[0]:g}]."
        )
    return nm


def _check(
    function: str, name: str, values: Any, good: Callable[[np.ndarray], Any], expected: str
) -> None:
    """Refuses values that are known and not good."""
    if isinstance(values, Tracer):
        return
    values = np.asarray(values)
    bad = values[~np.asarray(good(values))]
    if bad.size:
        raise ValueError(
            f"{function}: expected {name} to be {expected}, got {bad.flat[0]:g}; keep parameters "
            "in their prior's range."
        )


def _outer(values: Any, bands: np.ndarray) -> jax.Array:
    return jnp.tensordot(jnp.asarray(values, float), jnp.asarray(bands, float), axes=0)

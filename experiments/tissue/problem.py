"""The inverse problem: thirteen parameters of three layers, and the eight bands of a camera.

x holds the oxygenation, the same in all layers, and for each layer, from the surface down, its
blood volume fraction, its Mie amplitude in 1/mm, its anisotropy and its thickness in mm. The prior
is that of a colon, as light from above sees it; refractive indices and the exponent of Mie
scattering are known. y is the diffuse reflectance in the bands, without the surface's own.

Reference:
    Robust near real-time estimation of physiological parameters from megapixel multispectral
    images with inverse Monte Carlo and random forest regression. Wirkert et al., 2016.
    https://doi.org/10.1007/s11548-016-1376-5
"""

from collections.abc import Sequence
from numbers import Integral

import jax
import jax.numpy as jnp
import numpy as np

from experiments.tissue.adding_doubling import add_and_double
from experiments.tissue.optics import BANDS, absorption, scattering
from experiments.tissue.tissue import Tissue

LAYERS = 3
REFRACTIVE_INDEX = (1.0, 1.36, 1.36, 1.38, 1.0)
"""Of the air, of the layers, and of the air below."""
NAMES = (
    "oxygenation",
    *(f"{name} {k}" for k in (1, 2, 3) for name in ("blood", "mie", "anisotropy", "thickness")),
)
DIM_X, DIM_Y = len(NAMES), len(BANDS)

OXYGENATION = (1e-4, 1.0)
BLOOD = (1e-4, 0.1)
ANISOTROPY = (0.8, 0.95)
THICKNESS = ((0.6, 1.01), (0.415, 0.847), (0.395, 0.603))  # mm
MIE_MEAN, MIE_STD, MIE_LEAST = 1.89, 1.02, 1e-13  # 1/mm

_LAYER_SUPPORT = [
    ((*BLOOD,), (MIE_LEAST, np.inf), (*ANISOTROPY,), thickness) for thickness in THICKNESS
]
SUPPORT = tuple(np.array([OXYGENATION, *sum(_LAYER_SUPPORT, ())], np.float32).T)
"""Lowest and highest values, (13,) each."""


def prior(key: jax.Array, n: int) -> jax.Array:
    """Draws n tissues, (n, 13): all uniform, but Mie amplitudes, which are normal and positive.

    Amplitudes that the normal distribution has below zero become almost nothing, 1e-13/mm.
    """
    uniform_key, normal_key = jax.random.split(key)
    low, high = SUPPORT
    amplitude = MIE_MEAN + MIE_STD * jax.random.normal(normal_key, (n, LAYERS))
    finite = np.isfinite(high)
    x = jax.random.uniform(
        uniform_key, (n, DIM_X), minval=low[None], maxval=np.where(finite, high, 1.0)[None]
    )
    return x.at[:, ~finite].set(jnp.maximum(amplitude, MIE_LEAST))


def to_tissue(x: jax.Array, wavelengths: Sequence[float] = BANDS) -> Tissue:
    """Gives the tissue of parameters at wavelengths in nm, (..., 13) -> arrays (..., bands, 3).

    Raises:
        ValueError: For parameters of another number or, where they are known, out of range; or
            wavelengths outside the table.
    """
    if np.shape(x)[-1:] != (DIM_X,):
        raise ValueError(
            f"to_tissue: expected parameters of shape (..., {DIM_X}), got {np.shape(x)}; their "
            f"order is {', '.join(NAMES)}."
        )
    x = jnp.asarray(x, float)
    blood, mie, anisotropy, thickness = jnp.moveaxis(
        x[..., 1:].reshape(*x.shape[:-1], LAYERS, 4), -1, 0
    )
    absorbed = absorption(x[..., :1], blood, wavelengths)
    shape = (*x.shape[:-1], absorbed.shape[-1], LAYERS)
    return Tissue(
        jnp.moveaxis(absorbed, -1, -2),
        jnp.moveaxis(scattering(mie, anisotropy, wavelengths), -1, -2),
        jnp.broadcast_to(anisotropy[..., None, :], shape),
        jnp.broadcast_to(thickness[..., None, :], shape),
        REFRACTIVE_INDEX,
    )


def forward(x: jax.Array) -> jax.Array:
    """Gives the diffuse reflectance in the bands, by the surrogate: (..., 13) -> (..., 8)."""
    return add_and_double(to_tissue(x)).reflectance


def add_camera_noise(key: jax.Array, y: jax.Array, signal_to_noise: float = 10.0) -> jax.Array:
    """Multiplies each band by 1 + e / signal_to_noise, e normal, and keeps it above 1e-5.

    Args:
        key: A JAX key.
        y: Spectra, (..., 8).
        signal_to_noise: Of each band.

    Returns:
        Spectra, (..., 8).

    Raises:
        ValueError: For spectra of other bands, or a ratio that is not positive.
    """
    if np.shape(y)[-1:] != (DIM_Y,):
        raise ValueError(
            f"add_camera_noise: expected spectra of shape (..., {DIM_Y}), one value for each band "
            f"of {BANDS} nm, got {np.shape(y)}; simulate these bands."
        )
    if not signal_to_noise > 0:
        raise ValueError(
            "add_camera_noise: expected a positive signal-to-noise ratio, got "
            f"{signal_to_noise}; leave the noise out for a perfect camera."
        )
    y = jnp.asarray(y)
    y = y if jnp.issubdtype(y.dtype, jnp.floating) else y.astype(float)
    noisy = y * (1 + jax.random.normal(key, y.shape, y.dtype) / signal_to_noise)
    return jnp.clip(noisy, 1e-5, 1.0)


def simulate(
    key: jax.Array, n: int, *, signal_to_noise: float | None = None
) -> tuple[jax.Array, jax.Array]:
    """Draws n tissues from the prior and their spectra: (n, 13) and (n, 8).

    Args:
        key: A JAX key.
        n: Number of tissues; their spectra are computed `CHUNK` at a time.
        signal_to_noise: Of the camera, see `add_camera_noise`; None for none.

    Returns:
        Parameters and spectra.

    Raises:
        ValueError: For no tissue, or a ratio that is not positive.
    """
    if not isinstance(n, Integral) or n < 1:
        raise ValueError(f"simulate: expected a whole number of at least 1 tissue, got {n!r}.")
    prior_key, noise_key = jax.random.split(key)
    x = prior(prior_key, n)
    y = jax.lax.map(forward, x, batch_size=min(n, CHUNK))
    return x, y if signal_to_noise is None else add_camera_noise(noise_key, y, signal_to_noise)


CHUNK = 32
"""Tissues at a time: their matrices stay in the cache."""

"""Reflection and refraction of unpolarised light at a plane boundary."""

import jax
import jax.numpy as jnp


def fresnel(cosine: jax.Array, ratio: jax.Array | float) -> tuple[jax.Array, jax.Array]:
    """Gives Snell's angle of refraction and Fresnel's reflectance.

    Args:
        cosine: Cosine of the angle of incidence, in (0, 1].
        ratio: Refractive index on this side by that beyond.

    Returns:
        Cosine of the refracted angle, 0 where the reflection is total, and the reflectance.
    """
    # Written so that equal indices give back the very cosine, however small.
    squared = 1.0 - ratio**2 + (ratio * cosine) ** 2
    refracted = jnp.sqrt(jnp.maximum(squared, 0.0))
    senkrecht = (ratio * cosine - refracted) / (ratio * cosine + refracted)
    parallel = (ratio * refracted - cosine) / (ratio * refracted + cosine)
    return refracted, 0.5 * (senkrecht**2 + parallel**2)

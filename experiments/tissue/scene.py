"""A picture of tissue with a vessel and a clamped region, of pixels that are draws of the prior.

Credible regions hold the truth as often as they say only on average over the prior. So the scene's
pixels are draws of it, arranged: the tissues with most blood on top make the vessel, and in the
vessel and in what is left those of least oxygenation the clamped region.
"""

import jax
import jax.numpy as jnp
import numpy as np

from jinn.inference.chunks import SamplesPosterior

VESSEL_WIDTH, REGION = 0.05, (0.62, 0.45, 0.27)
"""Half-width of the vessel, and the clamped region's middle (across, down) and radius, in sides."""
BLOOD = 1
"""Column of the uppermost layer's blood."""


def masks(side: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Gives which pixels are vessel and which are clamped, (side, side), and how well supplied."""
    across, down = np.meshgrid(*[(np.arange(side) + 0.5) / side] * 2)
    vessel = np.abs(down - 0.35 - 0.3 * across - 0.08 * np.sin(7 * across)) < VESSEL_WIDTH
    x, y, radius = REGION
    distance = np.hypot(across - x, down - y) / radius
    clamped = distance < 1
    return vessel, clamped, distance + 0.25 * np.sin(9 * across + 4) * np.cos(8 * down) * ~clamped


def arrange(x: np.ndarray, side: int) -> np.ndarray:
    """Gives the row of x that each pixel shows, a permutation of shape (side, side).

    Args:
        x: Tissues, (side^2, 13).
        side: Pixels along a side.

    Returns:
        The rows.
    """
    vessel, clamped, supply = (mask.reshape(-1) for mask in masks(side))
    order = supply + 100.0 * ~clamped
    by_blood = np.argsort(-x[:, BLOOD], kind="stable")
    rows = np.empty(side**2, int)
    count = int(vessel.sum())
    for pixels, tissues in ((vessel, by_blood[:count]), (~vessel, by_blood[count:])):
        places = np.flatnonzero(pixels)
        places = places[np.argsort(order[places], kind="stable")]
        rows[places] = tissues[np.argsort(x[tissues, 0], kind="stable")]
    return rows.reshape(side, side)


def oxygenation_map(
    posterior: SamplesPosterior, key: jax.Array, y: jax.Array, samples: int
) -> dict[str, np.ndarray]:
    """Maps the posterior of each pixel's oxygenation, all in one call.

    Args:
        posterior: A posterior that can be jitted.
        key: A JAX key.
        y: Logarithms of the spectra, (side, side, 8).
        samples: Posterior samples of each pixel.

    Returns:
        "mean", "deviation", and the ends of the 68 % and 95 % intervals, (side, side) each.
    """
    levels = jnp.array([0.16, 0.84, 0.025, 0.975])

    def pixel(key: jax.Array, y: jax.Array) -> tuple[jax.Array, ...]:
        oxygenation = posterior.sample(key, (samples,), y)[:, 0]
        return jnp.mean(oxygenation), jnp.std(oxygenation), *jnp.quantile(oxygenation, levels)

    pixels = y.reshape(-1, y.shape[-1])
    keys = jax.random.split(key, len(pixels))
    found = jax.jit(
        lambda keys, pixels: jax.lax.map(
            lambda pair: pixel(*pair), (keys, pixels), batch_size=min(len(pixels), 256)
        )
    )(keys, pixels)
    names = ("mean", "deviation", "low 68", "high 68", "low 95", "high 95")
    return {
        name: np.asarray(values).reshape(y.shape[:2])
        for name, values in zip(names, found, strict=True)
    }


def judge_map(found: dict[str, np.ndarray], truth: np.ndarray) -> dict[str, float]:
    """Gives the map's mean absolute error in and outside of the clamped region, and coverages."""
    _, clamped, _ = masks(len(truth))
    error = np.abs(found["mean"] - truth)
    judged = {
        "error": float(error.mean()),
        "error clamped": float(error[clamped].mean()),
        "error elsewhere": float(error[~clamped].mean()),
    }
    for mass in ("68", "95"):
        inside = (found[f"low {mass}"] <= truth) & (truth <= found[f"high {mass}"])
        judged[f"coverage {mass}"] = float(inside.mean())
        judged[f"coverage {mass} clamped"] = float(inside[clamped].mean())
    return judged

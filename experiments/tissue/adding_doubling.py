"""Light in layered tissue by adding and doubling: deterministic, differentiable and fast.

The radiance is kept in discrete directions. A thin layer's reflection and transmission, matrices
between those, follow from the equation of radiative transfer; two layers that are alike make one of
twice the thickness, and layers and boundaries are then added from below. Scaled by the square root
of their etendue, radiances make every matrix of a layer symmetric, and refraction diagonal.

Reference:
    Determining the optical properties of turbid media by using the adding-doubling method. Prahl,
    van Gemert, Welch, 1993. https://doi.org/10.1364/AO.32.000559 (thin layers by Wiscombe's
    diamond scheme, peaks of the phase function by his delta-M method,
    https://doi.org/10.1175/1520-0469(1977)034<1408:TDMRYA>2.0.CO;2)
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy.special import eval_legendre

from experiments.tissue.fresnel import fresnel
from experiments.tissue.quadrature import Directions, directions
from experiments.tissue.tissue import Tissue, check_tissue

POINTS = 6
DOUBLINGS = 12


class Balance(NamedTuple):
    """Where the light goes, as shares of what comes in.

    Attributes:
        specular: Reflected by the surface itself, (...).
        reflectance: Diffuse: leaves through the surface after having entered, (...).
        transmittance: Leaves below, unscattered light included, (...).
        absorption: By layer, (..., layers).
    """

    specular: jax.Array
    reflectance: jax.Array
    transmittance: jax.Array
    absorption: jax.Array


def add_and_double(
    tissue: Tissue, *, points: int = POINTS, doublings: int = DOUBLINGS, terms: int | None = None
) -> Balance:
    """Solves the equation of radiative transfer for light that comes straight down.

    Jitted, differentiable, and goes under `jax.vmap`; compiled once for each set of refractive
    indices.

    Args:
        tissue: The tissue, or a batch, its arrays of shape (..., layers); all layers finite.
        points: Directions in each range between two critical angles.
        doublings: The thin layers have 2 to the power of minus this of a layer's thickness.
        terms: Legendre terms of the phase function; None for as many as there are directions.

    Returns:
        Shares of the light, (...).

    Raises:
        ValueError: For fewer than 2 points, negative doublings, or no tissue; see `check_tissue`.
    """
    if points < 2 or doublings < 0:
        raise ValueError(
            "add_and_double: expected at least 2 points and 0 doublings, got "
            f"{points} and {doublings}; leave them out."
        )
    checked = check_tissue(tissue, semi_infinite=False)
    return _solve(checked, points=points, doublings=doublings, terms=terms)


@partial(jax.jit, static_argnames=("points", "doublings", "terms"))
def _solve(tissue: Tissue, *, points: int, doublings: int, terms: int | None) -> Balance:
    indices = np.asarray(tissue.refractive_index)
    grid = directions(tissue.refractive_index, points)
    terms = len(grid.etendue) if terms is None else terms
    root = jnp.asarray(np.sqrt(grid.etendue), float)
    # Fresnel's reflectances of the boundaries, above each layer and below the last: (layers + 1, points).
    reflectances = [
        _boundary(grid, indices, upper) for upper in range(tissue.layers + 1)
    ]
    reflect, transmit = _homogeneous(tissue, grid, terms, doublings)
    identity = jnp.eye(len(root))

    # From below: what returns to each layer's lower boundary, and the light that gets there.
    returned = jnp.diag(reflectances[-1]) + jnp.zeros_like(reflect[..., 0, :, :])
    sweeps = []
    for layer in reversed(range(tissue.layers)):
        r, t = reflect[..., layer, :, :], transmit[..., layer, :, :]
        down = jnp.linalg.solve(identity - r @ returned, t)
        total = r + t @ (returned @ down)
        surface = reflectances[layer]
        if layer == 0:
            start = jnp.zeros_like(root).at[0].set((1 - surface[0]) / root[0])
            enter = jnp.linalg.solve(
                identity - surface[:, None] * total, jnp.broadcast_to(start, total.shape[:-1])[..., None]
            )
        else:
            enter = jnp.linalg.solve(
                identity - surface[:, None] * total, jnp.broadcast_to(jnp.diag(1 - surface), total.shape)
            )
        sweeps.append((enter, total, down, returned))
        if layer > 0:
            returned = jnp.diag(surface) + (1 - surface)[:, None] * (total @ enter)

    # From above: the light itself.
    light = None
    absorption = []
    for enter, total, down, returned in reversed(sweeps):
        if light is None:
            light = enter
            reflectance = ((root * (1 - reflectances[0])) @ (total @ light))[..., 0]
        else:
            light = enter @ light
        below = down @ light
        absorption.append((root @ (light - total @ light - below + returned @ below))[..., 0])
        light = below
    transmittance = ((root * (1 - reflectances[-1])) @ light)[..., 0]
    specular = jnp.full(tissue.batch, reflectances[0][0])
    return Balance(specular, reflectance, transmittance, jnp.stack(absorption, axis=-1))


def _boundary(grid: Directions, indices: np.ndarray, upper: int) -> jax.Array:
    """Reflectance of the boundary below a medium, for each direction, from either side.

    It is 1 for a direction that one of the two lacks, the total reflection in the other.
    """
    with jax.ensure_compile_time_eval():
        _, reflectance = fresnel(
            jnp.asarray(grid.cosines[upper], float), float(indices[upper] / indices[upper + 1])
        )
    both = (grid.weights[upper] > 0) & (grid.weights[upper + 1] > 0)
    return jnp.where(both, reflectance, 1.0)


def _homogeneous(
    tissue: Tissue, grid: Directions, terms: int, doublings: int
) -> tuple[jax.Array, jax.Array]:
    """Reflection and transmission of each layer by itself: (..., layers, points, points) each."""
    even, odd = _kernels(grid, terms)
    extinction = tissue.absorption + tissue.scattering
    albedo = tissue.scattering / jnp.where(extinction > 0, extinction, 1.0)
    # The peak of the phase function that so few terms do not show counts as light not scattered.
    power = tissue.anisotropy[..., None] ** np.arange(terms)
    peak = tissue.anisotropy**terms
    moments = (power - peak[..., None]) / (1 - peak[..., None])
    thin = tissue.thickness * extinction * (1 - albedo * peak) / 2**doublings
    albedo = albedo * (1 - peak) / (1 - albedo * peak)

    # Of a thin layer: what sums and differences of the light from both sides lose in half of it.
    inverse = jnp.asarray(np.einsum("lp,pq->lpq", 1 / grid.cosines[1:-1], np.eye(len(grid.etendue))), float)
    half, share = 0.5 * thin[..., None, None], albedo[..., None, None]
    sums = half * (inverse - share * jnp.einsum("...lt,tlij->...lij", moments, even))
    differences = half * (inverse - share * jnp.einsum("...lt,tlij->...lij", moments, odd))
    identity = jnp.eye(len(grid.etendue))
    sums_out, differences_out = jnp.linalg.inv(jnp.stack([identity + sums, identity + differences]))
    reflect = sums_out @ ((differences - sums) @ differences_out)
    transmit = sums_out + differences_out - identity

    def double(_: int, both: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        r, t = both
        between = jnp.linalg.solve(identity - r @ r, t)
        return r + t @ (r @ between), t @ between

    return jax.lax.fori_loop(0, doublings, double, (reflect, transmit))


def _kernels(grid: Directions, terms: int) -> tuple[jax.Array, jax.Array]:
    """What a Legendre term of the phase function scatters, (terms, layers, points, points) twice.

    First into sums of the light downwards and upwards, to which the even terms scatter, then into
    differences. What the quadrature misses of a term's integral is made up for by scattering
    straight on, so that a layer which does not absorb keeps all light.
    """
    cosines, weights = grid.cosines[1:-1], grid.weights[1:-1]
    order = np.arange(terms)
    legendre = eval_legendre(order[:, None, None], cosines) * (weights > 0)
    is_even = (order % 2 == 0)[:, None, None, None]
    missed = np.einsum("tlp,lp->tl", legendre, weights) - (order == 0)[:, None]
    onward = np.einsum("tlp,tl,pq->tlpq", legendre / cosines, missed, np.eye(len(grid.etendue)))
    scaled = legendre * np.sqrt(weights / cosines)
    kernels = np.einsum("tli,tlj->tlij", scaled, scaled)
    factors = (2 * order + 1)[:, None, None, None]
    even = factors * np.where(is_even, kernels - onward, 0.0)
    odd = factors * np.where(is_even, -onward, kernels)
    return jnp.asarray(even, float), jnp.asarray(odd, float)

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
from numbers import Integral
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from scipy.special import eval_legendre

from experiments.tissue.fresnel import fresnel
from experiments.tissue.quadrature import Directions, directions
from experiments.tissue.tissue import PROPERTIES, Tissue, check_tissue

POINTS = 6
DOUBLINGS = 7
DEEPEST = 1000.0
"""So many optical depths are right to five digits with `DOUBLINGS`; each more doubles them."""


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
    tissue: Tissue, *, points: int = POINTS, doublings: int | None = None, terms: int | None = None
) -> Balance:
    """Solves the equation of radiative transfer for light that comes straight down.

    Jitted, differentiable, and goes under `jax.vmap`; compiled once for each set of refractive
    indices. In float32 a layer of t optical depths that hardly absorbs is wrong by about 6e-8 t of
    the light.

    Args:
        tissue: The tissue, or a batch, its arrays of shape (..., layers); all layers finite.
        points: Directions in each range between two critical angles.
        doublings: The thin layers have 2 to the power of minus this of a layer's thickness. None
            for `DOUBLINGS`, and more where values that are known, which they are not inside
            `jax.jit`, make the layers deeper than `DEEPEST`.
        terms: Legendre terms of the phase function; None for as many as there are directions.

    Returns:
        Shares of the light, (...).

    Raises:
        ValueError: For fewer than 2 points or 1 term, negative doublings, or no tissue; see
            `check_tissue`.
    """
    for name, number, least in (
        ("points", points, 2),
        ("doublings", doublings, 0),
        ("terms", terms, 1),
    ):
        if number is not None and (not isinstance(number, Integral) or number < least):
            raise ValueError(
                f"add_and_double: expected a whole number of {name}, at least {least}, got "
                f"{number!r}; leave it out."
            )
    tissue = check_tissue(tissue, semi_infinite=False)
    if terms is None:
        terms = len(directions(tissue.refractive_index, points).etendue)
    if doublings is None:
        doublings = _enough_doublings(tissue, terms)
    rows = tuple(getattr(tissue, name).reshape(-1, tissue.layers) for name in PROPERTIES)
    shares = _solve(
        rows,
        refractive_index=tissue.refractive_index,
        points=points,
        doublings=doublings,
        terms=terms,
    )
    return Balance(*(share.reshape(*tissue.batch, *share.shape[1:]) for share in shares))


def _enough_doublings(tissue: Tissue, terms: int) -> int:
    values = [getattr(tissue, name) for name in PROPERTIES]
    if any(isinstance(value, Tracer) for value in values):
        return DOUBLINGS
    absorption, scattering, anisotropy, thickness = (np.asarray(value, float) for value in values)
    turning = np.where(anisotropy < 0, 2.0, 1 - np.abs(anisotropy) ** terms)
    depth = np.max((absorption + scattering * turning) * thickness, initial=DEEPEST)
    return DOUBLINGS + int(np.ceil(np.log2(depth / DEEPEST)))


@partial(jax.jit, static_argnames=("refractive_index", "points", "doublings", "terms"))
def _solve(
    rows: tuple[jax.Array, ...],
    *,
    refractive_index: tuple[float, ...],
    points: int,
    doublings: int,
    terms: int,
) -> Balance:
    grid = directions(refractive_index, points)
    kernels = _kernels(grid, terms)
    boundaries = [
        _boundary(grid, refractive_index, upper) for upper in range(len(refractive_index) - 1)
    ]

    def one(row: tuple[jax.Array, ...]) -> Balance:
        reflect, transmit = _homogeneous(row, grid, kernels, doublings)
        return _add(reflect, transmit, boundaries, jnp.asarray(np.sqrt(grid.etendue), float))

    return jax.vmap(one)(rows)


def _add(
    reflect: jax.Array, transmit: jax.Array, boundaries: list[jax.Array], root: jax.Array
) -> Balance:
    """Adds layers and boundaries from below, then follows the light from above.

    Args:
        reflect: Reflection of each layer by itself, (layers, points, points).
        transmit: Transmission of each, (layers, points, points).
        boundaries: Reflectance of the boundary above each layer and below the last, (points,).
        root: Square root of the directions' etendue, (points,).

    Returns:
        Shares of the light.
    """
    identity = jnp.eye(len(root))
    # `returned` takes light that comes to a layer's lower boundary to what comes back from there;
    # `down` takes light at a layer's top to that at its bottom, and `total` to what comes back up.
    returned, sweeps = jnp.diag(boundaries[-1]), []
    for r, t, surface in reversed(list(zip(reflect, transmit, boundaries, strict=False))):
        down = _inverse(identity - r @ returned) @ t
        total = r + t @ (returned @ down)
        entering = _inverse(identity - surface[:, None] * total) * (1 - surface)[None]
        sweeps.append((entering, total, down, returned))
        returned = jnp.diag(surface) + (1 - surface)[:, None] * (total @ entering)

    light, absorption = jnp.zeros_like(root).at[0].set(1 / root[0]), []
    first, whole = sweeps[-1][:2]
    reflectance = jnp.dot(root * (1 - boundaries[0]), whole @ (first @ light))
    for entering, total, down, returned in reversed(sweeps):
        light = entering @ light
        below = down @ light
        absorption.append(root @ (light - total @ light - below + returned @ below))
        light = below
    transmittance = jnp.dot(root * (1 - boundaries[-1]), light)
    return Balance(boundaries[0][0], reflectance, transmittance, jnp.stack(absorption))


def _inverse(matrix: jax.Array) -> jax.Array:
    """Inverts a matrix by Gauss-Jordan sweeps, without exchanging rows.

    None is needed: the matrices are positive definite, or the identity less reflections that lose
    light. Programs that solved large batches by LAPACK stood still for ever on a CPU, presumably
    its kernels waiting for each other.
    """

    def sweep(matrix: jax.Array, index: jax.Array) -> tuple[jax.Array, None]:
        here = jnp.arange(len(matrix)) == index
        pivot = 1 / matrix[index, index]
        row = jnp.where(here, pivot, matrix[index] * pivot)
        others = jnp.where(here[None], 0.0, matrix) - jnp.outer(matrix[:, index], row)
        return jnp.where(here[:, None], row[None], others), None

    return jax.lax.scan(sweep, matrix, jnp.arange(len(matrix)))[0]


def _boundary(grid: Directions, refractive_index: tuple[float, ...], upper: int) -> jax.Array:
    """Reflectance of the boundary below a medium, for each direction, from either side.

    It is 1 for a direction that one of the two lacks, the total reflection in the other.
    """
    ratio = refractive_index[upper] / refractive_index[upper + 1]
    _, reflectance = fresnel(jnp.asarray(grid.cosines[upper], float), ratio)
    both = (grid.weights[upper] > 0) & (grid.weights[upper + 1] > 0)
    return jnp.where(both, reflectance, 1.0)


def _homogeneous(
    row: tuple[jax.Array, ...],
    grid: Directions,
    kernels: tuple[jax.Array, jax.Array],
    doublings: int,
) -> tuple[jax.Array, jax.Array]:
    """Reflection and transmission of each layer by itself: (layers, points, points) each."""
    absorption, scattering, anisotropy, thickness = row
    even, odd = kernels
    # The peak of the phase function that so few terms do not show is light not scattered, or, if it
    # is that of scattering backwards, light that turns around.
    terms = jnp.arange(len(even))
    peak = jnp.abs(anisotropy) ** len(even)
    sign = jnp.where(anisotropy < 0, -1.0, 1.0)
    rest = anisotropy[:, None] ** terms[None] - peak[:, None] * sign[:, None] ** terms[None]
    moments = scattering[:, None] * rest

    # What sums and differences of the light from both sides lose in half of a thin layer.
    identity = jnp.eye(len(grid.etendue))
    inverse = jnp.asarray(1 / grid.cosines[1:-1], float)[:, None, :] * identity[None]
    half = 0.5 * thickness[:, None, None] / 2**doublings
    lost = absorption + scattering * (1 - peak)
    turned = lost + scattering * peak * (1 - sign)
    sums = half * (lost[:, None, None] * inverse - jnp.einsum("lt,tlij->lij", moments, even))
    differences = half * (
        turned[:, None, None] * inverse - jnp.einsum("lt,tlij->lij", moments, odd)
    )
    inverses = jax.vmap(_inverse)(identity[None] + jnp.concatenate([sums, differences]))
    sums_out, differences_out = jnp.split(inverses, 2)
    reflect = sums_out @ ((differences - sums) @ differences_out)
    transmit = sums_out + differences_out - identity[None]

    def double(_: int, both: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        r, t = both
        between = jax.vmap(_inverse)(identity[None] - r @ r) @ t
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

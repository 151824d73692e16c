"""Directions of light that keep to themselves when a layered medium refracts them."""

from itertools import pairwise
from typing import NamedTuple

import numpy as np
from scipy.special import roots_jacobi, roots_legendre


class Directions(NamedTuple):
    """Discrete directions, the first straight down, in all media; float64.

    Attributes:
        etendue: n² mu w, the same in all media, (points,).
        cosines: In each medium, 1 where it lacks the direction, (media, points).
        weights: Of the integral over the cosine, 0 where the medium lacks it, (media, points).
    """

    etendue: np.ndarray
    cosines: np.ndarray
    weights: np.ndarray


def directions(refractive_index: tuple[float, ...], points: int) -> Directions:
    """Gives the directions for media between plane boundaries.

    n sin(theta) is kept by refraction. Its range is cut at the refractive indices, where light
    begins to be reflected totally somewhere; each part has a Gauss-Legendre rule in the cosine in
    the first layer (where that lacks it, in the medium of the next higher index), the first part a
    Gauss-Radau rule with the normal direction.

    Args:
        refractive_index: Of all media, from above to below.
        points: Number of directions in the larger parts; a part of less than a tenth of the
            cosines has a third.

    Returns:
        The directions.
    """
    indices = np.asarray(refractive_index)
    limits = [0.0, *(index for index in np.unique(indices) if index <= indices[1:-1].max())]
    etendue, invariants = [], []
    for low, high in pairwise(limits):
        index = indices[1] if indices[1] >= high else indices[indices >= high].min()
        first, last = np.sqrt(1 - (np.array([high, low]) / index) ** 2)
        count = points if last - first > 0.1 else max(2, points // 3)
        if low == 0:
            # Radau's inner nodes are those of the Jacobi polynomials for the weight 1 - x.
            inner, inner_weights = roots_jacobi(count - 1, 1.0, 0.0)
            x = np.append(inner, 1.0)
            w = np.append(inner_weights / (1 - inner), 2 / count**2)
        else:
            x, w = roots_legendre(count)
        x, w = x[::-1], w[::-1]
        cosine = first + 0.5 * (last - first) * (x + 1)
        etendue.append(index**2 * cosine * 0.5 * (last - first) * w)
        invariants.append(index * np.sqrt(np.maximum(1 - cosine**2, 0.0)))
    area, invariant = np.concatenate(etendue), np.concatenate(invariants)
    invariant[0] = 0.0
    squared = 1 - (invariant / indices[:, None]) ** 2
    cosines = np.where(squared > 0, np.sqrt(np.maximum(squared, 0.0)), 1.0)
    weights = np.where(squared > 0, area / (indices[:, None] ** 2 * cosines), 0.0)
    return Directions(area, cosines, weights)

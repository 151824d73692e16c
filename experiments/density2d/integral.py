"""The integral of a density over a square of the plane, on a grid that refines itself."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

# The rule of Gauss of 3 nodes and its extension by Kronrod to 7, on [-1, 1].
_NODES = np.array([0.0, 0.4342437493468026, 0.7745966692414834, 0.9604912687080202])
_KRONROD = np.array(
    [0.4509165386584741, 0.4013974147759622, 0.2684880898683334, 0.1046562260264673]
)
_GAUSS = np.array([8 / 9, 0.0, 5 / 9, 0.0])

MOST_DOUBLINGS = 4


class Integral(NamedTuple):
    """An integral and how it was found.

    Attributes:
        value: The integral.
        error: The sum over cells of the distance of Kronrod's rule from Gauss's, which is much
            more than the error of Kronrod's.
        points: Number of evaluations.
        spacing: Least width of a cell over its seven nodes.
        not_finite: Number of points where the density is not finite; they count as 0.
        bound: Half the side of the square at last.
    """

    value: float
    error: float
    points: int
    spacing: float
    not_finite: int
    bound: float


def integrate(
    density: Callable[[np.ndarray], np.ndarray],
    *,
    bound: float = 8.0,
    cells: int = 32,
    reach: float = 0.0,
    tolerance: float = 1e-3,
    max_points: int = 400_000,
    max_rounds: int = 8,
) -> Integral:
    """Integrates a density over [-bound, bound]^2.

    Each cell has 7 x 7 nodes. Its error is estimated by the distance of the product of Kronrod's
    rules from that of Gauss's on 3 x 3 of them. While the sum of these is above the tolerance, the
    cells with the largest ones, which make up all but half the tolerance, are cut in four.

    Args:
        density: From points `(n, 2)` to densities `(n,)`.
        bound: Half the side of the square.
        cells: Number of cells along each side at first, even with a reach.
        reach: The square is doubled until it holds this, at most `MOST_DOUBLINGS` times, each time
            with cells twice as wide in what is added.
        tolerance: The sum of estimated errors that ends the refinement.
        max_points: Most evaluations; the last refinement is cut short.
        max_rounds: Most refinements.

    Returns:
        The integral.
    """
    nodes = np.concatenate([-_NODES[:0:-1], _NODES])
    kronrod, gauss = (np.concatenate([w[:0:-1], w]) for w in (_KRONROD, _GAUSS))
    offsets = np.stack(np.meshgrid(nodes, nodes, indexing="ij"), axis=-1).reshape(-1, 2)
    rules = np.stack([np.outer(w, w).ravel() for w in (kronrod, gauss)], axis=1)
    not_finite = points = 0

    def evaluate(centres: np.ndarray, halves: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        nonlocal not_finite, points
        at = centres[:, None] + halves[:, None, None] * offsets
        values = np.asarray(density(at.reshape(-1, 2).astype(np.float32)), np.float64)
        points += len(values)
        not_finite += int(np.sum(~np.isfinite(values)))
        values = np.where(np.isfinite(values), values, 0.0).reshape(len(centres), -1)
        fine, coarse = (halves[:, None] ** 2 * (values @ rules)).T
        return fine, np.abs(fine - coarse)

    centres, halves = _cells(bound, cells)
    for _ in range(MOST_DOUBLINGS):
        if bound >= reach:
            break
        wide, wide_halves = _cells(2 * bound, cells)
        added = np.abs(wide).max(axis=1) > bound
        centres = np.concatenate([centres, wide[added]])
        halves = np.concatenate([halves, wide_halves[added]])
        bound *= 2
    values, errors = evaluate(centres, halves)
    for _ in range(max_rounds):
        room = (max_points - points) // (4 * len(offsets))
        if errors.sum() <= tolerance or room <= 0:
            break
        order = np.argsort(-errors)
        remaining = errors.sum() - np.cumsum(errors[order])
        worst = order[: min(room, 1 + int(np.sum(remaining > tolerance / 2)))]
        quarter = halves[worst, None, None] / 2
        signs = np.array([[-1, -1], [-1, 1], [1, -1], [1, 1]])
        children = (centres[worst, None] + quarter * signs).reshape(-1, 2)
        child_halves = np.repeat(halves[worst] / 2, 4)
        found = (children, child_halves, *evaluate(children, child_halves))
        kept = np.delete(np.arange(len(halves)), worst)
        centres, halves, values, errors = (
            np.concatenate([old[kept], new])
            for old, new in zip((centres, halves, values, errors), found, strict=True)
        )
    spacing = 2 * float(halves.min()) / len(nodes)
    return Integral(float(values.sum()), float(errors.sum()), points, spacing, not_finite, bound)


def _cells(bound: float, cells: int) -> tuple[np.ndarray, np.ndarray]:
    """Centres and half-widths of the equal cells of [-bound, bound]^2."""
    middles = bound * ((2 * np.arange(cells) + 1) / cells - 1)
    centres = np.stack(np.meshgrid(middles, middles, indexing="ij"), axis=-1).reshape(-1, 2)
    return centres, np.full(len(centres), bound / cells)

"""What solvers report: fixed points and differential equations alike."""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Bool, Float, Int


class SolverInfo(NamedTuple):
    """How an iterative solve went, for each entry of a batch.

    Attributes:
        steps: Number of steps taken.
        evaluations: Number of evaluations of the function that was solved for.
        converged: Whether the tolerance was met within the number of steps allowed. Where it was
            not, results are NaN.
    """

    steps: Int[Array, "*batch"]
    evaluations: Int[Array, "*batch"]
    converged: Bool[Array, "*batch"]


def direct(batch: tuple[int, ...]) -> SolverInfo:
    """Report of a direction that takes one evaluation and no solve.

    Args:
        batch: Shape of the batch.

    Returns:
        No steps, one evaluation, converged.
    """
    one = jnp.ones(batch, jnp.int32)
    return SolverInfo(jnp.zeros_like(one), one, jnp.ones(batch, bool))


def nan_unless(
    converged: Bool[Array, "*batch"], value: Float[Array, "*batch_event"]
) -> Float[Array, "*batch_event"]:
    """Put NaN into the entries of a batch that did not converge.

    Args:
        converged: One boolean an entry.
        value: What was computed, with the batch's axes in front.

    Returns:
        The value, NaN where it is not to be used. No gradient reaches those entries.
    """
    aligned = converged.reshape(*converged.shape, *[1] * (value.ndim - converged.ndim))
    return jnp.where(aligned, value, jnp.nan)


def failures(converged: Bool[Array, "*batch"]) -> str | None:
    """Say which entries of a batch did not converge, outside of transformations.

    Args:
        converged: One boolean an entry.

    Returns:
        "2 of 8 batch entries, which are NaN: 3, 5", of at most ten entries the indices; or None
        where all converged, or within a trace.
    """
    if isinstance(converged, Tracer) or bool(converged.all()):
        return None
    failed = [tuple(map(int, index)) for index in np.argwhere(~np.asarray(converged))]
    entries = ", ".join(str(index[0] if len(index) == 1 else index) for index in failed[:10])
    more = "" if len(failed) <= 10 else ", ..."
    return f"{len(failed)} of {converged.size} batch entries, which are NaN: {entries}{more}"

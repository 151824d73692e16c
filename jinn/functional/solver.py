"""What solvers report: fixed points and differential equations alike."""

from typing import NamedTuple

import jax.numpy as jnp
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

"""Solves that failed, said where programs are compiled and cannot say it themselves."""

import warnings
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jax.core import Tracer

from jinn.bijectors.base import Bijector
from jinn.bijectors.shapes import Shape, batch_shape
from jinn.functional.solver import failures


def warn_of_failures(
    name: str,
    result: Any,
    shape: Shape,
    bijector: Bijector,
    direction: Literal["forward", "inverse"],
) -> None:
    """Warn, outside of transformations, of entries that a direction with a solve left NaN.

    Args:
        name: What was called.
        result: What it gave, events or, with `shape=()`, densities.
        shape: Shape of one event of the result.
        bijector: The bijector that ran.
        direction: In which direction.
    """
    if bijector.fast_direction in ("both", direction):
        return
    batch, leaves = batch_shape(result, shape), jax.tree.leaves(result)
    if any(isinstance(leaf, Tracer) or leaf.size == 0 for leaf in leaves):
        return
    joined = jnp.concatenate([leaf.reshape(*batch, -1) for leaf in leaves], -1)
    failed = failures(~jnp.any(jnp.isnan(joined), -1))
    if failed is not None:
        warnings.warn(
            f"{name}: no result for {failed}. Either they met numbers that are not finite, or a "
            f"solve did not converge: see {direction}_with_info of the flow's bijector, and raise "
            "max_steps or loosen tolerances",
            RuntimeWarning,
            stacklevel=3,
        )

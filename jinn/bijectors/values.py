"""Numbers that a user gives as parameters, and data to find parameters from."""

from typing import Any

import jax
import jax.numpy as jnp
from jax.core import Tracer
from jaxtyping import Array


def check_finite(value: Array, name: str, given: Any) -> None:
    """Check, outside of a trace, that an initial parameter is finite.

    Args:
        value: The parameter.
        name: What to call it in an error.
        given: What the user gave for it.

    Raises:
        ValueError: If a number is infinite or NaN.
    """
    if not isinstance(value, Tracer) and not bool(jnp.isfinite(value).all()):
        raise ValueError(f"{name}: expected finite numbers, got {given}")


def check_data(data: Any, name: str) -> None:
    """Check data that parameters are to be found from: rows, and outside of a trace finite ones.

    Args:
        data: A pytree of arrays, or None.
        name: What to call it in an error.

    Raises:
        ValueError: If there are no rows, or a number is infinite or NaN.
    """
    for leaf in jax.tree.leaves(data):
        if leaf.size == 0:
            raise ValueError(f"initialize: expected rows of {name}, got shape {leaf.shape}")
        if not isinstance(leaf, Tracer) and not bool(jnp.isfinite(leaf).all()):
            raise ValueError(
                f"initialize: {name} has NaN or infinite values; remove or repair these rows"
            )


def fit_to_event(
    value: Any, event_shape: tuple[int, ...], name: str, dtype: jax.typing.DTypeLike
) -> Array:
    """Broadcast a parameter, such as a shift, to the event's shape.

    Args:
        value: What a user gave, array-like.
        event_shape: Shape of one event.
        name: What to call it in an error.
        dtype: Type of the result.

    Returns:
        An array of the event's shape.

    Raises:
        ValueError: If it does not broadcast.
    """
    array = jnp.asarray(value, dtype)
    try:
        return jnp.broadcast_to(array, event_shape)
    except ValueError:
        raise ValueError(
            f"{name}: expected a shape that broadcasts to the event {event_shape}, "
            f"got {array.shape}"
        ) from None

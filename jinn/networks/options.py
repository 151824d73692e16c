"""Checks of options that many constructors take."""

import math
from collections.abc import Sequence
from numbers import Integral, Real
from typing import Any

import jax
import jax.numpy as jnp


def floating_type(dtype: jax.typing.DTypeLike, name: str, option: str = "param_dtype") -> jnp.dtype:
    """Check the type of parameters or of a computation.

    Args:
        dtype: What a user gave.
        name: What is built, for the error.
        option: The option that it was given as.

    Returns:
        The type.

    Raises:
        ValueError: If it is no floating type.
    """
    try:
        checked = jnp.dtype(dtype)
    except TypeError:
        checked = None
    if checked is None or not jnp.issubdtype(checked, jnp.floating):
        raise ValueError(
            f"{name}: expected {option} to be a floating type such as jnp.float32, got {dtype!r}"
        )
    return checked


def computing_type(dtype: jax.typing.DTypeLike | None, name: str) -> jnp.dtype | None:
    """Check the type that a network computes in.

    Args:
        dtype: What a user gave as `dtype`; None follows the input.
        name: What is built, for the error.

    Returns:
        The type, or None.

    Raises:
        ValueError: If it is no floating type.
    """
    return None if dtype is None else floating_type(dtype, name, "dtype")


def layer_widths(hidden: Any, name: str) -> tuple[int, ...]:
    """Check the widths of hidden layers.

    Args:
        hidden: An integer, or a sequence of them.
        name: What is built, for the error.

    Returns:
        The widths.

    Raises:
        ValueError: If it is neither.
    """
    widths = [hidden] if isinstance(hidden, Integral) else hidden
    if not isinstance(widths, Sequence) or not all(isinstance(n, Integral) for n in widths):
        raise ValueError(
            f"{name}: expected hidden to be the widths of the hidden layers, an integer or a tuple "
            f"of integers such as (128, 128), got {hidden!r}"
        )
    return tuple(map(int, widths))


def is_count(value: Any) -> bool:
    """Tell whether an option is an integer of at least 1, and no boolean.

    Args:
        value: What a user gave.

    Returns:
        True if it is.
    """
    return isinstance(value, Integral) and not isinstance(value, bool) and int(value) >= 1


def is_positive(value: Any) -> bool:
    """Tell whether an option is a positive, finite number.

    Args:
        value: What a user gave.

    Returns:
        True if it is.
    """
    return isinstance(value, Real) and 0 < float(value) < math.inf

"""What users give an INN: labels, and as many rows of y as of x."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array

from jinn.bijectors.shapes import batched


def one_hot(y: Any, categories: int) -> Array:
    """Write labels as one-hot vectors.

    Args:
        y: Labels `(*batch,)` of an integer type, from 0 to categories - 1.
        categories: Their number.

    Returns:
        `(*batch, categories)`; NaN for labels that are out of range, where they are traced and so
        cannot be looked at.

    Raises:
        ValueError: If y are no integers, or out of range.
    """
    given = y if hasattr(y, "dtype") else np.asarray(y)
    if not jnp.issubdtype(given.dtype, jnp.integer):
        raise ValueError(
            f"INN: expected y to be labels of an integer type, from 0 to {categories - 1}, got "
            f"{given.dtype}; pass y.astype(int) of shape (*batch,), the argmax of one-hot vectors, "
            "or build the INN with y_dim instead of categories"
        )
    largest = min(categories - 1, jnp.iinfo(given.dtype).max)
    known = (given >= 0) & (given <= largest)
    if not isinstance(given, Tracer) and not bool(jnp.all(known)):
        raise ValueError(
            f"INN: expected labels from 0 to {categories - 1}, got {int(given.min())} to "
            f"{int(given.max())}"
        )
    # A small type does not hold the number of categories, with which one_hot compares.
    labels = jnp.asarray(given).astype(jnp.result_type(int))
    vectors = jax.nn.one_hot(labels, categories, dtype=jnp.result_type(float))
    return jnp.where(known[..., None], vectors, jnp.nan)


def labels_of(y: Array) -> Array:
    """The likeliest labels.

    Args:
        y: What the map gives for one-hot vectors, `(*batch, categories)`.

    Returns:
        Labels `(*batch,)`, -1 where y is NaN.
    """
    return jnp.where(jnp.any(jnp.isnan(y), axis=-1), -1, jnp.argmax(y, axis=-1))


def check_rows(name: str, x: Array, code: Array, y: Any, model: Any, *, least: int = 1) -> None:
    """Check that x and y are rows, and as many.

    Args:
        name: What is called, for errors.
        x: Parameters whose last axis was checked.
        code: The y as `INN.encode` writes them.
        y: They as the user gave them.
        model: The INN, whose shapes the error tells.
        least: Least number of rows.

    Raises:
        ValueError: If they are not.
    """
    if x.ndim == code.ndim == 2 and len(x) == len(code) >= least:
        return
    shapes = [batched(shape) for shape in (model.event_shape, model.condition_shape)]
    expected = " and ".join(shapes).replace("*batch", "n")
    raise ValueError(
        f"{name}: expected {f'at least {least} ' if least > 1 else ''}rows of x and as many of y, "
        f"shapes {expected}, got {x.shape} and {np.shape(y)}"
    )

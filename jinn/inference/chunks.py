"""Posterior samples for many observations, a chunk of observations at a time."""

from collections.abc import Callable, Iterator
from numbers import Integral
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

_VALUES_PER_CHUNK = 2**22


@runtime_checkable
class SamplesPosterior(Protocol):
    """Anything that draws parameters (*shape, *batch, dim) for observations (*batch, dim_y)."""

    def sample(self, key: Array, shape: tuple[int, ...], y: Any) -> Array:
        """Draws ``shape`` samples of p(x | y) for each observation in y."""
        ...


class Chunk(NamedTuple):
    """The posterior samples for some of the observations.

    The last chunk repeats the last observation, so that all chunks have one shape.

    Attributes:
        draws: Samples, shape (samples, chunk, dim).
        x: True parameters of these observations, shape (chunk, dim).
        y: These observations, chunk rows.
        rows: Their rows among all, shape (chunk,).
        kept: Number of rows that are no repetition.
    """

    draws: Array
    x: Array
    y: Any
    rows: np.ndarray
    kept: int


def check_pairs(name: str, x: Any, y: Any, samples: int, least: int = 1) -> tuple[Array, Any]:
    """Makes arrays of pairs (x, y) and checks that they belong together.

    Args:
        name: Who asks, for the error.
        x: True parameters, shape (n, dim).
        y: Their observations, n rows, an array or a dict of arrays.
        samples: Posterior samples for each observation.
        least: Least n.

    Returns:
        x and y as JAX arrays.

    Raises:
        ValueError: Shapes that do not match, too few rows, or samples that are no whole number
            of at least 2.
    """
    x, y = jnp.asarray(x), jax.tree.map(jnp.asarray, y)
    shapes = jax.tree.map(jnp.shape, y)
    rows = {leaf.shape[:1] for leaf in jax.tree.leaves(y)}
    if x.ndim != 2 or rows != {(len(x),)} or 0 in x.shape:
        raise ValueError(
            f"{name}: expected x of shape (n, dim) and y of shape (n, dim_y), got "
            f"{x.shape} and {shapes}."
        )
    if len(x) < least:
        raise ValueError(
            f"{name}: expected at least {least} pairs (x, y), got {len(x)}; draw more from the "
            "prior and the simulator."
        )
    check_samples(name, samples)
    return x, y


def check_samples(name: str, samples: int) -> None:
    """Checks the number of samples for each observation.

    Args:
        name: Who asks, for the error.
        samples: The number.

    Raises:
        ValueError: If it is no whole number of at least 2.
    """
    if isinstance(samples, bool) or not isinstance(samples, Integral) or samples < 2:
        raise ValueError(f"{name}: expected a whole number of at least 2 samples, got {samples!r}.")


def sampler(name: str, posterior: SamplesPosterior) -> Callable[..., Array]:
    """The posterior's ``sample``, which gives JAX arrays.

    Args:
        name: Who asks, for the error.
        posterior: The posterior.

    Returns:
        A function of ``(key, shape, y)``.

    Raises:
        ValueError: If there is no such method.
    """
    sample: Any = getattr(posterior, "sample", None)
    if not callable(sample):
        raise ValueError(
            f"{name}: expected a posterior with sample(key, shape, y), got "
            f"{type(posterior).__name__}, which has none."
        )
    return lambda key, shape, y: jnp.asarray(sample(key, shape, y))


def draw_in_chunks(
    name: str, posterior: SamplesPosterior, key: Array, samples: int, x: Array, y: Any
) -> Iterator[Chunk]:
    """Draws samples for every observation; those held at one time do not grow with n.

    Args:
        name: Who asks, for the error.
        posterior: Its ``sample(key, (samples,), y)`` gives (samples, chunk, dim).
        key: A JAX key.
        samples: Samples for each observation.
        x: True parameters, shape (n, dim).
        y: Their observations, n rows.

    Yields:
        The chunks, in the order of the rows.

    Raises:
        ValueError: If there is no ``sample``, or it gives another shape.
    """
    draw = sampler(name, posterior)
    chunk = max(1, min(len(x), _VALUES_PER_CHUNK // (samples * x.shape[1])))
    for index, start in enumerate(range(0, len(x), chunk)):
        rows = np.minimum(np.arange(start, start + chunk), len(x) - 1)
        chosen = jax.tree.map(lambda leaf, rows=rows: leaf[rows], y)
        draws = draw(jax.random.fold_in(key, index), (samples,), chosen)
        if draws.shape != (samples, chunk, x.shape[1]):
            raise ValueError(
                f"{name}: expected posterior.sample to give shape "
                f"{(samples, chunk, x.shape[1])}, got {draws.shape}."
            )
        yield Chunk(draws, x[rows], chosen, rows, min(chunk, len(x) - start))

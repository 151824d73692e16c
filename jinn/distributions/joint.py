"""Independent densities of the parts of dict events."""

from collections.abc import Mapping
from functools import reduce
from operator import add
from typing import Any

import jax
from flax import nnx
from jaxtyping import Array

from jinn.bijectors.shapes import DictShape, batch_shape
from jinn.distributions.base import Distribution


class Joint(Distribution):
    """Independent parts of dict events, `log p(x | c) = sum_k log p_k(x[k] | c)`.

    The base of a flow over a `Graph` with several outputs, or over `FactorOut`s. `joint.parts[k]`
    is the density of one, and `joint.log_probs(x, condition)` has those of all by their keys.

    Args:
        parts: The density of each part by its key. Those that take a condition take the same.

    Raises:
        ValueError: If there is no part, one is no density of arrays, or conditions differ.
    """

    def __init__(self, parts: Mapping[str, Distribution]) -> None:
        """See the class."""
        if not isinstance(parts, Mapping) or not parts:
            raise ValueError(
                f"Joint: expected a density for each key of the events, a dict, got {parts!r}"
            )
        condition_shape = None
        for key, part in parts.items():
            if not isinstance(part, Distribution) or isinstance(part.event_shape, dict):
                raise ValueError(
                    f"Joint: expected a Distribution of single arrays for {key!r}, got "
                    f"{type(part).__name__}"
                )
            shape = part.condition_shape
            if None not in (shape, condition_shape) and shape != condition_shape:
                raise ValueError(
                    f"Joint: the density of {key!r} takes conditions of shape {shape}, an earlier "
                    f"one of shape {condition_shape}; all parts share one condition"
                )
            condition_shape = condition_shape if shape is None else shape
        shapes: Any = {key: part.event_shape for key, part in parts.items()}
        self._declare(DictShape(shapes), condition_shape)
        self.parts: dict[str, Distribution] = nnx.data(dict(parts))

    def _log_prob(self, x: Any, condition: Any) -> Array:
        return reduce(add, self._log_probs(x, condition).values())

    def _log_probs(self, x: Any, condition: Any) -> dict[str, Array]:
        parts = sorted(self.parts.items())
        return {key: part.log_prob(x[key], _own(part, condition)) for key, part in parts}

    def _sample(self, key: jax.Array, batch: tuple[int, ...], condition: Any) -> Any:
        shape = batch[: len(batch) - len(batch_shape(condition, self.condition_shape))]
        draw = {}
        keys = jax.random.split(key, len(self.parts))
        for part_key, (name, part) in zip(keys, sorted(self.parts.items()), strict=True):
            c = _own(part, condition)
            draw[name] = part.sample(part_key, batch if c is None else shape, c)
        return draw


def _own(part: Distribution, condition: Any) -> Any:
    return None if part.condition_shape is None else condition

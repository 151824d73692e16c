"""A case of the registry: a bijector with data for it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np

from jinn.bijectors import Bijector

REAL = (-float("inf"), float("inf"))


@dataclass(frozen=True)
class Case:
    """A bijector of class `kind`, and data for it; `make(dtype)` has parameters of that type.

    `domain`, `codomain`, `solver_tolerance` (by type) and `perturbation` are those of
    `check_bijector`.
    """

    kind: type[Bijector]
    make: Callable[[Any], Bijector]
    x_range: tuple[Any, Any] | None = None
    domain: tuple[Any, Any] | None = REAL
    codomain: tuple[Any, Any] | None = REAL
    solver_tolerance: Callable[[Any], float] = lambda dtype: 0.0
    perturbation: float | None = None

    def data(self, dtype: Any) -> tuple[Bijector, Any, Any]:
        """The bijector, eight events and eight conditions: normal, or uniform in `x_range`."""
        bijector = self.make(dtype)
        generator = np.random.default_rng(1)
        if self.x_range is None:
            x = _normal(bijector.event_shape, dtype, generator, 1.5)
        else:
            x = generator.uniform(*self.x_range, (8, *bijector.event_shape))
            x = jnp.asarray(x, dtype)
        return bijector, x, _normal(bijector.condition_shape, dtype, generator)


def _normal(shape: Any, dtype: Any, generator: np.random.Generator, scale: float = 1.0) -> Any:
    if shape is None:
        return None
    if isinstance(shape, dict):
        return {key: _normal(size, dtype, generator, scale) for key, size in shape.items()}
    return jnp.asarray(scale * generator.normal(size=(8, *shape)), dtype)

"""Layered tissue as light sees it: coefficients, thicknesses and refractive indices."""

from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer


@partial(
    jax.tree_util.register_dataclass,
    data_fields=["absorption", "scattering", "anisotropy", "thickness"],
    meta_fields=["refractive_index"],
)
@dataclass(frozen=True)
class Tissue:
    """Plane layers, the first on top, where the light comes from.

    A pytree; leading dimensions are those of a batch of tissues, or of wavelengths, with the same
    refractive indices.

    Attributes:
        absorption: Absorption coefficients in 1/mm, (..., layers).
        scattering: Scattering coefficients in 1/mm, (..., layers).
        anisotropy: Mean cosines of the scattering angle (Henyey-Greenstein), (..., layers).
        thickness: In mm, (..., layers); the last may be infinite.
        refractive_index: Static: of the medium above, of each layer, and of the medium below.
    """

    absorption: Any
    scattering: Any
    anisotropy: Any
    thickness: Any
    refractive_index: tuple[float, ...]

    @property
    def layers(self) -> int:
        """Number of layers."""
        return len(self.refractive_index) - 2

    @property
    def batch(self) -> tuple[int, ...]:
        """The leading dimensions."""
        return np.shape(self.absorption)[:-1]


LARGEST = 1e30
"""Coefficients in 1/mm are below: their products with lengths are to be finite in float32."""
PROPERTIES = tuple(field.name for field in fields(Tissue))[:-1]


def check_tissue(tissue: Tissue, *, semi_infinite: bool = True) -> Tissue:
    """Refuses what is no tissue, and gives it with equal shapes, in the default float.

    Values are checked where they are known, which they are not inside `jax.jit` or `jax.vmap`.

    Args:
        tissue: The tissue.
        semi_infinite: Whether the last layer may be infinitely thick.

    Returns:
        The tissue, its arrays broadcast to one shape.

    Raises:
        ValueError: For indices below 1, arrays that do not fit together, negative coefficients or
            thicknesses, or anisotropies that are not between -1 and 1.
    """
    if not isinstance(tissue, Tissue):
        raise ValueError(f"Tissue: expected a Tissue, got {type(tissue).__name__}.")
    indices = tuple(float(index) for index in tissue.refractive_index)
    if len(indices) < 3 or not all(1 <= index < np.inf for index in indices):
        raise ValueError(
            "Tissue: expected refractive_index to be at least three finite numbers from 1 (above, "
            f"each layer, below), got {tissue.refractive_index}; give that of air, 1.0, outside."
        )
    shapes = {name: np.shape(getattr(tissue, name)) for name in PROPERTIES}
    layers = len(indices) - 2
    for name, shape in shapes.items():
        if not shape or shape[-1] != layers:
            raise ValueError(
                f"Tissue: expected {name} of shape (..., {layers}), a value for each layer of "
                f"refractive_index {indices}, got {shape}; give one for every layer."
            )
    try:
        shape = jnp.broadcast_shapes(*shapes.values())
    except ValueError as error:
        raise ValueError(
            f"Tissue: expected leading dimensions that broadcast together, got {shapes}; give each "
            "array the batch's dimensions, or none."
        ) from error
    _check_values(tissue, semi_infinite=semi_infinite)
    arrays = [jnp.broadcast_to(jnp.asarray(getattr(tissue, name), float), shape) for name in shapes]
    return Tissue(*arrays, refractive_index=indices)


def _check_values(tissue: Tissue, *, semi_infinite: bool) -> None:
    known = {
        name: np.asarray(value)
        for name in PROPERTIES
        if not isinstance(value := getattr(tissue, name), Tracer)
    }
    for name in ("absorption", "scattering"):
        bad = _bad(known, name, lambda value: (value >= 0) & (value < LARGEST))
        if bad is not None:
            raise ValueError(
                f"Tissue: expected {name} coefficients that are not negative and below "
                f"{LARGEST:g}, in 1/mm, got {bad}; give 0 where there is none."
            )
    bad = _bad(known, "anisotropy", lambda value: np.abs(value) < 1)
    if bad is not None:
        raise ValueError(
            f"Tissue: expected anisotropy between -1 and 1, both excluded, got {bad}; light that "
            "is only scattered straight on is not scattered: lower the coefficient instead."
        )
    bad = _bad(known, "thickness", lambda value: value > 0)
    if bad is not None:
        raise ValueError(
            f"Tissue: expected positive thicknesses in mm, got {bad}; leave a layer without "
            "thickness out."
        )
    if "thickness" not in known:
        return
    thickness = known["thickness"]
    if not np.all(np.isfinite(thickness[..., : None if not semi_infinite else -1])):
        where = "the last layer only" if semi_infinite else "no layer here"
        raise ValueError(
            f"Tissue: expected infinite thickness of {where}, got {thickness.tolist()} mm; give a "
            "number that light does not cross."
        )
    if "absorption" in known and np.any(
        np.isinf(thickness[..., -1]) & (known["absorption"][..., -1] == 0)
    ):
        raise ValueError(
            "Tissue: expected an infinitely thick layer to absorb, got absorption 0; light would "
            "wander in it without end: give it a coefficient, or a finite thickness."
        )


def _bad(
    known: dict[str, np.ndarray], name: str, good: Callable[[np.ndarray], Any]
) -> float | None:
    """The first of the known values of this name that is not good, if there is one."""
    if name not in known:
        return None
    bad = known[name][~np.asarray(good(known[name]))]
    return float(bad.flat[0]) if bad.size else None

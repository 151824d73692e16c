"""Transformers that shift and scale."""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from jinn.functional.affine import (
    additive_forward,
    additive_inverse,
    affine_forward,
    affine_inverse,
    arctan_clamp,
    soft_clamp,
    volume_preserving_forward,
    volume_preserving_inverse,
)
from jinn.networks.options import is_positive

_CLAMP_LAWS = {"tanh": soft_clamp, "arctan": arctan_clamp}


@dataclass(frozen=True)
class Additive:
    """Shift, `y = x + p0`; one parameter an element."""

    analytic_inverse: ClassVar[bool] = True

    @property
    def n_params(self) -> int:
        """Number of parameters an element."""
        return 1

    def forward(
        self, x: Float[Array, "*shape"], params: Float[Array, "n *#shape"]
    ) -> tuple[Float[Array, "*shape"], Float[Array, "*shape"]]:
        """Map values from data to latent.

        Args:
            x: Values, any shape.
            params: Shifts, shape `(1, *x.shape)`.

        Returns:
            The mapped values and each element's log-derivative.
        """
        return additive_forward(x, params[0])

    def inverse(
        self, y: Float[Array, "*shape"], params: Float[Array, "n *#shape"]
    ) -> tuple[Float[Array, "*shape"], Float[Array, "*shape"]]:
        """Map values from latent to data.

        Args:
            y: Values, any shape.
            params: Shifts, shape `(1, *y.shape)`.

        Returns:
            The mapped values and each element's log-derivative.
        """
        return additive_inverse(y, params[0])


@dataclass(frozen=True)
class Affine:
    """Scale and shift, `y = x * exp(law(p1)) + p0`; two parameters an element.

    Args:
        clamp: Bound of the log-scale, positive.
        law: "tanh" for `clamp * tanh(p1 / clamp)`, or FrEIA's "arctan" for
            `clamp * (2 / pi) * arctan(p1)`.

    Raises:
        ValueError: If clamp is not positive and finite, or the law is unknown.
    """

    clamp: float = 2.0
    law: Literal["tanh", "arctan"] = "tanh"

    analytic_inverse: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Check the options."""
        _check_clamp(self.clamp, self.law, "Affine")

    @property
    def n_params(self) -> int:
        """Number of parameters an element."""
        return 2

    def forward(
        self, x: Float[Array, "*shape"], params: Float[Array, "n *#shape"]
    ) -> tuple[Float[Array, "*shape"], Float[Array, "*shape"]]:
        """Map values from data to latent.

        Args:
            x: Values, any shape.
            params: Shifts and raw log-scales, shape `(2, *x.shape)`.

        Returns:
            The mapped values and each element's log-derivative.
        """
        return affine_forward(x, params[0], _CLAMP_LAWS[self.law](params[1], self.clamp))

    def inverse(
        self, y: Float[Array, "*shape"], params: Float[Array, "n *#shape"]
    ) -> tuple[Float[Array, "*shape"], Float[Array, "*shape"]]:
        """Map values from latent to data.

        Args:
            y: Values, any shape.
            params: Shifts and raw log-scales, shape `(2, *y.shape)`.

        Returns:
            The mapped values and each element's log-derivative.
        """
        return affine_inverse(y, params[0], _CLAMP_LAWS[self.law](params[1], self.clamp))


@dataclass(frozen=True)
class VolumePreserving:
    """Scale and shift with log-scales that sum to zero over an event; log|det| is exactly 0.

    `y = x * exp(s - mean(s)) + p0` with `s = law(p1)`; two parameters an element. One element
    alone is only shifted.

    Args:
        clamp: Bound of the log-scales before their mean is taken out, positive.
        law: "tanh" or "arctan", see `Affine`.

    Raises:
        ValueError: If clamp is not positive and finite, or the law is unknown.

    Reference:
        Disentanglement by Nonlinear ICA with General Incompressible-flow Networks (GIN)
        (Sorrenson, Rother, Kothe, 2020), section 3.2, https://arxiv.org/abs/2001.04872
    """

    clamp: float = 2.0
    law: Literal["tanh", "arctan"] = "tanh"

    analytic_inverse: ClassVar[bool] = True
    of_events: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Check the options."""
        _check_clamp(self.clamp, self.law, "VolumePreserving")

    @property
    def n_params(self) -> int:
        """Number of parameters an element."""
        return 2

    def forward(
        self,
        x: Float[Array, "*shape"],
        params: Float[Array, "n *#shape"],
        mask: ArrayLike | None = None,
    ) -> tuple[Float[Array, "*shape"], Float[Array, "*shape"]]:
        """Map values from data to latent.

        Args:
            x: Values, shape `(*event, *batch)`.
            params: Shifts and raw log-scales, shape `(2, *x.shape)`.
            mask: Booleans of shape `event`, True for the elements whose log-scales sum to zero;
                None is one leading axis, all of it.

        Returns:
            The mapped values, and zeros in their shape.
        """
        options = self._event(x, mask)
        return volume_preserving_forward(x, params[0], self._log_scale(params), **options)

    def inverse(
        self,
        y: Float[Array, "*shape"],
        params: Float[Array, "n *#shape"],
        mask: ArrayLike | None = None,
    ) -> tuple[Float[Array, "*shape"], Float[Array, "*shape"]]:
        """Map values from latent to data.

        Args:
            y: Values, shape `(*event, *batch)`.
            params: Shifts and raw log-scales, shape `(2, *y.shape)`.
            mask: Booleans of shape `event`, as in `forward`.

        Returns:
            The mapped values, and zeros in their shape.
        """
        options = self._event(y, mask)
        return volume_preserving_inverse(y, params[0], self._log_scale(params), **options)

    def _log_scale(self, params: Array) -> Array:
        return _CLAMP_LAWS[self.law](params[1], self.clamp)

    def _event(self, values: Array, mask: ArrayLike | None) -> dict[str, Any]:
        """The axes of an event, and which elements belong to it, aligned with the values."""
        if mask is None:
            return {"axis": 0}
        belongs = np.asarray(mask)
        axes = tuple(range(belongs.ndim))
        if belongs.all():
            return {"axis": axes}
        batch_axes = tuple(range(belongs.ndim, values.ndim))
        return {"axis": axes, "where": np.expand_dims(belongs, batch_axes)}


def _check_clamp(clamp: float, law: str, name: str) -> None:
    if not is_positive(clamp):
        raise ValueError(f"{name} transformer: expected a positive, finite clamp, got {clamp!r}")
    if law not in _CLAMP_LAWS:
        raise ValueError(
            f"{name} transformer: expected law to be one of {sorted(_CLAMP_LAWS)}, got {law!r}"
        )

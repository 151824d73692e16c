"""Transformers: the element-wise maps inside couplings, described by plain data.

A transformer maps values of any shape with parameters of shape `(n_params, *values.shape)`: the
parameter axis leads. It holds options only, no arrays, and compares equal by its options.
"""

import math
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Any, ClassVar, Literal

import jax.numpy as jnp
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
from jinn.functional.coupling import Transformer
from jinn.functional.spline import (
    MIN_BIN,
    rational_quadratic_spline_forward,
    rational_quadratic_spline_inverse,
)


@dataclass(frozen=True)
class Additive:
    """Shift, `y = x + p0`; one parameter an element."""

    @property
    def n_params(self) -> int:
        """Number of parameters an element."""
        return 1

    def forward(
        self, x: Float[Array, "*shape"], params: Float[Array, "n *shape"]
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
        self, y: Float[Array, "*shape"], params: Float[Array, "n *shape"]
    ) -> tuple[Float[Array, "*shape"], Float[Array, "*shape"]]:
        """Map values from latent to data.

        Args:
            y: Values, any shape.
            params: Shifts, shape `(1, *y.shape)`.

        Returns:
            The mapped values and each element's log-derivative.
        """
        return additive_inverse(y, params[0])


_CLAMP_LAWS = {"tanh": soft_clamp, "arctan": arctan_clamp}


def _check_clamp(clamp: float, law: str, name: str) -> None:
    if not 0 < clamp < math.inf:
        raise ValueError(f"{name} transformer: expected a positive, finite clamp, got {clamp}")
    if law not in _CLAMP_LAWS:
        raise ValueError(
            f"{name} transformer: expected law to be one of {sorted(_CLAMP_LAWS)}, got {law!r}"
        )


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

    def __post_init__(self) -> None:
        """Check the options."""
        _check_clamp(self.clamp, self.law, "Affine")

    @property
    def n_params(self) -> int:
        """Number of parameters an element."""
        return 2

    def forward(
        self, x: Float[Array, "*shape"], params: Float[Array, "n *shape"]
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
        self, y: Float[Array, "*shape"], params: Float[Array, "n *shape"]
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
        params: Float[Array, "n *shape"],
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
        params: Float[Array, "n *shape"],
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


@dataclass(frozen=True)
class RationalQuadraticSpline:
    """Monotonic rational-quadratic spline on [-bound, bound], identity outside.

    Each element has `3 * bins - 1` raw parameters: bins widths, bins heights, bins - 1 slopes;
    see `jinn.functional.rational_quadratic_spline_forward`. All zeros give the identity.

    Args:
        bins: Number of bins, at least 2.
        bound: Half the side of the box, positive.

    Raises:
        ValueError: If an option is out of range.
    """

    bins: int = 8
    bound: float = 5.0

    def __post_init__(self) -> None:
        """Check the options."""
        if not 2 <= self.bins < 1 / MIN_BIN:
            raise ValueError(
                f"RationalQuadraticSpline: expected 2 <= bins < {1 / MIN_BIN:.0f}, got {self.bins}"
            )
        if not 0 < self.bound < math.inf:
            raise ValueError(
                f"RationalQuadraticSpline: expected a positive, finite bound, got {self.bound}"
            )

    @property
    def n_params(self) -> int:
        """Number of parameters an element."""
        return 3 * self.bins - 1

    def forward(
        self, x: Float[Array, "*shape"], params: Float[Array, "n *shape"]
    ) -> tuple[Float[Array, "*shape"], Float[Array, "*shape"]]:
        """Map values from data to latent.

        Args:
            x: Values, any shape.
            params: Raw spline parameters, shape `(3 * bins - 1, *x.shape)`.

        Returns:
            The mapped values and each element's log-derivative.
        """
        return rational_quadratic_spline_forward(x, *self._split(params), bound=self.bound)

    def inverse(
        self, y: Float[Array, "*shape"], params: Float[Array, "n *shape"]
    ) -> tuple[Float[Array, "*shape"], Float[Array, "*shape"]]:
        """Map values from latent to data.

        Args:
            y: Values, any shape.
            params: Raw spline parameters, shape `(3 * bins - 1, *y.shape)`.

        Returns:
            The mapped values and each element's log-derivative.
        """
        return rational_quadratic_spline_inverse(y, *self._split(params), bound=self.bound)

    def _split(self, params: Array) -> tuple[Array, Array, Array]:
        return params[: self.bins], params[self.bins : 2 * self.bins], params[2 * self.bins :]


@dataclass(frozen=True)
class Composed:
    """Transformers one after the other, `y = T_n(... T_1(x))`; their parameters in that order.

    Args:
        transformers: The parts, in the order of `forward`, at least one.

    Raises:
        ValueError: If there is no part, or one is no transformer.
    """

    transformers: tuple[Transformer, ...]

    def __post_init__(self) -> None:
        """Check the parts."""
        if not self.transformers:
            raise ValueError("Composed: expected at least one transformer, got none")
        for transformer in self.transformers:
            if getattr(as_transformer(transformer), "of_events", False):
                raise ValueError(
                    "Composed: expected transformers of single elements, got "
                    f"{type(transformer).__name__}, which acts on whole events"
                )

    @property
    def n_params(self) -> int:
        """Number of parameters an element."""
        return sum(transformer.n_params for transformer in self.transformers)

    def forward(
        self, x: Float[Array, "*shape"], params: Float[Array, "n *shape"]
    ) -> tuple[Float[Array, "*shape"], Float[Array, "*shape"]]:
        """Map values from data to latent.

        Args:
            x: Values, any shape.
            params: The parts' parameters along the leading axis, shape `(n_params, *x.shape)`.

        Returns:
            The mapped values and each element's log-derivative.
        """
        total = jnp.zeros_like(x)
        for transformer, part in self._split(params):
            x, log_slope = transformer.forward(x, part)
            total = total + log_slope
        return x, total

    def inverse(
        self, y: Float[Array, "*shape"], params: Float[Array, "n *shape"]
    ) -> tuple[Float[Array, "*shape"], Float[Array, "*shape"]]:
        """Map values from latent to data.

        Args:
            y: Values, any shape.
            params: The parts' parameters along the leading axis, shape `(n_params, *y.shape)`.

        Returns:
            The mapped values and each element's log-derivative.
        """
        total = jnp.zeros_like(y)
        for transformer, part in reversed(self._split(params)):
            y, log_slope = transformer.inverse(y, part)
            total = total + log_slope
        return y, total

    def _split(self, params: Array) -> list[tuple[Transformer, Array]]:
        ends = list(accumulate(transformer.n_params for transformer in self.transformers))
        parts = [params[start:end] for start, end in pairwise([0, *ends])]
        return list(zip(self.transformers, parts, strict=True))


_BY_NAME = {
    "additive": Additive,
    "affine": Affine,
    "volume_preserving": VolumePreserving,
    "rational_quadratic_spline": RationalQuadraticSpline,
}


def as_transformer(transformer: str | Transformer) -> Transformer:
    """Find a transformer by its name; an object passes unchanged.

    Args:
        transformer: "additive", "affine", "volume_preserving" or "rational_quadratic_spline", or
            an object with `n_params`, `forward(x, params)` and `inverse(y, params)`.

    Returns:
        The transformer.

    Raises:
        ValueError: If the name is unknown or the object is no transformer.
    """
    if isinstance(transformer, str):
        if transformer not in _BY_NAME:
            raise ValueError(
                f"transformer: expected one of {sorted(_BY_NAME)} or an object, got {transformer!r}"
            )
        return _BY_NAME[transformer]()
    if isinstance(transformer, type):
        raise ValueError(
            f"transformer: expected an object, got the class {transformer.__name__}; "
            f"write {transformer.__name__}()"
        )
    missing = [
        name for name in ("n_params", "forward", "inverse") if not hasattr(transformer, name)
    ]
    if missing:
        raise ValueError(
            f"transformer: expected one of {sorted(_BY_NAME)}, or an object with n_params, forward "
            f"and inverse; {type(transformer).__name__} lacks {', '.join(missing)}"
        )
    return transformer

"""Transformers that bend the line or the circle."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from itertools import accumulate, pairwise
from numbers import Integral
from typing import ClassVar

from jaxtyping import Array, Float

from jinn.functional.knots import MIN_BIN
from jinn.functional.polynomial_spline import (
    cubic_spline_forward,
    cubic_spline_inverse,
    linear_spline_forward,
    linear_spline_inverse,
    quadratic_spline_forward,
    quadratic_spline_inverse,
)
from jinn.functional.spline import (
    circular_rational_quadratic_spline_forward,
    circular_rational_quadratic_spline_inverse,
    rational_quadratic_spline_forward,
    rational_quadratic_spline_inverse,
)
from jinn.networks.options import is_positive


@dataclass(frozen=True)
class _Spline(ABC):
    """A spline of `bins` bins on [-bound, bound], by its raw parameters."""

    bins: int = 8
    bound: float = 5.0

    def __post_init__(self) -> None:
        """Check the options."""
        name = type(self).__name__
        if not isinstance(self.bins, Integral) or not 2 <= self.bins < 1 / MIN_BIN:
            raise ValueError(
                f"{name}: expected an integer 2 <= bins < {1 / MIN_BIN:.0f}, got {self.bins!r}"
            )
        if not is_positive(self.bound):
            raise ValueError(f"{name}: expected a positive, finite bound, got {self.bound!r}")

    @property
    def n_params(self) -> int:
        """Number of parameters an element."""
        return sum(self._sizes())

    def forward(
        self, x: Float[Array, "*shape"], params: Float[Array, "n *#shape"]
    ) -> tuple[Float[Array, "*shape"], Float[Array, "*shape"]]:
        """Map values from data to latent.

        Args:
            x: Values, any shape.
            params: Raw spline parameters, shape `(n_params, *x.shape)`.

        Returns:
            The mapped values and each element's log-derivative.
        """
        return self._functions()[0](x, *self._split(params), bound=self.bound)

    def inverse(
        self, y: Float[Array, "*shape"], params: Float[Array, "n *#shape"]
    ) -> tuple[Float[Array, "*shape"], Float[Array, "*shape"]]:
        """Map values from latent to data.

        Args:
            y: Values, any shape.
            params: Raw spline parameters, shape `(n_params, *y.shape)`.

        Returns:
            The mapped values and each element's log-derivative.
        """
        return self._functions()[1](y, *self._split(params), bound=self.bound)

    @abstractmethod
    def _sizes(self) -> tuple[int, ...]:
        """How many parameters of each kind an element has."""

    @abstractmethod
    def _functions(self) -> tuple[Callable[..., tuple[Array, Array]], ...]:
        """The pure functions of the two directions."""

    def _split(self, params: Array) -> list[Array]:
        return [params[start:end] for start, end in pairwise([0, *accumulate(self._sizes())])]


@dataclass(frozen=True)
class RationalQuadraticSpline(_Spline):
    """Monotonic rational-quadratic spline on [-bound, bound], identity outside.

    Each element has `3 * bins - 1` raw parameters: bins widths, bins heights, bins - 1 slopes;
    see `jinn.functional.rational_quadratic_spline_forward`. All zeros give the identity.

    Args:
        bins: Number of bins, at least 2.
        bound: Half the side of the box, positive.

    Raises:
        ValueError: If an option is out of range.
    """

    analytic_inverse: ClassVar[bool] = True

    def _sizes(self) -> tuple[int, ...]:
        return self.bins, self.bins, self.bins - 1

    def _functions(self) -> tuple[Callable[..., tuple[Array, Array]], ...]:
        return rational_quadratic_spline_forward, rational_quadratic_spline_inverse


@dataclass(frozen=True)
class CircularSpline(_Spline):
    """Rational-quadratic spline of angles, `f(x + 2 bound) = f(x) + 2 bound`.

    Each element has `3 * bins` raw parameters: widths, heights, slopes; see
    `jinn.functional.circular_rational_quadratic_spline_forward`. All zeros give the identity. The
    point where the circle is joined stays: `Composed((CircularSpline(), Additive()))` rotates, too.

    Args:
        bins: Number of bins, at least 2.
        bound: Half the period, positive.

    Raises:
        ValueError: If an option is out of range.
    """

    bound: float = math.pi

    def _sizes(self) -> tuple[int, ...]:
        return self.bins, self.bins, self.bins

    def _functions(self) -> tuple[Callable[..., tuple[Array, Array]], ...]:
        return (
            circular_rational_quadratic_spline_forward,
            circular_rational_quadratic_spline_inverse,
        )


@dataclass(frozen=True)
class LinearSpline(_Spline):
    """Piecewise linear map of [-bound, bound], identity outside.

    Each element has `bins` raw parameters, the heights of bins of equal width; see
    `jinn.functional.linear_spline_forward`. All zeros give the identity.

    Args:
        bins: Number of bins, at least 2.
        bound: Half the side of the box, positive.

    Raises:
        ValueError: If an option is out of range.
    """

    def _sizes(self) -> tuple[int, ...]:
        return (self.bins,)

    def _functions(self) -> tuple[Callable[..., tuple[Array, Array]], ...]:
        return linear_spline_forward, linear_spline_inverse


@dataclass(frozen=True)
class QuadraticSpline(_Spline):
    """Monotonic quadratic spline on [-bound, bound], identity outside.

    Each element has `2 * bins - 1` raw parameters: bins widths, bins - 1 slopes; see
    `jinn.functional.quadratic_spline_forward`. All zeros give the identity.

    Args:
        bins: Number of bins, at least 2.
        bound: Half the side of the box, positive.

    Raises:
        ValueError: If an option is out of range.
    """

    def _sizes(self) -> tuple[int, ...]:
        return self.bins, self.bins - 1

    def _functions(self) -> tuple[Callable[..., tuple[Array, Array]], ...]:
        return quadratic_spline_forward, quadratic_spline_inverse


@dataclass(frozen=True)
class CubicSpline(_Spline):
    """Monotonic cubic spline on [-bound, bound], identity outside.

    Each element has `2 * bins + 2` raw parameters: bins widths, bins heights, two slopes at the
    edges; see `jinn.functional.cubic_spline_forward`. All zeros give the identity. The inverse
    iterates.

    Args:
        bins: Number of bins, at least 2.
        bound: Half the side of the box, positive.

    Raises:
        ValueError: If an option is out of range.
    """

    def _sizes(self) -> tuple[int, ...]:
        return self.bins, self.bins, 2

    def _functions(self) -> tuple[Callable[..., tuple[Array, Array]], ...]:
        return cubic_spline_forward, cubic_spline_inverse

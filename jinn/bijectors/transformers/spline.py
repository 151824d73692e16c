"""Transformers that bend the line."""

from dataclasses import dataclass
from numbers import Integral

from jaxtyping import Array, Float

from jinn.functional.spline import (
    MIN_BIN,
    rational_quadratic_spline_forward,
    rational_quadratic_spline_inverse,
)
from jinn.networks.options import is_positive


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
        if not isinstance(self.bins, Integral) or not 2 <= self.bins < 1 / MIN_BIN:
            raise ValueError(
                f"RationalQuadraticSpline: expected an integer 2 <= bins < "
                f"{1 / MIN_BIN:.0f}, got {self.bins!r}"
            )
        if not is_positive(self.bound):
            raise ValueError(
                f"RationalQuadraticSpline: expected a positive, finite bound, got {self.bound!r}"
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

"""Transformers by name, and one after the other."""

from dataclasses import dataclass
from itertools import accumulate, pairwise

import jax.numpy as jnp
from jaxtyping import Array, Float

from jinn.bijectors.transformers.affine import Additive, Affine, VolumePreserving
from jinn.bijectors.transformers.spline import RationalQuadraticSpline
from jinn.functional.coupling import Transformer


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
    def analytic_inverse(self) -> bool:
        """Whether all parts have one."""
        return all(getattr(part, "analytic_inverse", False) for part in self.transformers)

    @property
    def n_params(self) -> int:
        """Number of parameters an element."""
        return sum(transformer.n_params for transformer in self.transformers)

    def forward(
        self, x: Float[Array, "*shape"], params: Float[Array, "n *#shape"]
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
        self, y: Float[Array, "*shape"], params: Float[Array, "n *#shape"]
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

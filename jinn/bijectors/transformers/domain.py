"""A learned domain for transformers that bend a box."""

from dataclasses import dataclass, field

import jax.numpy as jnp
from jaxtyping import Array, Float

from jinn.bijectors.transformers.choice import as_transformer
from jinn.bijectors.transformers.spline import RationalQuadraticSpline
from jinn.functional.affine import affine_forward, affine_inverse, soft_clamp
from jinn.functional.coupling import Transformer
from jinn.networks.options import is_positive


@dataclass(frozen=True)
class LearnedDomain:
    """Move and stretch a transformer's box, `y = s_y T((x - c_x) / s_x) + c_y`.

    For a spline on [-b, b] its domain is `c_x - b s_x` to `c_x + b s_x`, its range the same with
    c_y and s_y, and the tails are lines of slope `s_y / s_x` that meet the spline in value and in
    slope. Each element has 4 parameters more: `c_x, log s_x, c_y, log s_y`, then those of the
    transformer. All zeros leave the transformer as it is.

    Args:
        transformer: A transformer of single elements, an object or its name.
        clamp: Bound of the log-scales, `log s = clamp * tanh(raw / clamp)`, positive and finite.

    Raises:
        ValueError: If the transformer is none of single elements, or the clamp is out of range.

    Reference:
        Framework for Easily Invertible Architectures (Ardizzone et al., 2018-2022), its
        BinnedSpline, https://github.com/vislearn/FrEIA
    """

    transformer: Transformer = field(default_factory=RationalQuadraticSpline)
    clamp: float = 2.0

    def __post_init__(self) -> None:
        """Check the parts."""
        object.__setattr__(self, "transformer", as_transformer(self.transformer))
        if getattr(self.transformer, "of_events", False):
            raise ValueError(
                "LearnedDomain: expected a transformer of single elements, got "
                f"{type(self.transformer).__name__}, which acts on whole events"
            )
        if not is_positive(self.clamp):
            raise ValueError(
                f"LearnedDomain: expected a positive, finite clamp, got {self.clamp!r}"
            )

    @property
    def analytic_inverse(self) -> bool:
        """Whether the transformer has one."""
        return getattr(self.transformer, "analytic_inverse", False)

    @property
    def n_params(self) -> int:
        """Number of parameters an element."""
        return 4 + self.transformer.n_params

    def forward(
        self, x: Float[Array, "*shape"], params: Float[Array, "n *#shape"]
    ) -> tuple[Float[Array, "*shape"], Float[Array, "*shape"]]:
        """Map values from data to latent.

        Args:
            x: Values, any shape.
            params: The four parameters of the domain, then the transformer's, along the leading
                axis, shape `(n_params, *x.shape)`.

        Returns:
            The mapped values and each element's log-derivative.
        """
        x_box, y_box = self._boxes(params)
        x, first = affine_inverse(x, *x_box)
        x, middle = self.transformer.forward(x, params[4:])
        y, last = affine_forward(x, *y_box)
        return y, first + middle + last

    def inverse(
        self, y: Float[Array, "*shape"], params: Float[Array, "n *#shape"]
    ) -> tuple[Float[Array, "*shape"], Float[Array, "*shape"]]:
        """Map values from latent to data.

        Args:
            y: Values, any shape.
            params: Parameters as in `forward`.

        Returns:
            The mapped values and each element's log-derivative.
        """
        x_box, y_box = self._boxes(params)
        y, last = affine_inverse(y, *y_box)
        y, middle = self.transformer.inverse(y, params[4:])
        x, first = affine_forward(y, *x_box)
        return x, first + middle + last

    def _boxes(self, params: Array) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
        """Centre and log-scale of the domain, and of the range."""
        x_size, y_size = soft_clamp(jnp.stack([params[1], params[3]]), self.clamp)
        return (params[0], x_size), (params[2], y_size)

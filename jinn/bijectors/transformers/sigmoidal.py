"""The transformer that is a monotone network."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Array, Float

from jinn.functional.sigmoidal import sigmoidal_forward, sigmoidal_inverse
from jinn.networks.options import is_count

_SPREAD = 2.0
"""Units that were all the same would stay so in training: their centres start in [-2, 2]."""


@dataclass(frozen=True)
class Sigmoidal:
    """A layer of monotone network, `y = 0.999 logit(sum_j w_j sigmoid(a_j (x - m_j))) + 0.001 x`.

    Each element has `3 * units` raw parameters: units weights, units slopes, units centres; see
    `jinn.functional.sigmoidal_forward`. At all zeros the units have equal weights, slope 1 and
    centres spread evenly over [-2, 2], which is nearly the identity. `Composed` makes it deep. The
    map is onto the real line, and has no box; the inverse iterates.

    Args:
        units: Number of sigmoids, at least 1; one alone makes an affine map.

    Raises:
        ValueError: If the number of units is out of range.

    Reference:
        Neural Autoregressive Flows (Huang, Krueger, Lacoste, Courville, 2018), section 3.1,
        https://arxiv.org/abs/1804.00779
    """

    units: int = 8

    def __post_init__(self) -> None:
        """Check the options."""
        if not is_count(self.units):
            raise ValueError(f"Sigmoidal: expected an integer units >= 1, got {self.units!r}")

    @property
    def n_params(self) -> int:
        """Number of parameters an element."""
        return 3 * self.units

    def forward(
        self, x: Float[Array, "*shape"], params: Float[Array, "n *#shape"]
    ) -> tuple[Float[Array, "*shape"], Float[Array, "*shape"]]:
        """Map values from data to latent.

        Args:
            x: Values, any shape.
            params: Raw weights, slopes and centres, shape `(n_params, *x.shape)`.

        Returns:
            The mapped values and each element's log-derivative.
        """
        return sigmoidal_forward(x, *self._split(params))

    def inverse(
        self, y: Float[Array, "*shape"], params: Float[Array, "n *#shape"]
    ) -> tuple[Float[Array, "*shape"], Float[Array, "*shape"]]:
        """Map values from latent to data.

        Args:
            y: Values, any shape.
            params: Raw weights, slopes and centres, shape `(n_params, *y.shape)`.

        Returns:
            The mapped values and each element's log-derivative.
        """
        return sigmoidal_inverse(y, *self._split(params))

    def _split(self, params: Array) -> tuple[Array, Array, Array]:
        n = self.units
        start = _SPREAD * ((2 * np.arange(n) + 1) / n - 1)
        start = start.reshape(n, *[1] * (params.ndim - 1)).astype(params.dtype)
        return params[:n], params[n : 2 * n], params[2 * n :] + start

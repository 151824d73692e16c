"""What an inverse problem brings along to be compared with its ground truth."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import jax
import numpy as np
from matplotlib.axes import Axes

from jinn.inference.abc import ABCResult


class ReferenceSampler(Protocol):
    """Draws exact samples of p(x) N(y; f(x), tolerance^2) for each of several observations y."""

    def __call__(
        self, key: jax.Array, y: jax.Array, *, tolerance: float, n_samples: int
    ) -> ABCResult:
        """Gives an `ABCResult` whose fields have a leading axis of observations."""
        ...


class Published(NamedTuple):
    """What others have measured, for orientation.

    Attributes:
        method: Its name.
        errors: By metric: the mean over their observations.
        source: Where it is written, and what is not known of it.
    """

    method: str
    errors: dict[str, float]
    source: str


@dataclass(frozen=True)
class InverseProblem:
    """A forward process without noise, the prior of its causes, and its exact posterior.

    Attributes:
        name: The experiment's name, as in ``python -m experiments.NAME``.
        title: Heading of the table.
        cause: What x is, in a word.
        effect: What y is, in a word or two.
        parameters: Names of the entries of x.
        example_y: The observation of the pictures.
        forward: The forward process, (..., dim_x) -> (..., dim_y).
        simulate: ``simulate(key, n) -> (x, y)``, n draws from the prior and their effects.
        sample_reference: The sampler of the ground truth.
        draw: ``draw(ax, x)`` draws samples (n, dim_x) for ``example_y`` into one panel.
        picture: Name of the picture made of these panels.
        published: What others have measured.
    """

    name: str
    title: str
    cause: str
    effect: str
    parameters: tuple[str, ...]
    example_y: tuple[float, ...]
    forward: Callable[[jax.Array], jax.Array]
    simulate: Callable[[jax.Array, int], tuple[jax.Array, jax.Array]]
    sample_reference: ReferenceSampler
    draw: Callable[[Axes, np.ndarray], None]
    picture: str
    published: tuple[Published, ...]

    @property
    def dim_x(self) -> int:
        """Number of entries of x."""
        return len(self.parameters)

    @property
    def dim_y(self) -> int:
        """Number of entries of y."""
        return len(self.example_y)

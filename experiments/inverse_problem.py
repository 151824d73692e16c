"""What an inverse problem brings along to be compared with its ground truth."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import jax
import jax.numpy as jnp
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
        legend: Where its legend leaves the samples in sight, in matplotlib's words.
        published: What others have measured.
        support: ``(low, high)``, bounds on x in the prior that the network keeps, each of shape
            (dim_x,); None for none.
        integers: Names of the parameters that are whole numbers in the prior.
        counted: By the words that say what they do: tells which x are counted and reported,
            (..., dim_x) -> (...).
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
    legend: str
    published: tuple[Published, ...]
    support: tuple[np.ndarray, np.ndarray] | None = None
    integers: tuple[str, ...] = ()
    counted: Mapping[str, Callable[[jax.Array], jax.Array]] = field(default_factory=dict)

    @property
    def dim_x(self) -> int:
        """Number of entries of x."""
        return len(self.parameters)

    @property
    def dim_y(self) -> int:
        """Number of entries of y."""
        return len(self.example_y)

    @property
    def is_integer(self) -> np.ndarray:
        """Which entries of x are whole numbers, booleans of shape (dim_x,)."""
        return np.array([name in self.integers for name in self.parameters])

    def rounded(self, x: jax.Array) -> jax.Array:
        """Rounds the entries of x that are whole numbers, (..., dim_x) -> (..., dim_x)."""
        return x.at[..., self.is_integer].apply(jnp.round)

"""A trained posterior: a conditional flow with its standardisation, to sample and to evaluate."""

import operator
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array

from jinn.bijectors.base import Buffer, constant
from jinn.bijectors.shapes import Shape, as_event, batched, freeze_shape
from jinn.flows.flow import Flow


class TrainingRecord:
    """How a posterior was trained.

    It compares equal to every other record, so that it is no part of a jit key.

    Args:
        history: Arrays of one length, as `jinn.fit` returns them.
        interrupted: Whether training was ended by a KeyboardInterrupt.
        skipped_steps: Number of steps without a finite loss and gradient.
    """

    def __init__(
        self, history: dict[str, np.ndarray], *, interrupted: bool = False, skipped_steps: int = 0
    ) -> None:
        """See the class."""
        self.history = history
        self.interrupted = interrupted
        self.skipped_steps = skipped_steps

    def __eq__(self, other: object) -> bool:
        """Tell that all records are equal."""
        return isinstance(other, TrainingRecord)

    def __hash__(self) -> int:
        """Give all records one hash."""
        return hash(TrainingRecord)


class Posterior(nnx.Module):
    """The density p(x | y) of parameters x given an observation y, learned from pairs.

    `jinn.fit_posterior` makes one. It is a pytree: jit, vmap and grad work on it.

    Args:
        flow: A flow over x in the user's units, given the standardised y.
        y_mean: Mean of the observations in training, in the shape of one y.
        y_scale: Standard deviation of the observations in training, in the shape of one y.
        training: How the flow was trained.

    Attributes:
        event_shape: Shape of one x.
        condition_shape: Shape of one y.
    """

    def __init__(
        self, flow: Flow, y_mean: Any, y_scale: Any, *, training: TrainingRecord | None = None
    ) -> None:
        """See the class."""
        self.flow = flow
        self.event_shape = flow.event_shape
        self.condition_shape: Shape = freeze_shape(
            jax.tree.map(jnp.shape, y_mean), "Posterior condition_shape"
        )
        self.y_mean = nnx.data(jax.tree.map(lambda leaf: Buffer(jnp.asarray(leaf)), y_mean))
        self.y_scale = nnx.data(jax.tree.map(lambda leaf: Buffer(jnp.asarray(leaf)), y_scale))
        self.training = nnx.static(training or TrainingRecord({}))

    def sample(self, key: jax.Array, shape: int | tuple[int, ...] = (), y: Any = None) -> Array:
        """Draw independent samples of `p(x | y)`; compiled, and in chunks.

        Args:
            key: A JAX key.
            shape: Number of samples for each observation, an integer or leading axes.
            y: Observations `(*batch, *condition_shape)` in the units of the training data.

        Returns:
            Samples of shape `(*shape, *batch, *event_shape)`, inside the support.

        Raises:
            ValueError: If y is missing or of a wrong shape.
        """
        shape = tuple(shape) if isinstance(shape, tuple | list) else (operator.index(shape),)
        return _sample(self, key, shape, self._check(y))

    def log_prob(self, x: Any, y: Any) -> Array:
        """Log-density, `log p(x | y)`, in nats per unit of x; compiled.

        Args:
            x: Parameters `(*batch, *event_shape)`.
            y: Observations `(*y_batch, *condition_shape)`.

        Returns:
            Log-densities of shape `(*batch,)`, batch being the broadcast of both; -inf where x
            is outside the support.

        Raises:
            ValueError: If a shape is wrong or y is missing.
        """
        return _log_prob(self, x, self._check(y))

    def _check(self, y: Any) -> Any:
        if y is None:
            shape = batched(self.condition_shape)
            raise ValueError(f"Posterior: y is missing; expected observations of shape {shape}")
        return as_event(y, self.condition_shape, "Posterior y")

    def _standardize(self, y: Any) -> Any:
        def standardize(values: Array, mean: Buffer, scale: Buffer) -> Array:
            rank = values.ndim - mean.ndim
            mean_, scale_ = (
                constant(b).astype(values.dtype).reshape(*[1] * rank, *b.shape)
                for b in (mean, scale)
            )
            return (values - mean_) / scale_

        return jax.tree.map(standardize, y, self.y_mean, self.y_scale)

    def __repr__(self) -> str:
        """Describe the posterior: the shapes of x and y, and its flow."""
        return f"Posterior(x: {self.event_shape}, y: {self.condition_shape}, flow={self.flow!r})"

    def __str__(self) -> str:
        """Describe the posterior, as `repr` does."""
        return repr(self)


@partial(jax.jit, static_argnames="shape")
def _sample(posterior: Posterior, key: jax.Array, shape: tuple[int, ...], y: Any) -> Array:
    return posterior.flow.sample(key, shape, posterior._standardize(y))


@jax.jit
def _log_prob(posterior: Posterior, x: Any, y: Any) -> Array:
    return posterior.flow.log_prob(x, posterior._standardize(y))

"""A trained posterior: a conditional flow with its standardisation, to sample and to evaluate."""

import operator
import os
import warnings
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import Mesh
from jaxtyping import Array

from jinn.bijectors.base import Bijector, Buffer
from jinn.bijectors.chain import Chain
from jinn.bijectors.elementwise import Affine, Unconstrain
from jinn.bijectors.shapes import Shape, as_event, batched, freeze_shape, match_batch
from jinn.flows.archive import named_arrays, read_archive, with_arrays, write_archive
from jinn.flows.compiled import compiled
from jinn.flows.devices import check_mesh, log_prob_on_mesh, moved_to, sample_on_mesh
from jinn.flows.ensemble import Ensemble
from jinn.flows.failures import warn_of_failures
from jinn.flows.flow import Flow
from jinn.flows.specification import build_specified, have_one_form
from jinn.flows.standardization import standardized

_KIND = "jinn.Posterior, version 1"
_HISTORY = "history/"
_MAPS_OF_WRAPPING = {"none": 0, "affine": 1, "bounded": 2}


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
        flow: A flow over x in the user's units, given the standardised y, or an ensemble of such.
        y_mean: Mean of the observations in training, in the shape of one y.
        y_scale: Standard deviation of the observations in training, in the shape of one y.
        training: How the flow was trained.
        wrapping: How `fit_posterior` wrapped the user's flow, see `wrapped`; "none" for a flow as
            it is.

    Attributes:
        event_shape: Shape of one x.
        condition_shape: Shape of one y.
    """

    def __init__(
        self,
        flow: Flow | Ensemble,
        y_mean: Any,
        y_scale: Any,
        *,
        training: TrainingRecord | None = None,
        wrapping: Literal["none", "affine", "bounded"] = "none",
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
        self.wrapping = wrapping

    def sample(
        self,
        key: jax.Array,
        shape: int | tuple[int, ...] = (),
        y: Any = None,
        *,
        mesh: Mesh | None = None,
    ) -> Array:
        """Draw samples of `p(x | y)`; compiled, and in chunks.

        They are independent, but where the flow is an ensemble: then each is a draw of `p(x | y)`,
        and together they are spread evenly over its members.

        Args:
            key: A JAX key.
            shape: Number of samples for each observation, an integer or leading axes.
            y: Observations `(*batch, *condition_shape)` in the units of the training data.
            mesh: Devices that draw an equal part of the samples each, in place of one device. The
                samples are others than without, and the same for any number of devices.

        Returns:
            Samples of shape `(*shape, *batch, *event_shape)`, inside the support.

        Raises:
            ValueError: If y is missing or of a wrong shape, or the shape is none.
        """
        given = shape if isinstance(shape, tuple | list) else (shape,)
        try:
            sizes = tuple(map(operator.index, given))
        except TypeError:
            sizes = (-1,)
        if min(sizes, default=0) < 0:
            raise ValueError(
                f"Posterior.sample: expected shape to be a whole number of samples, at least 0, or "
                f"a tuple of such numbers, got {shape!r}"
            )
        if mesh is None:
            x = _sample(self, key, sizes, self._check(y))
        else:
            mesh = check_mesh(mesh, "Posterior.sample")
            operands = moved_to(mesh, (self, key, self._check(y)))
            x = compiled(sample_on_mesh, operands, sizes, mesh)
        warn_of_failures("Posterior.sample", x, self.event_shape, self._bijector, "inverse")
        return x

    def log_prob(self, x: Any, y: Any, *, mesh: Mesh | None = None) -> Array:
        """Log-density, `log p(x | y)`, in nats per unit of x; compiled.

        Args:
            x: Parameters `(*batch, *event_shape)`.
            y: Observations `(*y_batch, *condition_shape)`.
            mesh: Devices that take an equal part of the pairs each, in place of one device.

        Returns:
            Log-densities of shape `(*batch,)`, batch being the broadcast of both; -inf where x
            is outside the support.

        Raises:
            ValueError: If a shape is wrong or y is missing.
        """
        y = self._check(y)
        if mesh is None:
            result = _log_prob(self, x, y)
        else:
            x = match_batch(
                as_event(x, self.event_shape, "Posterior x"),
                y,
                self.event_shape,
                self.condition_shape,
                "Posterior",
            )
            mesh = check_mesh(mesh, "Posterior.log_prob")
            result = compiled(log_prob_on_mesh, moved_to(mesh, (self, x, y)), mesh)
        warn_of_failures("Posterior.log_prob", result, (), self._bijector, "forward")
        return result

    def save(self, path: str | os.PathLike) -> None:
        """Write the posterior to a file, to be read by `Posterior.load`.

        The file is NumPy's .npz, without pickle. A flow of a named builder of `jinn.flows` is
        described in it; for any other, and for one whose parts were changed since, a warning says
        what loading will need.

        Args:
            path: The file; one of that name is replaced.

        Raises:
            ValueError: If the flow was replaced by one that no file of this kind can describe.
        """
        history = {f"{_HISTORY}{name}": v for name, v in self.training.history.items()}
        description = {
            "kind": _KIND,
            "specification": self.flow.specification,
            "wrapping": self.wrapping,
            "ensemble": self.flow.size if isinstance(self.flow, Ensemble) else None,
            "event_shape": self.event_shape,
            "condition_shape": self.condition_shape,
            "interrupted": self.training.interrupted,
            "skipped_steps": self.training.skipped_steps,
        }
        if not self._is_rebuilt(description, None):
            description["specification"] = None
            if not self._is_rebuilt(description, self._unwrapped()):
                raise ValueError(
                    f"Posterior.save: the flow is not wrapped as jinn.fit_posterior does it "
                    f"({self.wrapping}), so a file could not be loaded; nothing was written. Make "
                    "a posterior of that flow: jinn.Posterior(posterior.flow, "
                    "posterior.y_mean[...], posterior.y_scale[...])"
                )
            warnings.warn(
                "Posterior.save: the flow was not made by a named builder of jinn.flows, or its "
                "parts were changed since, so the file holds its arrays only; read it with "
                "Posterior.load(path, flow=...), given a flow built as the one was that was given "
                "to jinn.fit_posterior or jinn.Posterior",
                stacklevel=2,
            )
        write_archive(path, named_arrays(self) | history, description)

    @classmethod
    def load(cls, path: str | os.PathLike, *, flow: Flow | None = None) -> "Posterior":
        """Read a posterior that `save` wrote.

        Args:
            path: The file.
            flow: A flow built with the same options as the one that was given to
                `jinn.fit_posterior`, with any weights; needed where it was not made by a named
                builder.

        Returns:
            The posterior, which gives the same samples and densities.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If the file is no posterior, it needs a flow, or the flow does not fit.
        """
        arrays, description = read_archive(path)
        if not isinstance(description, dict) or description.get("kind") != _KIND:
            raise ValueError(f"Posterior.load: {path} holds no posterior of this version of jinn")
        if flow is None and description["specification"] is None:
            raise ValueError(
                f"Posterior.load: {path} does not say how its flow was built, since no named "
                "builder made it; pass flow= a flow built as the saved one was"
            )
        history = {k: v for k, v in arrays.items() if k.startswith(_HISTORY)}
        record = TrainingRecord(
            {k.removeprefix(_HISTORY): v for k, v in history.items()},
            interrupted=description["interrupted"],
            skipped_steps=description["skipped_steps"],
        )
        blank = _blank(description, flow, record)
        weights = {k: v for k, v in arrays.items() if k not in history}
        return with_arrays(blank, weights, f"Posterior.load: {path}", "flow")

    def _is_rebuilt(self, description: dict[str, Any], flow: Flow | None) -> bool:
        """Whether loading with this description would give a posterior of this form."""
        if flow is None and description["specification"] is None:
            return False
        try:
            blank = jax.eval_shape(lambda: _blank(description, flow, self.training))
        except ValueError:
            return False
        return have_one_form(self, blank)

    def _unwrapped(self) -> Flow | None:
        """The flow that `wrapped` was given, or a member's; None if that was never done."""
        flow = self.flow
        member = flow if isinstance(flow, Flow) else jax.tree.map(lambda a: a[0], flow.members)
        count = _MAPS_OF_WRAPPING[self.wrapping]
        if count == 0:
            return member
        if not isinstance(member.bijector, Chain) or len(member.bijector.bijectors) != count + 1:
            return None
        inner = Flow(member.bijector.bijectors[count], member.base)
        inner.specification = member.specification
        return inner

    @property
    def _bijector(self) -> Bijector:
        return (self.flow.members if isinstance(self.flow, Ensemble) else self.flow).bijector

    def _check(self, y: Any) -> Any:
        if y is None:
            shape = batched(self.condition_shape)
            raise ValueError(f"Posterior: y is missing; expected observations of shape {shape}")
        return as_event(y, self.condition_shape, "Posterior y")

    def _standardize(self, y: Any) -> Any:
        return jax.tree.map(standardized, y, self.y_mean, self.y_scale)

    def __repr__(self) -> str:
        """Describe the posterior: the shapes of x and y, and its flow."""
        return f"Posterior(x: {self.event_shape}, y: {self.condition_shape}, flow={self.flow!r})"

    def __str__(self) -> str:
        """Describe the posterior, as `repr` does."""
        return repr(self)


def wrapped(flow: Flow, support: tuple[Any, Any] | None, mean: Any, scale: Any) -> Flow:
    """A flow over x in the user's units, of a flow over unbounded x of mean 0 and deviation 1.

    Args:
        flow: The flow.
        support: Lower and upper bounds of x, or None.
        mean: Mean of x, or of its unbounded values if there is a support.
        scale: Standard deviation of the same.

    Returns:
        The flow, with the specification of the one inside.
    """
    shape: Any = flow.event_shape
    steps: list[Bijector] = [] if support is None else [Unconstrain(shape, *support)]
    steps.append(Affine(shape, shift=-mean / scale, scale=1 / scale, learned=False))
    full = Flow(Chain([*steps, flow.bijector]), flow.base)
    full.specification = flow.specification
    return full


def _blank(description: dict[str, Any], flow: Flow | None, training: TrainingRecord) -> Posterior:
    """A posterior as it is described, with other numbers; the flow is built if none is given."""
    built: Flow = build_specified(description["specification"]) if flow is None else flow
    shape, wrapping = description["condition_shape"], description["wrapping"]
    parts = {k: tuple(v) for k, v in shape.items()} if isinstance(shape, dict) else tuple(shape)
    zeros = jax.tree.map(jnp.zeros, parts, is_leaf=lambda node: isinstance(node, tuple))
    if wrapping != "none":
        built = wrapped(built, (0.0, 1.0) if wrapping == "bounded" else None, 0.0, 1.0)
    size = description.get("ensemble")
    full = Ensemble([built] * size) if size else built
    return Posterior(full, zeros, zeros, training=training, wrapping=wrapping)


@partial(jax.jit, static_argnames="shape")
def _sample(posterior: Posterior, key: jax.Array, shape: tuple[int, ...], y: Any) -> Array:
    return posterior.flow.sample(key, shape, posterior._standardize(y))


@jax.jit
def _log_prob(posterior: Posterior, x: Any, y: Any) -> Array:
    return posterior.flow.log_prob(x, posterior._standardize(y))

"""The base class of all bijectors, and the conventions that they share.

- Direction: `forward` goes from data to latent, `inverse` generates.
- Shapes: a bijector maps events of `event_shape` to events of `event_shape_out`; every method
  takes any number of leading batch axes, none included. The batch of a call is the broadcast of
  x's batch with the condition's batch.
- Log-determinants are those of the map just applied, of shape `(*batch,)`, float32 or wider.
- Events keep their floating type; parameters are cast to it where they are used.
- Conditions are explicit arguments with a batch of their own, which is never copied up.
- A `key` is used by stochastic log-determinants only.
- Solvers (fixed points, differential equations) report how they went, one `SolverInfo` a solve, and
  give NaN for entries that did not converge.
"""

import abc
from collections.abc import Callable, Generator
from typing import Any, Literal, cast, final

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array

from jinn.bijectors.mesh_axes import apply
from jinn.bijectors.shapes import (
    Shape,
    as_event,
    batch_shape,
    check_condition,
    check_result,
    event_dtype,
    freeze_shape,
    match_batch,
)
from jinn.functional.reversible import float_vjp
from jinn.functional.solver import SolverInfo
from jinn.networks.buffer import Buffer as Buffer
from jinn.networks.buffer import constant as constant
from jinn.networks.buffer import read as read

Info = SolverInfo | tuple[SolverInfo, ...]
FastDirection = Literal["both", "forward", "inverse", "neither"]
Outputs = Generator[tuple[str, Any, Any], None, Any]


class InitializedFlag(Buffer):
    """1.0 once data-dependent initialisation was done, 0.0 before."""


class Bijector(nnx.Module, abc.ABC):
    """An invertible map of events, `z = f(x; condition)`, with its log-determinant.

    To write one: call `self._declare(...)` in the constructor, implement `_forward` and
    `_inverse`, and try `jinn.check_bijector` on it. A bijector is a pytree: pass it through
    `jax.jit`, `jax.grad`, `jax.vmap` and `jax.lax.scan` as an argument.

    Attributes:
        event_shape: Shape of one input event: a tuple, or for dict events a dict of tuples.
        event_shape_out: Shape of one output event.
        condition_shape: Shape of one condition, a tuple or a dict of tuples, or None.
        fast_direction: Which direction takes one pass: "both", "forward", "inverse", "neither".
        analytic_inverse: Whether each direction undoes the other by a formula, to rounding; then
            `backprop="invert"` forgets inputs. False is always right: they are kept.
    """

    analytic_inverse: bool = False

    def _declare(
        self,
        event_shape: Shape,
        *,
        event_shape_out: Shape | None = None,
        condition_shape: Shape | None = None,
        fast_direction: FastDirection = "both",
    ) -> None:
        """Set the attributes that every bijector has; call it first in a constructor.

        Args:
            event_shape: Shape of one input event.
            event_shape_out: Shape of one output event, if it differs.
            condition_shape: Shape of one condition, or None.
            fast_direction: Which direction takes one pass, not a loop or a solve.
        """
        name = type(self).__name__
        self.event_shape = freeze_shape(event_shape, f"{name} event_shape")
        self.event_shape_out = (
            self.event_shape
            if event_shape_out is None
            else freeze_shape(event_shape_out, f"{name} event_shape_out")
        )
        self.condition_shape = (
            None
            if condition_shape is None
            else freeze_shape(condition_shape, f"{name} condition_shape")
        )
        self.fast_direction: FastDirection = fast_direction

    @abc.abstractmethod
    def _forward(
        self, x: Any, condition: Any, *, key: jax.Array | None, with_log_det: bool
    ) -> tuple[Any, Array | None]:
        """Map checked events from data to latent.

        Args:
            x: Events `(*batch, *event_shape)`, broadcast to the call's batch.
            condition: None, or conditions with a batch of their own that broadcasts to batch.
            key: A JAX key for a stochastic log-determinant, or None.
            with_log_det: Static; if False the log-determinant is not needed and may be None.

        Returns:
            The mapped events, and the log-determinant `(*batch,)` or None.
        """

    @abc.abstractmethod
    def _inverse(
        self, y: Any, condition: Any, *, key: jax.Array | None, with_log_det: bool
    ) -> tuple[Any, Array | None]:
        """Map checked events from latent to data; arguments and results as in `_forward`."""

    def _forward_with_info(
        self, x: Any, condition: Any, *, key: jax.Array | None, with_log_det: bool
    ) -> tuple[Any, Array | None, Info]:
        """As `_forward`, with what its solves report; without any, an empty tuple.

        A bijector that solves overrides it to return its `SolverInfo`, and its `_forward` is the
        first two results; `jinn.functional.solver.nan_unless` marks entries that did not converge.
        """
        return _without_info(self._forward(x, condition, key=key, with_log_det=with_log_det))

    def _inverse_with_info(
        self, y: Any, condition: Any, *, key: jax.Array | None, with_log_det: bool
    ) -> tuple[Any, Array | None, Info]:
        """As `_inverse`, with what its solves report; see `_forward_with_info`."""
        return _without_info(self._inverse(y, condition, key=key, with_log_det=with_log_det))

    def _run_forgetful(
        self, x: Any, condition: Any, key: jax.Array | None, *, with_log_det: bool, inverse: bool
    ) -> tuple[Any, Array | None, Info, Any]:
        """As `_apply`, with what `_pull_back` needs beside the output: the input, or nothing."""
        result = self._apply(x, condition, key=key, with_log_det=with_log_det, inverse=inverse)
        return *result, None if self.analytic_inverse else x

    def _pull_back(
        self,
        y: Any,
        kept: Any,
        condition: Any,
        key: jax.Array | None,
        cotangents: tuple[Any, Array | None],
        *,
        inverse: bool,
    ) -> tuple[Any, tuple["Bijector", Any, Any]]:
        """Undo a direction and pull cotangents back through it.

        Args:
            y: What the direction gave.
            kept: What `_run_forgetful` kept.
            condition: The condition of that call.
            key: The key of that call.
            cotangents: Those of y, and of the log-determinant or None.
            inverse: Which direction it was.

        Returns:
            The input x, and the cotangents of the bijector, of x and of the condition.
        """
        by_y, by_log_det = cotangents
        x = kept
        if kept is None:
            x, _, _ = self._apply(y, condition, key=None, with_log_det=False, inverse=not inverse)

        def run(bijector: Bijector, x: Any, condition: Any) -> tuple[Any, Array | None]:
            wanted = by_log_det is not None
            y, log_det, _ = bijector._apply(
                x, condition, key=key, with_log_det=wanted, inverse=inverse
            )
            return y, log_det if wanted else None

        (_, log_det), pull = float_vjp(run, self, x, condition)
        if by_log_det is not None:
            by_log_det = by_log_det.astype(cast(Array, log_det).dtype)
        return x, pull((by_y, by_log_det))

    def _initialize(self, x: Any, condition: Any, *, invert: bool) -> tuple["Bijector", Any]:
        """Return a copy set from data, and the data mapped by it; see `initialize`."""
        run = self._inverse if invert else self._forward
        return self, run(x, condition, key=None, with_log_det=False)[0]

    def _outputs(self, name: str, x: Any, condition: Any, *, inverse: bool) -> Outputs:
        """Yield what comes out of each bijector that it applies in turn, and return the image of x.

        Each comes as what reaches that bijector with its type, its events, and its log-determinant.
        """
        y, log_det, _ = self._apply(x, condition, key=None, with_log_det=True, inverse=inverse)
        yield f"{name} ({type(self).__name__})", y, log_det
        return y

    @final
    def forward_and_log_det(
        self, x: Any, condition: Any = None, *, key: jax.Array | None = None
    ) -> tuple[Any, Array]:
        """Map data to latent, with log|det df/dx|.

        Args:
            x: Events `(*batch, *event_shape)`.
            condition: Conditions `(*condition_batch, *condition_shape)`, or None.
            key: A JAX key for a stochastic log-determinant; None is deterministic.

        Returns:
            Latent events `(*batch, *event_shape_out)` and the log-determinant `(*batch,)`, batch
            being the broadcast of x's and the condition's.

        Raises:
            ValueError: If a shape is wrong, or a condition is missing or unexpected.
        """
        x, condition = self._check(x, condition, self.event_shape, "x")
        return apply(self, x, condition, key, with_log_det=True, inverse=False)

    @final
    def inverse_and_log_det(
        self, y: Any, condition: Any = None, *, key: jax.Array | None = None
    ) -> tuple[Any, Array]:
        """Map latent to data, with the log-determinant of the inverse map.

        Args:
            y: Events `(*batch, *event_shape_out)`.
            condition: Conditions `(*condition_batch, *condition_shape)`, or None.
            key: A JAX key for a stochastic log-determinant; None is deterministic.

        Returns:
            Data events `(*batch, *event_shape)` and the log-determinant `(*batch,)`.

        Raises:
            ValueError: If a shape is wrong, or a condition is missing or unexpected.
        """
        y, condition = self._check(y, condition, self.event_shape_out, "y")
        return apply(self, y, condition, key, with_log_det=True, inverse=True)

    @final
    def forward(self, x: Any, condition: Any = None) -> Any:
        """Map data to latent, `z = f(x; condition)`, without the log-determinant.

        Args:
            x: Events `(*batch, *event_shape)`.
            condition: Conditions `(*condition_batch, *condition_shape)`, or None.

        Returns:
            Latent events `(*batch, *event_shape_out)`.

        Raises:
            ValueError: If a shape is wrong, or a condition is missing or unexpected.
        """
        x, condition = self._check(x, condition, self.event_shape, "x")
        return apply(self, x, condition, None, with_log_det=False, inverse=False)[0]

    @final
    def inverse(self, y: Any, condition: Any = None) -> Any:
        """Map latent to data, `x = f^-1(y; condition)`, without the log-determinant.

        Args:
            y: Events `(*batch, *event_shape_out)`.
            condition: Conditions `(*condition_batch, *condition_shape)`, or None.

        Returns:
            Data events `(*batch, *event_shape)`.

        Raises:
            ValueError: If a shape is wrong, or a condition is missing or unexpected.
        """
        y, condition = self._check(y, condition, self.event_shape_out, "y")
        return apply(self, y, condition, None, with_log_det=False, inverse=True)[0]

    @final
    def log_det(self, x: Any, condition: Any = None, *, key: jax.Array | None = None) -> Array:
        """Log-determinant of the forward map, log|det df/dx|.

        Args:
            x: Events `(*batch, *event_shape)`.
            condition: Conditions `(*condition_batch, *condition_shape)`, or None.
            key: A JAX key for a stochastic log-determinant; None is deterministic.

        Returns:
            The log-determinant `(*batch,)`.

        Raises:
            ValueError: If a shape is wrong, or a condition is missing or unexpected.
        """
        return self.forward_and_log_det(x, condition, key=key)[1]

    @final
    def forward_with_info(
        self, x: Any, condition: Any = None, *, key: jax.Array | None = None
    ) -> tuple[Any, Array, Info]:
        """Map data to latent, with log|det df/dx| and how the solves on the way went.

        Args:
            x: Events `(*batch, *event_shape)`.
            condition: Conditions `(*condition_batch, *condition_shape)`, or None.
            key: A JAX key for a stochastic log-determinant; None is deterministic.

        Returns:
            Latent events and the log-determinant, both NaN in entries that did not converge, and
            the `SolverInfo` of the bijector, or in containers a tuple of those of all members that
            solve, in the order in which they ran; empty if none does.

        Raises:
            ValueError: If a shape is wrong, or a condition is missing or unexpected.
        """
        x, condition = self._check(x, condition, self.event_shape, "x")
        y, log_det, info = self._apply(x, condition, key=key, with_log_det=True, inverse=False)
        return y, cast(Array, log_det), info

    @final
    def inverse_with_info(
        self, y: Any, condition: Any = None, *, key: jax.Array | None = None
    ) -> tuple[Any, Array, Info]:
        """Map latent to data, with the log-determinant and how the solves on the way went.

        Args:
            y: Events `(*batch, *event_shape_out)`.
            condition: Conditions `(*condition_batch, *condition_shape)`, or None.
            key: A JAX key for a stochastic log-determinant; None is deterministic.

        Returns:
            Data events, the log-determinant and the report, as in `forward_with_info`.

        Raises:
            ValueError: If a shape is wrong, or a condition is missing or unexpected.
        """
        y, condition = self._check(y, condition, self.event_shape_out, "y")
        x, log_det, info = self._apply(y, condition, key=key, with_log_det=True, inverse=True)
        return x, cast(Array, log_det), info

    def _check(self, x: Any, condition: Any, event_shape: Shape, argument: str) -> tuple[Any, Any]:
        """Check and convert the arguments of a call, and broadcast x to the call's batch."""
        name = type(self).__name__
        x = as_event(x, event_shape, f"{name}: {argument}")
        condition = check_condition(condition, self.condition_shape, name, event_dtype(x))
        shape = self.condition_shape
        return match_batch(x, condition, event_shape, shape, name, argument), condition

    def _apply(
        self, x: Any, condition: Any, *, key: jax.Array | None, with_log_det: bool, inverse: bool
    ) -> tuple[Any, Array | None, Info]:
        """Map checked events in one direction, and check the shapes of what comes out.

        Containers call it for their members. Shapes are static: this costs a compiled program
        nothing.
        """
        run = self._inverse_with_info if inverse else self._forward_with_info
        result = run(x, condition, key=key, with_log_det=with_log_det)
        start, end = (self.event_shape, self.event_shape_out)[:: -1 if inverse else 1]
        name = f"{type(self).__name__}: {'_inverse' if inverse else '_forward'}"
        check_result(result, end, batch_shape(x, start), name, with_log_det=with_log_det)
        return result


def _without_info(result: Any) -> Any:
    """A direction's result with an empty report, or what came in its place, to be refused."""
    is_pair = isinstance(result, tuple | list) and len(result) == 2
    return (*result, ()) if is_pair else result


def zeros_log_det(x: Any, event_shape: Shape) -> Array:
    """A log-determinant of 0 for every batch entry, float32 or wider.

    Args:
        x: Events `(*batch, *event_shape)`.
        event_shape: Shape of one event.

    Returns:
        Zeros of shape `(*batch,)`.
    """
    dtype = jnp.promote_types(event_dtype(x), jnp.float32)
    return jnp.zeros(batch_shape(x, event_shape), dtype)


def apply_elementwise(
    function: Callable[..., tuple[Array, Array]],
    x: Array,
    event_shape: tuple[int, ...],
    *parameters: nnx.Variable,
) -> tuple[Array, Array]:
    """Apply an element-wise function of `jinn.functional` and sum its log-derivatives.

    Args:
        function: From values and parameters to values and one log-derivative an element.
        x: Events `(*batch, *event_shape)`.
        event_shape: Shape of one event.
        *parameters: Variables whose shapes broadcast against the event; read in x's type, buffers
            without gradient.

    Returns:
        The mapped events, and the log-determinant `(*batch,)`, float32 or wider.
    """
    arrays = (read(v).astype(x.dtype) for v in parameters)
    aligned = (a.reshape(*[1] * (x.ndim - a.ndim), *a.shape) for a in arrays)
    y, log_slopes = function(x, *aligned)
    axes = tuple(range(x.ndim - len(event_shape), x.ndim))
    return y, jnp.sum(log_slopes, axes, dtype=jnp.promote_types(x.dtype, jnp.float32))

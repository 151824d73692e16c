"""Continuous maps: an event flows along a vector field, its log-determinant is the divergence's."""

import math
from collections.abc import Callable
from functools import reduce
from typing import Any, NamedTuple, Protocol, cast, runtime_checkable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jinn.functional.divergence import (
    Divergence,
    Probes,
    choose_estimator,
    draw_probes,
    estimated_divergence,
    exact_divergence,
    squared_norm,
)
from jinn.functional.ode import ODESolver, ode_solver, solve_ode, warn_of_failures
from jinn.functional.solver import nan_unless

VectorField = Callable[..., Any]
"""From a time (a scalar) and values `(*batch, *event)` to their derivative, of the same shape; with
conditions as third argument if there are some. Entries of the batch must not mix."""


@runtime_checkable
class StructuredField(Protocol):
    """A vector field that knows more about itself than its values; a callable field need not."""

    def prepare(self, condition: Any) -> Any:
        """What the condition contributes at all times, computed once a solve.

        Args:
            condition: Conditions with their batch axes, or None.

        Returns:
            Arrays with the same batch axes in front, or None.
        """
        ...

    def velocity(self, time: Array, x: Array, prepared: Any) -> Array:
        """The field.

        Args:
            time: The time, a scalar.
            x: Values `(*batch, *event)`.
            prepared: What `prepare` returned.

        Returns:
            Derivatives in the shape of x.
        """
        ...

    def velocity_and_divergence(
        self, time: Array, x: Array, prepared: Any
    ) -> tuple[Array, Array] | None:
        """The field with its exact divergence, where there is a fast way to it.

        Args:
            time: The time, a scalar.
            x: Values `(*batch, *event)`.
            prepared: What `prepare` returned.

        Returns:
            Derivatives and divergences `(*batch,)`, or None to differentiate `velocity`.
        """
        ...


class ContinuousInfo(NamedTuple):
    """How the solves of a batch went, an array of the batch's shape each.

    Attributes:
        steps: Number of steps taken, rejected ones too.
        evaluations: Number of evaluations of the vector field, with or without its divergence.
        converged: Whether the end was reached with finite values.
        kinetic: The integral of the squared speed along the way, or None.
        squared_jacobian: The integral of the Jacobian's squared Frobenius norm, or None.
    """

    steps: Array
    evaluations: Array
    converged: Array
    kinetic: Array | None = None
    squared_jacobian: Array | None = None


def continuous_forward(
    x: Float[Array, "*batch_and_event"],
    vector_field: VectorField,
    condition: Any = None,
    *,
    times: tuple[float, float] = (0.0, 1.0),
    event_ndim: int = 1,
    divergence: str = "auto",
    probes: int = 1,
    key: jax.Array | None = None,
    regularization: bool = False,
    with_log_det: bool = True,
    with_info: bool = False,
    **options: Any,
) -> Any:
    """Flow along a vector field, `dx/dt = f(t, x), log_det = integral of div f(t, x(t)) dt`.

    Call it inside `jax.jit`: outside, each call compiles anew.

    Args:
        x: Values `(*batch, *event)`.
        vector_field: Any callable `f(t, x)`, or `f(t, x, condition)` if there is a condition, or a
            `StructuredField`.
        condition: A pytree of arrays whose leading axes are those of the batch, of equal number and
            each of equal size or 1; or None.
        times: When x starts, and when it ends.
        event_ndim: Number of axes of one event.
        divergence: "exact" (by the field's own rule, or a forward product an element),
            "hutchinson" or "hutch++"; "auto" is exact up to 32 elements and Hutchinson above.
            Without a key all are exact.
        probes: Number of random directions of an estimator, drawn once a solve. Hutch++ takes as
            many products with a basis of the field's range at the start, on which it is exact.
        key: A JAX key for the estimators, or None.
        regularization: Whether the information has the integrals of the squared speed and of the
            squared Frobenius norm of the Jacobian, which RNODE adds to its loss. Needs the
            log-determinant.
        with_log_det: Static; without, the solve carries x alone.
        with_info: Static; whether to return a `ContinuousInfo` too.
        **options: Those of `ODESolver`: solver, rtol, atol, steps, controller, max_steps, adjoint,
            stepping.

    Returns:
        The values at the end, in the shape of x, and the log-determinant `(*batch,)` in float32 or
        wider, or None; then the information if it is wanted. Entries whose solve did not reach the
        end within `max_steps`, or met a value that is not finite, are NaN in both, and a warning
        outside of jit says which they are.

    Raises:
        ValueError: If an option is unknown or out of range, or the vector field returns another
            shape.

    Reference:
        Neural Ordinary Differential Equations (Chen, Rubanova, Bettencourt, Duvenaud, 2018),
        https://arxiv.org/abs/1806.07366; FFJORD (Grathwohl, Chen, Bettencourt, Sutskever, Duvenaud,
        2019), https://arxiv.org/abs/1810.01367; How to Train Your Neural ODE (Finlay, Jacobsen,
        Nurbekyan, Oberman, 2020), https://arxiv.org/abs/2002.02798
    """
    solver = ode_solver(options)
    if probes < 1:
        raise ValueError(f"continuous: expected probes >= 1, got {probes}")
    if regularization and not with_log_det:
        raise ValueError("continuous: regularization needs with_log_det=True")
    if not jnp.issubdtype(x.dtype, jnp.floating):
        x = jnp.asarray(x, jnp.result_type(float))
    batch, event = x.shape[: x.ndim - event_ndim], x.shape[x.ndim - event_ndim :]
    estimator = choose_estimator(divergence, math.prod(event), key)
    field = _Field(vector_field, regularization)
    prepared = field.prepare(condition)
    wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    field.check(wide, prepared)
    given = _finite_entries((wide, prepared), len(batch))
    # A value that is not finite would spoil the steps of all.
    start, inputs = jax.tree.map(
        lambda leaf: jnp.where(jnp.isfinite(leaf), leaf, 0), (wide, prepared)
    )
    drawn = None
    if with_log_det and key is not None and estimator != "exact":
        at_start = field.at(jnp.asarray(times[0], wide.dtype), inputs)
        drawn = draw_probes(
            key, at_start, start, event_ndim=event_ndim, estimator=estimator, probes=probes
        )

    def solve(x: Array, prepared: Any, drawn: Probes | None) -> tuple[Any, Any]:
        return _solve(field, x, prepared, drawn, times, event_ndim, solver, with_log_det)

    if solver.stepping == "per_sample":
        for size in reversed(batch):
            solve = over_axis(solve, size, 1)
    state, (success, *counts) = solve(start, inputs, drawn)
    y, *integrals = state
    finite = jnp.isfinite(y).all(tuple(range(len(batch), y.ndim)))
    converged = finite & given & success
    if with_log_det:
        converged &= jnp.isfinite(integrals[0])
    warn_of_failures("continuous", converged, solver)
    y = nan_unless(converged, y).astype(x.dtype)
    log_det = nan_unless(converged, integrals[0]) if with_log_det else None
    if not with_info:
        return y, log_det
    steps, evaluations = (jnp.broadcast_to(count, batch) for count in counts)
    return y, log_det, ContinuousInfo(steps, evaluations, converged, *integrals[1:])


def continuous_inverse(
    y: Float[Array, "*batch_and_event"],
    vector_field: VectorField,
    condition: Any = None,
    *,
    times: tuple[float, float] = (0.0, 1.0),
    **options: Any,
) -> Any:
    """Undo `continuous_forward`: flow along the same field from the end back to the start.

    Args:
        y: Values `(*batch, *event)`.
        vector_field: The field of the forward map.
        condition: As there.
        times: The times of the forward map, in the same order.
        **options: Those of `continuous_forward`.

    Returns:
        What `continuous_forward` returns, the log-determinant being that of the inverse.

    Raises:
        ValueError: If an option is unknown or out of range, or the vector field returns another
            shape.
    """
    return continuous_forward(y, vector_field, condition, times=(times[1], times[0]), **options)


class _Field:
    """A vector field of either kind, with the condition's part apart."""

    def __init__(self, field: Any, regularization: bool) -> None:
        self.structured = field if isinstance(field, StructuredField) else None
        self.function = cast(Callable[..., Any], field)
        self.regularization = regularization

    def prepare(self, condition: Any) -> Any:
        return condition if self.structured is None else self.structured.prepare(condition)

    def velocity(self, time: Array, x: Array, prepared: Any) -> Array:
        if self.structured is not None:
            value = self.structured.velocity(time, x, prepared)
        elif prepared is None:
            value = self.function(time, x)
        else:
            value = self.function(time, x, prepared)
        return jnp.asarray(value).astype(x.dtype)

    def at(self, time: Array, prepared: Any) -> Callable[[Array], Array]:
        return lambda x: self.velocity(time, x, prepared)

    def divergence(
        self, time: Array, x: Array, prepared: Any, probes: Probes | None, event_ndim: int
    ) -> Divergence:
        squared = self.regularization
        if probes is not None:
            at = self.at(time, prepared)
            return estimated_divergence(
                at, x, probes, event_ndim=event_ndim, squared_jacobian=squared
            )
        if self.structured is not None and not squared:
            found = self.structured.velocity_and_divergence(time, x, prepared)
            if found is not None:
                wide = jnp.promote_types(x.dtype, jnp.float32)
                return Divergence(found[0].astype(x.dtype), found[1].astype(wide), None)
        at = self.at(time, prepared)
        return exact_divergence(at, x, event_ndim=event_ndim, squared_jacobian=squared)

    def check(self, x: Array, prepared: Any) -> None:
        time = jax.ShapeDtypeStruct((), x.dtype)
        shape = jax.eval_shape(self.velocity, time, x, prepared).shape
        if shape != x.shape:
            raise ValueError(
                f"continuous: expected the vector field to return the shape of x, {x.shape}, got "
                f"{shape}; it gets a time, which is a scalar, and values with their batch axes"
            )


def _solve(
    field: _Field,
    x: Array,
    prepared: Any,
    probes: Probes | None,
    times: tuple[float, float],
    event_ndim: int,
    solver: ODESolver,
    with_log_det: bool,
) -> tuple[Any, Any]:
    """The state at the end, and whether it was reached, steps and evaluations."""
    batch_ndim = x.ndim - event_ndim
    zeros, size = jnp.zeros(x.shape[:batch_ndim], x.dtype), math.prod(x.shape[batch_ndim:])

    def derivative(time: Array, state: tuple[Array, ...]) -> tuple[Array, ...]:
        if not with_log_det:
            return (field.velocity(time, state[0], prepared),)
        at = field.divergence(time, state[0], prepared, probes, event_ndim)
        if at.squared_jacobian is None:
            return at.value, at.divergence
        forward = 1.0 if times[1] > times[0] else -1.0
        speed = forward * squared_norm(at.value, event_ndim)
        return at.value, at.divergence, speed, forward * at.squared_jacobian

    def norm(error: tuple[Any, ...]) -> Array:
        """Root mean square of an entry's values and log-determinant, the largest in the batch."""
        if isinstance(error[0], tuple):  # an equation solved backwards: the state and its adjoint
            return jnp.maximum(norm(error[0]), norm(error[1]))
        squares = squared_norm(error[0], event_ndim)
        if with_log_det:
            squares = squares + error[1] ** 2
        return jnp.sqrt(jnp.max(squares, initial=0.0) / (size + with_log_det))

    state = (x, *[zeros] * (with_log_det * (3 if field.regularization else 1)))
    solution = solve_ode(derivative, state, times, solver, norm)
    return solution.state, (solution.success, solution.steps, solution.evaluations)


def over_axis(function: Callable[..., Any], size: int, third_axis: int) -> Callable[..., Any]:
    """Map a function of x, conditions and a third argument over the first axis of the batch.

    Args:
        function: The function.
        size: Length of that axis. Conditions in which it is 1 are not copied.
        third_axis: Which axis of the third argument it is.

    Returns:
        The mapped function.
    """

    def mapped(x: Array, condition: Any, third: Any) -> Any:
        shared = jax.tree.map(lambda leaf: leaf.shape[0] != size, condition)
        condition = jax.tree.map(lambda leaf, s: leaf[0] if s else leaf, condition, shared)
        axes = (0, jax.tree.map(lambda s: None if s else 0, shared), third_axis)
        return jax.vmap(function, in_axes=axes)(x, condition, third)

    return mapped


def _finite_entries(inputs: Any, batch_ndim: int) -> Array:
    """Which batch entries are finite in all inputs."""
    marks = [
        jnp.isfinite(leaf).all(tuple(range(batch_ndim, leaf.ndim)))
        for leaf in jax.tree.leaves(inputs)
    ]
    return reduce(jnp.logical_and, marks)

"""Continuous bijectors: events flow along a vector field."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array

from jinn.bijectors.base import Info
from jinn.bijectors.conditioners import network_attribute
from jinn.bijectors.container import Reporting
from jinn.bijectors.shapes import Shape, array_shape
from jinn.functional.continuous import (
    ContinuousInfo,
    continuous_forward,
    continuous_inverse,
    over_axis,
)
from jinn.functional.divergence import ESTIMATORS
from jinn.functional.ode import ode_solver, warn_of_failures
from jinn.functional.solver import SolverInfo
from jinn.networks.vector_field import Modulation, VectorField


class Continuous(Reporting):
    """Flow along a vector field, `dx/dt = f(t, x; condition)`, data at t = 0 and latent at t = 1.

    `log_det` is the integral of the field's divergence; both directions take a solve. What an
    error estimate allows in a step is kept for every event of a batch, also where all share the
    steps. Entries that are not solved within `max_steps` are NaN, `forward_with_info` and
    `inverse_with_info` say which, and outside of jit a warning does.

    Args:
        event_shape: Shape of one event.
        vector_field: Any callable `f(t, x, condition)`, of a scalar time, events `(*batch, *event)`
            and conditions with as many batch axes (of equal size or 1) or None, that returns
            derivatives in the shape of x; or None for a `jinn.networks.VectorField` (vectors only).
        condition_shape: Shape of one condition (a tuple or a dict of tuples), or None.
        divergence: "auto" (exact up to 32 elements, Hutchinson above), "exact", "hutchinson" or
            "hutch++". Estimates need a key: without, the log-determinant is always exact.
        probes: Number of random directions of an estimate, drawn once a solve.
        hidden: Widths of the default field's hidden layers.
        modulation: How time and condition enter the default field: "concat", "concatsquash" or
            "film".
        frequencies: Number of frequencies in the default field's embedding of time.
        activation: Name of the default field's activation.
        residual: Whether the default field's hidden layers add to their input.
        param_dtype: Type of the default field's parameters.
        dtype: Type in which the default field computes; None follows the input.
        rngs: An int, a JAX key or `flax.nnx.Rngs`, for the default field.
        **solver: Options of `jinn.functional.ODESolver`: solver, rtol, atol, steps, controller,
            max_steps, adjoint, stepping.

    Raises:
        ValueError: If an option is unknown or out of range, or the default field cannot be built.

    Reference:
        FFJORD: Free-form Continuous Dynamics for Scalable Reversible Generative Models (Grathwohl,
        Chen, Bettencourt, Sutskever, Duvenaud, 2019), https://arxiv.org/abs/1810.01367
    """

    def __init__(
        self,
        event_shape: tuple[int, ...],
        *,
        vector_field: Callable[..., Any] | None = None,
        condition_shape: Shape | None = None,
        divergence: str = "auto",
        probes: int = 1,
        hidden: Sequence[int] | int = (64, 64),
        modulation: Modulation = "concatsquash",
        frequencies: int = 1,
        activation: str = "tanh",
        residual: bool = False,
        param_dtype: jax.typing.DTypeLike = jnp.float32,
        dtype: jax.typing.DTypeLike | None = None,
        rngs: int | jax.Array | nnx.Rngs | None = None,
        **solver: Any,
    ) -> None:
        """See the class."""
        shape = array_shape(event_shape, "Continuous event_shape")
        self._declare(shape, condition_shape=condition_shape, fast_direction="neither")
        self.event_shape: tuple[int, ...]
        if divergence not in ESTIMATORS:
            raise ValueError(
                f"Continuous: expected divergence to be one of {list(ESTIMATORS)}, got "
                f"{divergence!r}"
            )
        if probes < 1:
            raise ValueError(f"Continuous: expected probes >= 1, got {probes}")
        if vector_field is None:
            if len(shape) != 1:
                raise ValueError(
                    f"Continuous: events of shape {shape} need a vector_field of their own; the "
                    "default, a perceptron, is for vectors"
                )
            if rngs is None:
                raise ValueError("Continuous: the default field needs rngs, such as rngs=0")
            vector_field = VectorField(
                shape[0],
                hidden=hidden,
                condition_shape=self.condition_shape,
                modulation=modulation,
                frequencies=frequencies,
                activation=activation,
                residual=residual,
                param_dtype=param_dtype,
                dtype=dtype,
                rngs=rngs,
            )
        elif isinstance(vector_field, VectorField) and (vector_field.size,) != shape:
            raise ValueError(
                f"Continuous: a VectorField of size {vector_field.size} is for events of shape "
                f"({vector_field.size},), got event_shape={shape}; make one of that size, or give "
                "a function that calls it on vectors"
            )
        self.vector_field = network_attribute(vector_field, "Continuous", "vector_field")
        self.divergence, self.probes = divergence, probes
        self.solver = ode_solver(solver)

    def with_solver(self, **solver: Any) -> "Continuous":
        """The same map solved in another way, with the same weights.

        Args:
            **solver: Options of `jinn.functional.ODESolver` to change, such as
                `solver="rk4", steps=8`.

        Returns:
            A bijector; this one is not changed.

        Raises:
            ValueError: If an option is unknown or out of range.
        """
        new = nnx.clone(self)
        new.solver = ode_solver(solver, self.solver)
        return new

    def velocity(self, time: Array, x: Array, condition: Any = None) -> Array:
        """The vector field at times of their own for each event, `f(t, x; condition)`.

        Args:
            time: Times of the batch's shape.
            x: Events `(*batch, *event_shape)`.
            condition: Conditions `(*condition_batch, *condition_shape)`, or None.

        Returns:
            Derivatives in the shape of x.

        Raises:
            ValueError: If a shape is wrong, or a condition is missing or unexpected.
        """
        x, condition = self._check(x, condition, self.event_shape, "x")
        batch = x.shape[: x.ndim - len(self.event_shape)]
        condition = self._aligned(condition, len(batch))
        time = jnp.broadcast_to(time, batch).astype(x.dtype)
        field = self.vector_field
        if isinstance(field, VectorField):  # takes times of the batch's shape as they are
            return field(time, x, condition)

        def call(x: Array, condition: Any, time: Array) -> Array:
            return field(time, x) if condition is None else field(time, x, condition)

        for size in reversed(batch):
            call = over_axis(call, size, 0)
        return call(x, condition, time)

    def regularized_forward(
        self, x: Any, condition: Any = None, *, key: jax.Array | None = None
    ) -> tuple[Array, Array, ContinuousInfo]:
        """Map data to latent, with the integrals along the way that RNODE adds to its loss.

        Args:
            x: Events `(*batch, *event_shape)`.
            condition: Conditions `(*condition_batch, *condition_shape)`, or None.
            key: A JAX key for a stochastic log-determinant; None is deterministic.

        Returns:
            Latent events, the log-determinant, and the information with `kinetic` and
            `squared_jacobian`.

        Raises:
            ValueError: If a shape is wrong, or a condition is missing or unexpected.
        """
        x, condition = self._check(x, condition, self.event_shape, "x")
        condition = self._aligned(condition, x.ndim - len(self.event_shape))
        return _solve(
            self, x, condition, key, inverse=False, with_log_det=True, regularization=True
        )

    def _run(
        self, x: Any, condition: Any, key: jax.Array | None, *, with_log_det: bool, inverse: bool
    ) -> tuple[Array, Array | None, Info]:
        condition = self._aligned(condition, x.ndim - len(self.event_shape))
        y, log_det, info = _solve(
            self,
            x,
            condition,
            key if with_log_det else None,
            inverse=inverse,
            with_log_det=with_log_det,
            regularization=False,
        )
        name = "Continuous.inverse" if inverse else "Continuous.forward"
        warn_of_failures(name, info.converged, self.solver)
        return y, log_det, SolverInfo(*info[:3])

    def _aligned(self, condition: Any, batch_ndim: int) -> Any:
        """The condition with as many batch axes as the events, new ones in front of size 1."""

        def align(value: Array, shape: tuple[int, ...]) -> Array:
            missing = batch_ndim + len(shape) - value.ndim
            return value.reshape(*[1] * missing, *value.shape)

        shape = self.condition_shape
        if isinstance(shape, dict):
            return {name: align(condition[name], shape[name]) for name in shape}
        return None if shape is None else align(condition, shape)


@partial(jax.jit, static_argnames=("inverse", "with_log_det", "regularization"))
def _solve(
    bijector: Continuous,
    x: Array,
    condition: Any,
    key: jax.Array | None,
    *,
    inverse: bool,
    with_log_det: bool,
    regularization: bool,
) -> tuple[Array, Any, ContinuousInfo]:
    """Solve, compiled, since outside of jit each solve of a new function compiles."""
    run = continuous_inverse if inverse else continuous_forward
    return run(
        x,
        bijector.vector_field,
        condition,
        event_ndim=len(bijector.event_shape),
        divergence=bijector.divergence,
        probes=bijector.probes,
        key=key,
        regularization=regularization,
        with_log_det=with_log_det,
        with_info=True,
        **vars(bijector.solver),
    )

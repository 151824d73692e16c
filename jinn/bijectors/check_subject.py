"""A bijector under check: the few compiled programs that its laws need, and their results."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from jinn.bijectors.base import Bijector

ROWS = 8
MOST_ALLOWED = 0.05
"""Round-off is never allowed to be more than this part of 1 + the number's size."""


class Direction(NamedTuple):
    """What one direction of a bijector gives at `ROWS` events of n elements.

    Attributes:
        event: The events that came out.
        out: The same, flat, of shape `(ROWS, n)`; like all below an array of float64.
        log_det: Log-determinants `(ROWS,)`.
        only_out: The events, flat, without the log-determinant.
        row_out: The events, flat, of rows without batch axes under vmap.
        row_log_det: Their log-determinants.
        jacobian: Jacobians `(ROWS, n, n)`.
        log_det_gradient: Gradients `(ROWS, n)` of the log-determinants.
        largest: Largest singular value of each Jacobian.
        smallest: Smallest singular value.
    """

    event: Any
    out: np.ndarray
    log_det: np.ndarray
    only_out: np.ndarray
    row_out: np.ndarray
    row_log_det: np.ndarray
    jacobian: np.ndarray
    log_det_gradient: np.ndarray
    largest: np.ndarray
    smallest: np.ndarray


class Gradients(NamedTuple):
    """Outputs of both directions and the gradients of a random linear function of them.

    Attributes:
        outputs: `(y, log_det at x, x, log_det at z)` of all rows.
        module: Gradient with respect to the bijector.
        x: Gradient with respect to x.
        z: Gradient with respect to z.
    """

    outputs: Any
    module: Any
    x: Any
    z: Any


@dataclass
class Subject:
    """A bijector under check with rows of data; what is computed of it is kept.

    Attributes:
        moderate: The bijector with changed parameters, for laws 1 to 5 and 7.
        large: The same with larger changes, for law 6.
        x: `ROWS` events.
        condition: `ROWS` conditions, or None.
        extreme_x: `ROWS` events for law 6.
        extreme_z: `ROWS` latent events for law 6.
        unit: Allowed round-off of a number of size 1.
    """

    moderate: Bijector
    large: Bijector
    x: Any
    condition: Any
    extreme_x: Any
    extreme_z: Any
    unit: float
    traces: dict[str, int] = field(default_factory=dict)

    def forward(self, x: Any, condition: Any) -> Direction:
        """Evaluate the forward direction at `ROWS` events."""
        return _as_direction(self._forward_program(self.moderate, x, condition))

    def inverse(self, z: Any, condition: Any) -> Direction:
        """Evaluate the inverse direction at `ROWS` events."""
        return _as_direction(self._inverse_program(self.moderate, z, condition))

    def gradients(self, bijector: Bijector, x: Any, z: Any) -> Gradients:
        """Differentiate both directions, through a scan and rematerialisation."""
        (_, outputs), gradients = self._gradient_program(bijector, x, z, self.condition)
        return Gradients(outputs, *gradients)

    @cached_property
    def at_x(self) -> Direction:
        """The forward direction at x."""
        return self.forward(self.x, self.condition)

    @cached_property
    def z(self) -> Any:
        """Points half-way between the images of neighbouring rows of x."""
        return jax.tree.map(
            lambda y: jnp.asarray((np.asarray(y) + np.roll(y, 1, axis=0)) / 2, y.dtype),
            self.at_x.event,
        )

    @cached_property
    def at_z(self) -> Direction:
        """The inverse direction at z."""
        return self.inverse(self.z, self.condition)

    @cached_property
    def at_moderate(self) -> Gradients:
        """Gradients at x and z."""
        return self.gradients(self.moderate, self.x, self.z)

    def allowed(self, at: Direction, event: Any) -> tuple[np.ndarray, np.ndarray]:
        """Round-off allowed in the outputs and the log-determinants of a direction, by row."""
        size = np.abs(at.log_det)
        terms = 1 + size + at.jacobian.shape[-1] * at.largest / at.smallest
        return (
            _capped(self.unit * self._amplified(at, event), at.out),
            _capped(self.unit * terms, at.log_det[:, None]),
        )

    def allowed_back(self, at: Direction, event: Any) -> np.ndarray:
        """Round-off allowed after a round trip that starts with this direction, by row."""
        flat = flatten(event)
        there = self._amplified(at, event)
        return _capped(self.unit * (1 + _size(flat) + there / at.smallest), flat)

    def _amplified(self, at: Direction, event: Any) -> np.ndarray:
        return 1 + _size(at.out) + at.largest * (1 + _size(flatten(event)))

    def _counted(self, name: str, function: Callable) -> Callable:
        def traced(*args: Any) -> Any:
            self.traces[name] = self.traces.get(name, 0) + 1
            return function(*args)

        return jax.jit(traced)

    @cached_property
    def _forward_program(self) -> Callable:
        return self._counted("forward", _direction_program(inverse=False))

    @cached_property
    def _inverse_program(self) -> Callable:
        return self._counted("inverse", _direction_program(inverse=True))

    @cached_property
    def _gradient_program(self) -> Callable:
        program = jax.value_and_grad(
            _random_linear_function, argnums=(0, 1, 2), has_aux=True, allow_int=True
        )
        return self._counted("gradient", program)


def evaluate(bijector: Bijector, event: Any, condition: Any, *, inverse: bool) -> Any:
    """Run one direction with its log-determinant.

    Args:
        bijector: The bijector.
        event: Events of the direction's input.
        condition: Conditions, or None.
        inverse: Whether to run the inverse direction.

    Returns:
        Events and log-determinants.
    """
    run = bijector.inverse_and_log_det if inverse else bijector.forward_and_log_det
    return run(event, condition)


def evaluate_only(bijector: Bijector, event: Any, condition: Any, *, inverse: bool) -> Any:
    """Run one direction without its log-determinant; see `evaluate`.

    Args:
        bijector: The bijector.
        event: Events of the direction's input.
        condition: Conditions, or None.
        inverse: Whether to run the inverse direction.

    Returns:
        Events.
    """
    return (bijector.inverse if inverse else bijector.forward)(event, condition)


def flatten(event: Any) -> np.ndarray:
    """Flatten `ROWS` events, in one or several batch axes, to float64 of shape `(ROWS, n)`.

    Args:
        event: An array or a dict of arrays.

    Returns:
        One row an event, entries of dicts in the order of their sorted keys.
    """
    leaves = [np.asarray(leaf, np.float64).reshape(ROWS, -1) for leaf in jax.tree.leaves(event)]
    return np.concatenate(leaves, axis=1)


def random_weights(outputs: Any) -> Any:
    """Make the weights of the random linear function of which gradients are taken.

    Args:
        outputs: A pytree of arrays, also of traced ones.

    Returns:
        The same tree of normal numbers of float64, always the same ones.
    """
    generator = np.random.default_rng(0)
    return jax.tree.map(lambda leaf: generator.normal(size=leaf.shape), outputs)


def _direction_program(*, inverse: bool) -> Callable:
    def program(bijector: Bijector, event: Any, condition: Any) -> dict[str, Any]:
        def row(event: Any, condition: Any) -> tuple[jax.Array, Any]:
            vector, unravel = ravel_pytree(event)

            def joint(vector: jax.Array) -> tuple[jax.Array, Any]:
                outputs = evaluate(bijector, unravel(vector), condition, inverse=inverse)
                return ravel_pytree(outputs)[0], outputs

            return jax.jacrev(joint, has_aux=True)(vector)

        out, log_det = evaluate(bijector, event, condition, inverse=inverse)
        only_out = evaluate_only(bijector, event, condition, inverse=inverse)
        jacobian, (row_out, row_log_det) = jax.vmap(row)(event, condition)
        return {
            "event": out,
            "log_det": log_det,
            "only_out": only_out,
            "jacobian": jacobian,
            "row_out": row_out,
            "row_log_det": row_log_det,
        }

    return program


def _as_direction(results: dict[str, Any]) -> Direction:
    jacobian = np.asarray(results["jacobian"], np.float64)
    finite = np.nan_to_num(jacobian[:, :-1], posinf=0.0, neginf=0.0)
    singular = np.linalg.svd(finite, compute_uv=False)
    return Direction(
        event=results["event"],
        out=flatten(results["event"]),
        log_det=flatten(results["log_det"])[:, 0],
        only_out=flatten(results["only_out"]),
        row_out=flatten(results["row_out"]),
        row_log_det=flatten(results["row_log_det"])[:, 0],
        jacobian=jacobian[:, :-1],
        log_det_gradient=jacobian[:, -1],
        largest=singular.max(axis=1),
        smallest=np.maximum(singular.min(axis=1), np.finfo(float).tiny),
    )


def _random_linear_function(bijector: Bijector, x: Any, z: Any, condition: Any) -> Any:
    """Both directions in a scan over two half batches, rematerialised, in a random combination."""

    @jax.checkpoint
    def both(bijector: Bijector, x: Any, z: Any, condition: Any) -> Any:
        there = evaluate(bijector, x, condition, inverse=False)
        return *there, *evaluate(bijector, z, condition, inverse=True)

    def step(carry: None, rows: Any) -> tuple[None, Any]:
        return carry, both(bijector, *rows)

    halves = jax.tree.map(lambda a: a.reshape(2, ROWS // 2, *a.shape[1:]), (x, z, condition))
    _, outputs = jax.lax.scan(step, None, halves)
    outputs = jax.tree.map(lambda a: a.reshape(ROWS, *a.shape[2:]), outputs)
    terms = jax.tree.map(
        lambda weight, out: jnp.sum(jnp.asarray(weight, out.dtype) * out),
        random_weights(outputs),
        outputs,
    )
    return sum(jax.tree.leaves(terms)), outputs


def _size(flat: np.ndarray) -> np.ndarray:
    return np.abs(flat).max(axis=1, initial=0.0)


def _capped(allowed: np.ndarray, values: np.ndarray) -> np.ndarray:
    return np.minimum(allowed, MOST_ALLOWED * (1 + _size(values)))

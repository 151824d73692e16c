"""A bijector under check: the one compiled program that most laws need, and what it gives."""

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jinn.bijectors.base import Bijector
from jinn.bijectors.shapes import Shape, event_dtype

ROWS = 8


@dataclass(frozen=True)
class Direction:
    """One direction of a bijector at `ROWS` events, flat, as arrays of float64.

    Attributes:
        start: The events that went in, `(ROWS, n)`.
        out: The events that came out, `(ROWS, n)`.
        log_det: Log-determinants `(ROWS,)`.
        jacobian: Jacobians `(ROWS, n, n)`.
        log_det_gradient: Gradients `(ROWS, n)` of the log-determinants.
    """

    start: np.ndarray
    out: np.ndarray
    log_det: np.ndarray
    jacobian: np.ndarray
    log_det_gradient: np.ndarray

    @cached_property
    def singular_values(self) -> tuple[np.ndarray, np.ndarray]:
        """Largest and smallest singular value of each Jacobian."""
        finite = np.nan_to_num(self.jacobian, posinf=0.0, neginf=0.0)
        values = np.linalg.svd(finite, compute_uv=False)
        return values.max(axis=1), np.maximum(values.min(axis=1), np.finfo(float).tiny)

    def allowed(self, unit: float) -> np.ndarray:
        """Round-off allowed in each output, if a number of size 1 has `unit`."""
        return unit * self._amplified()

    def allowed_log_det(self, unit: float) -> np.ndarray:
        """Round-off allowed in each log-determinant."""
        largest, smallest = self.singular_values
        terms = 1 + np.abs(self.log_det) + self.jacobian.shape[-1] * largest / smallest
        moved = np.abs(self.log_det_gradient).sum(axis=1) * (1 + _size(self.start))
        return unit * (terms + moved)

    def allowed_back(self, unit: float) -> np.ndarray:
        """Round-off allowed in each event after the round trip through this direction."""
        there = self._amplified() / self.singular_values[1]
        return unit * (1 + _size(self.start) + there)

    def _amplified(self) -> np.ndarray:
        return 1 + _size(self.out) + self.singular_values[0] * (1 + _size(self.start))


class Gradients(NamedTuple):
    """Outputs of both directions and the gradients of a linear function of them.

    Attributes:
        outputs: `(y, log_det at x, x, log_det at z)` of all rows.
        bijector: Gradient with respect to the bijector.
        x: Gradient with respect to x.
        z: Gradient with respect to z.
    """

    outputs: Any
    bijector: Any
    x: Any
    z: Any


@dataclass
class Subject:
    """A bijector under check with rows of data; what is computed of it is kept.

    Attributes:
        moderate: The bijector with changed parameters, for laws 1 to 5 and 7.
        large: The same with larger changes, for law 6.
        x: `ROWS` events; like the other data as numpy arrays, so that nothing but the programs
            is compiled.
        condition: `ROWS` conditions, or None.
        extreme_x: `ROWS` events for law 6.
        extreme_z: `ROWS` latent events for law 6.
        fixed_range: Whether the caller gave the bounds of extreme_x, and those of extreme_z.
        unit: Allowed round-off of a number of size 1.
        traces: How often the program was traced.
    """

    moderate: Bijector
    large: Bijector
    x: Any
    condition: Any
    extreme_x: Any
    extreme_z: Any
    fixed_range: tuple[bool, bool]
    unit: float
    traces: int = field(default=0, init=False)

    def run(
        self, x: Any, z: Any, condition: Any, weights: Any = None, *, large: bool = False
    ) -> Gradients:
        """Run both directions and differentiate; random weights unless some are given."""
        if weights is None:
            weights = _random_weights(self._blank)
        bijector = self.large if large else self.moderate
        (_, outputs), gradients = self._program(bijector, x, z, condition, weights)
        return Gradients(outputs, *gradients)

    def directions(self, x: Any, z: Any, condition: Any) -> tuple[Direction, Direction]:
        """Evaluate forward at x and inverse at z, with their Jacobians, one output at a time."""
        blank = self._blank
        ones = (blank[0], np.ones_like(blank[1]), blank[2], np.ones_like(blank[3]))
        at = self.run(x, z, condition, ones)
        n = max(flatten(blank[0]).shape[1], flatten(blank[2]).shape[1])
        rows: list[Gradients] = []
        for i in range(n):
            weights = (_pick(blank[0], i), blank[1], _pick(blank[2], i), blank[3])
            rows.append(self.run(x, z, condition, weights))
        forward = Direction(
            start=flatten(x),
            out=flatten(at.outputs[0]),
            log_det=flatten(at.outputs[1])[:, 0],
            jacobian=np.stack([flatten(row.x) for row in rows], axis=1),
            log_det_gradient=flatten(at.x),
        )
        inverse = Direction(
            start=flatten(z),
            out=flatten(at.outputs[2]),
            log_det=flatten(at.outputs[3])[:, 0],
            jacobian=np.stack([flatten(row.z) for row in rows], axis=1),
            log_det_gradient=flatten(at.z),
        )
        return forward, inverse

    @cached_property
    def z(self) -> Any:
        """Points half-way between the images of neighbouring rows of x."""
        any_z = self._blank[0]
        images = self.run(self.x, any_z, self.condition).outputs[0]
        return jax.tree.map(
            lambda y: (np.asarray(y) + np.roll(y, 1, axis=0)) / np.asarray(2, y.dtype), images
        )

    @cached_property
    def both(self) -> tuple[Direction, Direction]:
        """Forward at x and inverse at z."""
        return self.directions(self.x, self.z, self.condition)

    @cached_property
    def returned(self) -> Gradients:
        """Forward at what the inverse gave at z, and inverse at what forward gave at x."""
        at = self.run(self.x, self.z, self.condition)
        return self.run(at.outputs[2], at.outputs[0], self.condition)

    @cached_property
    def _blank(self) -> Any:
        """Zeros in the shapes of the outputs of both directions."""
        dtype = event_dtype(self.x)
        log_det = np.zeros(ROWS, jnp.promote_types(dtype, jnp.float32))
        y = _zeros(self.moderate.event_shape_out, dtype)
        return y, log_det, _zeros(self.moderate.event_shape, dtype), log_det

    @cached_property
    def _program(self) -> Any:
        def counted(*args: Any) -> Any:
            self.traces += 1
            return _weighted_sum(*args)

        return jax.jit(jax.value_and_grad(counted, argnums=(0, 1, 2), has_aux=True, allow_int=True))


def evaluate(bijector: Bijector, event: Any, condition: Any, *, inverse: bool) -> Any:
    """Run one direction.

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


def flatten(event: Any) -> np.ndarray:
    """Flatten `ROWS` events, in any batch axes, to float64 of shape `(ROWS, n)`.

    Args:
        event: An array or a dict of arrays.

    Returns:
        One row an event, entries of dicts in the order of their sorted keys.
    """
    leaves = [np.asarray(leaf, np.float64).reshape(ROWS, -1) for leaf in jax.tree.leaves(event)]
    return np.concatenate(leaves, axis=1)


def _weighted_sum(bijector: Bijector, x: Any, z: Any, condition: Any, weights: Any) -> Any:
    """Both directions in a scan over two half batches, rematerialised, then summed up."""

    @jax.checkpoint
    def both(bijector: Bijector, x: Any, z: Any, condition: Any) -> Any:
        there = evaluate(bijector, x, condition, inverse=False)
        return *there, *evaluate(bijector, z, condition, inverse=True)

    def step(carry: None, rows: Any) -> tuple[None, Any]:
        return carry, both(bijector, *rows)

    halves = jax.tree.map(lambda a: a.reshape(2, ROWS // 2, *a.shape[1:]), (x, z, condition))
    _, outputs = jax.lax.scan(step, None, halves)
    outputs = jax.tree.map(lambda a: a.reshape(ROWS, *a.shape[2:]), outputs)
    terms = jax.tree.map(lambda weight, out: jnp.sum(weight * out), weights, outputs)
    return sum(jax.tree.leaves(terms)), outputs


def _zeros(shape: Shape, dtype: Any) -> Any:
    if isinstance(shape, dict):
        return {key: np.zeros((ROWS, *size), dtype) for key, size in shape.items()}
    return np.zeros((ROWS, *shape), dtype)


def _random_weights(blank: Any) -> Any:
    generator = np.random.default_rng(0)
    return jax.tree.map(lambda a: generator.normal(size=a.shape).astype(a.dtype), blank)


def _pick(blank: Any, i: int) -> Any:
    """Events that are 1 in element i of each row and 0 elsewhere."""
    leaves, tree = jax.tree.flatten(blank)
    hot = np.zeros(max(i + 1, sum(leaf[0].size for leaf in leaves)))
    hot[i] = 1
    picked, first = [], 0
    for leaf in leaves:
        element = hot[first : first + leaf[0].size].reshape(leaf[0].shape)
        picked.append(np.broadcast_to(element, leaf.shape).astype(leaf.dtype))
        first += leaf[0].size
    return jax.tree.unflatten(tree, picked)


def _size(flat: np.ndarray) -> np.ndarray:
    return np.abs(flat).max(axis=1, initial=0.0)

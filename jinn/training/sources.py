"""Sources that a compiled training step draws its batch from."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
from jaxtyping import Array


@partial(
    jax.tree_util.register_dataclass, data_fields=["arrays", "rows"], meta_fields=["batch_size"]
)
@dataclass(frozen=True)
class ArraySource:
    """Batches of rows of arrays, in an order that is new in every epoch.

    An epoch has as many whole batches as fit; the rows left over differ from epoch to epoch.

    Attributes:
        arrays: A pytree of arrays with one leading axis of rows, on the device.
        rows: Indices of the rows to draw from, in random order.
        batch_size: Rows in a batch.
    """

    arrays: Any
    rows: Any
    batch_size: int

    def start(self) -> Any:
        """The order that the first call of `draw` is given."""
        return self.rows

    def draw(self, order: Any, key: jax.Array, step: Array) -> tuple[Any, Any]:
        """Take the batch of a step, and shuffle where an epoch begins.

        Args:
            order: The order of the current epoch, row indices.
            key: The key of the whole training.
            step: Number of the step, from 0.

        Returns:
            The batch, and the order for the next step.
        """
        batches = self.rows.size // self.batch_size
        epoch, position = step // batches, step % batches
        order = jax.lax.cond(
            position == 0,
            lambda: jax.random.permutation(jax.random.fold_in(key, epoch), self.rows),
            lambda: order,
        )
        chosen = jax.lax.dynamic_slice_in_dim(order, position * self.batch_size, self.batch_size)
        return take(self.arrays, chosen), order

    def sample(self, key: jax.Array, rows: int) -> Any:
        """A batch of at most so many training rows.

        Args:
            key: Not used: the rows are in random order.
            rows: Number of rows wanted.

        Returns:
            The batch.
        """
        return take(self.arrays, self.rows[:rows])


@partial(jax.tree_util.register_dataclass, data_fields=[], meta_fields=["simulate", "batch_size"])
@dataclass(frozen=True)
class SimulatorSource:
    """Batches that are simulated inside the training step, each fresh.

    Attributes:
        simulate: The simulator, ``simulate(key, n) -> batch`` of n rows, traceable by JAX.
        batch_size: Rows in a batch.
    """

    simulate: Callable[[jax.Array, int], Any]
    batch_size: int

    def start(self) -> Any:
        """The order of rows, of which there is none."""
        return None

    def draw(self, order: Any, key: jax.Array, step: Array) -> tuple[Any, Any]:
        """Simulate the batch of a step.

        Args:
            order: None.
            key: The key of the whole training.
            step: Number of the step, from 0.

        Returns:
            The batch, and None.
        """
        return self.simulate(jax.random.fold_in(key, step), self.batch_size), None

    def sample(self, key: jax.Array, rows: int) -> Any:
        """Simulate a batch.

        Args:
            key: A JAX key.
            rows: Number of rows.

        Returns:
            The batch.
        """
        return jax.jit(self.simulate, static_argnums=1)(key, rows)


@partial(jax.tree_util.register_dataclass, data_fields=["batch"], meta_fields=[])
@dataclass(frozen=True)
class BatchSource:
    """One batch for one step.

    Attributes:
        batch: A pytree of arrays with one leading axis of rows.
    """

    batch: Any

    def start(self) -> Any:
        """The order of rows, of which there is none."""
        return None

    def draw(self, order: Any, key: jax.Array, step: Array) -> tuple[Any, Any]:
        """Hand out the batch.

        Args:
            order: None.
            key: Not used.
            step: Not used.

        Returns:
            The batch, and None.
        """
        return self.batch, None

    def sample(self, key: jax.Array, rows: int) -> Any:
        """At most so many rows of the batch.

        Args:
            key: Not used.
            rows: Number of rows.

        Returns:
            The batch or its first rows.
        """
        return jax.tree.map(lambda array: array[:rows], self.batch)


CompiledSource = ArraySource | SimulatorSource | BatchSource
"""What a compiled step draws its batch from."""


@jax.jit
def take(arrays: Any, rows: Array) -> Any:
    """Gather rows of all arrays of a pytree.

    Args:
        arrays: A pytree of arrays with a leading axis of rows.
        rows: Valid row indices.

    Returns:
        The pytree of the chosen rows.
    """
    return jax.tree.map(lambda array: array.at[rows].get(mode="promise_in_bounds"), arrays)

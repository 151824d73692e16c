"""Where batches come from: arrays on the device, a simulator inside the step, or an iterator."""

import itertools
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from numbers import Integral
from typing import Any

import jax
import jax.numpy as jnp

from jinn.flows.devices import divisible
from jinn.training.checks import check_finite, check_rows, check_simulator, validation_rows
from jinn.training.placement import ONE_DEVICE, Placement
from jinn.training.sources import (
    ArraySource,
    BatchSource,
    CompiledSource,
    SimulatorSource,
    take,
)

MOST_SIMULATED_VALIDATION_ROWS = 10_000


class IteratorSource:
    """Batches of an iterator on the host, one for each step.

    Its calls are dispatched one by one without waiting, so that the next batch is prepared while
    the device computes.

    Args:
        batches: Iterator over batches of one form; their number of rows may differ.
        placement: Where they are to lie.

    Raises:
        ValueError: If there is no batch, or the first is none.
    """

    def __init__(self, batches: Iterator[Any], placement: Placement) -> None:
        """See the class."""
        nothing = object()
        first = next(batches, nothing)
        if first is nothing:
            raise ValueError("fit: the iterator of batches is empty; make a new one")
        self.first = BatchSource(_as_arrays(first, "iterator's first batch"))
        self._iterator: Any = batches
        self._batches: Iterator[Any] = itertools.chain([first], batches)
        self._placement = placement

    def position(self) -> Any:
        """The state of an iterator that has one, such as grain's; else None."""
        return self._iterator.get_state() if hasattr(self._iterator, "get_state") else None

    def go_on(self, step: int, position: Any) -> None:
        """Leave out the batches of steps that were done before.

        Args:
            step: Their number, which an iterator without a state is advanced by.
            position: What `position` gave after them.
        """
        if position is not None and hasattr(self._iterator, "set_state"):
            self._iterator.set_state(position)
            self._batches = self._iterator
        else:
            self._batches = itertools.islice(self._batches, step, None)

    def parts(self, step: int, stop: int) -> Iterator[tuple[BatchSource, int]]:
        """Take the batches from one step to another, or to the iterator's end.

        Args:
            step: The steps done.
            stop: The steps to be done.

        Yields:
            The source of a batch, and the step to which it serves.

        Raises:
            ValueError: If a batch is not like the first.
        """
        steps = range(step + 1, stop + 1)
        for end, batch in zip(steps, self._batches, strict=False):
            what = f"iterator's batch {end}"
            check_rows(batch, what)
            arrays = self._placement.put_rows(batch)
            _check_form(arrays, what, like=self.first.batch)
            yield BatchSource(arrays), end


Source = ArraySource | SimulatorSource | IteratorSource


def first_source(source: Source) -> CompiledSource:
    """The source of the first step's batch.

    Args:
        source: Where batches come from.

    Returns:
        A source that is a pytree.
    """
    return source.first if isinstance(source, IteratorSource) else source


def parts(source: Source, step: int, stop: int) -> Iterator[tuple[CompiledSource, int]]:
    """What compiled calls are to run on, to get from one step to another.

    Args:
        source: Where batches come from.
        step: The steps done.
        stop: The steps to be done.

    Returns:
        Sources that are pytrees, each with the step to which it serves. An iterator of batches
        may end before the last.
    """
    if isinstance(source, IteratorSource):
        return source.parts(step, stop)
    return iter([(source, stop)])


def make_source(
    key: jax.Array,
    data: Any,
    *,
    batch_size: int,
    steps: int,
    validation: Any,
    placement: Placement = ONE_DEVICE,
) -> tuple[Source, Any]:
    """Check the data of `fit` and split it into a training source and a validation batch.

    Args:
        key: A JAX key, which chooses or simulates the validation rows.
        data: A pytree of arrays, a simulator, or an iterator of batches.
        batch_size: Rows in a batch.
        steps: Number of training steps.
        validation: A fraction, a number of rows, a batch, or None.
        placement: Where batches are to lie.

    Returns:
        The source, and the validation batch or None.

    Raises:
        ValueError: If data or validation cannot be used; the text says why.
    """
    if callable(data):
        check_simulator(data)
        source = SimulatorSource(hashable(data), batch_size)
        simulated, uses_key = _trace_simulator(data, batch_size, key)
        check_rows(simulated, "simulated data", expected=batch_size)
        if not uses_key:
            warnings.warn(
                f"fit: simulate(key, n) does not use its key, so all batches are the same; {_HINT}",
                stacklevel=3,
            )
        held_out = validation_rows(validation, steps * batch_size)
        if held_out is None:
            return source, _as_arrays(validation, "validation data", like=simulated)
        if held_out == 0:
            return source, None
        if not isinstance(validation, Integral):
            held_out = min(held_out, MOST_SIMULATED_VALIDATION_ROWS)
        batch = source.sample(key, held_out)
        check_finite(batch, "simulated validation data")
        return source, batch

    if isinstance(data, Iterator):
        source = IteratorSource(data, placement)
        if isinstance(validation, Integral) and int(validation) > 0:
            raise ValueError(
                f"fit: validation={validation} rows cannot be held out of an iterator; pass a "
                "batch to validate on, or None"
            )
        if validation_rows(validation, 1) is None:
            like = source.first.batch
            return source, _as_arrays(validation, "validation data", like=like)
        return source, None

    arrays = _as_arrays(data, "data")
    total = jax.tree.leaves(arrays)[0].shape[0]
    held_out = validation_rows(validation, total)
    left = total - (held_out or 0)
    if batch_size > left:
        split = f" ({total} rows, {held_out} held out for validation)" if held_out else ""
        hint = f"pass a batch_size of at most {left}" if left > 0 else "hold fewer rows out"
        raise ValueError(
            f"fit: batch_size={batch_size} is larger than the {max(left, 0)} rows of training "
            f"data{split}; "
            f"{hint}"
        )
    order = jax.random.permutation(key, jnp.arange(total, dtype=jnp.int32))
    if held_out is None:
        batch = _as_arrays(validation, "validation data", like=arrays)
        return ArraySource(arrays, order, batch_size), batch
    batch = take(arrays, order[:held_out]) if held_out else None
    return ArraySource(arrays, order[held_out:], batch_size), batch


_HINT = (
    "a simulator runs inside the compiled step: write it with jax.numpy, and jax.random with its "
    "key, or simulate beforehand and pass the arrays as data"
)


def hashable(simulate: Callable) -> Callable:
    """The simulator, in a form that JAX can remember its compiled program by.

    Args:
        simulate: The simulator. One that has no hash, such as a dataclass, is compiled each time.

    Returns:
        The simulator itself, or a new function that calls it.
    """
    try:
        hash(simulate)
    except TypeError:
        return partial(simulate)
    return simulate


@contextmanager
def explaining_tracers(name: str) -> Iterator[None]:
    """Tell the user of a simulator that JAX cannot trace what to do.

    Args:
        name: The function whose argument the simulator is.

    Yields:
        Nothing.

    Raises:
        ValueError: If the block raises an error of tracing.
    """
    try:
        yield
    except jax.errors.JAXTypeError as error:
        raise ValueError(f"{name}: JAX cannot trace simulate(key, n): {_HINT}") from error


def _trace_simulator(simulate: Callable, rows: int, key: jax.Array) -> tuple[Any, bool]:
    """Shapes of what a simulator returns, and whether it makes use of its key."""
    with explaining_tracers("fit"):
        trace, simulated = jax.make_jaxpr(lambda key: simulate(key, rows), return_shape=True)(key)
    (key_variable,) = trace.jaxpr.invars
    used = any(key_variable is used for line in trace.jaxpr.eqns for used in line.invars)
    return simulated, used


def _as_arrays(data: Any, what: str, *, like: Any = None) -> Any:
    """Move data to the device and check its rows, its values and its structure."""
    check_rows(data, what)
    arrays = divisible(jax.tree.map(jnp.asarray, data))
    check_finite(arrays, what)
    if like is not None:
        _check_form(arrays, what, like=like)
    return arrays


def _check_form(arrays: Any, what: str, *, like: Any) -> None:
    expected, got = (
        jax.tree.map(lambda leaf: tuple(leaf.shape[1:]), tree) for tree in (like, arrays)
    )
    if expected != got:
        raise ValueError(
            f"fit: the rows of {what} have the shapes {got}, those of the training data "
            f"{expected}; pass a batch of the same form"
        )

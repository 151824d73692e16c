"""A training under way: what changes from step to step, and the steps."""

import math
import time
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jinn.training.checkpoint import Checkpoints, Snapshot
from jinn.training.data import IteratorSource, first_source, parts
from jinn.training.history import History, means
from jinn.training.interrupt import interrupt_deferred
from jinn.training.step import State
from jinn.training.weights import Weights, copy

SECONDS_PER_CALL = 0.5


class Programs(NamedTuple):
    """The compiled parts of a training.

    Attributes:
        run: Makes steps, see `make_run`.
        evaluate: Measures the validation loss, see `make_evaluate`.
    """

    run: Callable[..., State]
    evaluate: Callable[..., jax.Array]


class Schedule(NamedTuple):
    """When a training validates, saves and ends.

    Attributes:
        steps: Steps in all.
        interval: Steps from one validation and entry in the history to the next.
        save_every: Steps from one checkpoint to the next.
        patience: Validations in a row without a new best after which it ends, or None.
        max_bad_steps: Skipped steps in a row after which it ends.
    """

    steps: int
    interval: int
    save_every: int
    patience: int | None
    max_bad_steps: int


class Training:
    """A training that advances by one call of the compiled loop at a time.

    Args:
        state: The state before the first step.
        source: The data.
        held_out: What the validation loss is measured on, or None.
        keys: For training and for validation.
        programs: The compiled parts.
        schedule: When it validates, saves and ends.
        checkpoints: Where it is saved, or None.

    Attributes:
        state: The compiled loop's state.
        history: Its entries so far.
        best: The best weights by validation so far, or None.
        step: Number of steps done, as far as the host knows.
        steps: Steps in all, fewer than scheduled where an iterator has ended.
        mean_loss: Mean loss of the current or last interval.
        validation_loss: The last one measured, or NaN.
        last_part: The source of the last steps.
    """

    def __init__(
        self,
        state: State,
        source: Any,
        held_out: Any,
        keys: tuple[jax.Array, jax.Array],
        programs: Programs,
        schedule: Schedule,
        checkpoints: Checkpoints | None,
    ) -> None:
        """See the class."""
        self.state, self.source, self.held_out = state, source, held_out
        self.train_key, self.validation_key = keys
        self.programs, self.schedule, self.checkpoints = programs, schedule, checkpoints
        self.history = History([name for name in state.totals if name not in ("count", "loss")])
        self.best: Weights | None = None
        self.step, self.steps = 0, schedule.steps
        self.mean_loss = self.validation_loss = math.nan
        self.last_part = first_source(source)
        self._best_loss, self._unimproved = math.inf, 0
        self._length, self._saved, self._position = 1, 0, None

    @property
    def diverged(self) -> bool:
        """Whether so many steps in a row were skipped that it has no use to go on."""
        return int(self.state.bad_steps) == self.schedule.max_bad_steps

    @property
    def ended(self) -> bool:
        """Whether there is no step left to do."""
        out_of_patience = self._unimproved == self.schedule.patience
        return self.history.last_step >= self.steps or out_of_patience or self.diverged

    def restore(self) -> None:
        """Go on from the newest checkpoint, if there is one.

        Raises:
            ValueError: If it is of another training.
        """
        if self.checkpoints is None:
            return
        found = self.checkpoints.restore(self.state, State.averaged, self._check_numbers)
        if found is None:
            return
        self.step, (self.state, self.best, numbers, self._position) = found
        self._best_loss, self.validation_loss, self._unimproved = numbers["validation"]
        self.history.restore(numbers["history"])
        self._saved = self.step
        if isinstance(self.source, IteratorSource):
            self.source.go_on(self.step, self._position)

    def advance(self) -> None:
        """Make steps for about `SECONDS_PER_CALL`, up to the next validation or checkpoint.

        Then validate and save, where it is time to.
        """
        interval = self.schedule.interval
        target = min((self.history.last_step // interval + 1) * interval, self.steps)
        wanted = min(self.step + self._length, target, self._saved + self.schedule.save_every)
        self._run(wanted)
        if self.diverged:
            return
        if self.step < wanted:
            warnings.warn(
                f"fit: the iterator ended after {self.step} of {self.steps} batches, and so does "
                "the training; pass a longer one, or steps to fit",
                stacklevel=3,
            )
            self.steps = target = self.step
        if self.step == target and self.history.last_step < self.step:
            self._validate()
        else:
            self.mean_loss = means(self.state.totals)["loss"]
        if self.step >= self._saved + self.schedule.save_every or self.ended:
            self.save()
            self._saved = self.step

    def save(self, *, wait: bool = False) -> None:
        """Write a checkpoint, where there is a folder for it and a step was made.

        Args:
            wait: Until it is written.
        """
        if self.checkpoints is None or self.step == 0:
            return
        numbers = {
            "validation": (self._best_loss, self.validation_loss, self._unimproved),
            "history": self.history.columns,
        }
        # A copy, since the next call is given the arrays of the state to write over.
        snapshot = Snapshot(copy(self.state), self.best, numbers, self._position)
        self.checkpoints.save(self.step, snapshot)
        if wait:
            self.checkpoints.wait()

    def save_broken_off(self) -> None:
        """Write a checkpoint after an interrupt or an error at any place, of one process.

        Others know nothing of it.
        """
        if jax.process_count() == 1:
            self.step = int(self.state.step)
            self.save()

    def finish(self) -> Weights:
        """Close the history.

        Returns:
            The best weights by validation, without it the last sound ones.
        """
        step = int(self.state.step)
        if self.history.last_step < step:
            self.history.add(step, self.state.totals, math.nan)
        if self.best is not None:
            return self.best
        return self.state.averaged() if int(self.state.bad_steps) == 0 else self.state.good

    def last_batch(self) -> Any:
        """The batch of the last step."""
        key = jax.random.split(self.train_key)[0]
        return self.last_part.draw(self.state.order, key, self.state.step - 1)[0]

    def _run(self, wanted: int) -> None:
        began = time.perf_counter()
        for part, stop in parts(self.source, self.step, wanted):
            with interrupt_deferred():
                self.last_part = part
                self.state = self.programs.run(self.state, part, self.train_key, stop)
                if self.checkpoints is not None and isinstance(self.source, IteratorSource):
                    self._position = self.source.position()
        self.step = int(self.state.step)
        seconds = time.perf_counter() - began
        longer = min(4 * self._length, int(self._length * SECONDS_PER_CALL / seconds))
        # All of several processes must call the same.
        self._length = max(1, longer) if jax.process_count() == 1 else self.schedule.interval

    def _check_numbers(self, numbers: dict[str, Any]) -> None:
        columns = numbers["history"]
        lengths = {len(columns[name]) for name in self.history.columns}
        if len(numbers["validation"]) != 3 or len(lengths) != 1:
            raise ValueError("its numbers are damaged")

    def _validate(self) -> None:
        state, measured = self.state, math.nan
        if self.held_out is not None:
            found = self.programs.evaluate(state.averaged(), self.held_out, self.validation_key)
            measured = float(found)
        with interrupt_deferred():
            self.validation_loss = measured
            self._unimproved += self.held_out is not None
            if measured < self._best_loss:
                self.best, self._best_loss, self._unimproved = copy(state.averaged()), measured, 0
            self.history.add(self.step, state.totals, measured)
            self.mean_loss = means(state.totals)["loss"]
            self.state = state._replace(totals=jax.tree.map(jnp.zeros_like, state.totals))

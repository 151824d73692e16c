"""The progress bar of `fit`."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

Show = Callable[[int, float, float], None]


class _Speed(ProgressColumn):
    """Steps a second."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text("compiling" if speed is None else f"{speed:.3g} steps/s")


_shared: ContextVar[Progress | None] = ContextVar("shared", default=None)


@contextmanager
def shared_progress() -> Iterator[None]:
    """Show the bars of several trainings at a time, below each other.

    Yields:
        Nothing.
    """
    bars = _display()
    token = _shared.set(bars)
    try:
        yield
    finally:
        _shared.reset(token)
        if bars.live.is_started:
            bars.stop()


@contextmanager
def progress_bar(steps: int, *, visible: bool) -> Iterator[Show]:
    """Show a bar with the losses, steps a second and the time left.

    Args:
        steps: Number of steps of the whole training.
        visible: If False, nothing is drawn.

    Yields:
        A function of the steps done, the training loss and the validation loss (NaN if none).
    """
    if not visible:
        yield lambda step, loss, validation_loss: None
        return
    shared = _shared.get()
    with _display() if shared is None else nullcontext(shared) as bar:
        bar.start()
        task = bar.add_task("fit", total=steps, losses="")

        def show(step: int, loss: float, validation_loss: float) -> None:
            losses = f"loss {loss:.4g}"
            if validation_loss == validation_loss:
                losses += f"  validation {validation_loss:.4g}"
            bar.update(task, completed=step, losses=losses)

        yield show


def _display() -> Progress:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[losses]}"),
        _Speed(),
        TimeRemainingColumn(),
    )
    return Progress(*columns, refresh_per_second=4)

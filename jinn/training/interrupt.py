"""Ctrl-C without the loss of what was computed."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def interrupt_deferred() -> Iterator[None]:
    """Hold Ctrl-C back until the block is done.

    A call that donates its buffers must not be torn from the assignment of its result: the old
    arrays would be gone and the new ones lost.

    Yields:
        Nothing.
    """
    in_main_thread = threading.current_thread() is threading.main_thread()
    if not in_main_thread or signal.getsignal(signal.SIGINT) is None:
        yield
        return
    pending = False

    def remember(number: int, frame: Any) -> None:
        nonlocal pending
        pending = True

    previous = signal.signal(signal.SIGINT, remember)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)
        if pending:
            signal.raise_signal(signal.SIGINT)

"""Several trainings at a time, one a processor core."""

import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextvars import ContextVar, copy_context
from typing import TypeVar

import jax

from jinn.training.progress import shared_progress

Result = TypeVar("Result")

SECONDS_BETWEEN_LOOKS = 0.2
OF_A_THREAD = (
    "jax_debug_infs",
    "jax_debug_nans",
    "jax_default_device",
    "jax_default_matmul_precision",
    "jax_default_prng_impl",
    "jax_disable_jit",
    "jax_enable_x64",
    "jax_numpy_dtype_promotion",
    "jax_numpy_rank_promotion",
    "jax_threefry_partitionable",
)
"""Settings of JAX that a `with` block may change for one thread alone."""

_stop: ContextVar[threading.Event | None] = ContextVar("stop", default=None)


def raise_if_stopped() -> None:
    """Passes a Ctrl-C on to the thread that a training runs in.

    Raises:
        KeyboardInterrupt: If there was one.
    """
    _raise_if_set(_stop.get())


def train_together(
    trainings: Sequence[Callable[[], Result]], is_interrupted: Callable[[Result], bool]
) -> tuple[list[Result], bool]:
    """Calls functions that train, on a CPU as many at a time as it has cores.

    A training of a small flow keeps one core busy, whatever the number of cores. Ctrl-C ends those
    that run, each of which returns what it has, and no other is begun. One that it ends before it
    has anything, by a KeyboardInterrupt, has no result.

    Args:
        trainings: The functions. What they do must not depend on each other.
        is_interrupted: Whether a result is of a training that was interrupted.

    Returns:
        The results of those that have one, in order, and whether there was a Ctrl-C.
    """
    threads = min(len(trainings), _free_cores())
    if threads == 1:
        results: list[Result] = []
        try:
            for train in trainings:
                raise_if_stopped()
                results.append(train())
                if is_interrupted(results[-1]):
                    return results, True
        except KeyboardInterrupt:
            return results, True
        return results, False
    stop, stop_from_outside = threading.Event(), _stop.get()
    futures: list[Future[Result]] = []
    with shared_progress(), ThreadPoolExecutor(threads) as pool:
        token = _stop.set(stop)
        try:
            futures.extend(pool.submit(copy_context().run, train) for train in trainings)
            remaining = set(futures)
            while remaining:
                _raise_if_set(stop_from_outside)
                done, remaining = wait(remaining, timeout=SECONDS_BETWEEN_LOOKS)
                for future in done:
                    future.result()
        except BaseException as error:
            stop.set()
            for future in futures:
                future.cancel()
            if not isinstance(error, KeyboardInterrupt):
                raise
        finally:
            _stop.reset(token)
    ended = [future for future in futures if not future.cancelled()]
    begun = [f.result() for f in ended if not isinstance(f.exception(), KeyboardInterrupt)]
    return begun, stop.is_set()


def _raise_if_set(stop: threading.Event | None) -> None:
    if stop is not None and stop.is_set():
        raise KeyboardInterrupt


def _free_cores() -> int:
    """Number of trainings that run side by side: 1 on accelerators, which are busy with one.

    It is 1 as well where JAX has other settings in this thread than in new ones.
    """
    if jax.default_backend() != "cpu":
        return 1
    with ThreadPoolExecutor(1) as pool:
        if pool.submit(_settings).result() != _settings():
            return 1
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _settings() -> list[object]:
    return [getattr(jax.config, name) for name in OF_A_THREAD]

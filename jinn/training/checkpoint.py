"""Checkpoints of a training in a folder, from which it goes on as if it had never ended."""

import base64
import itertools
import json
import logging
import os
import signal
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from jinn.training.processes import any_process, of_all_processes

FORMAT = 3
_one_writer = threading.Lock()
"""Orbax numbers what it writes for the whole process, and mixes up what threads write together."""


class Snapshot(NamedTuple):
    """What `fit` carries from one step to the next.

    Attributes:
        state: The compiled loop's state, a pytree of arrays.
        best: The best weights by validation, or None.
        numbers: JSON: best and last validation loss, validations without a new best, the history.
        position: The iterator's own state in this process, or None for data that need none.
    """

    state: Any
    best: Any
    numbers: dict[str, Any]
    position: Any = None


class Checkpoints:
    """Writes and reads the checkpoints of one training.

    A checkpoint is written in the background and appears in the folder when it is whole. It holds
    arrays and JSON; reading one runs no code from it.

    Args:
        directory: The folder, made if it is not there, or the URL of one, such as gs://bucket/run.
        arguments: JSON of what the training depends on. A checkpoint of other ones is refused.
        keep: Number of newest checkpoints that are kept.
    """

    def __init__(self, directory: Any, arguments: dict[str, Any], *, keep: int) -> None:
        """See the class."""
        import orbax.checkpoint as ocp  # takes a second
        from etils import epath

        logging.getLogger("absl").addFilter(_not_of_orbax)  # failures are warnings of ours
        self._orbax = ocp
        if not isinstance(directory, str | os.PathLike) or not os.fspath(directory):
            raise ValueError(f"fit: expected checkpoint_dir to be a folder, got {directory!r}")
        path = epath.Path(directory).expanduser()
        self.directory = path if "://" in str(path) else path.absolute()
        self.arguments = _frozen(arguments)
        options = ocp.CheckpointManagerOptions(max_to_keep=keep, create=True)
        if self.directory.exists() and not self.directory.is_dir():
            raise ValueError(
                f"fit: expected checkpoint_dir to be a folder, got the file {directory}"
            )
        self._manager = ocp.CheckpointManager(self.directory, options=options)

    def save(self, step: int, snapshot: Snapshot) -> None:
        """Begin to write a checkpoint; a failure is a warning, and older ones stay.

        Args:
            step: Number of steps done.
            snapshot: What the training carries, copied before this returns.
        """
        self.wait()  # or the failure of the one before would be taken for that of this one
        try:
            if step in self._manager.all_steps():
                return
            args = self._contents(snapshot)
            if threading.current_thread() is threading.main_thread():
                self._manager.save(step, args=args)
                return
            with _one_writer:  # trainings side by side
                self._manager.save(step, args=args)
                self._manager.wait_until_finished()
        except Exception as error:
            self._warn(step, error)

    def _contents(self, snapshot: Snapshot) -> Any:
        """What a checkpoint holds, in orbax's form."""
        ocp = self._orbax
        about = {
            "format": FORMAT,
            "arguments": self.arguments,
            "numbers": snapshot.numbers,
            "positions": of_all_processes(_encoded(snapshot.position)),
            "has_best": snapshot.best is not None,
        }
        arrays = _plain({"state": snapshot.state, "best": snapshot.best})
        return ocp.args.Composite(
            arrays=ocp.args.StandardSave(arrays), about=ocp.args.JsonSave(_frozen(about))
        )

    def wait(self) -> None:
        """Wait until what was begun is written; a failure is a warning."""
        try:
            self._manager.wait_until_finished()
        except Exception as error:
            self._warn(None, error)

    def holds(self, step: int) -> bool:
        """Whether there is a whole checkpoint of a step.

        Args:
            step: Number of steps done.

        Returns:
            Whether it is in the folder.
        """
        return step in self._manager.all_steps(read=True)

    def close(self) -> None:
        """Wait, and let the folder go."""
        self.wait()
        self._manager.close()

    def restore(
        self, state: Any, best: Callable[[Any], Any], check: Callable[[dict[str, Any]], None]
    ) -> tuple[int, Snapshot] | None:
        """Read the newest checkpoint that is whole.

        Args:
            state: The state before the first step, whose structure and devices the result has.
            best: From a state to weights of the structure of the best ones.
            check: Raises an error if a snapshot's numbers are damaged.

        Returns:
            The number of steps done and the snapshot, or None if there is no checkpoint.

        Raises:
            ValueError: If the newest whole one is of another training.
        """
        found = sorted(self._manager.all_steps(), reverse=True)
        for step in found:
            restored: tuple[int, Snapshot] | None = None
            problem = "another process cannot read it"
            try:
                restored = self._restore(step, state, best, check)
            except _OtherTraining:
                raise
            except Exception as error:
                problem = f"{type(error).__name__}: {error}"
            if not any_process(restored is None):
                return restored
            warnings.warn(
                f"fit: the checkpoint of step {step} in {self.directory} cannot be read, and the "
                f"one before it is tried; its folder is renamed to unreadable-{step}: {problem}",
                stacklevel=4,
            )
            self._set_aside(step)
        if found:
            warnings.warn(
                f"fit: no checkpoint in {self.directory} can be read; the training begins anew",
                stacklevel=4,
            )
        return None

    def _restore(
        self,
        step: int,
        state: Any,
        best: Callable[[Any], Any],
        check: Callable[[dict[str, Any]], None],
    ) -> tuple[int, Snapshot]:
        about = self._read(step, "about", None)
        if about["format"] != FORMAT:
            age = "newer" if about["format"] > FORMAT else "older"
            raise ValueError(f"its format is {about['format']}, {age} than this jinn's {FORMAT}")
        self._check(about["arguments"])
        check(about["numbers"])
        wanted = {"state": state, "best": best(state) if about["has_best"] else None}
        kept = _shaped(wanted, self._read(step, "arrays", _plain(wanted)))
        positions = about["positions"]
        same = len(positions) == jax.process_count()
        position = _decoded(positions[jax.process_index()]) if same else None
        return step, Snapshot(kept["state"], kept["best"], about["numbers"], position)

    def _read(self, step: int, item: str, like: Any) -> Any:
        ocp = self._orbax
        if item == "about":
            args = ocp.args.Composite(about=ocp.args.JsonRestore())
        else:
            abstract = jax.tree.map(
                lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=leaf.sharding),
                like,
            )
            args = ocp.args.Composite(arrays=ocp.args.StandardRestore(abstract))
        return self._manager.restore(step, args=args)[item]

    def _set_aside(self, step: int) -> None:
        """Make room, as orbax writes no step that is not beyond its newest."""
        try:
            if jax.process_index() == 0:
                (self.directory / str(step)).rename(self._free_name(f"unreadable-{step}"))
        except OSError as error:
            self._warn(step, error)
        any_process(True)  # each waits until it is renamed
        self._manager.reload()

    def _free_name(self, name: str) -> Any:
        found = self.directory / name
        for i in itertools.count(2):
            if not found.exists():
                break
            found = self.directory / f"{name}-{i}"
        return found

    def _check(self, arguments: dict[str, Any]) -> None:
        differing = list(_differing("", arguments, self.arguments))
        if differing:
            raise _OtherTraining(
                f"fit: the checkpoints in {self.directory} are of another training; pass its "
                f"arguments or another checkpoint_dir. It differs in {'; '.join(differing)}"
            )

    def _warn(self, step: int | None, error: Exception) -> None:
        what = "a checkpoint" if step is None else f"the checkpoint of step {step}"
        warnings.warn(
            f"fit: {what} could not be written to {self.directory}, older ones are kept: "
            f"{type(error).__name__}: {error}",
            stacklevel=3,
        )


def _differing(path: str, there: Any, now: Any) -> Iterator[str]:
    if isinstance(there, dict) and isinstance(now, dict):
        for name in there | now:
            yield from _differing(f"{path} {name}", there.get(name), now.get(name))
    elif there != now:
        yield f"{path.strip()}: {there} there, {now} now"


def _not_of_orbax(record: logging.LogRecord) -> bool:
    return "orbax" not in Path(record.pathname).parts


class _OtherTraining(ValueError):
    pass


@contextmanager
def termination_noticed(wanted: bool) -> Iterator[Callable[[], bool]]:
    """Let a SIGTERM, as before a pre-emption, be asked for in place of ending the process.

    Args:
        wanted: Whether to do so; it is done in the main thread only.

    Yields:
        A function that tells whether there was one.
    """
    arrived = threading.Event()
    if not wanted or threading.current_thread() is not threading.main_thread():
        yield arrived.is_set
        return
    previous = signal.signal(signal.SIGTERM, lambda number, frame: arrived.set())
    try:
        yield arrived.is_set
    finally:
        signal.signal(signal.SIGTERM, previous)


def shapes_of(tree: Any) -> dict[str, str]:
    """Types and shapes of a pytree's arrays by path, for the arguments of `Checkpoints`.

    Args:
        tree: A pytree.

    Returns:
        Such as ``{".bijector.log_scale": "float32[3]"}``.
    """
    return {
        jax.tree_util.keystr(path): f"{leaf.dtype}{list(leaf.shape)}"
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
        if hasattr(leaf, "dtype")
    }


def _plain(tree: Any) -> dict[str, Any]:
    """The leaves by number, JAX keys as integers, so that files do not depend on our classes."""
    return {
        f"{i:05d}": jax.random.key_data(leaf) if _is_key(leaf) else leaf
        for i, leaf in enumerate(jax.tree.leaves(tree))
    }


def _shaped(like: Any, kept: dict[str, Any]) -> Any:
    """A pytree of the structure of another, from what `_plain` made of one."""
    leaves, treedef = jax.tree.flatten(like)
    values = [kept[f"{i:05d}"] for i in range(len(leaves))]
    values = [
        jax.random.wrap_key_data(value, impl=jax.random.key_impl(leaf)) if _is_key(leaf) else value
        for value, leaf in zip(values, leaves, strict=True)
    ]
    return jax.tree.unflatten(treedef, values)


def _frozen(tree: Any) -> Any:
    """A copy as JSON reads it: what is written in the background must not change until then."""
    return json.loads(json.dumps(tree))


def _is_key(leaf: Any) -> bool:
    return bool(jax.numpy.issubdtype(leaf.dtype, jax.dtypes.prng_key))


def check_position(position: Any) -> None:
    """Check that an iterator's state can be written.

    Args:
        position: What its `get_state` gave.

    Raises:
        ValueError: If it cannot.
    """
    try:
        written = _decoded(json.loads(json.dumps(_encoded(position))))
        same = jax.tree.structure(written) == jax.tree.structure(position)
    except (TypeError, ValueError, RecursionError):
        same = False
    if not same:
        raise ValueError(
            "fit: expected get_state() of the iterator to give numbers, strings, bytes, arrays, or "
            f"lists, tuples and dicts of these by name, got {position!r}; give such a state, or "
            "an iterator without get_state, which is begun anew"
        )


def _encoded(position: Any) -> Any:
    """An iterator's state as JSON."""
    if isinstance(position, np.generic):
        return position.item()
    if isinstance(position, bytes):
        return {"bytes": base64.b64encode(position).decode()}
    if isinstance(position, np.ndarray | jax.Array):
        return {"array": np.asarray(position).tolist(), "dtype": position.dtype.name}
    if isinstance(position, tuple):
        return {"tuple": [_encoded(entry) for entry in position]}
    if isinstance(position, list):
        return [_encoded(entry) for entry in position]
    if isinstance(position, dict):
        return {"dict": {key: _encoded(entry) for key, entry in position.items()}}
    return position


def _decoded(position: Any) -> Any:
    if isinstance(position, list):
        return [_decoded(entry) for entry in position]
    if not isinstance(position, dict):
        return position
    if "bytes" in position:
        return base64.b64decode(position["bytes"])
    if "array" in position:
        return np.asarray(position["array"], position["dtype"])
    if "tuple" in position:
        return tuple(_decoded(entry) for entry in position["tuple"])
    return {key: _decoded(entry) for key, entry in position["dict"].items()}


def listed(numbers: Any) -> list[int]:
    """Numbers of a JAX key or array, for JSON.

    Args:
        numbers: A JAX key or an array of whole numbers.

    Returns:
        A list.
    """
    data = jax.random.key_data(numbers) if _is_key(numbers) else numbers
    return np.ravel(data).tolist()

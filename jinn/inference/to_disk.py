"""Posterior samples for many observations, written to disk while they are drawn."""

import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from rich.progress import Progress

from jinn.bijectors.shapes import batch_shape, broadcast_event, check_sample_shape
from jinn.flows.archive import named_arrays
from jinn.flows.compiled import compiled
from jinn.flows.devices import block_size, check_mesh, draw_blocks, moved_to
from jinn.flows.failures import warn_of_failures
from jinn.inference.posterior import Posterior
from jinn.networks.randomness import as_key

DEFAULT_BYTES = 2**28
_ATTRIBUTES = ".zattrs"
_OWN = "jinn"


class _Part(NamedTuple):
    """Blocks of samples of each of some observations."""

    row: int
    rows: int
    block: int
    blocks: int

    def numbers(self, blocks: int) -> np.ndarray:
        """The numbers of its blocks, if each observation has so many."""
        first = self.row * blocks + self.block
        return np.arange(first, first + self.rows * self.blocks)


def sample_to_disk(
    path: str | os.PathLike,
    posterior: Posterior,
    key: jax.Array,
    n: int,
    y: Any,
    *,
    max_bytes: int = DEFAULT_BYTES,
    mesh: Mesh | None = None,
    progress: bool = True,
) -> Any:
    """Write samples of `p(x | y)` for many observations to a zarr array, a part at a time.

    The samples are those of ``posterior.sample(key, n, y, mesh=mesh)``, whatever mesh and budget,
    and need not fit into memory. The same call goes on after an interrupted one, and returns at
    once where all is there.

    Args:
        path: The array's folder, such as ``samples.zarr``, made if it is not there.
        posterior: The posterior.
        key: A JAX key.
        n: Number of samples for each observation.
        y: Observations `(rows, *condition_shape)`.
        max_bytes: Bytes of samples that are held at one time, if a block of at most 1024 fits; what
            the flow needs to draw them comes on top.
        mesh: Devices that draw an equal part of the samples each; None is one.
        progress: Show a progress bar.

    Returns:
        The array `(n, rows, *event_shape)` as a TensorStore, which reads slices from disk:
        ``samples[:, 5].read().result()``. The zarr package opens the folder, too.

    Raises:
        ValueError: If shapes or numbers are wrong, or the folder holds something else.
    """
    name = "sample_to_disk"
    if not isinstance(posterior, Posterior):
        raise ValueError(
            f"{name}: expected a jinn.Posterior, got {type(posterior).__name__}; for a flow pass "
            "jinn.Posterior(flow, y_mean, y_scale), zeros and ones if y are as it takes them"
        )
    key, (n,) = as_key(key, f"{name}: key"), check_sample_shape((n,), name)
    y, batch = _observations(posterior, y)
    if len(batch) != 1 or 0 in (n, *batch):
        raise ValueError(
            f"{name}: expected at least one sample for each of at least one observation, y of "
            f"shape (rows, *{posterior.condition_shape}), got n={n} and a batch of {batch}"
        )
    if isinstance(max_bytes, bool) or not isinstance(max_bytes, int) or max_bytes < 1:
        raise ValueError(
            f"{name}: expected max_bytes to be a whole number of at least 1, got {max_bytes!r}"
        )
    mesh = None if mesh is None else check_mesh(mesh, name)
    rows, block = batch[0], block_size(n, posterior.event_shape)
    blocks = -(-n // block)

    def draw(posterior: Posterior, key: jax.Array, y: Any) -> Any:
        return draw_blocks(posterior, key, jnp.arange(1), y, block, None)

    drawn = jax.eval_shape(draw, posterior, key, _at(y, [0]))
    # One part is written while the next is drawn.
    most = max(1, max_bytes // (2 * drawn.size * drawn.dtype.itemsize))
    about = {
        "shape": [n, rows, *drawn.shape[2:]],
        "dtype": drawn.dtype.name,
        "key": jax.random.key_data(key).tolist(),
        "observations": _digest(y),
        "posterior": _digest(named_arrays(posterior)),
    }
    folder = Path(path)
    chunk = [min(n, most * block), max(1, min(rows, most // blocks)), *drawn.shape[2:]]
    array, done = _open(folder, about, chunk, drawn.dtype.str)
    parts = list(_parts(done, rows, blocks, most))
    width = max((part.rows * part.blocks for part in parts), default=0)
    pending: Any = None
    with Progress(disable=not progress) as bar:
        task = bar.add_task("sampling", total=rows * blocks, completed=done)
        for part in parts:
            numbers = part.numbers(blocks)
            padded = np.resize(numbers, width)  # one program for all
            operands = (posterior, key, jnp.asarray(padded), _at(y, padded // blocks))
            drawn = compiled(draw_blocks, moved_to(mesh, operands), block, mesh)
            found = drawn[: len(numbers)]
            warn_of_failures(name, found, posterior.event_shape, posterior._bijector, "inverse")
            first = part.block * block
            found = found.reshape(part.rows, part.blocks * block, *found.shape[2:])
            found = np.moveaxis(np.asarray(found), 0, 1)[: n - first]
            _finish(pending, folder, about)
            target = array[first : first + len(found), part.row : part.row + part.rows]
            pending = target.write(found), int(numbers[-1]) + 1
            bar.update(task, completed=int(numbers[-1]) + 1)
        _finish(pending, folder, about)
    return array


def _open(folder: Path, about: dict[str, Any], chunk: list[int], dtype: str) -> tuple[Any, int]:
    """The array, made if it is not there, and how many blocks of it are written."""
    import tensorstore

    done = _blocks_done(folder, about)
    store = {"driver": "file", "path": str(folder.absolute())}
    spec: dict[str, Any] = {"driver": "zarr", "kvstore": store}
    if done is not None:
        return tensorstore.open(spec).result(), done
    _note(folder, about, 0)
    spec["metadata"] = {"shape": about["shape"], "chunks": chunk, "dtype": dtype}
    return tensorstore.open(spec, create=True).result(), 0


def _observations(posterior: Posterior, y: Any) -> tuple[Any, tuple[int, ...]]:
    """Checked observations, all with one batch."""
    y = posterior._check(y)
    batch = batch_shape(y, posterior.condition_shape)
    return broadcast_event(y, posterior.condition_shape, batch), batch


def _at(y: Any, rows: Any) -> Any:
    return jax.tree.map(lambda leaf: leaf[jnp.asarray(rows)], y)


def _parts(done: int, rows: int, blocks: int, most: int) -> Iterator[_Part]:
    """What is not done, in parts of at most so many blocks: whole rows, or blocks of one."""
    while done < rows * blocks:
        row, block = divmod(done, blocks)
        if block == 0 and most >= blocks:
            part = _Part(row, min(most // blocks, rows - row), 0, blocks)
        else:
            part = _Part(row, 1, block, min(most, blocks - block))
        yield part
        done += part.rows * part.blocks


def _finish(pending: Any, folder: Path, about: dict[str, Any]) -> None:
    """Wait until a part is written, and note it."""
    if pending is not None:
        write, done = pending
        write.result()
        _note(folder, about, done)


def _note(folder: Path, about: dict[str, Any], done: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    part = folder / f"{_ATTRIBUTES}.part"
    part.write_text(json.dumps({_OWN: {**about, "blocks_done": done}}, indent=1) + "\n")
    part.replace(folder / _ATTRIBUTES)


def _blocks_done(folder: Path, about: dict[str, Any]) -> int | None:
    """How many blocks a call before this has written, or None if there was none."""
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return None
    try:
        noted = json.loads((folder / _ATTRIBUTES).read_text())[_OWN]
        differing = [name for name, value in about.items() if noted[name] != value]
        done = int(noted["blocks_done"])
    except (OSError, ValueError, KeyError, TypeError):
        raise ValueError(
            f"sample_to_disk: {folder} holds something other than samples of this function; give "
            "the path of a new folder"
        ) from None
    if differing:
        raise ValueError(
            f"sample_to_disk: {folder} holds samples of another call, which differs in "
            f"{', '.join(differing)}; give its arguments to go on, or the path of a new folder"
        )
    return done if (folder / ".zarray").exists() else None


def _digest(tree: Any) -> str:
    """A fingerprint of arrays."""
    found = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        array = np.asarray(leaf)
        found.update(f"{jax.tree_util.keystr(path)} {array.dtype} {array.shape}".encode())
        found.update(np.ascontiguousarray(array).tobytes())
    return found.hexdigest()

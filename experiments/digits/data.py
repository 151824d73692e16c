"""The digits: scikit-learn's of 8 x 8 pixels, or MNIST from files that the user has."""

import gzip
import hashlib
import math
import struct
import zipfile
import zlib
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

CLASSES = 10
TEST_ROWS = 360
"""Digits of scikit-learn's 1797 that no training sees."""
SPLIT_SEED = 0
MNIST_SIZE = (28, 28)
_IDX_FILES = {
    "x_train": "train-images-idx3-ubyte",
    "y_train": "train-labels-idx1-ubyte",
    "x_test": "t10k-images-idx3-ubyte",
    "y_test": "t10k-labels-idx1-ubyte",
}
_UNSIGNED_BYTE = 8


class Digits(NamedTuple):
    """Pictures and their classes.

    Attributes:
        x: Training pictures, uint8 of shape `(n, height, width)`, values 0 to levels - 1.
        y: Their classes, `(n,)`.
        x_test: Held-out pictures.
        y_test: Their classes.
        levels: Number of levels of grey.
    """

    x: np.ndarray
    y: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray
    levels: int


def small_digits() -> Digits:
    """scikit-learn's digits, 17 levels, split once for all seeds, in each class alike."""
    loaded: Any = load_digits()
    return _split(loaded.images.astype(np.uint8), loaded.target, TEST_ROWS, levels=17)


def validation_split(digits: Digits) -> Digits:
    """The training digits alone, a sixth of them in place of the test digits, for tuning."""
    return _split(digits.x, digits.y, 1 / 6, levels=digits.levels)


def _split(x: np.ndarray, y: np.ndarray, test_size: float, *, levels: int) -> Digits:
    parts: Any = train_test_split(x, y, test_size=test_size, stratify=y, random_state=SPLIT_SEED)
    x, x_test, y, y_test = parts
    return Digits(x, y, x_test, y_test, levels)


def digest(digits: Digits) -> str:
    """Tells these digits from others, in eight characters."""
    found = hashlib.sha256()
    for array in digits[:4]:
        found.update(f"{array.dtype}{array.shape}".encode())
        found.update(array.tobytes())
    return found.hexdigest()[:8]


def mnist(path: Path) -> Digits:
    """Reads MNIST, 256 levels.

    Args:
        path: An .npz file with x_train, y_train, x_test and y_test, as Keras has it, or the folder
            with the four IDX files, each as it is or gzipped.

    Returns:
        The digits.

    Raises:
        ValueError: If a file is missing or does not hold what it should; it names the file.
    """
    if path.is_dir():
        files = {name: _idx_file(path, file) for name, file in _IDX_FILES.items()}
        arrays = {name: _read_idx(file) for name, file in files.items()}
    elif path.is_file():
        files = {name: Path(f"{path}: {name}") for name in _IDX_FILES}
        arrays = _read_npz(path)
    else:
        raise ValueError(
            f"{path}: expected an .npz file or a folder with the four IDX files, got no such file"
        )
    for name, array in arrays.items():
        _check(str(files[name]), array, images=name.startswith("x"))
    for part in ("train", "test"):
        x, y = arrays[f"x_{part}"], arrays[f"y_{part}"]
        if len(x) != len(y):
            raise ValueError(
                f"{files[f'y_{part}']}: expected {len(x)} labels, one for each picture of "
                f"{files[f'x_{part}']}, got {len(y)}"
            )
        if len(x) < 2 or len(np.unique(y)) < 2:
            raise ValueError(
                f"{files[f'y_{part}']}: expected pictures of two classes or more, got {len(x)} of "
                f"{len(np.unique(y))}"
            )
    y, y_test = (arrays[name].astype(np.int64) for name in ("y_train", "y_test"))
    return Digits(arrays["x_train"], y, arrays["x_test"], y_test, levels=256)


def _check(name: str, array: np.ndarray, *, images: bool) -> None:
    if images and (
        array.dtype != np.uint8
        or array.ndim != 3
        or array.shape[1:] != MNIST_SIZE
        or not len(array)
    ):
        raise ValueError(
            f"{name}: expected pictures, uint8 of shape (n, 28, 28), got {array.dtype} of shape "
            f"{array.shape}"
        )
    if not images:
        if array.ndim != 1 or array.dtype.kind not in "iu":
            raise ValueError(
                f"{name}: expected labels, integers of shape (n,), got {array.dtype} of shape "
                f"{array.shape}"
            )
        if len(array) and not (array.min() >= 0 and array.max() < CLASSES):
            raise ValueError(
                f"{name}: expected labels from 0 to 9, got {array.min()} to {array.max()}"
            )


def _read_npz(path: Path) -> dict[str, np.ndarray]:
    wanted = ", ".join(_IDX_FILES)
    with path.open("rb") as file:  # numpy leaves a file open that it cannot read
        try:
            archive = np.load(file, allow_pickle=False)
            if isinstance(archive, np.ndarray):
                raise ValueError("a single array")
            if set(_IDX_FILES) <= set(archive.files):
                found = {name: archive[name] for name in _IDX_FILES}
                if all(isinstance(array, np.ndarray) for array in found.values()):
                    return found
                raise ValueError("members that are no arrays")
            raise ValueError(", ".join(archive.files) or "no array")
        except (ValueError, OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
            got = "a file of another kind" if "contains pickled" in str(error) else error
            raise ValueError(f"{path}: expected an .npz file with {wanted}, got {got}") from error


def _idx_file(folder: Path, name: str) -> Path:
    """The file of this name, gzipped or not, its last part behind a dash or a dot."""
    names = [name, name.replace("-idx", ".idx")]
    for candidate in [*names, *(f"{one}.gz" for one in names)]:
        if (folder / candidate).is_file():
            return folder / candidate
    found = ", ".join(sorted(file.name for file in folder.iterdir())[:6]) or "no file"
    raise ValueError(f"{folder}: expected {name} or {name}.gz in this folder, got {found}")


def _read_idx(path: Path) -> np.ndarray:
    """Reads an IDX file of bytes: two zeros, the type, the number of axes, their lengths, data."""
    content = path.read_bytes()
    if path.suffix == ".gz":
        try:
            content = gzip.decompress(content)
        except (OSError, EOFError, zlib.error) as error:
            raise ValueError(f"{path}: expected a gzipped IDX file, got {error}") from error
    head = content[:4]
    if len(head) < 4 or head[:3] != bytes((0, 0, _UNSIGNED_BYTE)):
        raise ValueError(
            f"{path}: expected an IDX file of unsigned bytes, which begins with 00 00 08, got "
            f"{head.hex(' ') or 'an empty file'}"
        )
    start = 4 + 4 * head[3]
    if len(content) < start:
        raise ValueError(
            f"{path}: expected the lengths of {head[3]} axes, got a file of {len(content)} bytes"
        )
    shape = struct.unpack(f">{head[3]}I", content[4:start])
    if len(content) - start != math.prod(shape):
        raise ValueError(
            f"{path}: expected {math.prod(shape)} bytes of data for the shape {shape} in its head, "
            f"got {len(content) - start}"
        )
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)

"""Files of named arrays with a description: NumPy's .npz, never pickle."""

import json
import os
import zipfile
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

_DESCRIPTION = "description"


def write_archive(path: str | os.PathLike, arrays: dict[str, Any], description: Any) -> None:
    """Write arrays and a description to a file, which appears only once it is whole.

    Args:
        path: The file; one of that name is replaced.
        arrays: Arrays by name. Types that NumPy's format does not know, such as bfloat16, are
            kept bit by bit.
        description: Anything that JSON can hold.
    """
    path = Path(path)
    plain, dtypes = {}, {}
    for name, value in arrays.items():
        array = np.asarray(value)
        dtypes[name] = array.dtype.name
        known = array.dtype.kind in "fiub" and array.dtype.name in np.sctypeDict
        plain[name] = array if known else array.view(f"u{array.dtype.itemsize}")
    text = json.dumps({"content": description, "dtypes": dtypes})
    part = path.with_name(path.name + ".part")
    with part.open("wb") as file:
        np.savez(file, allow_pickle=False, **{_DESCRIPTION: np.array(text)}, **plain)
    part.replace(path)


def read_archive(path: str | os.PathLike) -> tuple[dict[str, np.ndarray], Any]:
    """Read what `write_archive` wrote.

    Args:
        path: The file.

    Returns:
        The arrays by name, and the description.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is another kind of file, or damaged.
    """
    try:
        with Path(path).open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            text = json.loads(file[_DESCRIPTION].item())
            content = text["content"]
            arrays = {
                name: file[name].view(jnp.dtype(dtype)) for name, dtype in text["dtypes"].items()
            }
    except (
        ValueError,  # no NumPy file, no JSON, no numbers
        KeyError,
        TypeError,  # an array alone, or a description of another kind
        AttributeError,
        EOFError,
        zipfile.BadZipFile,
    ) as error:
        raise ValueError(f"{path}: this is no file saved by jinn, or it is damaged") from error
    return arrays, content


def named_arrays(tree: Any) -> dict[str, Any]:
    """The arrays of a pytree by their paths.

    Args:
        tree: The pytree.

    Returns:
        A dict of arrays.
    """
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path): leaf for path, leaf in leaves if hasattr(leaf, "dtype")}


def with_arrays(tree: Any, arrays: dict[str, Any], name: str, argument: str) -> Any:
    """A pytree with its arrays replaced by those of the same paths.

    Args:
        tree: The pytree.
        arrays: Arrays by path, as `named_arrays` gives them.
        name: What to call the arrays in an error.
        argument: What the user may give a pytree of the right form by: "flow" or "model".

    Returns:
        The pytree.

    Raises:
        ValueError: If paths or shapes differ.
    """
    expected = named_arrays(tree)
    missing, unknown = sorted(set(expected) - set(arrays)), sorted(set(arrays) - set(expected))
    wrong = [
        f"{path}: {expected[path].shape} and {arrays[path].shape}"
        for path in expected
        if path in arrays and expected[path].shape != arrays[path].shape
    ]
    if missing or unknown or wrong:
        differences = [*(f"{path} is not in the file" for path in missing)]
        differences += [*(f"{path} is only in the file" for path in unknown), *wrong]
        shown = "; ".join(differences[:3]) + ("; ..." if len(differences) > 3 else "")
        raise ValueError(
            f"{name}: the saved arrays do not fit the {argument} in {len(differences)} places: "
            f"{shown}; pass {argument}= a {argument} built with the same options"
        )

    def replace(path: Any, leaf: Any) -> Any:
        return jnp.asarray(arrays[key]) if (key := jax.tree_util.keystr(path)) in arrays else leaf

    return jax.tree_util.tree_map_with_path(replace, tree)

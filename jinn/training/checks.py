"""Checks of what users give to `fit`, before anything is compiled."""

import inspect
import math
from collections.abc import Callable, Iterator, Mapping
from numbers import Integral, Real
from typing import Any

import jax
import jax.numpy as jnp

from jinn.losses.likelihood import negative_log_likelihood, split_batch


def check_options(learning_rate: float, ema_decay: float | None, **counts: Any) -> None:
    """Check the numbers that `fit` is given.

    Args:
        learning_rate: Positive and finite.
        ema_decay: Between 0 and 1, or None.
        **counts: Whole numbers of at least 1 by name; some may be None.

    Raises:
        ValueError: If one is out of range.
    """
    if not isinstance(learning_rate, Real) or not 0 < learning_rate < math.inf:
        raise ValueError(
            f"fit: learning_rate must be positive and finite, got {learning_rate!r}; pass a "
            "schedule as part of an optimizer"
        )
    if ema_decay is not None and not (isinstance(ema_decay, Real) and 0 < ema_decay < 1):
        raise ValueError(
            f"fit: ema_decay must be between 0 and 1, such as 0.999, or None, got {ema_decay!r}"
        )
    for name, value in counts.items():
        if value is None and name in ("validate_every", "patience", "checkpoint_every"):
            continue
        if isinstance(value, bool) or not isinstance(value, Integral) or value < 1:
            raise ValueError(f"fit: {name} must be a whole number of at least 1, got {value!r}")


def check_loss(loss: Any, flow: Any) -> None:
    """Check that a loss can be called, and that the default one is given a density.

    Args:
        loss: What a user gave as the loss.
        flow: What a user gave as the flow.

    Raises:
        ValueError: If one cannot be used.
    """
    if not callable(loss):
        raise ValueError(
            "fit: expected loss to be a function loss(flow, batch, key) -> (scalar, metrics), got "
            f"{loss!r}"
        )
    if loss is negative_log_likelihood and not hasattr(flow, "log_prob"):
        raise ValueError(
            f"fit: the negative log-likelihood needs a flow with a log_prob, got "
            f"{type(flow).__name__}; make a bijector a flow by jinn.Flow(bijector, base), or pass "
            "another loss"
        )


def check_simulator(simulate: Callable[..., Any]) -> None:
    """Check that a simulator can be called with a key and a number.

    Args:
        simulate: The function that a user gave as data.

    Raises:
        ValueError: If it cannot.
    """
    if inspect.isgeneratorfunction(simulate):
        raise ValueError(
            "fit: got a generator function as data; call it, so that it gives an iterator of "
            "batches"
        )
    try:
        signature = inspect.signature(simulate)
    except (TypeError, ValueError):  # a callable without one
        return
    try:
        signature.bind(None, 1)
    except TypeError as error:
        raise ValueError(
            f"fit: expected data to be arrays, an iterator of batches, or a function "
            f"simulate(key, n) -> batch, got one that takes {signature}: {error}"
        ) from error


def named_leaves(batch: Any, names: tuple[str, str] = ("x", "condition")) -> list[tuple[str, Any]]:
    """The leaves of a batch with the names that users know them by.

    Args:
        batch: Events, a pair of events and conditions, or any other pytree.
        names: What the user calls the two parts of a pair.

    Returns:
        Pairs of a name such as ``x``, ``condition`` or ``condition['image']``, and the leaf.
    """
    if isinstance(batch, tuple) and len(batch) == 2:
        parts = list(zip(names, batch, strict=True))
    else:
        parts = [("data" if isinstance(batch, list | tuple) else "x", batch)]
    return [
        (name + jax.tree_util.keystr(path), leaf)
        for name, part in parts
        for path, leaf in jax.tree_util.tree_leaves_with_path(
            part, is_leaf=lambda node: isinstance(node, Iterator)
        )
    ]


def check_rows(
    data: Any,
    what: str,
    *,
    expected: int | None = None,
    names: tuple[str, str] = ("x", "condition"),
) -> None:
    """Check that all leaves are arrays with the same number of rows, and not empty.

    Args:
        data: A pytree.
        what: What to call it in an error.
        expected: The number of rows that a simulator was asked for.
        names: What the user calls the two parts of a pair.

    Raises:
        ValueError: If a leaf is no array, rows differ in number, or there are none.
    """
    leaves = named_leaves(data, names)
    for name, leaf in leaves:
        if not hasattr(leaf, "shape") or not hasattr(leaf, "dtype"):
            raise ValueError(
                f"fit: {what} must be arrays, x or (x, condition), a function "
                f"simulate(key, n) -> batch, or an iterator of batches such as iter(loader); got "
                f"{type(leaf).__name__} for {name}"
            )
        if len(leaf.shape) == 0:
            raise ValueError(f"fit: {name} of the {what} is a scalar; its first axis must be rows")
    rows = {name: leaf.shape[0] for name, leaf in leaves}
    counts = ", ".join(f"{name} {count}" for name, count in rows.items())
    if expected is not None and set(rows.values()) != {expected}:
        raise ValueError(
            f"fit: simulate(key, n) was asked for n={expected} rows and returned {counts or 'none'}"
        )
    if not rows or 0 in rows.values():
        raise ValueError(f"fit: the {what} is empty: {counts or 'it holds no arrays'}")
    if len(set(rows.values())) > 1:
        raise ValueError(
            f"fit: the arrays of the {what} differ in their number of rows: {counts}; "
            "give every array one row for each example"
        )


def check_finite(arrays: Any, what: str, *, names: tuple[str, str] = ("x", "condition")) -> None:
    """Check that no row holds NaN or infinity.

    Args:
        arrays: A pytree of arrays with a leading axis of rows.
        what: What to call it in an error.
        names: What the user calls the two parts of a pair.

    Raises:
        ValueError: If a value is not finite, with the array, the number of rows and the first.
    """
    for name, array in named_leaves(arrays, names):
        bad = ~jnp.isfinite(array).all(axis=tuple(range(1, array.ndim)))
        count = int(bad.sum())
        if count:
            raise ValueError(
                f"fit: {name} of the {what} has NaN or infinite values in {count} of "
                f"{array.shape[0]} rows, the first is row {int(bad.argmax())}; "
                "remove or repair these rows"
            )


def validation_rows(validation: Any, total: int) -> int | None:
    """Number of rows to hold out.

    Args:
        validation: A fraction in [0, 1), a number of rows, a batch, or None.
        total: Number of rows that there are.

    Returns:
        The number, or None where validation is a batch.

    Raises:
        ValueError: If a number is out of range.
    """
    if validation is None:
        return 0
    if isinstance(validation, bool) or (
        isinstance(validation, Real)
        and (validation < 0 or not (isinstance(validation, Integral) or validation < 1))
    ):
        raise ValueError(
            f"fit: validation={validation!r} is out of range; pass a fraction in [0, 1), a whole "
            "number of rows, a batch like the data, or None"
        )
    if isinstance(validation, Integral):
        return int(validation)
    if isinstance(validation, Real):
        return max(1, round(float(validation) * total)) if validation else 0
    return None


def check_sizes(flow: Any, batch: Any) -> None:
    """Check that the rows of a batch are what a flow declares; other models are not checked.

    Args:
        flow: A model, perhaps with ``event_shape`` and ``condition_shape``.
        batch: Arrays or their shapes, ``x`` or ``(x, condition)``.

    Raises:
        ValueError: If a shape differs, or a condition is missing or unexpected.
    """
    if not hasattr(flow, "event_shape") or not hasattr(flow, "condition_shape"):
        return
    x, condition = split_batch(batch)
    _check_event("x", x, flow.event_shape, "event_shape")
    if flow.condition_shape is None and condition is not None:
        raise ValueError(
            "fit: the data has a condition, but the flow takes none (condition_shape=None); pass "
            "x alone, or build the flow with condition_dim"
        )
    if flow.condition_shape is not None and condition is None:
        raise ValueError(
            f"fit: the data has no condition, but the flow expects condition_shape "
            f"{flow.condition_shape}; pass a pair (x, condition)"
        )
    if condition is not None:
        _check_event("condition", condition, flow.condition_shape, "condition_shape")


def _check_event(name: str, value: Any, shape: Any, attribute: str) -> None:
    if isinstance(shape, Mapping):
        if not isinstance(value, Mapping) or set(value) != set(shape):
            got = sorted(value) if isinstance(value, Mapping) else type(value).__name__
            raise ValueError(
                f"fit: {name} must be a dict with the keys {sorted(shape)} of the flow's "
                f"{attribute}, got {got}"
            )
        for key, part in shape.items():
            _check_event(f"{name}[{key!r}]", value[key], part, f"{attribute}[{key!r}]")
    elif not hasattr(value, "shape"):
        raise ValueError(
            f"fit: {name} must be one array of rows of shape {shape}, got {type(value).__name__}; "
            "pass arrays as x or as a pair (x, condition)"
        )
    elif tuple(value.shape[1:]) != tuple(shape):
        raise ValueError(
            f"fit: {name} has rows of shape {tuple(value.shape[1:])}, but the flow has {attribute} "
            f"{tuple(shape)}; pass {name} of shape {('rows', *shape)}"
        )

"""The laws of bijectors, each a function from a `Subject` to results; see `check_bijector`."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jinn.bijectors.base import Bijector
from jinn.bijectors.check_report import LawResult, compare, verdict
from jinn.bijectors.check_subject import ROWS, Direction, Subject, evaluate, flatten
from jinn.bijectors.module import trainable
from jinn.bijectors.shapes import Shape, event_dtype, event_size


def shapes(subject: Subject) -> Iterator[LawResult]:
    """Law 1: shapes and types, by abstract evaluation."""
    bijector, dtype = subject.moderate, event_dtype(subject.x)
    n_in, n_out = event_size(bijector.event_shape), event_size(bijector.event_shape_out)
    problem = "" if n_in == n_out else f"{n_in} elements go in, but {n_out} come out"
    yield verdict(1, "as many elements in as out", problem)
    batches: list[tuple] = [((), ()), ((3,), (3,)), ((2, 3), (2, 3))]
    if bijector.condition_shape is not None:
        batches += [((2, 3), (3,)), ((2, 3), ()), ((3,), (2, 3)), ((), (3,)), ((3, 1), (1, 2))]
    for inverse, name in enumerate(("forward", "inverse")):
        problems = []
        ends = [bijector.event_shape, bijector.event_shape_out]
        shape_in, shape_out = ends[::-1] if inverse else ends
        run = partial(evaluate, inverse=bool(inverse))
        for batch, condition_batch in batches:
            joint = np.broadcast_shapes(batch, condition_batch)
            out = _abstract(shape_out, joint, dtype)
            wide = jnp.promote_types(dtype, jnp.float32)
            expected = _described((out, jax.ShapeDtypeStruct(joint, wide)))
            event = _abstract(shape_in, batch, dtype)
            condition = _abstract(bijector.condition_shape, condition_batch, dtype)
            try:
                got = _described(jax.eval_shape(run, bijector, event, condition))
            except ValueError as error:
                got = f"ValueError: {error}"
            if got != expected:
                problems.append(
                    f"batch {batch} and condition batch {condition_batch}: expected (event, "
                    f"log_det) {expected}, got {got}"
                )
        yield verdict(1, f"{name}, {len(batches)} kinds of batches", "\n".join(problems))


def round_trip(subject: Subject) -> Iterator[LawResult]:
    """Law 2: each direction undoes the other."""
    forward, inverse = subject.both
    outputs = subject.returned.outputs
    explanation = "the two directions do not undo each other"
    for check, there, back in (
        ("inverse(forward(x)) = x", forward, outputs[2]),
        ("forward(inverse(z)) = z", inverse, outputs[0]),
    ):
        allowed = there.allowed_back(subject.unit)
        yield compare(2, check, flatten(back), there.start, allowed, explanation)


def log_det(subject: Subject) -> Iterator[LawResult]:
    """Law 3: the log-determinants against the autodiff Jacobian, and against each other."""
    for name, at in zip(("forward", "inverse"), subject.both, strict=True):
        true = np.linalg.slogdet(at.jacobian)[1]
        allowed = at.allowed_log_det(subject.unit)
        explanation = f"the log_det of {name} is not log|det| of its Jacobian (in nats)"
        yield compare(3, f"{name}: slogdet of the Jacobian", at.log_det, true, allowed, explanation)
    forward, _ = subject.both
    moved = np.abs(forward.log_det_gradient).sum(axis=1) * forward.allowed_back(subject.unit)
    back = flatten(subject.returned.outputs[3])[:, 0]
    allowed = forward.allowed_log_det(subject.unit) + moved
    explanation = "the log_dets of forward at x and of inverse at its image are not opposite"
    yield compare(3, "opposite at the image", back, -forward.log_det, allowed, explanation)


def transforms(subject: Subject) -> Iterator[LawResult]:
    """Law 4: the same values however the bijector is run.

    The laws before ran it under jit, in a scan over half batches, rematerialised, and found its
    Jacobians so; this compares with other traces.
    """
    yield verdict(4, "calls leave the module alone", _mutations(subject))
    x, z, c = subject.x, subject.z, subject.condition
    rows = np.arange(ROWS)
    mapped, unmapped = jax.jit(_under_vmap)(subject.moderate, x, z, c)
    for i, at in enumerate(subject.both):
        yield from _agree("vmap of single events", subject, at, i, *mapped[i])
    pair, check = subject.both, "two batch axes, without log_det"
    if c is not None:
        pair = subject.directions(x, z, _take(c, rows % 2))
        check = "vmap, condition not mapped, without log_det"
    for i, at in enumerate(pair):
        yield from _agree(check, subject, at, i, unmapped[i])
    problem = (
        f"arrays of the same shapes were traced {subject.traces} times; outputs must keep the type "
        "of the events, and static attributes compare equal from call to call"
    )
    yield verdict(4, "traced once", problem if subject.traces != 1 else "")


def gradients(subject: Subject) -> Iterator[LawResult]:
    """Law 5: gradients are finite, none reaches a buffer, and no parameter is dead."""
    paths, _ = jax.tree_util.tree_flatten_with_path(subject.moderate)
    names = [jax.tree_util.keystr(path) for path, _ in paths]
    wrong = [
        f"{name} ({leaf.dtype})"
        for name, (_, leaf) in zip(names, paths, strict=True)
        if not jnp.issubdtype(leaf.dtype, jnp.floating)
    ]
    problem = "jax.grad refuses {}; keep masks and permutations as tuples, or as floats in a Buffer"
    yield _names(5, "all arrays are floating", problem, wrong)
    at = subject.run(subject.x, subject.z, subject.condition)
    yield verdict(5, "finite in x", "" if _finite(at.x) else _first_bad(subject.x, at.x))
    yield verdict(5, "finite in z", "" if _finite(at.z) else _first_bad(subject.z, at.z))
    wild, dead, leaking = [], [], []
    marks = jax.tree.leaves(trainable(subject.moderate))
    for name, leaf, trained in zip(names, jax.tree.leaves(at.bijector), marks, strict=True):
        if leaf.dtype == jax.dtypes.float0:
            continue
        if not _finite(leaf):
            wild.append(name)
        elif trained and leaf.size and not np.asarray(leaf).any():
            dead.append(name)
        elif not trained and np.asarray(leaf).any():
            leaking.append(name)
    yield _names(5, "finite in the parameters", "NaN or infinite for {}", wild)
    problem = "the gradient is zero for {}; is it used? a constant belongs in a Buffer"
    yield _names(5, "no dead parameter", problem, dead)
    problem = "a gradient reaches {}; read buffers through jax.lax.stop_gradient"
    yield _names(5, "no gradient in buffers", problem, leaking)


def extremes(subject: Subject) -> Iterator[LawResult]:
    """Law 6: finite values and gradients at large elements."""
    ends, names = [subject.extreme_x, subject.extreme_z], ["forward", "inverse"]
    log_dets = subject.run(ends[0], ends[1], subject.condition, large=True).outputs[1::2]
    for i, inside in enumerate((subject.x, subject.z)):
        if not subject.fixed_range[i] and np.isneginf(log_dets[i]).any():
            ends[i] = jax.tree.map(lambda a, b: np.clip(a, b.min(), b.max()), ends[i], inside)
            names[i] += f" in the range of {'xz'[i]}"
    at = subject.run(ends[0], ends[1], subject.condition, large=True)
    image = at.outputs[0]
    back = subject.run(ends[0], image, subject.condition, large=True)
    for name, event, values, gradient in (
        (names[0], ends[0], at.outputs[:2], at.x),
        (names[1], ends[1], at.outputs[2:], at.z),
        ("inverse at images", image, back.outputs[2:], back.z),
    ):
        for kind, result in (("value", values), ("gradient", gradient)):
            problem = "" if _finite(result) else _first_bad(event, result)
            yield verdict(6, f"{name}: finite {kind}", problem)
    problem = "the gradient of some parameter is NaN or infinite; guard both branches of a `where`"
    finite = _finite((at.bijector, back.bijector))
    yield verdict(6, "finite parameter gradients", "" if finite else problem)


def errors(subject: Subject) -> Iterator[LawResult]:
    """Law 7: wrong arguments raise ValueError."""
    bijector, dtype = subject.moderate, event_dtype(subject.x)
    shape = bijector.condition_shape
    good = _abstract(shape, (3,), dtype)
    for inverse, event_shape in ((False, bijector.event_shape), (True, bijector.event_shape_out)):
        name = "inverse" if inverse else "forward"
        event = _abstract(event_shape, (3,), dtype)
        wrong: dict[str, tuple[Any, Any]] = {}
        for kind, bad in _wrong_shapes(event_shape).items():
            wrong[f"{'z' if inverse else 'x'} {kind}"] = (_abstract(bad, (3,), dtype), good)
        if shape is None:
            wrong["unexpected condition"] = (event, _abstract((2,), (3,), dtype))
        else:
            wrong["missing condition"] = (event, None)
            wrong["batches that do not broadcast"] = (event, _abstract(shape, (2,), dtype))
            for kind, bad in _wrong_shapes(shape).items():
                wrong[f"condition {kind}"] = (event, _abstract(bad, (3,), dtype))
        run = partial(evaluate, inverse=inverse)
        problems = [
            f"{kind}: expected a ValueError, got {got}"
            for kind, arguments in wrong.items()
            if (got := _raised(run, bijector, *arguments)) != "ValueError"
        ]
        yield verdict(7, f"{name}: wrong arguments raise", "\n".join(problems))


def _agree(
    check: str, subject: Subject, expected: Direction, inverse: int, out: Any, log_det: Any = None
) -> Iterator[LawResult]:
    """Compare outputs and log-determinants with those of the program that all laws use."""
    name = ("forward", "inverse")[inverse]
    explanation = f"differs from {name}_and_log_det in jit, scan and remat"
    allowed = expected.allowed(subject.unit)
    yield compare(4, f"{name}: {check}", flatten(out), expected.out, allowed, explanation)
    if log_det is not None:
        allowed = expected.allowed_log_det(subject.unit)
        got, check = flatten(log_det)[:, 0], f"{name}: {check}, log_det"
        yield compare(4, check, got, expected.log_det, allowed, explanation)


def _under_vmap(bijector: Bijector, x: Any, z: Any, condition: Any) -> Any:
    """Both directions of single events and conditions; and more batch axes without log_det.

    The latter are, mapped over their first axis, batches `(2, 2)` of events with the same batch
    `(2,)` of conditions, which has fewer axes.
    """
    mapped, unmapped = [], []
    for inverse, event in enumerate((x, z)):
        run = partial(evaluate, bijector, inverse=bool(inverse))
        mapped.append(jax.vmap(run)(event, condition))
        only = bijector.inverse if inverse else bijector.forward
        folded = jax.tree.map(lambda a: a.reshape(2, 2, 2, *a.shape[1:]), event)
        if condition is None:
            unmapped.append(only(folded))
        else:
            two = jax.tree.map(lambda a: a[:2], condition)
            unmapped.append(jax.vmap(only, in_axes=(0, None))(folded, two))
    return mapped, unmapped


def _take(event: Any, rows: np.ndarray) -> Any:
    return jax.tree.map(lambda array: array[rows], event)


def _mutations(subject: Subject) -> str:
    """Call both directions under a trace, and look whether the module is what it was."""
    problems = []

    def probe(bijector: Bijector, x: Any, z: Any, condition: Any) -> None:
        for inverse, event in ((False, x), (True, z)):
            leaves, tree = jax.tree.flatten(bijector)
            text = repr(tree)
            evaluate(bijector, event, condition, inverse=inverse)
            now, tree_now = jax.tree.flatten(bijector)
            same = len(leaves) == len(now) and all(a is b for a, b in zip(leaves, now, strict=True))
            if not same or repr(tree_now) != text:
                name = "inverse" if inverse else "forward"
                problems.append(f"{name} changes the module; return new state, or keep none")

    z = _abstract(subject.moderate.event_shape_out, (ROWS,), event_dtype(subject.x))
    jax.eval_shape(probe, subject.moderate, subject.x, z, subject.condition)
    return "\n".join(problems)


def _raised(run: Callable, *args: Any) -> str:
    try:
        jax.eval_shape(run, *args)
    except Exception as error:
        return "ValueError" if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
    return "no error"


def _wrong_shapes(shape: Shape) -> dict[str, Shape]:
    """Wrong shapes of an event or condition; none for one number, which any array is a batch of."""
    if not isinstance(shape, dict):
        if not shape:
            return {}
        return {"too long": (*shape[:-1], shape[-1] + 1), "with a wrong axis": (*shape, 7)}
    first = next(iter(shape))
    wrong: dict[str, Shape] = {
        f"without {first!r}": {key: size for key, size in shape.items() if key != first}
    }
    for key, size in shape.items():
        if size:
            wrong[f"too long in {key!r}"] = {**shape, key: (*size[:-1], size[-1] + 1)}
    return wrong


def _abstract(shape: Any, batch: tuple[int, ...], dtype: Any) -> Any:
    if shape is None:
        return None
    if isinstance(shape, dict):
        return {key: _abstract(size, batch, dtype) for key, size in shape.items()}
    return jax.ShapeDtypeStruct((*batch, *shape), dtype)


def _described(tree: Any) -> str:
    return str(jax.tree.map(lambda leaf: f"{leaf.dtype}{list(leaf.shape)}", tree)).replace("'", "")


def _names(law: int, check: str, problem: str, names: list[str]) -> LawResult:
    return verdict(law, check, problem.format(", ".join(names)) if names else "")


def _finite(tree: Any) -> bool:
    return all(
        np.isfinite(np.asarray(leaf, np.float64)).all()
        for leaf in jax.tree.leaves(tree)
        if leaf.dtype != jax.dtypes.float0
    )


def _first_bad(event: Any, result: Any) -> str:
    """Describe the first row whose result is not finite."""
    values = flatten(result)
    row = int(np.argmin(np.isfinite(values).all(axis=1)))
    return (
        f"at {_numbers(flatten(event)[row])}: got {_numbers(values[row])}; guard both branches of "
        "a `where`, or pass `domain` or `codomain` if this is outside"
    )


def _numbers(values: np.ndarray) -> str:
    return np.array2string(values, precision=6, separator=", ", threshold=12)

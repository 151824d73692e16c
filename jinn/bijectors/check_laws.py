"""The laws of bijectors, each a function from a `Subject` to results; see `check_bijector`."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jinn.bijectors.base import Bijector
from jinn.bijectors.check_report import LawResult, compare, verdict
from jinn.bijectors.check_subject import (
    ROWS,
    Direction,
    Subject,
    evaluate,
    evaluate_only,
    flatten,
    random_weights,
)
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

        def run(bijector: Bijector, *args: Any, inverse: bool = bool(inverse)) -> Any:
            out, log_det = evaluate(bijector, *args, inverse=inverse)
            return out, log_det, evaluate_only(bijector, *args, inverse=inverse)

        for batch, condition_batch in batches:
            joint = np.broadcast_shapes(batch, condition_batch)
            out = _abstract(shape_out, joint, dtype)
            wide = jnp.promote_types(dtype, jnp.float32)
            expected = _described((out, jax.ShapeDtypeStruct(joint, wide), out))
            event = _abstract(shape_in, batch, dtype)
            condition = _abstract(bijector.condition_shape, condition_batch, dtype)
            got = _described(jax.eval_shape(run, bijector, event, condition))
            if got != expected:
                problems.append(
                    f"batch {batch} and condition batch {condition_batch}: expected (event, "
                    f"log_det, event without log_det) {expected}, got {got}"
                )
        yield verdict(1, f"{name}, {len(batches)} kinds of batches", "\n".join(problems))


def round_trip(subject: Subject) -> Iterator[LawResult]:
    """Law 2: each direction undoes the other."""
    for check, there, event, back in (
        ("inverse(forward(x)) = x", subject.at_x, subject.x, subject.inverse),
        ("forward(inverse(z)) = z", subject.at_z, subject.z, subject.forward),
    ):
        returned = back(there.event, subject.condition).out
        allowed = subject.allowed_back(there, event)
        explanation = "the two directions do not undo each other"
        yield compare(2, check, returned, flatten(event), allowed, explanation)


def log_det(subject: Subject) -> Iterator[LawResult]:
    """Law 3: the log-determinants against the autodiff Jacobian, and against each other."""
    for name, at, event in (
        ("forward", subject.at_x, subject.x),
        ("inverse", subject.at_z, subject.z),
    ):
        true = np.linalg.slogdet(at.jacobian)[1]
        _, allowed = subject.allowed(at, event)
        explanation = f"the log_det of {name} is not log|det| of its Jacobian (in nats)"
        yield compare(3, f"{name}: slogdet of jacrev", at.log_det, true, allowed, explanation)
    there = subject.at_x
    back = subject.inverse(there.event, subject.condition).log_det
    _, allowed = subject.allowed(there, subject.x)
    explanation = "the log_dets of forward at x and of inverse at its image are not opposite"
    yield compare(3, "opposite at the image", back, -there.log_det, allowed, explanation)


def transforms(subject: Subject) -> Iterator[LawResult]:
    """Law 4: the same values however the bijector is run; the laws before it ran it in jit."""
    yield verdict(4, "calls leave the module alone", _mutations(subject))
    for name, at, event, run in (
        ("forward", subject.at_x, subject.x, subject.forward),
        ("inverse", subject.at_z, subject.z, subject.inverse),
    ):
        yield _agree(4, f"{name}: vmap", subject, event, at, at.row_out, at.row_log_det)
        yield _agree(4, f"{name}: without log_det", subject, event, at, at.only_out, at.log_det)
        yield _eager(subject, name, event, run)
        if subject.condition is not None:
            yield _unmapped(subject, name, event, run)
    yield from _scan_and_remat(subject)
    traced = {name: n for name, n in subject.traces.items() if n != 1}
    problem = (
        f"arrays of the same shapes were traced again (number of traces: {traced}); static "
        "attributes of two copies must compare equal"
    )
    yield verdict(4, "traced once", problem if traced else "")


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
    at = subject.at_moderate
    yield verdict(5, "finite in x", "" if _finite(at.x) else _first_bad(subject.x, at.x))
    yield verdict(5, "finite in z", "" if _finite(at.z) else _first_bad(subject.z, at.z))
    wild, dead, leaking = [], [], []
    marks = jax.tree.leaves(trainable(subject.moderate))
    for name, leaf, trained in zip(names, jax.tree.leaves(at.module), marks, strict=True):
        if leaf.dtype == jax.dtypes.float0:
            continue
        if not _finite(leaf):
            wild.append(name)
        elif trained and leaf.size and not np.any(leaf):
            dead.append(name)
        elif not trained and np.any(leaf):
            leaking.append(name)
    yield _names(5, "finite in the parameters", "NaN or infinite for {}", wild)
    problem = "the gradient is zero for {}; is it used? a constant belongs in a Buffer"
    yield _names(5, "no dead parameter", problem, dead)
    problem = "a gradient reaches {}; read buffers through jax.lax.stop_gradient"
    yield _names(5, "no gradient in buffers", problem, leaking)


def extremes(subject: Subject) -> Iterator[LawResult]:
    """Law 6: finite values and gradients at large elements."""
    at = subject.gradients(subject.large, subject.extreme_x, subject.extreme_z)
    image = at.outputs[0]
    back = subject.gradients(subject.large, subject.extreme_x, image)
    for name, event, values, gradient in (
        ("forward", subject.extreme_x, at.outputs[:2], at.x),
        ("inverse", subject.extreme_z, at.outputs[2:], at.z),
        ("inverse at images", image, back.outputs[2:], back.z),
    ):
        for kind, result in (("value", values), ("gradient", gradient)):
            problem = "" if _finite(result) else _first_bad(event, result)
            yield verdict(6, f"{name}: finite {kind}", problem)
    problem = "the gradient of some parameter is NaN or infinite; guard both branches of a `where`"
    finite = _finite((at.module, back.module))
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
    law: int,
    check: str,
    subject: Subject,
    event: Any,
    expected: Direction,
    out: np.ndarray,
    log_det: np.ndarray,
) -> LawResult:
    """Compare outputs and log-determinants with those of a plain call."""
    allowed, allowed_log_det = subject.allowed(expected, event)
    explanation = "the {} differs from that of forward_and_log_det in jit"
    if check.startswith("inverse"):
        explanation = explanation.replace("forward", "inverse")
    values = compare(law, check, out, expected.out, allowed, explanation.format("output"))
    dets = compare(
        law, check, log_det, expected.log_det, allowed_log_det, explanation.format("log_det")
    )
    return values if not values.passed or _slack(values) > _slack(dets) else dets


def _slack(result: LawResult) -> float:
    return (result.error or 0.0) / (result.tolerance or 1.0)


def _eager(subject: Subject, name: str, event: Any, run: Callable) -> LawResult:
    """Two batch axes, and for the condition one, outside of jit."""
    half, c = ROWS // 2, subject.condition
    folded = jax.tree.map(lambda a: a.reshape(2, half, *a.shape[1:]), event)
    few = jax.tree.map(lambda a: a[:half], c)
    out, log_det = evaluate(subject.moderate, folded, few, inverse=name == "inverse")
    expected = run(event, jax.tree.map(lambda a: a[np.arange(ROWS) % half], c))
    check = f"{name}: eager, batch (2, {half})"
    return _agree(4, check, subject, event, expected, flatten(out), flatten(log_det)[:, 0])


def _unmapped(subject: Subject, name: str, event: Any, run: Callable) -> LawResult:
    """Four events under vmap, each with the same two conditions."""
    mapped = jax.vmap(partial(evaluate, inverse=name == "inverse"), in_axes=(None, 0, None))
    some = jax.tree.map(lambda a: a[: ROWS // 2], event)
    two = jax.tree.map(lambda a: a[:2], subject.condition)
    out, log_det = jax.jit(mapped)(subject.moderate, some, two)
    rows = np.arange(ROWS)
    events = jax.tree.map(lambda a: a[rows // 2], event)
    expected = run(events, jax.tree.map(lambda a: a[rows % 2], subject.condition))
    check = f"{name}: vmap, condition not mapped"
    return _agree(4, check, subject, events, expected, flatten(out), flatten(log_det)[:, 0])


def _scan_and_remat(subject: Subject) -> Iterator[LawResult]:
    """Values, and gradients against those that follow from the Jacobians."""
    at = subject.at_moderate
    weights = random_weights(at.outputs)
    for name, i, there, event, gradient in (
        ("forward", 0, subject.at_x, subject.x, at.x),
        ("inverse", 2, subject.at_z, subject.z, at.z),
    ):
        out, log_det = flatten(at.outputs[i]), flatten(at.outputs[i + 1])[:, 0]
        yield _agree(4, f"{name}: scan and remat", subject, event, there, out, log_det)
        terms = np.concatenate(
            [
                flatten(weights[i])[..., None] * there.jacobian,
                (flatten(weights[i + 1]) * there.log_det_gradient)[:, None],
            ],
            axis=1,
        )
        conditioning = 1 + there.largest / there.smallest
        allowed = subject.unit * (1 + np.abs(terms).sum(axis=(1, 2))) * conditioning
        explanation = "the gradient differs from that of a plain call"
        check = f"{name}: gradient in scan and remat"
        yield compare(4, check, flatten(gradient), terms.sum(axis=1), allowed, explanation)


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
    wrong = {f"without {first!r}": {key: size for key, size in shape.items() if key != first}}
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
    return f"at {_numbers(flatten(event)[row])}: got {_numbers(values[row])}"


def _numbers(values: np.ndarray) -> str:
    return np.array2string(values, precision=6, separator=", ", threshold=12)

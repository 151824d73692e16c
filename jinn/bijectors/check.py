"""`check_bijector`: hold any bijector, a user's own too, to the laws of bijectors."""

import math
import textwrap
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jinn.bijectors import check_laws as laws
from jinn.bijectors.base import Bijector
from jinn.bijectors.check_report import BijectorReport, LawResult, verdict
from jinn.bijectors.check_subject import ROWS, Subject
from jinn.bijectors.module import refresh, trainable
from jinn.bijectors.shapes import Shape, batch_shape, event_dtype

Bounds = tuple[Any, Any]
_REAL = (-math.inf, math.inf)


def check_bijector(
    bijector: Bijector,
    x: Any,
    condition: Any = None,
    *,
    domain: Bounds | None = None,
    codomain: Bounds | None = None,
    extreme: float = 1e4,
    perturbation: float | None = None,
    solver_tolerance: float = 0.0,
    seed: int = 0,
    raise_on_failure: bool = True,
) -> BijectorReport:
    """Check that a bijector is one: `f^-1(f(x)) = x`, `log_det = log|det df/dx|`, and the rest.

    The laws, which are checked on eight rows of `x`:

    1. shapes: outputs and log-determinants have the declared shapes and the right types, for no
       batch axes, one and several, in x and in the condition;
    2. round trip: each direction undoes the other, at x and at points z between images of x;
    3. log_det: equal to `slogdet` of the autodiff Jacobian in both directions, and opposite in
       the two directions at an image;
    4. transforms: the same values under `jit` with the module as an argument, `vmap` with the
       condition mapped and not, `scan` and `remat`, for one batch axis, several and none; traced
       once; no call changes the module;
    5. gradients: finite, none reaches a `Buffer`, and every parameter has one that is not zero
       (for a random linear function of the outputs and log-determinants of both directions);
    6. extremes: finite values and gradients where elements of x and z are as large as `extreme`;
    7. errors: a wrong x, and a wrong, missing or unexpected condition raise `ValueError`.

    The parameters are moved at random first, so that the map is far from the identity; buffers
    stay. The bijector given is never changed. Round-off is allowed for as the map amplifies it:
    with S and s the largest and smallest singular value of the Jacobian at a row of n elements,
    and u = 32 times the machine epsilon + 10 times `solver_tolerance`, the error allowed is
    `u (1 + |y| + S (1 + |x|))` in an output y, the same divided by s, plus `u (1 + |x|)`, after a
    round trip, and `u (1 + |log_det| + n S / s + (1 + |x|) |d log_det / dx|)` in a log-determinant.
    Rows in which that is more than 5 % are not judged; if all are, the law counts as broken.

    Args:
        bijector: The bijector to check.
        x: Events `(*batch, *event_shape)` in its domain; their floating type is the one checked.
            Random rows are best; eight or more.
        condition: Their conditions, or None.
        domain: Lower and upper bound of the elements of x in law 6, included: numbers, arrays that
            broadcast to the event, or dicts of them for dict events; infinite for none. None is no
            bounds, or the range of x if a log_det of -inf says that larger ones are outside.
        codomain: The same for z.
        extreme: Largest size of an element in law 6.
        perturbation: Size of the changes of parameters: uniform in [-perturbation, perturbation],
            for arrays of several axes times `sqrt(3 / fan_in)`, so that a network's outputs have
            about that size. None is 1 for laws 1 to 5 and 3 for law 6, and 0.3 for both if the
            bijector contains others.
        solver_tolerance: Tolerance of a bijector that solves iteratively, 0 for exact ones.
        seed: Seed of all that is random here.
        raise_on_failure: Whether a broken law is an error.

    Returns:
        A report that is true if all laws hold; `str(report)` is a table.

    Raises:
        BijectorLawError: If a law is broken; its text is the report. An `AssertionError`.
        ValueError: If `bijector` is none, or `x` or `condition` does not have its shapes.
    """
    if not isinstance(bijector, Bijector):
        raise ValueError(
            f"check_bijector: expected a Bijector, got {type(bijector).__name__}; "
            "of a flow, check flow.bijector"
        )
    x, condition = _rows(bijector, x, condition)
    generator, dtype = np.random.default_rng(seed), event_dtype(x)
    sizes = (1.0, 3.0) if perturbation is None else (perturbation, perturbation)
    if perturbation is None and _contains_bijectors(bijector):
        sizes = (0.3, 0.3)
    subject = Subject(
        moderate=_perturbed(bijector, sizes[0], generator),
        large=_perturbed(bijector, sizes[1], generator),
        x=x,
        condition=condition,
        extreme_x=_extremes(bijector.event_shape, domain or _REAL, extreme, dtype, generator),
        extreme_z=_extremes(bijector.event_shape_out, codomain or _REAL, extreme, dtype, generator),
        fixed_range=(domain is not None, codomain is not None),
        unit=32 * float(jnp.finfo(dtype).eps) + 10 * solver_tolerance,
    )
    with np.errstate(all="ignore"):
        seen: list[str] = []
        found = [result for law, check in _LAWS for result in _results(law, check, subject, seen)]
    found.sort(key=lambda result: result.law)
    report = BijectorReport(_subject_name(bijector, dtype), tuple(found))
    if raise_on_failure:
        report.raise_if_failed()
    return report


_LAWS = (  # transforms last: it tells how often the others traced
    (1, laws.shapes),
    (2, laws.round_trip),
    (3, laws.log_det),
    (5, laws.gradients),
    (6, laws.extremes),
    (7, laws.errors),
    (4, laws.transforms),
)


def _rows(bijector: Bijector, x: Any, condition: Any) -> tuple[Any, Any]:
    """The first rows of the joint batch, repeated where there are fewer."""
    x, condition = bijector._check(x, condition, bijector.event_shape, "x")
    batch = batch_shape(x, bijector.event_shape)
    if 0 in batch:
        raise ValueError(f"check_bijector: expected at least one row of x, got batch {batch}")
    rows = np.arange(ROWS) % math.prod(batch)

    def pick(array: Any, shape: tuple[int, ...]) -> np.ndarray:
        whole = np.broadcast_to(array, (*batch, *shape))
        return whole.reshape(-1, *shape)[rows]

    def pick_all(event: Any, shape: Any) -> Any:
        if event is None or not isinstance(shape, dict):
            return None if event is None else pick(event, shape)
        return {key: pick(event[key], shape[key]) for key in shape}

    return pick_all(x, bijector.event_shape), pick_all(condition, bijector.condition_shape)


def _perturbed(bijector: Bijector, size: float, generator: np.random.Generator) -> Bijector:
    def change(leaf: Any, trained: bool) -> Any:
        if not trained:
            return leaf
        wide = np.asarray(leaf, np.float64)
        scale = size * (math.sqrt(3 / max(wide[..., 0].size, 1)) if wide.ndim > 1 else 1.0)
        moved = wide + generator.uniform(-scale, scale, wide.shape)
        return jnp.asarray(moved.astype(leaf.dtype))

    return refresh(jax.tree.map(change, bijector, trainable(bijector)))


def _contains_bijectors(bijector: Bijector) -> bool:
    nodes = jax.tree.leaves(
        bijector, is_leaf=lambda node: isinstance(node, Bijector) and node is not bijector
    )
    return any(isinstance(node, Bijector) for node in nodes)


def _extremes(
    shape: Shape, bounds: Bounds, extreme: float, dtype: Any, generator: np.random.Generator
) -> Any:
    """Events of all signs and sizes up to `extreme`, clipped to the bounds."""
    if isinstance(shape, dict):
        return {
            key: _extremes(
                size,
                tuple(bound[key] if isinstance(bound, dict) else bound for bound in bounds),
                extreme,
                dtype,
                generator,
            )
            for key, size in shape.items()
        }
    sizes = extreme * 10.0 ** generator.uniform(-7, 0, (ROWS, *shape))
    values = sizes * generator.choice([-1.0, 1.0], sizes.shape)
    values[0], values[1], values[2] = extreme, -extreme, 0.0
    values[3] = extreme * generator.choice([-1.0, 1.0], shape)
    return np.clip(values, *bounds).astype(dtype)


def _subject_name(bijector: Bijector, dtype: Any) -> str:
    shapes = [f"event {bijector.event_shape}"]
    if bijector.event_shape_out != bijector.event_shape:
        shapes.append(f"to {bijector.event_shape_out}")
    if bijector.condition_shape is not None:
        shapes.append(f"condition {bijector.condition_shape}")
    return f"{type(bijector).__name__} ({', '.join(shapes)}, {dtype})"


def _results(
    law: int, check: Callable[[Subject], Iterator[LawResult]], subject: Subject, seen: list[str]
) -> Iterator[LawResult]:
    """The results of one law; an exception on the way is one that failed."""
    try:
        yield from check(subject)
    except Exception as error:
        lines = f"{type(error).__name__}: {error}".splitlines()
        text = "\n".join(textwrap.shorten(line, 300) for line in lines[:6])
        known = text in seen
        seen.append(text)
        message = f"the same {type(error).__name__} as in another law" if known else text
        yield verdict(law, "runs without an error", message)

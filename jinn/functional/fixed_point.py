"""Fixed points of contractions, for a batch of problems at once, differentiable."""

import math
from functools import partial
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jinn.functional.jacobian import (
    Map,
    ValueAndJacobian,
    keeping_shape,
    solve_identity_plus,
    value_and_jacobian,
)
from jinn.functional.solver import SolverInfo, nan_unless

Method = Literal["plain", "anderson", "newton"]
METHODS = ("plain", "anderson", "newton")

FixedPointInfo = SolverInfo
"""What `fixed_point` reports of each batch entry; evaluations beyond steps were not accepted."""

_DENSE = 16
_FAST = 0.25


def fixed_point(
    f: Map,
    x0: Float[Array, "*batch_event"],
    *,
    tolerance: float | None = None,
    max_steps: int = 1000,
    method: Method = "plain",
    event_ndim: int = 1,
    jacobian: ValueAndJacobian | None = None,
) -> tuple[Float[Array, "*batch_event"], FixedPointInfo]:
    """Find `x = f(x)` for a contraction f, such as `f(x) = y - g(x)`.

    Each batch entry stops by itself, once `|f(x) - x| <= tolerance (1 + |x|)`, |x| being its
    largest element; the error is then about that over 1 minus the Lipschitz constant.

    "plain" iterates f. "anderson" extrapolates from the last two steps. "newton" takes plain steps
    while each shrinks `|f(x) - x|` to a quarter or less in all entries, and then steps with the
    Jacobian, the last one, which squares the error, from ten times the tolerance. Where a step of
    the two does not shrink `|f(x) - x|`, the plain step is taken from where it started, which
    always does, so that they converge wherever "plain" does.

    Derivatives, in forward and reverse mode, are those of the implicit function theorem, at the
    cost of one linear solve, whatever the number of steps.

    Args:
        f: The contraction, from `(*batch, *event)` to the same shape, on each entry by itself.
        x0: Where to start.
        tolerance: Relative tolerance; None is 1e-6 for float32, and 1e-12 for float64.
        max_steps: Largest number of evaluations of f an entry.
        method: "plain", "anderson" or "newton". Newton is for events of few elements.
        event_ndim: Number of axes of one event.
        jacobian: For "newton", a faster way from x to `(f(x), J)` with the Jacobian J of f,
            `(*batch, n, n)`; None takes n forward-mode products.

    Returns:
        The fixed points, NaN for entries that did not converge, and the info of each entry.

    Raises:
        ValueError: If an option is out of range or unknown, or f returns another shape.

    Reference:
        Anderson Acceleration for Fixed-Point Iterations (Walker, Ni, 2011),
        https://doi.org/10.1137/10078356X
    """
    if method not in METHODS:
        raise ValueError(f"fixed_point: expected method to be one of {METHODS}, got {method!r}")
    tolerance = default_tolerance(x0.dtype) if tolerance is None else tolerance
    if not tolerance > 0 or max_steps < 1:
        raise ValueError(
            "fixed_point: expected tolerance > 0 and max_steps >= 1, got "
            f"tolerance={tolerance}, max_steps={max_steps}"
        )
    f = keeping_shape(f, "fixed_point")
    step_and_jacobian = None
    if method == "newton":
        step_and_jacobian = jacobian or partial(value_and_jacobian, f, event_ndim=event_ndim)

    def solve(root: Map, start: Array) -> tuple[Array, Any]:
        def evaluate(x: Array, fast: Array) -> tuple[Array, Array | None]:
            if step_and_jacobian is None:
                return x - root(x), None
            plain = partial(_without_jacobian, root, event_ndim=event_ndim)
            return jax.lax.cond(fast, plain, step_and_jacobian, x)

        x, info = _iterate(evaluate, start, tolerance, max_steps, method, event_ndim)
        # custom_root differentiates what a solve reports, and does so for floats only.
        return x, jax.tree.map(lambda count: count.astype(jnp.float32), info)

    def tangent_solve(linear: Map, right: Array) -> Array:
        return _solve_linear(linear, right, event_ndim)

    start = jax.lax.stop_gradient(x0)
    x, counts = jax.lax.custom_root(lambda x: x - f(x), start, solve, tangent_solve, has_aux=True)
    steps, evaluations, converged = (jax.lax.stop_gradient(count) for count in counts)
    info = SolverInfo(steps.astype(jnp.int32), evaluations.astype(jnp.int32), converged > 0)
    return nan_unless(info.converged, x), info


def default_tolerance(dtype: jax.typing.DTypeLike) -> float:
    """Relative tolerance of fixed points that a floating type allows.

    Args:
        dtype: The type.

    Returns:
        1e-12 for float64, 1e-6 for float32, and eight times the machine epsilon of others.
    """
    known = {jnp.dtype("float64"): 1e-12, jnp.dtype("float32"): 1e-6}
    dtype = jnp.dtype(dtype)
    return known.get(dtype, 8 * float(jnp.finfo(dtype).eps))


class _State(NamedTuple):
    """Where each entry is; arrays are flat, `(*batch, n)` and `(*batch,)`."""

    x: Array
    residual: Array  # f(x) - x
    norm: Array  # of the residual
    candidate: Array  # what is evaluated next
    safe: Array  # whether the candidate is a plain step, to be accepted in any case
    history: Any
    done: Array
    fast: Array  # one boolean for all: whether plain steps do well
    info: SolverInfo


def _iterate(
    evaluate: Any,
    start: Array,
    tolerance: float,
    max_steps: int,
    method: Method,
    event_ndim: int,
) -> tuple[Array, SolverInfo]:
    """Evaluate candidates until every entry is done; each is accepted or gives way to a plain step.

    Args:
        evaluate: From x, and whether plain steps do well, to `f(x)` and the Jacobian of f, which is
            zero where they do, or None.
        start: First candidates.
        tolerance: Relative tolerance.
        max_steps: Largest number of evaluations.
        method: The method.
        event_ndim: Number of axes of one event.

    Returns:
        The last points, finite where the start is, and the info.
    """
    batch = start.shape[: start.ndim - event_ndim]
    flat = start.reshape(*batch, math.prod(start.shape[start.ndim - event_ndim :]))
    no, zero = jnp.zeros(batch, bool), jnp.zeros(batch, jnp.int32)
    nothing = jnp.zeros_like(flat)
    first = _State(
        x=flat,
        residual=nothing,
        norm=jnp.full(batch, jnp.inf, flat.dtype),
        candidate=flat,
        safe=~no,
        history=(nothing, nothing, nothing, nothing) if method == "anderson" else (),
        done=no,
        fast=jnp.array(True),
        info=SolverInfo(zero, zero, no),
    )

    def advance(state: _State) -> _State:
        z = state.candidate
        value, jacobian = evaluate(z.reshape(start.shape), state.fast)
        residual = value.reshape(z.shape) - z
        norm = _length(residual)
        squared = method == "newton" and ~state.fast
        limit = tolerance * jnp.where(squared, 10.0, 1.0).astype(z.dtype)
        small = _largest(residual) <= limit * (1 + _largest(z))
        finite = jnp.isfinite(norm)
        accepted = finite & (state.safe | small | (norm <= state.norm))

        def choose(new: Array, old: Array, where: Array = accepted) -> Array:
            return jnp.where(where.reshape(*batch, *[1] * (new.ndim - len(batch))), new, old)

        if method == "newton":
            proposal, history = z + solve_identity_plus(-jacobian, residual), ()
        elif method == "anderson":
            proposal, history = _anderson(z, residual, state)
        else:
            proposal, history = z + residual, ()
        sound = accepted & jnp.all(jnp.isfinite(proposal), axis=-1) & (method != "plain")
        x, residual = choose(z, state.x), choose(residual, state.residual)
        done = state.done | small | (state.safe & ~finite)
        slow = ~done & (norm > _FAST * state.norm)
        # At the end the last step is taken without evaluating f there: Newton's squares the error
        # of the point, a plain one shrinks it.
        polish = sound if method == "newton" else no
        end = choose(proposal, x + residual, polish)
        new = _State(
            x=choose(end, x, small),
            residual=residual,
            norm=choose(norm, state.norm),
            candidate=choose(proposal, x + residual, sound),
            safe=~sound,
            history=tuple(choose(h, jnp.zeros_like(h)) for h in history),
            done=done,
            fast=state.fast & ~jnp.any(slow),
            info=SolverInfo(state.info.steps + accepted, state.info.evaluations + 1, small),
        )

        def keep(new: Array, old: Array) -> Array:
            return choose(new, old, ~state.done) if new.ndim >= len(batch) else new

        return jax.tree.map(keep, new, state)

    def unfinished(state: _State) -> Array:
        return ~jnp.all(state.done) & (jnp.max(state.info.evaluations, initial=0) < max_steps)

    last = jax.lax.while_loop(unfinished, advance, first)
    return last.x.reshape(start.shape), last.info


def _without_jacobian(root: Map, x: Array, event_ndim: int) -> tuple[Array, Array]:
    """`f(x)` with a Jacobian of zero, whose Newton step is the plain one."""
    split = x.ndim - event_ndim
    n = math.prod(x.shape[split:])
    return x - root(x), jnp.zeros((*x.shape[:split], n, n), x.dtype)


def _largest(events: Array) -> Array:
    return jnp.max(jnp.abs(events), axis=-1, initial=0.0)


def _length(events: Array) -> Array:
    """Euclidean norm, also where the squares of elements leave the floating type."""
    largest = _largest(events)
    scale = jnp.where(largest > 0, largest, 1)
    return scale * jnp.sqrt(jnp.sum(jnp.square(events / scale[..., None]), axis=-1))


def _anderson(x: Array, residual: Array, state: _State) -> tuple[Array, tuple[Array, ...]]:
    """The extrapolated point from the last two differences of points and of residuals.

    `gamma` minimises `|residual - D gamma|` over the differences D of residuals, by regularised
    normal equations; differences that are zero, after a start or a rejected step, drop out.
    """
    old_step, old_change = state.history[:2]
    known = jnp.isfinite(state.norm)[..., None]
    step = jnp.where(known, x - state.x, 0)
    change = jnp.where(known, residual - state.residual, 0)

    def dot(a: Array, b: Array) -> Array:
        return jnp.sum(a * b, axis=-1, keepdims=True)

    a, b, c = dot(change, change), dot(change, old_change), dot(old_change, old_change)
    small = 10 * jnp.finfo(x.dtype).eps * (a + c) + jnp.finfo(x.dtype).tiny
    a, c = a + small, c + small
    right, old_right = dot(change, residual), dot(old_change, residual)
    determinant = jnp.maximum(a * c - b * b, jnp.finfo(x.dtype).tiny)
    gamma = (c * right - b * old_right) / determinant
    old_gamma = (a * old_right - b * right) / determinant
    point = x + residual - gamma * (step + change) - old_gamma * (old_step + old_change)
    return point, (step, change, old_step, old_change)


def _solve_linear(linear: Map, right: Array, event_ndim: int) -> Array:
    """Solve `(I - J) v = right`, a function of v, densely or for large events by steps."""
    batch = right.shape[: right.ndim - event_ndim]
    n = math.prod(right.shape[right.ndim - event_ndim :])
    if n <= _DENSE:
        _, matrix = value_and_jacobian(linear, jnp.zeros_like(right), event_ndim=event_ndim)
        minus_j = matrix - jnp.eye(n, dtype=matrix.dtype).reshape(*[1] * len(batch), n, n)
        return solve_identity_plus(minus_j, right.reshape(*batch, n)).reshape(right.shape)

    def solve(matvec: Map, b: Array) -> Array:
        axes = tuple(range(len(batch), b.ndim))
        size = jnp.max(jnp.abs(b), axes, keepdims=True)
        scale = jnp.where(size > 0, size, 1)
        scaled = b / scale

        def evaluate(v: Array, fast: Array) -> tuple[Array, None]:
            return scaled - (matvec(v) - v), None

        tolerance = default_tolerance(b.dtype)
        v, info = _iterate(evaluate, scaled, tolerance, 1000, "anderson", event_ndim)
        return nan_unless(info.converged, v) * scale

    return jax.lax.custom_linear_solve(linear, right, solve, transpose_solve=solve)

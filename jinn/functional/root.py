"""Roots of increasing functions of one number, for many of them at once, differentiable."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jinn.functional.solver import SolverInfo, nan_unless


def increasing_root(
    f: Callable[[Array], Array],
    low: Float[Array, "*shape"],
    high: Float[Array, "*shape"],
    *,
    max_steps: int = 200,
) -> tuple[Float[Array, "*shape"], SolverInfo]:
    """Solve `f(x) = 0` for each element's x in [low, high], f increasing in it.

    Newton steps, and bisection where they leave the bracket or do not halve it fast enough: no
    start is too far and no function too flat. Each element stops by itself, once its steps are
    within twice the spacing of numbers as large as its bracket's ends. Derivatives, of any order
    and in both modes, are those of the implicit function theorem, with respect to all that f closes
    over.

    Args:
        f: An increasing map of arrays of this shape, each element by itself.
        low: Numbers where f is not positive, but for rounding.
        high: Numbers where f is not negative, but for rounding.
        max_steps: Largest number of steps; 60 bisections come to an end in float64.

    Returns:
        The roots, NaN where they did not converge, and the info of each element.

    Reference:
        Numerical Recipes, third edition (Press, Teukolsky, Vetterling, Flannery, 2007), section
        9.4, http://numerical.recipes
    """

    def solve(f: Callable, start: Array) -> tuple[Array, Array]:
        return _solve(f, start, low_end, high_end, max_steps)

    def tangent_solve(linear: Callable, right: Array) -> Array:
        return right / linear(jnp.ones_like(right))

    low_end, high_end = jax.lax.stop_gradient((low, high))
    start = 0.5 * low_end + 0.5 * high_end
    x, steps = jax.lax.custom_root(f, start, solve, tangent_solve, has_aux=True)
    steps = jax.lax.stop_gradient(steps)
    converged = steps < max_steps
    count = steps.astype(jnp.int32)
    return nan_unless(converged, x), SolverInfo(count, count + 1, converged)


def _solve(
    f: Callable, start: Array, low: Array, high: Array, max_steps: int
) -> tuple[Array, Array]:
    """The roots, and the number of steps as floats, which is what `custom_root` takes."""
    eps = jnp.finfo(start.dtype).eps
    ones = jnp.ones_like(start)
    tolerance = 2 * eps * jnp.maximum(jnp.abs(low), jnp.abs(high))

    def unfinished(state: tuple) -> Array:
        return jnp.any(~state[-1]) & (state[-2].max(initial=0) < max_steps)

    def advance(state: tuple) -> tuple:
        x, low, high, last, steps, done = state
        value, slope = jax.jvp(f, (x,), (ones,))
        low, high = jnp.where(value <= 0, x, low), jnp.where(value >= 0, x, high)
        middle = 0.5 * low + 0.5 * high
        sloping = (slope > 0) & (slope < jnp.inf)
        step = value / jnp.where(sloping, slope, 1.0)
        newton = x - step
        good = sloping & (newton >= low) & (newton <= high) & (jnp.abs(step) <= 0.5 * last)
        new = jnp.where(good, newton, middle)
        moved = jnp.abs(new - x)
        small = (moved <= tolerance) | (value == 0) | ~jnp.isfinite(value)
        keep = [(new, x), (low, state[1]), (high, state[2]), (moved, last), (steps + 1, steps)]
        x, low, high, last, steps = (jnp.where(done, old, new) for new, old in keep)
        return x, low, high, last, steps, done | small

    steps = jnp.zeros_like(start)
    state = (start, low, high, high - low, steps, jnp.zeros(start.shape, bool))
    x, _, _, _, steps, done = jax.lax.while_loop(unfinished, advance, state)
    return x, jnp.where(done, jnp.minimum(steps, max_steps - 1), max_steps)

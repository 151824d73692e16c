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

    def done(state: tuple) -> Array:
        """Whether the last step was small, by the points themselves, as the loop carries them.

        XLA may compute a value twice, in two fusions, and round it in two ways: a step that decided
        both where to go and whether to stop could go to the middle of the bracket, and stop there.
        """
        x, last_x = state[:2]
        return ~(jnp.abs(x - last_x) > tolerance)

    def unfinished(state: tuple) -> Array:
        return jnp.any(~done(state)) & (state[-1].max(initial=0) < max_steps)

    def advance(state: tuple) -> tuple:
        x, last_x, low, high, steps = state
        value, slope = jax.jvp(f, (x,), (ones,))
        low, high = jnp.where(value <= 0, x, low), jnp.where(value >= 0, x, high)
        middle = 0.5 * low + 0.5 * high
        sloping = (slope > 0) & (slope < jnp.inf)
        step = value / jnp.where(sloping, slope, 1.0)
        newton = x - step
        halved = jnp.abs(step) <= 0.5 * jnp.abs(x - last_x)
        good = sloping & (newton >= low) & (newton <= high) & halved
        new = (jnp.where(good, newton, middle), x, low, high, steps + 1)
        stopped = done(state)
        return tuple(jnp.where(stopped, a, b) for a, b in zip(state, new, strict=True))

    last_x = start + (high - low)
    state = (start, last_x, low, high, jnp.zeros_like(start))
    x, *_, steps = state = jax.lax.while_loop(unfinished, advance, state)
    return x, jnp.where(done(state), jnp.minimum(steps, max_steps - 1), max_steps)

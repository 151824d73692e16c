"""Five densities in the plane: samplers in JAX, and their exact log-densities.

Shapes and constants are those of the toy data of FFJORD: Free-form Continuous Dynamics for Scalable
Reversible Generative Models (Grathwohl, Chen, Bettencourt, Sutskever, Duvenaud, 2019),
https://arxiv.org/abs/1810.01367, `lib/toy_data.py` of its code; the moons' are scikit-learn's
`make_moons`, which FFJORD scales and shifts.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import log_ndtr, logsumexp, ndtr
from jaxtyping import Array, Float

Points = Float[Array, "n 2"]
LogDensities = Float[Array, " n"]


@dataclass(frozen=True)
class Problem:
    """A density in the plane.

    Attributes:
        name: Its name.
        sample: ``sample(key, n)`` draws points `(n, 2)`.
        log_prob: The exact log-density of points, in nats: in closed form, or by a quadrature over
            one variable that is exact to float32.
        deviation: Standard deviation of the two coordinates, rounded.
    """

    name: str
    sample: Callable[[Array, int], Points]
    log_prob: Callable[[Points], LogDensities]
    deviation: tuple[float, float]


# --- Eight Gaussians -----------------------------------------------------------------------------

_ANGLES = np.arange(8) * math.pi / 4
_CENTRES = np.stack([np.cos(_ANGLES), np.sin(_ANGLES)], 1).astype(np.float32) * 4 / 1.414
_WIDTH = 0.5 / 1.414


def sample_eight_gaussians(key: Array, n: int) -> Points:
    """Eight normals of deviation 0.354 on a circle of radius 2.83."""
    which, noise = jax.random.split(key)
    centres = jnp.asarray(_CENTRES)[jax.random.randint(which, (n,), 0, 8)]
    return centres + _WIDTH * jax.random.normal(noise, (n, 2))


def eight_gaussians_log_prob(x: Points) -> LogDensities:
    """The mixture's log-density."""
    return _mixture_log_prob(x, jnp.asarray(_CENTRES), _WIDTH)


# --- Checkerboard --------------------------------------------------------------------------------


def sample_checkerboard(key: Array, n: int) -> Points:
    """Uniform on eight of the sixteen squares of side 2 of the square [-4, 4]^2."""
    first, second, row = jax.random.split(key, 3)
    x = jax.random.uniform(first, (n,), minval=-2.0, maxval=2.0)
    y = jax.random.uniform(second, (n,)) - 2.0 * jax.random.bernoulli(row, shape=(n,))
    return 2 * jnp.stack([x, y + jnp.floor(x) % 2], axis=1)


def checkerboard_log_prob(x: Points) -> LogDensities:
    """The log of 1/32 on the eight squares, minus infinity elsewhere."""
    column, row = jnp.floor(x[:, 0] / 2), jnp.floor(x[:, 1] / 2)
    inside = jnp.all(jnp.abs(x) < 4, axis=1) & ((column + row) % 2 == 0)
    return jnp.where(inside, -math.log(32.0), -jnp.inf)


# --- Two spirals ---------------------------------------------------------------------------------

_TURN, _SPIRAL_NOISE, _JITTER = 3 * math.pi, 0.1, 0.5 / 3


def sample_two_spirals(key: Array, n: int) -> Points:
    """Two arms of one and a half turns, with noise uniform (0.167 wide) and normal (0.1)."""
    arm, angle, jitter, noise = jax.random.split(key, 4)
    t = _TURN * jnp.sqrt(jax.random.uniform(angle, (n,)))
    points = _arm(t) + _JITTER * jax.random.uniform(jitter, (n, 2))
    sign = jax.random.rademacher(arm, (n, 1), points.dtype)
    return sign * points + _SPIRAL_NOISE * jax.random.normal(noise, (n, 2))


def two_spirals_log_prob(x: Points) -> LogDensities:
    """The noise's log-density, averaged over the arms."""
    angles, weights = _quadrature(0.0, _TURN, 400)
    density = 2 * angles / _TURN**2
    at = (jnp.stack([x, -x])[:, :, None] - _arm(angles)[None, None]) / _SPIRAL_NOISE
    width = _JITTER / _SPIRAL_NOISE
    # In the upper tail a difference of two numbers near 1 has no digits left.
    at = jnp.where(at > width / 2, width - at, at)
    noise = log_ndtr(at) + jnp.log1p(-ndtr(at - width) / jnp.maximum(ndtr(at), 1e-37))
    noise = jnp.sum(noise - math.log(_JITTER), axis=-1)
    return logsumexp(noise + jnp.log(density * weights / 2)[None, None], axis=(0, 2))


def _arm(t: Array) -> Array:
    return jnp.stack([-jnp.cos(t), jnp.sin(t)], axis=-1) * t[:, None] / 3


# --- Pinwheel ------------------------------------------------------------------------------------

_BLADES, _RADIAL, _TANGENTIAL, _RATE = 5, 0.3, 0.1, 0.25


def sample_pinwheel(key: Array, n: int) -> Points:
    """Five normals of deviations 0.3 and 0.1 around (1, 0), turned, twisted and doubled."""
    blade, noise = jax.random.split(key)
    radial, tangential = jax.random.normal(noise, (2, n))
    radial, tangential = 1 + _RADIAL * radial, _TANGENTIAL * tangential
    turn = jax.random.randint(blade, (n,), 0, _BLADES) * (2 * math.pi / _BLADES)
    turn = turn + _RATE * jnp.exp(radial)
    x = radial * jnp.cos(turn) - tangential * jnp.sin(turn)
    y = radial * jnp.sin(turn) + tangential * jnp.cos(turn)
    return 2 * jnp.stack([x, y], axis=1)


def pinwheel_log_prob(x: Points) -> LogDensities:
    """The blades' log-densities at the points untwisted; the twist is undone by bisection.

    It is one to one where the blades have mass: far off them on a circle of more than 2.3, where
    some points have several origins, the bisection stays next to the blade.
    """
    radius = jnp.linalg.norm(x, axis=1)[:, None] / 2
    turns = 2 * math.pi / _BLADES * jnp.arange(_BLADES)
    angle = jnp.arctan2(x[:, 1], x[:, 0])[:, None] - turns[None]

    def twisted(angle: Array) -> Array:
        return angle + _RATE * jnp.exp(radius * jnp.cos(angle))

    start = twisted(jnp.full_like(angle, -math.pi))
    goal = start + (angle - start) % (2 * math.pi)
    slope = _RATE * radius * jnp.exp(radius)
    one_to_one = jnp.arcsin(0.9 / jnp.maximum(slope, 0.9))
    high = jnp.broadcast_to(jnp.where(slope < 0.9, math.pi, one_to_one), angle.shape)

    def halve(_: int, bracket: tuple[Array, Array]) -> tuple[Array, Array]:
        low, high = bracket
        middle = (low + high) / 2
        below = twisted(middle) < goal
        return jnp.where(below, middle, low), jnp.where(below, high, middle)

    low, high = jax.lax.fori_loop(0, 30, halve, (-high, high))
    untwisted = (low + high) / 2
    radial, tangential = radius * jnp.cos(untwisted), radius * jnp.sin(untwisted)
    log_det = jnp.log(jnp.abs(1 - _RATE * jnp.exp(radial) * tangential)) + 2 * math.log(2.0)
    energy = ((radial - 1) / _RADIAL) ** 2 / 2 + (tangential / _TANGENTIAL) ** 2 / 2
    constant = math.log(2 * math.pi * _RADIAL * _TANGENTIAL * _BLADES)
    return logsumexp(-energy - log_det, axis=1) - constant


# --- Two moons -----------------------------------------------------------------------------------

_MOON_NOISE = 0.2


def sample_two_moons(key: Array, n: int) -> Points:
    """Two half circles of radius 2 that hold each other, with normal noise of 0.2."""
    which, angle, noise = jax.random.split(key, 3)
    t = jax.random.uniform(angle, (n,), maxval=math.pi)
    outer = jax.random.bernoulli(which, shape=(n, 1))
    return jnp.where(outer, *_moons(t)) + _MOON_NOISE * jax.random.normal(noise, (n, 2))


def two_moons_log_prob(x: Points) -> LogDensities:
    """The noise's log-density, averaged over the half circles."""
    angles, weights = _quadrature(0.0, math.pi, 100)
    return _mixture_log_prob(
        x, jnp.concatenate(_moons(angles)), _MOON_NOISE, jnp.tile(weights / (2 * math.pi), 2)
    )


def _moons(t: Array) -> tuple[Array, Array]:
    outer = jnp.stack([jnp.cos(t), jnp.sin(t)], axis=1)
    inner = jnp.array([[1.0, 0.5]]) - outer
    return tuple(2 * moon + jnp.array([[-1.0, -0.2]]) for moon in (outer, inner))  # type: ignore[return-value]


def _quadrature(low: float, high: float, nodes: int) -> tuple[Array, Array]:
    """Gauss-Legendre nodes and weights."""
    at, weights = np.polynomial.legendre.leggauss(nodes)
    half = (high - low) / 2
    return jnp.asarray(low + half * (at + 1), jnp.float32), jnp.asarray(half * weights, jnp.float32)


def _mixture_log_prob(
    x: Points, centres: Array, deviation: float, weights: Array | None = None
) -> LogDensities:
    """A mixture of round normals, of equal weights if none are given."""
    weights = jnp.full(len(centres), 1 / len(centres)) if weights is None else weights
    distances = jnp.sum((x[:, None] - centres[None]) ** 2, axis=-1)
    logits = -distances / (2 * deviation**2) + jnp.log(weights)[None]
    return logsumexp(logits, axis=1) - math.log(2 * math.pi * deviation**2)


PROBLEMS = {
    problem.name: problem
    for problem in (
        Problem("eight_gaussians", sample_eight_gaussians, eight_gaussians_log_prob, (2.03, 2.03)),
        Problem("checkerboard", sample_checkerboard, checkerboard_log_prob, (2.31, 2.31)),
        Problem("two_spirals", sample_two_spirals, two_spirals_log_prob, (1.61, 1.58)),
        Problem("pinwheel", sample_pinwheel, pinwheel_log_prob, (1.48, 1.48)),
        Problem("two_moons", sample_two_moons, two_moons_log_prob, (1.74, 1.01)),
    )
}

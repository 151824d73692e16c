"""The throw: its prior, its flight through air, and where it hits the ground.

A ball is thrown from (x0, y0) at an angle and a speed v0, against a drag that is proportional to
its velocity: x = (x0, y0, angle, v0) in metres, radians and metres a second, and y is the
horizontal position of its impact on the ground. The speed is a whole number in the prior.

With T = m/k the time in which drag takes effect and g T the velocity at which the ball sinks in
the end, the flight is, in closed form,

    horizontal(t) = x0 + T v0 cos(angle) (1 - e)              e = exp(-t / T)
    vertical(t)   = y0 + T (v0 sin(angle) + g T) (1 - e) - g T t

so the apex is known, and the impact after it is a root of one function of one variable.

Reference:
    Benchmarking Invertible Architectures on Inverse Problems. Kruse, Ardizzone, Rother, Koethe,
    2021. https://arxiv.org/abs/2101.10763 (prior as in its code, where heights are clamped at 0
    and angles reach 81 degrees; the impact there is the last of 1500 instants above ground)
"""

import jax
import jax.numpy as jnp
import numpy as np

GRAVITY, DRAG, MASS = 9.81, 0.25, 0.2
TIME = MASS / DRAG  # s
SINKING = GRAVITY * TIME  # m/s

POSITION_STD = 0.5
HEIGHT_MEAN, HEIGHT_STD = 1.5, 0.5
ANGLES = (0.1 * np.pi / 2, 0.9 * np.pi / 2)
MEAN_SPEED = 15.0

EXAMPLE_Y = (5.0,)
"""The impact of the pictures, which low and high throws reach."""

_NEWTON_STEPS = 8  # to float64's precision for any downward speed up to 20 times the sinking one


def position(x: jax.Array, time: jax.Array) -> jax.Array:
    """Gives the ball's place (horizontal, vertical) at times in s: (..., 4), (...) -> (..., 2)."""
    x0, y0, angle, v0 = jnp.moveaxis(x, -1, 0)
    slowed = -TIME * jnp.expm1(-time / TIME)
    horizontal = x0 + v0 * jnp.cos(angle) * slowed
    vertical = y0 + (v0 * jnp.sin(angle) + SINKING) * slowed - SINKING * time
    return jnp.stack([horizontal, vertical], axis=-1)


def impact_time(x: jax.Array) -> jax.Array:
    """Gives the time in s from the throw to the impact, (..., 4) -> (...).

    That is the last root of the height. A throw from below the ground that stays there has none:
    its time is that of the apex. Differentiable, by the implicit function theorem.
    """
    return TIME * (_rise(x) + _fall(x, jnp.maximum(_apex_height(x), 0.0)))


def never_lands(x: jax.Array) -> jax.Array:
    """Tells the throws that stay below the ground, (..., 4) -> (...)."""
    return _apex_height(x) < 0


def forward(x: jax.Array) -> jax.Array:
    """Gives the horizontal position of the impact, (..., 4) -> (..., 1)."""
    return position(x, impact_time(x))[..., :1]


def prior(key: jax.Array, n: int) -> jax.Array:
    """Draws n throws, (n, 4)."""
    position_key, height_key, angle_key, speed_key = jax.random.split(key, 4)
    x0 = POSITION_STD * jax.random.normal(position_key, (n,))
    y0 = HEIGHT_MEAN + HEIGHT_STD * jax.random.normal(height_key, (n,))
    angle = jax.random.uniform(angle_key, (n,), minval=ANGLES[0], maxval=ANGLES[1])
    v0 = jax.random.poisson(speed_key, MEAN_SPEED, (n,)).astype(x0.dtype)
    return jnp.stack([x0, jnp.maximum(y0, 0.0), angle, v0], axis=-1)


def simulate(key: jax.Array, n: int) -> tuple[jax.Array, jax.Array]:
    """Draws n throws from the prior and where they hit the ground, without noise."""
    x = prior(key, n)
    return x, forward(x)


def _upward(x: jax.Array) -> jax.Array:
    """The throw's upward velocity, in units of the sinking one."""
    return x[..., 3] * jnp.sin(x[..., 2]) / SINKING


def _rise(x: jax.Array) -> jax.Array:
    """Time from the throw to the highest point of the flight, in units of `TIME`."""
    return jnp.log1p(jnp.maximum(_upward(x), 0.0))


def _apex_height(x: jax.Array) -> jax.Array:
    """Height of the highest point of the flight, in units of `SINKING * TIME`."""
    return x[..., 1] / (SINKING * TIME) + jnp.maximum(_upward(x), 0.0) - _rise(x)


def _fall(x: jax.Array, height: jax.Array) -> jax.Array:
    """Time u >= 0 from the highest point to the ground, in units of `TIME`.

    It solves u - a (1 - exp(-u)) = height, where a = 1 but for throws downwards, a < 1. Newton's
    method from an upper bound: for 0 <= a it comes down to the root and never passes it, the
    function being convex; for a < 0 it may pass the root once, down to 0 at the most.
    """
    a = 1.0 + jnp.minimum(_upward(x), 0.0)

    def excess(u: jax.Array, a: jax.Array, height: jax.Array) -> jax.Array:
        return u + a * jnp.expm1(-u) - height

    def slope(u: jax.Array, a: jax.Array) -> jax.Array:
        value = (1.0 - a) * jnp.exp(-u) - jnp.expm1(-u)
        return jnp.where(value > 0, value, 1.0)  # 0 where the ball lies on the ground

    constants = jax.lax.stop_gradient((a, height))
    u = constants[1] + jnp.sqrt(2.0 * constants[1])
    for _ in range(_NEWTON_STEPS):
        u = jnp.maximum(u - excess(u, *constants) / slope(u, constants[0]), 0.0)
    # One more step, with gradients: those of the root.
    return u - excess(u, a, height) / slope(u, constants[0])

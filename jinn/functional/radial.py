"""Radial flows: vectors are drawn to a centre or pushed from it."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from jinn.functional.knots import positive_slope


def radial_forward(
    x: Float[Array, "*batch n"],
    center: Float[Array, " n"],
    size: Float[Array, ""],
    strength: Float[Array, ""],
) -> tuple[Float[Array, "*batch n"], Float[Array, "*batch"]]:
    """Move along rays from a centre c, `y = x + beta (x - c) / (alpha + |x - c|)`.

    `beta > -alpha` makes the map invertible; `beta / alpha` is at least 1e-3 above that. A strength
    of 0 gives the identity.

    Args:
        x: Vectors along the last axis.
        center: The centre c.
        size: Raw size of the region that is moved; alpha is a softplus of it that is 1 at 0.
        strength: Raw strength; `beta / alpha` is a softplus of it that is 0 at 0.

    Returns:
        `y`, and the log-determinant in the shape of the leading axes, float32 or wider.

    Reference:
        Variational Inference with Normalizing Flows (Rezende, Mohamed, 2015), section 4.1 and
        appendix A.2, https://arxiv.org/abs/1505.05770
    """
    offset, center, alpha, beta = _parameters(x, center, size, strength)
    r = _norm(offset)
    y = center + offset * (1 + beta / (alpha + r))[..., None]
    return y.astype(x.dtype), _log_det(r, alpha, beta, x.shape[-1])


def radial_inverse(
    y: Float[Array, "*batch n"],
    center: Float[Array, " n"],
    size: Float[Array, ""],
    strength: Float[Array, ""],
) -> tuple[Float[Array, "*batch n"], Float[Array, "*batch"]]:
    """Undo `radial_forward`: the distance from the centre is the root of a quadratic.

    Args:
        y: Vectors along the last axis.
        center: The centre of the forward map.
        size: Its raw size.
        strength: Its raw strength.

    Returns:
        `x`, and the log-determinant in the shape of the leading axes, float32 or wider.
    """
    offset, center, alpha, beta = _parameters(y, center, size, strength)
    distance = _norm(offset)
    b = alpha + beta - distance
    root = jnp.sqrt(b * b + 4 * alpha * distance)
    # Of the two forms of the root that one which subtracts no close numbers.
    stable = b >= 0
    first = 2 * alpha * distance / jnp.where(stable, b + root, 1.0)
    r = jnp.where(stable, first, 0.5 * (root - b))
    x = center + offset * ((alpha + r) / (alpha + beta + r))[..., None]
    return x.astype(y.dtype), -_log_det(r, alpha, beta, y.shape[-1])


def _parameters(
    x: Array, center: Array, size: Array, strength: Array
) -> tuple[Array, Array, Array, Array]:
    """`x - c`, c in x's rank, alpha and beta, all in a wide type."""
    dtype = jnp.promote_types(jnp.result_type(x, center, size, strength), jnp.float32)
    wide, center = x.astype(dtype), center.astype(dtype).reshape(*[1] * (x.ndim - 1), -1)
    alpha = positive_slope(size.astype(dtype))
    beta = alpha * (positive_slope(strength.astype(dtype)) - 1)
    return wide - center, center, alpha, beta


def _norm(offset: Array) -> Array:
    """The length of each vector, whose gradient is 0 at 0."""
    square = jnp.sum(offset * offset, -1)
    return jnp.where(square > 0, jnp.sqrt(jnp.where(square > 0, square, 1.0)), 0.0)


def _log_det(r: Array, alpha: Array, beta: Array, n: int) -> Array:
    h = 1 / (alpha + r)
    return (n - 1) * jnp.log1p(beta * h) + jnp.log1p(beta * alpha * h * h)

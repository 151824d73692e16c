"""Planar and Sylvester flows: vectors are pushed along a few directions."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jinn.functional.knots import positive_slope
from jinn.functional.root import increasing_root
from jinn.functional.saturation import smallest_argument
from jinn.functional.solver import SolverInfo, nan_unless


def planar_forward(
    x: Float[Array, "*batch n"],
    u: Float[Array, " n"],
    w: Float[Array, " n"],
    b: Float[Array, ""],
) -> tuple[Float[Array, "*batch n"], Float[Array, "*batch"]]:
    """Push along one direction, `y = x + v tanh(w.x + b)`.

    v is u, changed along w so that `w.v > -1`, which makes the map invertible; `w.v` is at least
    1e-3 above that. u = 0 gives the identity.

    Args:
        x: Vectors along the last axis.
        u: Raw direction and size of the push.
        w: Normal of the planes that are pushed as one.
        b: Offset of the planes.

    Returns:
        `y`, and the log-determinant in the shape of the leading axes, float32 or wider.

    Reference:
        Variational Inference with Normalizing Flows (Rezende, Mohamed, 2015), section 4.1 and
        appendix A.1, https://arxiv.org/abs/1505.05770
    """
    wide, v, w, product = _planar(x, u, w)
    h = jnp.tanh(jnp.sum(wide * w, -1) + b.astype(wide.dtype))
    y = wide + v * h[..., None]
    return y.astype(x.dtype), jnp.log1p(product * (1 - h * h))


def planar_inverse(
    y: Float[Array, "*batch n"],
    u: Float[Array, " n"],
    w: Float[Array, " n"],
    b: Float[Array, ""],
) -> tuple[Float[Array, "*batch n"], Float[Array, "*batch"]]:
    """Undo `planar_forward`, by the root of an increasing function of one number.

    Args:
        y: Vectors along the last axis.
        u: Raw direction of the forward map.
        w: Its normal.
        b: Its offset.

    Returns:
        `x`, and the log-determinant in the shape of the leading axes, float32 or wider.
    """
    return planar_inverse_with_info(y, u, w, b)[:2]


def planar_inverse_with_info(
    y: Float[Array, "*batch n"],
    u: Float[Array, " n"],
    w: Float[Array, " n"],
    b: Float[Array, ""],
) -> tuple[Float[Array, "*batch n"], Float[Array, "*batch"], SolverInfo]:
    """Undo `planar_forward`, and report how the roots went.

    Args:
        y: Vectors along the last axis.
        u: Raw direction of the forward map.
        w: Its normal.
        b: Its offset.

    Returns:
        `x` and the log-determinant, NaN where the root did not converge, and the info of each
        entry.
    """
    wide, v, w, product = _planar(y, u, w)
    height = jnp.sum(wide * w, -1) + b.astype(wide.dtype)
    a, info = _solve_tanh(height, product)
    h = jnp.tanh(a)
    x = wide - v * h[..., None]
    return x.astype(y.dtype), -jnp.log1p(product * (1 - h * h)), info


def sylvester_forward(
    x: Float[Array, "*batch n"],
    matrix: Float[Array, "n m"],
    outer: Float[Array, "m m"],
    inner: Float[Array, "m m"],
    b: Float[Array, " m"],
) -> tuple[Float[Array, "*batch n"], Float[Array, "*batch"]]:
    """Push along m directions, `y = x + Q R tanh(S Q^T x + b)`, R and S upper triangular.

    `R_ii S_ii > -1` makes the map invertible; it is at least 1e-3 above that. `outer` = 0 gives the
    identity.

    Args:
        x: Vectors along the last axis.
        matrix: Q, of m <= n orthonormal columns. It is not checked.
        outer: R above its diagonal, and on it the raw products, which are `R_ii S_ii` by a softplus
            that is 0 at 0. What is below does not count.
        inner: S above its diagonal, and on it the raw `S_ii`, made positive by a softplus that is 1
            at 0. What is below does not count.
        b: Offsets.

    Returns:
        `y`, and the log-determinant in the shape of the leading axes, float32 or wider.

    Reference:
        Sylvester Normalizing Flows for Variational Inference (van den Berg, Hasenclever, Tomczak,
        Welling, 2018), https://arxiv.org/abs/1803.05649
    """
    wide, q, r, s, b, products = _sylvester(x, matrix, outer, inner, b)
    h = jnp.tanh(_multiply(_multiply(wide, q), s.T) + _aligned(b, wide))
    y = wide + _multiply(_multiply(h, r.T), q.T)
    return y.astype(x.dtype), jnp.sum(jnp.log1p(_aligned(products, h) * (1 - h * h)), -1)


def sylvester_inverse(
    y: Float[Array, "*batch n"],
    matrix: Float[Array, "n m"],
    outer: Float[Array, "m m"],
    inner: Float[Array, "m m"],
    b: Float[Array, " m"],
) -> tuple[Float[Array, "*batch n"], Float[Array, "*batch"]]:
    """Undo `sylvester_forward`: one root after the other, from the last direction to the first.

    Args:
        y: Vectors along the last axis.
        matrix: Q of the forward map.
        outer: Its R.
        inner: Its S.
        b: Its offsets.

    Returns:
        `x`, and the log-determinant in the shape of the leading axes, float32 or wider.
    """
    return sylvester_inverse_with_info(y, matrix, outer, inner, b)[:2]


def sylvester_inverse_with_info(
    y: Float[Array, "*batch n"],
    matrix: Float[Array, "n m"],
    outer: Float[Array, "m m"],
    inner: Float[Array, "m m"],
    b: Float[Array, " m"],
) -> tuple[Float[Array, "*batch n"], Float[Array, "*batch"], SolverInfo]:
    """Undo `sylvester_forward`, and report how the roots went.

    Args:
        y: Vectors along the last axis.
        matrix: Q of the forward map.
        outer: Its R.
        inner: Its S.
        b: Its offsets.

    Returns:
        `x` and the log-determinant, NaN where a root did not converge, and the info of each entry,
        with the steps of all its roots.
    """
    wide, q, r, s, b, products = _sylvester(y, matrix, outer, inner, b)
    along = _multiply(wide, q)
    m = along.shape[-1]

    def solve_one(carry: tuple[Array, Array], i: Any) -> tuple[tuple[Array, Array], SolverInfo]:
        z, h = carry  # both 0 up to i
        known = jnp.sum(z * _aligned(s[i], z), -1) + b[i]
        rest = jnp.take(along, i, axis=-1) - jnp.sum(h * _aligned(r[i], h), -1)
        a, info = _solve_tanh(s[i, i] * rest + known, products[i])
        here = _aligned((jnp.arange(m) == i).astype(z.dtype), z)
        z = z + here * ((a - known) / s[i, i])[..., None]
        return (z, h + here * jnp.tanh(a)[..., None]), info

    start = jnp.zeros_like(along)
    (_, h), infos = jax.lax.scan(solve_one, (start, start), jnp.arange(m), reverse=True)
    info = SolverInfo(infos.steps.sum(0), infos.evaluations.sum(0), infos.converged.all(0))
    x = wide - _multiply(_multiply(h, r.T), q.T)
    log_det = -jnp.sum(jnp.log1p(_aligned(products, h) * (1 - h * h)), -1)
    return nan_unless(info.converged, x).astype(y.dtype), nan_unless(info.converged, log_det), info


def _planar(x: Array, u: Array, w: Array) -> tuple[Array, Array, Array, Array]:
    """X in a wide type, the vectors v and w in x's rank, and `w.v`."""
    dtype = jnp.promote_types(jnp.result_type(x, u, w), jnp.float32)
    wide, u, w = x.astype(dtype), u.astype(dtype), w.astype(dtype)
    raw = jnp.sum(u * w)
    product = positive_slope(raw) - 1
    square = jnp.sum(w * w)
    tiny = square < smallest_argument(dtype)
    change = jnp.where(tiny, 0.0, (product - raw) / jnp.where(tiny, 1.0, square))
    return wide, _aligned(u + change * w, wide), _aligned(w, wide), product


def _sylvester(x: Array, q: Array, outer: Array, inner: Array, b: Array) -> tuple[Array, ...]:
    """X and the parameters in a wide type, R and S made, and the products of their diagonals."""
    dtype = jnp.promote_types(jnp.result_type(x, q, outer, inner, b), jnp.float32)
    wide, q, outer, inner, b = (array.astype(dtype) for array in (x, q, outer, inner, b))
    diagonal = positive_slope(jnp.diagonal(inner))
    products = positive_slope(jnp.diagonal(outer)) - 1
    r = jnp.triu(outer, 1) + jnp.diag(products / diagonal)
    return wide, q, r, jnp.triu(inner, 1) + jnp.diag(diagonal), b, products


def _solve_tanh(c: Array, product: Array) -> tuple[Array, SolverInfo]:
    """The root a of `a + product tanh(a) = c`, with product > -1."""
    reach = jnp.abs(product)
    return increasing_root(lambda a: a + product * jnp.tanh(a) - c, c - reach, c + reach)


def _multiply(x: Array, right: Array) -> Array:
    return jnp.matmul(x, right, precision="highest")


def _aligned(vector: Array, like: Array) -> Array:
    return vector.reshape(*[1] * (like.ndim - 1), -1)

"""The divergence of a vector field, exact or estimated with random probes."""

import math
from collections.abc import Callable
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

Estimator = Literal["exact", "hutchinson", "hutch++"]
ESTIMATORS = ("auto", "exact", "hutchinson", "hutch++")
EXACT_UP_TO = 32
"""Largest number of elements of an event for which "auto" is exact even with a key."""
_COLUMNS = 32
"""Columns of a Jacobian that are computed at once."""


class Probes(NamedTuple):
    """Random directions, fixed for a whole solve.

    Attributes:
        directions: Shape `(count, *batch, *event)`; the mean of `e . J e` over them, times
            `scale`, estimates the trace of what the basis leaves over.
        basis: Orthonormal directions `(k, *batch, *event)` whose part of the trace is exact, or
            None.
    """

    directions: Array
    basis: Array | None


class Divergence(NamedTuple):
    """A vector field at a point, with its divergence.

    Attributes:
        value: The field, in the shape of x.
        divergence: Its divergence `(*batch,)`, float32 or wider.
        squared_jacobian: The squared Frobenius norm of its Jacobian `(*batch,)`, or None.
    """

    value: Array
    divergence: Array
    squared_jacobian: Array | None


def choose_estimator(divergence: str, size: int, key: jax.Array | None) -> Estimator:
    """Decide how the divergence is computed.

    Args:
        divergence: "auto", "exact", "hutchinson" or "hutch++".
        size: Number of elements of one event.
        key: A JAX key, or None, with which everything is exact.

    Returns:
        The estimator; "auto" is exact up to 32 elements.

    Raises:
        ValueError: If there is none of that name.
    """
    if divergence not in ESTIMATORS:
        raise ValueError(f"divergence: expected one of {list(ESTIMATORS)}, got {divergence!r}")
    if key is None or divergence == "exact" or (divergence == "auto" and size <= EXACT_UP_TO):
        return "exact"
    return "hutch++" if divergence == "hutch++" else "hutchinson"


def draw_probes(
    key: jax.Array,
    field: Callable[[Array], Array],
    x: Float[Array, "*batch_and_event"],
    *,
    event_ndim: int,
    estimator: Estimator,
    probes: int,
) -> Probes:
    """Draw the random signs of an estimator, for Hutch++ with a basis of the field's range at x.

    Args:
        key: A JAX key.
        field: The field at the start of the solve.
        x: Where the solve starts.
        event_ndim: Number of axes of one event.
        estimator: "hutchinson" or "hutch++".
        probes: Number of directions; Hutch++ takes as many again for the basis.

    Returns:
        The probes.
    """
    keys = jax.random.split(key)
    shape = (probes, *x.shape)
    signs = jax.random.rademacher(keys[0], shape, x.dtype)
    if estimator == "hutchinson":
        return Probes(signs, None)
    _, push = jax.linearize(field, x)
    sketch = jax.vmap(push)(jax.random.rademacher(keys[1], shape, x.dtype))
    batch = x.shape[: x.ndim - event_ndim]
    size = math.prod(x.shape[len(batch) :])
    columns = jnp.moveaxis(sketch.reshape(probes, *batch, size), 0, -1)
    orthonormal = jnp.linalg.qr(columns)[0]
    basis = jnp.moveaxis(orthonormal, -1, 0).reshape(orthonormal.shape[-1], *x.shape)
    # For any fixed basis the estimate is unbiased, and so is its gradient.
    return Probes(signs, jax.lax.stop_gradient(basis))


def exact_divergence(
    field: Callable[[Array], Array],
    x: Float[Array, "*batch_and_event"],
    *,
    event_ndim: int = 1,
    squared_jacobian: bool = False,
) -> Divergence:
    """Trace of the Jacobian, `sum_i df_i/dx_i`, by forward products that share the value.

    Args:
        field: From x to an array of the same shape; entries of the batch do not mix.
        x: Points `(*batch, *event)`.
        event_ndim: Number of axes of one event.
        squared_jacobian: Whether to compute the squared Frobenius norm of the Jacobian too.

    Returns:
        The field and its divergence.
    """
    batch, event = _split(x, event_ndim)
    size = math.prod(event)
    wide = jnp.promote_types(x.dtype, jnp.float32)

    def along(i: Array) -> tuple[Array, tuple[Array, Array | None]]:
        direction = jax.nn.one_hot(i, size, dtype=x.dtype).reshape(*[1] * len(batch), *event)
        value, column = jax.jvp(field, (x,), (jnp.broadcast_to(direction, x.shape),))
        column = column.reshape(*batch, size)
        diagonal = jax.lax.dynamic_index_in_dim(column, i, axis=-1, keepdims=False)
        squares = jnp.sum(column**2, -1, dtype=wide) if squared_jacobian else None
        return value, (diagonal.astype(wide), squares)

    if size <= _COLUMNS:
        # The value does not depend on the mapped direction, and is computed once for all.
        values, found = jax.vmap(along)(jnp.arange(size))
        value = values[0]
    else:
        value = field(x)
        found = jax.lax.map(lambda i: along(i)[1], jnp.arange(size), batch_size=_COLUMNS)
    return Divergence(value, *jax.tree.map(lambda part: jnp.sum(part, 0), found))


def estimated_divergence(
    field: Callable[[Array], Array],
    x: Float[Array, "*batch_and_event"],
    probes: Probes,
    *,
    event_ndim: int = 1,
    squared_jacobian: bool = False,
) -> Divergence:
    """Estimate the trace of the Jacobian J, `tr(Q' J Q) + mean_e e' P J P e`, `P = I - Q Q'`.

    Without a basis Q this is Hutchinson's `mean_e e' J e`, with one Hutch++. Both are unbiased over
    the probes' key, and so is the mean of `|J e|^2` for the squared Frobenius norm.

    Args:
        field: From x to an array of the same shape; entries of the batch do not mix.
        x: Points `(*batch, *event)`.
        probes: What `draw_probes` drew.
        event_ndim: Number of axes of one event.
        squared_jacobian: Whether to estimate the squared Frobenius norm of the Jacobian too.

    Returns:
        The field and its estimated divergence.

    Reference:
        A stochastic estimator of the trace of the influence matrix for Laplacian smoothing splines
        (Hutchinson, 1990), https://doi.org/10.1080/03610919008812866; Hutch++: Optimal Stochastic
        Trace Estimation (Meyer, Musco, Musco, Woodruff, 2021), https://arxiv.org/abs/2010.09649
    """
    wide = jnp.promote_types(x.dtype, jnp.float32)
    axes = tuple(range(-event_ndim, 0))

    def dot(a: Array, b: Array, *, keepdims: bool = False) -> Array:
        return jnp.sum(a * b, axes, dtype=wide, keepdims=keepdims)

    directions = probes.directions
    if probes.basis is None and len(directions) == 1:
        value, product = jax.jvp(field, (x,), (directions[0],))
        squares = dot(product, product) if squared_jacobian else None
        return Divergence(value, dot(directions[0], product), squares)
    value, push = jax.linearize(field, x)
    if probes.basis is None:
        products = jax.vmap(push)(directions)
        trace = jnp.mean(dot(directions, products), 0)
    else:
        basis = probes.basis
        within = dot(basis[:, None], directions[None], keepdims=True).astype(x.dtype)
        rest = directions - jnp.sum(within * basis[:, None], 0)
        of_basis, of_rest = jax.vmap(push)(basis), jax.vmap(push)(rest)
        trace = jnp.sum(dot(basis, of_basis), 0) + jnp.mean(dot(rest, of_rest), 0)
        products = of_rest + jnp.sum(within * of_basis[:, None], 0)
    squares = jnp.mean(dot(products, products), 0) if squared_jacobian else None
    return Divergence(value, trace, squares)


def _split(x: Array, event_ndim: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Batch and event axes of x."""
    cut = x.ndim - event_ndim
    return x.shape[:cut], x.shape[cut:]


def squared_norm(x: Array, event_ndim: int) -> Array:
    """Sum of squares over the axes of an event, float32 or wider.

    Args:
        x: Values `(*batch, *event)`.
        event_ndim: Number of axes of one event.

    Returns:
        One number a batch entry.
    """
    axes = tuple(range(-event_ndim, 0))
    return jnp.sum(x**2, axes, dtype=jnp.promote_types(x.dtype, jnp.float32))

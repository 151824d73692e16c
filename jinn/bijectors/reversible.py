"""Backpropagation that rebuilds activations from the output, in place of keeping them."""

from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from jinn.bijectors.base import Bijector, Info
from jinn.bijectors.shapes import batch_shape
from jinn.functional.loop import varying_like
from jinn.functional.reversible import is_float

Backprop = Literal["store", "remat", "invert"]
_BACKPROPS = ("store", "remat", "invert")


def check_backprop(backprop: Any, name: str) -> Backprop:
    """Check what reverse-mode differentiation keeps.

    Args:
        backprop: What a user gave.
        name: Whose it is, for the error.

    Returns:
        The word.

    Raises:
        ValueError: If it is no known one.
    """
    if backprop not in _BACKPROPS:
        raise ValueError(
            f"{name}: expected backprop to be one of {sorted(_BACKPROPS)}, got {backprop!r}"
        )
    return backprop


def run_reversibly(
    bijector: Bijector,
    x: Any,
    condition: Any,
    key: jax.Array | None,
    *,
    with_log_det: bool,
    inverse: bool,
) -> tuple[Any, Array | None, Info]:
    """Apply a bijector so that its gradient starts from its output and keeps nothing else.

    Members without an analytic inverse keep their inputs. What the solves report has no gradient.
    JAX refuses forward-mode differentiation (`jax.jvp`, `jax.jacfwd`), and gradients by what a
    member closes over.

    Args:
        bijector: A bijector.
        x: Checked events.
        condition: Checked conditions, or None.
        key: A JAX key, or None.
        with_log_det: Static; whether the log-determinant is wanted.
        inverse: The direction.

    Returns:
        The mapped events, the log-determinant or None, and the reports.

    Raises:
        ValueError: If a member closes over what is differentiated.

    Reference:
        The Reversible Residual Network: Backpropagation Without Storing Activations (Gomez, Ren,
        Urtasun, Grosse, 2017), https://arxiv.org/abs/1707.04585
    """
    leaves, treedef = jax.tree.flatten((bijector, condition, key))
    is_array = [hasattr(leaf, "dtype") for leaf in leaves]
    arrays = [leaf for leaf, array in zip(leaves, is_array, strict=True) if array]
    # No array of the caller's may be caught in the closures of the rule.
    others = [None if array else leaf for leaf, array in zip(leaves, is_array, strict=True)]

    def merged(arrays: Any) -> Any:
        rest = iter(arrays)
        pairs = zip(others, is_array, strict=True)
        return jax.tree.unflatten(treedef, [next(rest) if a else leaf for leaf, a in pairs])

    def apply(x: Any, arrays: Any) -> Any:
        bijector, condition, key = merged(arrays)
        return bijector._run_forgetful(
            x, condition, key, with_log_det=with_log_det, inverse=inverse
        )

    def forward(x: Any, arrays: Any) -> Any:
        *result, kept = apply(x, arrays)
        return tuple(result), (result[0], kept, arrays)

    def backward(residuals: Any, cotangents: Any) -> Any:
        y, kept, arrays = residuals
        bijector, condition, key = merged(arrays)
        by_y, by_log_det, _ = cotangents
        _, (by_bijector, by_x, by_condition) = bijector._pull_back(
            y, kept, condition, key, (by_y, by_log_det), inverse=inverse
        )
        found = jax.tree.leaves((by_bijector, by_condition, key))
        by_arrays = [_cotangent(by) for by, a in zip(found, is_array, strict=True) if a]
        return by_x, by_arrays

    run = jax.custom_vjp(lambda x, arrays: apply(x, arrays)[:3])
    run.defvjp(forward, backward)
    try:
        return run(*varying_like((x, arrays), (x, arrays)))
    except jax.errors.UnexpectedTracerError as error:
        raise ValueError(
            f'{type(bijector).__name__}: with backprop="invert" expected members whose arrays are '
            "attributes, got one that closes over a traced array, which can have no gradient; make "
            'it an nnx.Param or a Buffer of the member, or take backprop="remat"'
        ) from error


def _cotangent(by: Any) -> Any:
    return by if is_float(by) else np.zeros(jnp.shape(by), jax.dtypes.float0)


def reconstruction_drift(
    bijector: Bijector, x: Any, condition: Any = None, *, inverse: bool = False
) -> Array:
    """How far the input that `backprop="invert"` rebuilds from the output is from the true one.

    The error of gradients is of this order. It is rounding, which grows where a map stretches much.
    Members without an `analytic_inverse` are inverted here too, though a gradient keeps their
    inputs: what their solves leave over counts.

    Args:
        bijector: A bijector, built with any `backprop`.
        x: Events `(*batch, *event_shape)`; of `event_shape_out` with `inverse=True`.
        condition: Conditions `(*condition_batch, *condition_shape)`, or None.
        inverse: Measure the direction from latent to data.

    Returns:
        The largest `|rebuilt - x| / (1 + |x|)` of an event, `(*batch,)`; inf where a number is not
        finite.

    Raises:
        ValueError: If a shape is wrong, or a condition is missing or unexpected.
    """
    shape = bijector.event_shape_out if inverse else bijector.event_shape
    x, condition = bijector._check(x, condition, shape, "y" if inverse else "x")
    rebuilt = x
    for backwards in (inverse, not inverse):
        rebuilt, _, _ = bijector._apply(
            rebuilt, condition, key=None, with_log_det=False, inverse=backwards
        )
    n_batch = len(batch_shape(x, shape))

    def largest(one: Array, other: Array) -> Array:
        drift = jnp.abs(one - other) / (1 + jnp.abs(other))
        # Some compiled maxima of a CPU pass over NaN.
        drift = jnp.where(jnp.isfinite(drift), drift, jnp.inf)
        return jnp.max(drift, axis=tuple(range(n_batch, drift.ndim)), initial=0.0)

    drifts = jax.tree.leaves(jax.tree.map(largest, rebuilt, x))
    return jnp.max(jnp.stack(drifts), axis=0)

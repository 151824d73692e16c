"""Residual maps `y = x + g(x)` of contractions g, invertible by a fixed point."""

import math
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jinn.functional.fixed_point import FixedPointInfo, Method, fixed_point
from jinn.functional.jacobian import Map, ValueAndJacobian, keeping_shape
from jinn.functional.log_det import (
    value_and_log_det_exact,
    value_and_log_dets_power_series,
    value_and_log_dets_russian_roulette,
)
from jinn.functional.solver import nan_unless

Estimator = Literal["exact", "power_series", "russian_roulette"]
ESTIMATORS = ("exact", "power_series", "russian_roulette")
_OPTIONS = {
    "exact": (),
    "power_series": ("terms", "probes", "probe_distribution"),
    "russian_roulette": ("distribution", "rate", "exact_terms", "probes", "probe_distribution"),
}

_NEWTON_UP_TO = 8


def residual_forward(
    x: Float[Array, "*batch_event"],
    residual: Map,
    *,
    estimator: Estimator = "exact",
    key: jax.Array | None = None,
    event_ndim: int = 1,
    jacobian: ValueAndJacobian | None = None,
    with_log_det: bool = True,
    **options: Any,
) -> tuple[Float[Array, "*batch_event"], Float[Array, "*batch"] | None]:
    """Add a contraction, `y = x + g(x)`, with `log|det(I + dg/dx)|`.

    Args:
        x: Events of shape `(*batch, *event)`.
        residual: The map g, of Lipschitz constant less than 1, on each batch entry by itself.
        estimator: "exact", "power_series" or "russian_roulette"; without a key always "exact".
        key: A JAX key for the two estimators, or None.
        event_ndim: Number of axes of one event.
        jacobian: A faster way from x to `(g(x), J)`, for "exact", or None.
        with_log_det: Whether the log-determinant is wanted.
        **options: Those of `log_det_power_series` or `log_det_russian_roulette`.

    Returns:
        The events y and the log-determinants `(*batch,)`, or None where they are not wanted.

    Raises:
        ValueError: If an option is out of range or unknown, or g returns another shape.

    Reference:
        Invertible Residual Networks (Behrmann, Grathwohl, Chen, Duvenaud, Jacobsen, 2019),
        https://arxiv.org/abs/1811.00995
    """
    if estimator not in ESTIMATORS:
        raise ValueError(
            f"residual_forward: expected estimator to be one of {ESTIMATORS}, got {estimator!r}"
        )
    unknown = sorted(set(options) - set(_OPTIONS[estimator]))
    if unknown:
        raise ValueError(
            f"residual: estimator {estimator!r} has no options {unknown}; it takes "
            f"{list(_OPTIONS[estimator])}"
        )
    residual = keeping_shape(residual, "residual_forward")
    if not with_log_det:
        return x + residual(x), None
    if key is None or estimator == "exact":
        value, log_det = value_and_log_det_exact(
            residual, x, event_ndim=event_ndim, jacobian=jacobian
        )
        return x + value, log_det
    estimate = {
        "power_series": value_and_log_dets_power_series,
        "russian_roulette": value_and_log_dets_russian_roulette,
    }[estimator]
    value, log_dets = estimate(residual, x, key, event_ndim=event_ndim, **options)
    return x + value, jnp.mean(log_dets, axis=0)


def residual_inverse(
    y: Float[Array, "*batch_event"],
    residual: Map,
    *,
    tolerance: float | None = None,
    max_steps: int = 1000,
    method: Method | None = None,
    event_ndim: int = 1,
    jacobian: ValueAndJacobian | None = None,
    with_log_det: bool = True,
    **options: Any,
) -> tuple[Float[Array, "*batch_event"], Float[Array, "*batch"] | None]:
    """Undo `residual_forward`: the fixed point of `x = y - g(x)`.

    Args:
        y: Events of shape `(*batch, *event)`.
        residual: The map g of the forward map.
        tolerance: Relative tolerance, as for `fixed_point`.
        max_steps: Largest number of evaluations an entry.
        method: As for `fixed_point`; None is "newton" up to 8 elements and "anderson" beyond.
        event_ndim: Number of axes of one event.
        jacobian: A faster way from x to `(g(x), J)`, or None.
        with_log_det: Whether the log-determinant is wanted.
        **options: `estimator`, `key` and the rest, as for `residual_forward`.

    Returns:
        The events x and the log-determinants of the inverse map at y, `-log|det(I + dg/dx)|` at x,
        or None. Both are NaN in entries that did not converge.

    Raises:
        ValueError: If an option is out of range or unknown, or g returns another shape.
    """
    return residual_inverse_with_info(
        y,
        residual,
        tolerance=tolerance,
        max_steps=max_steps,
        method=method,
        event_ndim=event_ndim,
        jacobian=jacobian,
        with_log_det=with_log_det,
        **options,
    )[:2]


def residual_inverse_with_info(
    y: Float[Array, "*batch_event"],
    residual: Map,
    *,
    tolerance: float | None = None,
    max_steps: int = 1000,
    method: Method | None = None,
    event_ndim: int = 1,
    jacobian: ValueAndJacobian | None = None,
    with_log_det: bool = True,
    **options: Any,
) -> tuple[Float[Array, "*batch_event"], Float[Array, "*batch"] | None, FixedPointInfo]:
    """As `residual_inverse`, with the info of the fixed point.

    Args:
        y: Events of shape `(*batch, *event)`.
        residual: The map g of the forward map.
        tolerance: Relative tolerance, as for `fixed_point`.
        max_steps: Largest number of evaluations an entry.
        method: As for `fixed_point`; None is "newton" up to 8 elements and "anderson" beyond.
        event_ndim: Number of axes of one event.
        jacobian: A faster way from x to `(g(x), J)`, or None.
        with_log_det: Whether the log-determinant is wanted.
        **options: `estimator`, `key` and the rest, as for `residual_forward`.

    Returns:
        Events, log-determinants or None, and the info of each entry.

    Raises:
        ValueError: If an option is out of range or unknown, or g returns another shape.
    """
    split = y.ndim - event_ndim
    if method is None:
        method = "newton" if math.prod(y.shape[split:]) <= _NEWTON_UP_TO else "anderson"
    residual = keeping_shape(residual, "residual_inverse")
    finite = jnp.all(jnp.isfinite(y), axis=tuple(range(split, y.ndim)))
    y = _zero_unless(finite, y)

    def step(x: Array) -> Array:
        return y - residual(x)

    def step_and_jacobian(x: Array) -> tuple[Array, Array]:
        value, matrix = jacobian(x)  # type: ignore[misc]
        return y - value, -matrix

    x, info = fixed_point(
        step,
        y,
        tolerance=tolerance,
        max_steps=max_steps,
        method=method,
        event_ndim=event_ndim,
        jacobian=None if jacobian is None else step_and_jacobian,
    )
    info = info._replace(converged=info.converged & finite)
    x = nan_unless(info.converged, x)
    if not with_log_det:
        return x, None, info
    _, log_det = residual_forward(
        _zero_unless(info.converged, x),
        residual,
        event_ndim=event_ndim,
        jacobian=jacobian,
        **options,
    )
    return x, nan_unless(info.converged, -log_det), info  # type: ignore[operator]


def _zero_unless(usable: Array, events: Array) -> Array:
    """Events with zeros in place of those that cannot be used, so that gradients stay finite."""
    aligned = usable.reshape(*usable.shape, *[1] * (events.ndim - usable.ndim))
    return jnp.where(aligned, events, 0)

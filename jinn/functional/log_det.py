"""Log-determinants `log|det(I + J)|` of residual maps: exact, by a series, and unbiased."""

import math
from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jinn.functional.jacobian import (
    Map,
    ValueAndJacobian,
    keeping_shape,
    log_det_identity_plus,
    value_and_jacobian,
)

Probes = Literal["rademacher", "normal"]
Roulette = Literal["geometric", "poisson"]
_RATES = {"geometric": 0.9, "poisson": 2.0}


def log_det_exact(
    residual: Map,
    x: Float[Array, "*batch_event"],
    key: jax.Array | None = None,
    *,
    event_ndim: int = 1,
    jacobian: ValueAndJacobian | None = None,
) -> Float[Array, "*batch"]:
    """Log-determinant `log|det(I + dg/dx)|` of `x + g(x)`, from the whole Jacobian.

    It takes as many forward-mode products as an event has elements, n, and n^3 operations.

    Args:
        residual: The map g, of spectral norm less than 1, on each batch entry by itself.
        x: Events of shape `(*batch, *event)`.
        key: Not used.
        event_ndim: Number of axes of one event.
        jacobian: A faster way from x to `(g(x), J)` with J of shape `(*batch, n, n)`, or None.

    Returns:
        One value a batch entry, float32 or wider.
    """
    return value_and_log_det_exact(residual, x, event_ndim=event_ndim, jacobian=jacobian)[1]


def log_det_power_series(
    residual: Map,
    x: Float[Array, "*batch_event"],
    key: jax.Array | None = None,
    *,
    terms: int = 20,
    probes: int = 1,
    probe_distribution: Probes = "rademacher",
    event_ndim: int = 1,
    standard_error: bool = False,
) -> Any:
    """Truncated series `sum_{k=1}^n (-1)^(k+1) tr(J^k) / k`, an estimate of `log|det(I + J)|`.

    Traces are estimated by `tr(A) = E[v^T A v]` with random probes v. The mean over keys is the sum
    of n terms; for a residual of Lipschitz constant c in d dimensions that is within
    `d c^(n+1) / ((n+1) (1-c))` of the log-determinant. Gradients are those of the sum's mean, by
    the Neumann series `sum_k (-1)^k J^k`: memory does not grow with the number of terms. They are
    first derivatives only; second ones are wrong.

    Args:
        residual: The map g, of spectral norm less than 1, on each batch entry by itself.
        x: Events of shape `(*batch, *event)`.
        key: A JAX key; None takes exact traces, one product an element of an event and term.
        terms: Number of terms n.
        probes: Number of probes; their estimates are averaged.
        probe_distribution: "rademacher" (signs, of less variance) or "normal".
        event_ndim: Number of axes of one event.
        standard_error: Whether to return the standard error of the estimate over the probes, too.

    Returns:
        One value a batch entry, float32 or wider; with `standard_error` a pair of arrays.

    Raises:
        ValueError: If an option is out of range or unknown.

    Reference:
        Invertible Residual Networks (Behrmann, Grathwohl, Chen, Duvenaud, Jacobsen, 2019),
        https://arxiv.org/abs/1811.00995
    """
    _, estimates = value_and_log_dets_power_series(
        residual,
        x,
        key,
        terms=terms,
        probes=probes,
        probe_distribution=probe_distribution,
        event_ndim=event_ndim,
    )
    return _summary(estimates, standard_error)


def log_det_russian_roulette(
    residual: Map,
    x: Float[Array, "*batch_event"],
    key: jax.Array,
    *,
    distribution: Roulette = "geometric",
    rate: float | None = None,
    exact_terms: int = 2,
    probes: int = 1,
    probe_distribution: Probes = "rademacher",
    event_ndim: int = 1,
    standard_error: bool = False,
) -> Any:
    """Unbiased `sum_{k=1}^{m+N} (-1)^(k+1) v^T J^k v / (k P(N >= k - m))` for `log|det(I + J)|`.

    The number N of terms beyond the first m is random, one for each probe and call, shared by the
    batch. Gradients are unbiased too, by the Neumann series with the same weights; memory does not
    grow with the number of terms. They are first derivatives only; second ones are wrong.

    Variance, for a residual of Lipschitz constant c: with the geometric distribution
    `P(N >= j) = rate^j` it is finite where `c^2 < rate`, and the more terms a call takes on
    average, `m + rate / (1 - rate)`, the smaller it is. With the Poisson distribution, `rate` its
    mean, `P(N >= j)` falls faster than any power: the variance is infinite unless high powers of J
    vanish, and that shows for c above about 0.5. Prefer the geometric one.

    Args:
        residual: The map g, of spectral norm less than 1, on each batch entry by itself.
        x: Events of shape `(*batch, *event)`.
        key: A JAX key.
        distribution: "geometric" or "poisson".
        rate: Probability of one more term, or the Poisson mean; None is 0.9 or 2.
        exact_terms: Number m of terms that are always taken.
        probes: Number of probes with a number of terms each; their estimates are averaged.
        probe_distribution: "rademacher" (signs, of less variance) or "normal".
        event_ndim: Number of axes of one event.
        standard_error: Whether to return the standard error of the estimate over the probes, too.

    Returns:
        One value a batch entry, float32 or wider; with `standard_error` a pair of arrays.

    Raises:
        ValueError: If an option is out of range or unknown.

    Reference:
        Residual Flows for Invertible Generative Modeling (Chen, Behrmann, Duvenaud, Jacobsen,
        2019), https://arxiv.org/abs/1906.02735
    """
    _, estimates = value_and_log_dets_russian_roulette(
        residual,
        x,
        key,
        distribution=distribution,
        rate=rate,
        exact_terms=exact_terms,
        probes=probes,
        probe_distribution=probe_distribution,
        event_ndim=event_ndim,
    )
    return _summary(estimates, standard_error)


def value_and_log_det_exact(
    residual: Map, x: Array, *, event_ndim: int = 1, jacobian: ValueAndJacobian | None = None
) -> tuple[Array, Array]:
    """As `log_det_exact`, with g(x), which is found on the way.

    Args:
        residual: The map g.
        x: Events of shape `(*batch, *event)`.
        event_ndim: Number of axes of one event.
        jacobian: A faster way from x to `(g(x), J)`, or None.

    Returns:
        `g(x)` and the log-determinants.
    """
    if jacobian is None:
        residual = keeping_shape(residual, "log_det")
        value, matrices = value_and_jacobian(residual, x, event_ndim=event_ndim)
    else:
        value, matrices = jacobian(x)
    return value, log_det_identity_plus(matrices)


def value_and_log_dets_power_series(
    residual: Map,
    x: Array,
    key: jax.Array | None,
    *,
    terms: int = 20,
    probes: int = 1,
    probe_distribution: Probes = "rademacher",
    event_ndim: int = 1,
) -> tuple[Array, Array]:
    """As `log_det_power_series`, with g(x), and one estimate a probe.

    Args:
        residual: The map g.
        x: Events of shape `(*batch, *event)`.
        key: A JAX key, or None for exact traces.
        terms: Number of terms.
        probes: Number of probes.
        probe_distribution: "rademacher" or "normal".
        event_ndim: Number of axes of one event.

    Returns:
        `g(x)` and the estimates of shape `(probes, *batch)`, or `(1, *batch)` without a key.

    Raises:
        ValueError: If an option is out of range or unknown.
    """
    if terms < 1:
        raise ValueError(f"log_det_power_series: expected terms >= 1, got {terms}")
    if key is not None:
        vectors = _random_probes(key, x, probes, probe_distribution)
    else:
        vectors = _all_probes(x, event_ndim)

    def weight(k: Array) -> Array:
        return jnp.ones((len(vectors),), x.dtype)

    value, estimates = _series(residual, x, vectors, weight, jnp.asarray(terms), event_ndim)
    return value, estimates if key is not None else jnp.mean(estimates, 0, keepdims=True)


def value_and_log_dets_russian_roulette(
    residual: Map,
    x: Array,
    key: jax.Array,
    *,
    distribution: Roulette = "geometric",
    rate: float | None = None,
    exact_terms: int = 2,
    probes: int = 1,
    probe_distribution: Probes = "rademacher",
    event_ndim: int = 1,
) -> tuple[Array, Array]:
    """As `log_det_russian_roulette`, with g(x), and one estimate a probe.

    Args:
        residual: The map g.
        x: Events of shape `(*batch, *event)`.
        key: A JAX key.
        distribution: "geometric" or "poisson".
        rate: Probability of one more term, or the Poisson mean; None is 0.9 or 2.
        exact_terms: Number of terms that are always taken.
        probes: Number of probes.
        probe_distribution: "rademacher" or "normal".
        event_ndim: Number of axes of one event.

    Returns:
        `g(x)` and the estimates of shape `(probes, *batch)`.

    Raises:
        ValueError: If an option is out of range or unknown.
    """
    name = "log_det_russian_roulette"
    if distribution not in _RATES:
        raise ValueError(
            f"{name}: expected distribution to be one of {sorted(_RATES)}, got {distribution!r}"
        )
    rate = _RATES[distribution] if rate is None else float(rate)
    most = 1.0 if distribution == "geometric" else math.inf
    if not 0 < rate < most or exact_terms < 0:
        raise ValueError(
            f"{name}: expected rate between 0 and {most} for the {distribution} distribution and "
            f"exact_terms >= 0, got rate={rate}, exact_terms={exact_terms}"
        )
    count_key, probe_key = jax.random.split(key)
    vectors = _random_probes(probe_key, x, probes, probe_distribution)
    if distribution == "geometric":
        extra = jax.random.geometric(count_key, 1 - rate, (probes,)) - 1
        tails = None
    else:
        tails = _poisson_tails(rate)
        extra = jnp.sum(_fine_uniform(count_key, (probes, 1)) < tails[None, 1:], axis=1)

    def weight(k: Array) -> Array:
        beyond = jnp.maximum(k - exact_terms, 0)
        inverse = jnp.exp(-beyond * math.log(rate)) if tails is None else 1 / tails[beyond]
        return jnp.where(k <= exact_terms + extra, inverse, 0.0).astype(x.dtype)

    return _series(residual, x, vectors, weight, exact_terms + jnp.max(extra), event_ndim)


def _series(
    residual: Map,
    x: Array,
    probes: Array,
    weight: Callable[[Array], Array],
    terms: Array,
    event_ndim: int,
) -> tuple[Array, Array]:
    """Weighted series of `v^T J^k v` for each probe v, with the gradient of its mean.

    `tr(J^(k-1) dJ)`, the derivative of `tr(J^k) / k`, is estimated by `v^T dJ J^(k-1) v`: the sum
    `s = sum_k (-1)^(k-1) weight_k J^(k-1) v` is collected without gradient, and one product `J s`
    carries it all.
    """
    residual = keeping_shape(residual, "log_det")
    converted, constants = jax.closure_convert(residual, x)
    constants = jax.lax.stop_gradient(constants)
    product = jax.linearize(lambda at: converted(at, *constants), jax.lax.stop_gradient(x))[1]
    axes = tuple(range(x.ndim - event_ndim + 1, x.ndim + 1))
    wide = jnp.promote_types(x.dtype, jnp.float32)

    def contract(vectors: Array) -> Array:
        return jnp.sum(probes * vectors, axes, dtype=wide)

    def step(k: Array, carry: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        power, collected, total = carry
        signed = jnp.where(k % 2 == 1, 1, -1).astype(x.dtype) * weight(k)
        collected = collected + _each(signed, power) * power
        power = jax.vmap(product)(power)
        traces = contract(power)
        return power, collected, total + _each((signed / k).astype(wide), traces) * traces

    start = (probes, jnp.zeros_like(probes), contract(jnp.zeros_like(probes)))
    _, collected, total = jax.lax.fori_loop(1, terms + 1, step, start)
    collected, total = jax.lax.stop_gradient((collected, total))
    value, directional = jax.vmap(
        lambda direction: jax.jvp(residual, (x,), (direction,)), out_axes=(None, 0)
    )(collected)
    carrier = contract(directional)
    return value, total + (carrier - jax.lax.stop_gradient(carrier))


def _each(factors: Array, arrays: Array) -> Array:
    """One factor a probe, with the rank of the arrays."""
    return factors.reshape(-1, *[1] * (arrays.ndim - 1))


_FINEST = 2.0**-46


def _fine_uniform(key: jax.Array, shape: tuple[int, ...]) -> Array:
    """Uniform numbers, those near 0 in steps of 2^-46.

    JAX draws multiples of 2^-23. A 0 would stand for numbers of terms whose true probabilities,
    by which their terms are divided, are many orders of magnitude less.
    """
    coarse, fine = jax.random.uniform(key, (2, *shape), jnp.float32)
    return coarse + fine * 2.0**-23


def _poisson_tails(mean: float) -> Array:
    """`P(N >= j)` of the Poisson distribution for j = 0, 1, ..., as far as they can be drawn."""
    count = np.arange(int(mean + 12 * math.sqrt(mean)) + 25)
    log_factorial = np.cumsum(np.log(np.maximum(count, 1)))
    tails = np.cumsum(np.exp(count * math.log(mean) - mean - log_factorial)[::-1])[::-1]
    return jnp.asarray(tails[tails > _FINEST], jnp.float32)


def _random_probes(key: jax.Array, x: Array, probes: int, distribution: str) -> Array:
    if probes < 1:
        raise ValueError(f"log_det: expected probes >= 1, got {probes}")
    if distribution == "rademacher":
        return jax.random.rademacher(key, (probes, *x.shape), x.dtype)
    if distribution == "normal":
        return jax.random.normal(key, (probes, *x.shape), x.dtype)
    raise ValueError(
        f"log_det: expected probe_distribution to be 'rademacher' or 'normal', got {distribution!r}"
    )


def _all_probes(x: Array, event_ndim: int) -> Array:
    """Scaled unit vectors, whose mean of `v^T A v` is the trace of A."""
    split = x.ndim - event_ndim
    n = math.prod(x.shape[split:])
    units = math.sqrt(n) * jnp.eye(n, dtype=x.dtype)
    return jnp.broadcast_to(units.reshape(n, *[1] * split, *x.shape[split:]), (n, *x.shape))


def _summary(estimates: Array, standard_error: bool) -> Any:
    mean = jnp.mean(estimates, axis=0)
    if not standard_error:
        return mean
    if len(estimates) < 2:
        raise ValueError(
            "log_det: a standard error needs a key and probes >= 2, got one estimate an entry"
        )
    deviation = jnp.std(jax.lax.stop_gradient(estimates), axis=0, ddof=1)
    return mean, deviation / math.sqrt(len(estimates))

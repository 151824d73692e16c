"""Approximate Bayesian computation: rejection with a tolerance, and the nearest of many."""

import warnings
from collections.abc import Callable
from functools import partial
from numbers import Integral
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float, Int

from jinn.networks.randomness import as_key
from jinn.training.data import explaining_tracers, hashable

Simulator = Callable[[Array, int], tuple[Array, Array]]
_State = tuple[Array, Array, Array]


class ABCResult(NamedTuple):
    """What rejection sampling returns.

    Attributes:
        samples: Accepted parameters, shape (n_samples, *x_shape). Where the bound on the
            simulations was met first, the rows from ``n_accepted`` on are NaN.
        n_accepted: Number of rows of ``samples`` that are filled.
        simulations: Number of simulations run.
        acceptance_rate: Accepted share of all simulations run.
        complete: Whether every row of ``samples`` is filled.
    """

    samples: Float[Array, "n_samples *x_shape"]
    n_accepted: Int[Array, ""]
    simulations: Int[Array, ""]
    acceptance_rate: Float[Array, ""]
    complete: Bool[Array, ""]


def abc_rejection(
    key: Array,
    simulate: Simulator,
    y: ArrayLike,
    *,
    tolerance: ArrayLike,
    n_samples: int = 1000,
    max_simulations: int = 10**8,
    chunk_size: int = 2**16,
) -> ABCResult:
    r"""Samples the posterior p(x | y) under ``y = y_sim + Normal(0, tolerance^2)``, by rejection.

    A simulated pair (x, y_sim) is accepted with probability
    ``exp(-sum_i (y_sim_i - y_i)^2 / (2 tolerance_i^2))``, so the accepted x are independent and
    exact draws of the posterior with Gaussian observation noise of that size. A simulation that is
    not finite is rejected. Memory is fixed by ``n_samples`` and ``chunk_size``, whatever the number
    of simulations. Works under `jax.jit`, and for many observations under `jax.lax.map` (each
    stops when it is done) or `jax.vmap` (all run until the slowest is done).

    Args:
        key: A JAX random key.
        simulate: ``simulate(key, n) -> (x, y_sim)``: n draws of the parameters from the prior, of
            shape (n, *x_shape), and their simulations, of shape (n, *y_shape), in JAX operations.
            It is compiled once for each function object.
        y: The observation, shape y_shape.
        tolerance: Standard deviation of the Gaussian tolerance, in the units of y: one number, or
            one for each entry of y.
        n_samples: How many draws of the posterior are wanted.
        max_simulations: Bound on the simulations, less than 2^31; no chunk goes beyond it.
        chunk_size: Simulations per step of the compiled loop.

    Returns:
        An `ABCResult`. If the bound was met first it holds the draws found so far; outside a JAX
        transformation a warning says so.

    Raises:
        ValueError: The tolerance is not positive, the observation is not finite, or a shape or a
            number is out of range.

    Reference:
        Approximate Bayesian computation (ABC) gives exact results under the assumption of model
        error. Wilkinson, 2013. https://arxiv.org/abs/0811.3355
    """
    _check_counts(
        "abc_rejection",
        n_samples=n_samples,
        max_simulations=max_simulations,
        chunk_size=chunk_size,
    )
    key = as_key(key, "abc_rejection: key")
    y, tolerance = _check_lengths("abc_rejection", y, "tolerance", tolerance)
    chunk_size = min(chunk_size, max_simulations)
    simulate = hashable(simulate)
    _check_simulator("abc_rejection", key, simulate, y, chunk_size)

    result = _abc_rejection(key, y, tolerance, simulate, n_samples, max_simulations, chunk_size)
    if not isinstance(result.complete, Tracer) and not result.complete:
        warnings.warn(
            f"abc_rejection: {result.n_accepted} of {n_samples} samples after "
            f"{result.simulations} simulations; the other rows are NaN. Raise max_simulations or "
            f"the tolerance.",
            stacklevel=2,
        )
    return result


class ABCQuantileResult(NamedTuple):
    """What `abc_quantile` returns.

    Attributes:
        samples: The nearest parameters, nearest first, shape (n_samples, *x_shape).
        distances: Their distances to the observation, shape (n_samples,). Where fewer simulations
            were finite than samples are wanted, the rest is infinite and the samples are NaN.
    """

    samples: Float[Array, "n_samples *x_shape"]
    distances: Float[Array, " n_samples"]


def abc_quantile(
    key: Array,
    simulate: Simulator,
    y: ArrayLike,
    *,
    n_simulations: int,
    n_samples: int = 1000,
    scale: ArrayLike = 1.0,
    chunk_size: int = 2**16,
) -> ABCQuantileResult:
    r"""Keeps the k of N prior samples whose simulations are nearest to y, ``|y_sim - y| / scale``.

    The quantile k / N stands in for a tolerance: the posterior is approximate, the more so the
    larger that share. The work is known in advance, whatever the observation. A simulation that is
    not finite is infinitely far. Memory is fixed by ``n_samples`` and ``chunk_size``. Works under
    `jax.jit`, `jax.lax.map` and `jax.vmap`.

    Args:
        key: A JAX random key.
        simulate: ``simulate(key, n) -> (x, y_sim)``, as for `abc_rejection`.
        y: The observation, shape y_shape.
        n_simulations: Number of simulations N, at least ``n_samples``.
        n_samples: Number of samples to keep, k.
        scale: What distances are measured in, in the units of y: one number, or one for each entry
            of y.
        chunk_size: Simulations per step of the compiled loop.

    Returns:
        An `ABCQuantileResult`; the last distance is the tolerance that was reached.

    Raises:
        ValueError: The scale is not positive, the observation is not finite, or a shape or a number
            is out of range.

    Reference:
        Approximate Bayesian computation in population genetics. Beaumont, Zhang, Balding, 2002.
        https://doi.org/10.1093/genetics/162.4.2025
    """
    name = "abc_quantile"
    _check_counts(name, n_samples=n_samples, n_simulations=n_simulations, chunk_size=chunk_size)
    if n_samples > n_simulations:
        raise ValueError(
            f"{name}: expected n_samples <= n_simulations, got {n_samples} and {n_simulations}."
        )
    key = as_key(key, f"{name}: key")
    y, scale = _check_lengths(name, y, "scale", scale)
    chunk_size = min(chunk_size, n_simulations)
    simulate = hashable(simulate)
    _check_simulator(name, key, simulate, y, chunk_size)
    result = _abc_quantile(key, y, scale, simulate, n_samples, n_simulations, chunk_size)
    if not isinstance(result.distances, Tracer) and not np.isfinite(result.distances[-1]):
        warnings.warn(
            f"{name}: only {np.isfinite(result.distances).sum()} of {n_simulations} simulations "
            f"are finite, {n_samples} were wanted; the other rows are NaN.",
            stacklevel=2,
        )
    return result


def _check_counts(name: str, **counts: Any) -> None:
    for argument, number in counts.items():
        if not isinstance(number, Integral) or not 1 <= int(number) < 2**31:
            raise ValueError(f"{name}: expected an integer 1 <= {argument} < 2^31, got {number!r}.")


def _check_lengths(name: str, y: ArrayLike, argument: str, lengths: Any) -> tuple[Array, Array]:
    """The observation and positive lengths in its units, one or one an entry, as arrays."""
    y, lengths = jnp.asarray(y, float), jnp.asarray(lengths, float)
    if lengths.shape not in ((), y.shape):
        raise ValueError(
            f"{name}: expected one {argument} or one for each entry of y, of shape {y.shape}, got "
            f"shape {lengths.shape}."
        )
    if not isinstance(lengths, Tracer) and not np.all(np.asarray(lengths) > 0):
        raise ValueError(f"{name}: expected a positive {argument}, got {lengths}.")
    if not isinstance(y, Tracer) and not np.all(np.isfinite(y)):
        raise ValueError(f"{name}: expected a finite observation y, got {y}.")
    return y, lengths


def _check_simulator(name: str, key: Array, simulate: Simulator, y: Array, n: int) -> None:
    with explaining_tracers(name):
        pair = jax.eval_shape(lambda key: simulate(key, n), key)
    if not isinstance(pair, tuple | list) or len(pair) != 2:
        raise ValueError(
            f"{name}: expected simulate(key, n) to return (x, y), got {type(pair).__name__}."
        )
    x_sim, y_sim = pair
    if x_sim.shape[:1] != (n,) or y_sim.shape[:1] != (n,):
        raise ValueError(
            f"{name}: expected simulate(key, {n}) to give {n} rows of x and of y, got "
            f"shapes {x_sim.shape} and {y_sim.shape}."
        )
    if y_sim.shape[1:] != y.shape:
        raise ValueError(
            f"{name}: the simulator's y has shape {y_sim.shape[1:]}, the observation's is "
            f"{y.shape}; pass one observation, and use jax.lax.map over several."
        )


@partial(jax.jit, static_argnums=(3, 4, 5, 6))
def _abc_rejection(
    key: Array,
    y: Float[Array, "*y_shape"],
    tolerance: Float[Array, "*tolerance_shape"],
    simulate: Simulator,
    n_samples: int,
    max_simulations: int,
    chunk_size: int,
) -> ABCResult:
    scale = jnp.broadcast_to(tolerance, y.shape)

    def propose(key: Array, n: int) -> tuple[Array, Array]:
        x, y_sim = simulate(key, n)
        error = (y_sim - y[None]) / scale[None]
        return x, -0.5 * jnp.sum(error.reshape(n, -1) ** 2, axis=1)

    return rejection_sample(
        key,
        propose,
        n_samples=n_samples,
        max_simulations=max_simulations,
        chunk_size=chunk_size,
    )


@partial(jax.jit, static_argnums=(3, 4, 5, 6))
def _abc_quantile(
    key: Array,
    y: Float[Array, "*y_shape"],
    scale: Float[Array, "*scale_shape"],
    simulate: Simulator,
    n_samples: int,
    n_simulations: int,
    chunk_size: int,
) -> ABCQuantileResult:
    scale = jnp.broadcast_to(scale, y.shape)

    def keep_nearest(chunk: Array, nearest: tuple[Array, Array]) -> tuple[Array, Array]:
        samples, distances = nearest
        x, y_sim = simulate(jax.random.fold_in(key, chunk), chunk_size)
        error = ((y_sim - y[None]) / scale[None]).reshape(chunk_size, -1)
        distance = jnp.sqrt(jnp.sum(error**2, axis=1)).astype(distances.dtype)
        counted = chunk * chunk_size + jnp.arange(chunk_size) < n_simulations
        distance = jnp.where(counted & ~jnp.isnan(distance), distance, jnp.inf)
        distances = jnp.concatenate([distances, distance])
        smallest, rows = jax.lax.top_k(-distances, n_samples)
        return jnp.concatenate([samples, x.astype(samples.dtype)])[rows], -smallest

    x = jax.eval_shape(lambda key: simulate(key, chunk_size), key)[0]
    start = (
        jnp.zeros((n_samples, *x.shape[1:]), jnp.promote_types(x.dtype, jnp.float32)),
        jnp.full((n_samples,), jnp.inf, jnp.result_type(float)),
    )
    samples, distances = jax.lax.fori_loop(0, -(-n_simulations // chunk_size), keep_nearest, start)
    found = jnp.isfinite(distances).reshape(-1, *[1] * (samples.ndim - 1))
    return ABCQuantileResult(jnp.where(found, samples, jnp.nan), distances)


def rejection_sample(
    key: Array,
    propose: Callable[[Array, int], tuple[Array, Array]],
    *,
    n_samples: int,
    max_simulations: int = 10**8,
    chunk_size: int = 2**16,
) -> ABCResult:
    """Samples the density proportional to proposal density times acceptance probability.

    This is the compiled loop of `abc_rejection`, for other proposals. Call it inside `jax.jit`.

    Args:
        key: A JAX random key.
        propose: ``propose(key, n) -> (x, log_acceptance)``: n independent proposals, shape
            (n, *x_shape), and the logarithms of their acceptance probabilities, at most 0, shape
            (n,). A proposal with NaN for that is rejected.
        n_samples: How many draws are wanted.
        max_simulations: Bound on the proposals, less than 2^31.
        chunk_size: Proposals per step, at most ``max_simulations``.

    Returns:
        An `ABCResult`, whose ``simulations`` counts the proposals.
    """

    def not_done(state: _State) -> Array:
        _, accepted, chunks = state
        return (accepted < n_samples) & (chunks < max_simulations // chunk_size)

    def run_chunk(state: _State) -> _State:
        samples, accepted, chunks = state
        propose_key, accept_key = jax.random.split(jax.random.fold_in(key, chunks))
        x, log_acceptance = propose(propose_key, chunk_size)
        level = jax.random.exponential(accept_key, (chunk_size,), log_acceptance.dtype)
        accept = -log_acceptance < level
        rank = jnp.cumsum(accept, dtype=jnp.int32)
        row = jnp.where(accept, accepted + rank - 1, n_samples)
        samples = samples.at[row].set(x.astype(samples.dtype), mode="drop")
        return samples, accepted + rank[-1], chunks + 1

    proposal, _ = jax.eval_shape(lambda key: propose(key, chunk_size), key)
    dtype = jnp.promote_types(proposal.dtype, jnp.float32)
    empty = jnp.full((n_samples, *proposal.shape[1:]), jnp.nan, dtype)
    zero = jnp.zeros((), jnp.int32)
    samples, accepted, chunks = jax.lax.while_loop(not_done, run_chunk, (empty, zero, zero))
    simulations = chunks * chunk_size
    return ABCResult(
        samples=samples,
        n_accepted=jnp.minimum(accepted, n_samples),
        simulations=simulations,
        acceptance_rate=accepted / simulations,
        complete=accepted >= n_samples,
    )

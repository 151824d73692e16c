"""Tests of a posterior on pairs (x, y) of the joint distribution: SBC, coverage, TARP.

Each gives numbers that are uniform for the exact posterior: the rank of the true x among S
posterior samples, spread as ``(rank + U) / (S + 1)`` with U uniform on [0, 1]; ties get a random
order. That is exact at any S, as the rank is uniform on 0, ..., S.
"""

from collections.abc import Sequence
from numbers import Real
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array

from jinn.inference.chunks import SamplesPosterior, check_pairs, draw_in_chunks
from jinn.inference.diagnostics.uniformity import UniformityTest, check_uniformity
from jinn.networks.randomness import as_key

_LEAST_PAIRS = 20


def simulation_based_calibration(
    posterior: SamplesPosterior,
    x: ArrayLike,
    y: Any,
    *,
    samples: int = 200,
    level: float = 0.05,
    labels: Sequence[str] | None = None,
    key: int | Array | None = None,
) -> UniformityTest:
    """Tests that the rank of each true parameter among posterior samples is uniform.

    Args:
        posterior: What is tested; its ``sample(key, (samples,), y)`` gives (samples, n, dim),
            independent samples.
        x: True parameters, shape (n, dim): with y, n independent draws of the joint distribution.
        y: Their observations, shape (n, dim_y), or a dict of arrays with n rows each.
        samples: Posterior samples for each observation.
        level: False-alarm rate over all parameters (Bonferroni).
        labels: Names of the parameters.
        key: A JAX random key, or an int to make one of; the default is 0.

    Returns:
        A `UniformityTest` with a column for each parameter.

    Raises:
        ValueError: Fewer than 20 pairs or 2 samples, NaN, shapes that do not match, or a level
            that is none.

    Reference:
        Validating Bayesian Inference Algorithms with Simulation-Based Calibration. Talts,
        Betancourt, Simpson, Vehtari, Gelman, 2018. https://arxiv.org/abs/1804.06788
    """
    name = "simulation_based_calibration"
    x, y, keys, names = _prepare(name, x, y, samples, level, labels, key)
    values = [
        _spread(chunk.draws, chunk.x, k)[: chunk.kept]
        for chunk, k in _chunks(name, posterior, keys, samples, x, y)
    ]
    return _judge("SBC", values, names, samples, level, keys[1])


def expected_coverage(
    posterior: SamplesPosterior,
    x: ArrayLike,
    y: Any,
    *,
    regions: Literal["highest_density", "central"] = "highest_density",
    samples: int = 200,
    level: float = 0.05,
    labels: Sequence[str] | None = None,
    key: int | Array | None = None,
) -> UniformityTest:
    """Tests that credible regions of each mass hold the true x as often as they should.

    A value is the mass of the smallest region with the true x in it, so that the distribution
    function at q is the coverage of the regions of mass q: below the diagonal is overconfident.

    Args:
        posterior: What is tested, as in `simulation_based_calibration`. Regions of highest density
            need its ``log_prob(x, y)``, of x (samples + 1, n, dim).
        x: True parameters, shape (n, dim): with y, n independent draws of the joint distribution.
        y: Their observations, shape (n, dim_y), or a dict of arrays with n rows each.
        regions: Of highest density, one for all parameters, or central intervals of each.
        samples: Posterior samples for each observation.
        level: False-alarm rate over all parameters (Bonferroni).
        labels: Names of the parameters.
        key: A JAX random key, or an int to make one of; the default is 0.

    Returns:
        A `UniformityTest` with one column, or for central intervals a column for each parameter.

    Raises:
        ValueError: As for `simulation_based_calibration`, or no log_prob where it is needed.

    Reference:
        A Trust Crisis In Simulation-Based Inference? Your Posterior Approximations Can Be
        Unfaithful. Hermans, Delaunoy, Rozet, Wehenkel, Begy, Louppe, 2022.
        https://arxiv.org/abs/2110.06581
    """
    name = "expected_coverage"
    if regions not in ("highest_density", "central"):
        raise ValueError(
            f"{name}: expected regions to be 'highest_density' or 'central', got {regions!r}."
        )
    log_prob: Any = getattr(posterior, "log_prob", None)
    if regions == "highest_density" and not callable(log_prob):
        raise ValueError(
            f"{name}: regions of highest density need posterior.log_prob(x, y), which "
            f"{type(posterior).__name__} has not; take regions='central'."
        )
    x, y, keys, names = _prepare(name, x, y, samples, level, labels, key)
    values = []
    for chunk, k in _chunks(name, posterior, keys, samples, x, y):
        if regions == "central":
            values.append(jnp.abs(2 * _spread(chunk.draws, chunk.x, k) - 1)[: chunk.kept])
            continue
        density = jnp.asarray(log_prob(jnp.concatenate([chunk.draws, chunk.x[None]]), chunk.y))
        if density.shape != (samples + 1, len(chunk.x)):
            raise ValueError(
                f"{name}: expected posterior.log_prob to give shape {(samples + 1, len(chunk.x))}, "
                f"got {density.shape}."
            )
        _refuse_nan(name, "log-densities", density)
        values.append(_spread(-density[:-1, :, None], -density[-1, :, None], k)[: chunk.kept])
    if regions == "central":
        return _judge("coverage of central intervals", values, names, samples, level, keys[1])
    title = "coverage of highest density"
    return _judge(title, values, ("all parameters",), samples, level, keys[1])


def tarp(
    posterior: SamplesPosterior,
    x: ArrayLike,
    y: Any,
    *,
    references: ArrayLike | None = None,
    samples: int = 200,
    level: float = 0.05,
    key: int | Array | None = None,
) -> UniformityTest:
    """Tests the coverage of balls around reference points, by samples alone (TARP).

    A value is the share of samples that are closer to the reference than the true x is. Parameters
    are divided by the standard deviation of the references.

    Args:
        posterior: What is tested, as in `simulation_based_calibration`.
        x: True parameters, shape (n, dim): with y, n independent draws of the joint distribution.
        y: Their observations, shape (n, dim_y), or a dict of arrays with n rows each.
        references: Reference points, shape (n, dim), that may depend on y but on x in no other
            way. The default is one posterior sample for another observation. A posterior that
            ignores y and gives the prior passes with any references that do not depend on y.
        samples: Posterior samples for each observation.
        level: False-alarm rate.
        key: A JAX random key, or an int to make one of; the default is 0.

    Returns:
        A `UniformityTest` with one column.

    Raises:
        ValueError: As for `simulation_based_calibration`, or references of a wrong shape.

    Reference:
        Sampling-Based Accuracy Testing of Posterior Estimators for General Inference. Lemos,
        Coogan, Hezaveh, Perreault-Levasseur, 2023. https://arxiv.org/abs/2302.03026
    """
    name = "tarp"
    x, y, keys, _ = _prepare(name, x, y, samples, level, None, key)
    if references is None:
        drawn = [c.draws[0, : c.kept] for c in draw_in_chunks(name, posterior, keys[2], 1, x, y)]
        references = jnp.roll(jnp.concatenate(drawn), 1, axis=0)
    references = jnp.asarray(references)
    if references.shape != x.shape:
        raise ValueError(
            f"{name}: expected references of the shape of x, {x.shape}, got {references.shape}."
        )
    if not bool(jnp.all(jnp.isfinite(references))):
        raise ValueError(f"{name}: expected finite references, got NaN or infinite ones.")
    deviation = np.std(np.asarray(references, np.float64), axis=0)
    scale = np.where((deviation > 0) & np.isfinite(deviation), deviation, 1.0)
    values = []
    for chunk, k in _chunks(name, posterior, keys, samples, x, y):
        sides = _sides(chunk.draws, chunk.x, references[chunk.rows], scale)
        values.append(_spread(sides, jnp.zeros(sides.shape[1:], sides.dtype), k)[: chunk.kept])
    return _judge("TARP", values, ("all parameters",), samples, level, keys[1])


@jax.jit
def _spread(draws: Array, x: Array, key: Array) -> Array:
    """Ranks of x (chunk, dim) among draws (samples, chunk, dim), spread over [0, 1]."""
    below = jnp.sum(draws < x[None], axis=0)
    ties = jnp.sum(draws == x[None], axis=0)
    return (below + jax.random.uniform(key, x.shape) * (ties + 1)) / (len(draws) + 1)


def _sides(draws: Array, x: Array, references: Array, scale: np.ndarray) -> Array:
    """Whether draws are nearer to a reference than x is (-1) or not (1): (samples, chunk, 1).

    In float64, where squares of numbers in any units are finite and not zero.
    """
    center = np.asarray(references, np.float64) / scale
    drawn, own = (
        np.sum((np.asarray(points, np.float64) / scale - center) ** 2, axis=-1)
        for points in (draws, x)
    )
    return jnp.asarray((drawn > own).astype(np.int8) - (drawn < own))[..., None]


def _chunks(
    name: str, posterior: SamplesPosterior, keys: Array, samples: int, x: Array, y: Any
) -> Any:
    """The chunks, each with a key of its own; NaN samples are refused."""
    for index, chunk in enumerate(draw_in_chunks(name, posterior, keys[0], samples, x, y)):
        _refuse_nan(name, "samples", chunk.draws)
        yield chunk, jax.random.fold_in(keys[3], index)


def _prepare(
    name: str,
    x: ArrayLike,
    y: Any,
    samples: int,
    level: float,
    labels: Sequence[str] | None,
    key: int | Array | None,
) -> tuple[Array, Any, Array, tuple[str, ...]]:
    given = x
    x, y = check_pairs(name, x, y, samples, _LEAST_PAIRS)
    check_level(name, level)
    _refuse_nan(name, "true x", x)
    _refuse_rounding(name, given, x)
    names = tuple(f"x{i}" for i in range(x.shape[1])) if labels is None else tuple(labels)
    if len(names) != x.shape[1]:
        raise ValueError(f"{name}: expected {x.shape[1]} labels, one a parameter, got {names}.")
    return x, y, jax.random.split(as_key(0 if key is None else key, f"{name}: key"), 4), names


def check_level(name: str, level: float) -> None:
    """Checks that a false-alarm rate is one.

    Args:
        name: Who asks, for the error.
        level: The rate.

    Raises:
        ValueError: If it is not between 0 and 1.
    """
    if not isinstance(level, Real) or not 0 < level < 1:
        raise ValueError(f"{name}: expected a level between 0 and 1, such as 0.05, got {level!r}.")


def _refuse_nan(name: str, what: str, array: Array) -> None:
    bad = int(jnp.sum(jnp.isnan(array)))
    if bad:
        raise ValueError(
            f"{name}: {bad} of {array.size} values of the {what} are NaN; expected none. Find out "
            "where they come from (a solver that failed, an observation out of range): leaving "
            "them out would bias the test."
        )


def _refuse_rounding(name: str, given: ArrayLike, x: Array) -> None:
    """Refuses true x of float64 whose differences the dtype that JAX has for them rounds away."""
    given = np.asarray(given)
    if given.dtype.itemsize <= x.dtype.itemsize:
        return
    for index, (exact, rounded) in enumerate(zip(given.T, np.asarray(x).T, strict=True)):
        numbers, left = len(np.unique(exact)), len(np.unique(rounded))
        if left < numbers / 2:
            raise ValueError(
                f"{name}: the {numbers} different values of parameter {index} of x become {left} "
                f"in {x.dtype}; subtract their offset, from the posterior's samples too, or set "
                "jax_enable_x64."
            )


def _judge(
    title: str, values: list, names: tuple[str, ...], samples: int, level: float, key: Array
) -> UniformityTest:
    seed = int(jax.random.bits(key, (), jnp.uint32))
    found = np.asarray(jnp.concatenate(values), np.float64)
    return check_uniformity(title, found, names, samples=samples, level=level, seed=seed)

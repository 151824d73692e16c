"""How good posterior samples are: against a reference, against the simulator, and in calibration.

Samples have the layout of `Posterior.sample`: ``(n, *batch, dim)`` for observations y of shape
``(*batch, dim_y)``. Each metric gives one value for each observation, or one for all.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from jinn.functional.kernels import mmd_squared
from jinn.inference.chunks import SamplesPosterior, check_pairs, draw_in_chunks
from jinn.networks.randomness import as_key


class CalibrationCurve(NamedTuple):
    """The share of true parameters inside central credible intervals, for a range of confidences.

    Attributes:
        confidence: Probability mass q of the intervals: 0.01, 0.02, ..., 1, shape (100,).
        inliers: Share of true parameters inside the intervals of that mass, pooled over parameters
            and observations, shape (100,). Equal to ``confidence`` for a calibrated posterior.
    """

    confidence: Float[Array, "100"]
    inliers: Float[Array, "100"]


def posterior_mismatch(
    samples: ArrayLike,
    reference: ArrayLike,
    *,
    unbiased: bool = True,
    bandwidths: Sequence[float] = (0.05, 0.2, 0.9),
) -> Float[Array, "*batch"]:
    """Measures MMD^2 between posterior samples and reference samples, for each observation.

    The kernel is the inverse multiquadratic of `jinn.functional.mmd_squared`, summed over the
    bandwidths. The mean over observations is the benchmark's Err_post.

    Args:
        samples: Posterior samples, shape (n, *batch, dim).
        reference: Samples of the reference posterior, shape (m, *batch, dim).
        unbiased: Leave out the pairs of a sample with itself; without that the value is too large
            by about ``len(bandwidths) (1/n + 1/m)``.
        bandwidths: Kernel lengths, in the units of the parameters.

    Returns:
        One estimate for each observation, shape (*batch,). NaN where a sample is NaN.

    Raises:
        ValueError: Fewer than 2 samples, or shapes that do not match.

    Reference:
        Benchmarking Invertible Architectures on Inverse Problems. Kruse, Ardizzone, Rother, Koethe,
        2021. https://arxiv.org/abs/2101.10763
    """
    samples, reference = jnp.asarray(samples), jnp.asarray(reference)
    _check_samples("posterior_mismatch", "samples", samples)
    _check_samples("posterior_mismatch", "reference", reference)
    if samples.shape[1:] != reference.shape[1:]:
        raise ValueError(
            f"posterior_mismatch: expected samples (n, *batch, dim) and reference (m, *batch, dim) "
            f"that differ in the first axis at most, got {samples.shape} and {reference.shape}."
        )
    return _mismatch(samples, reference, unbiased, tuple(float(h) for h in bandwidths))


@partial(jax.jit, static_argnums=(2, 3))
def _mismatch(
    samples: Float[Array, "n *batch dim"],
    reference: Float[Array, "m *batch dim"],
    unbiased: bool,
    bandwidths: tuple[float, ...],
) -> Float[Array, "*batch"]:
    batch, dim = samples.shape[1:-1], samples.shape[-1]

    def by_observation(array: Array) -> Array:
        return jnp.moveaxis(array.reshape(len(array), -1, dim), 1, 0)

    def one(pair: tuple[Array, Array]) -> Array:
        return mmd_squared(*pair, unbiased=unbiased, bandwidths=bandwidths)

    pairs = (by_observation(samples), by_observation(reference))
    return jax.lax.map(one, pairs).reshape(batch)


def c2st(samples: ArrayLike, reference: ArrayLike, *, seed: int = 1) -> float:
    r"""Accuracy of a classifier that tells samples from reference samples, a two-sample test.

    0.5 means that it cannot, 1 that it always can. As the sbibm benchmark defines it: a perceptron
    with two hidden layers of ``10 dim`` units, its mean accuracy over 5 folds, both sets
    standardised by mean and standard deviation of the reference; an element that is the same in
    all of the reference is divided by 1.

    Args:
        samples: Samples to judge, shape (n, dim).
        reference: Samples of the true distribution, shape (m, dim); equal numbers make 0.5 the
            accuracy of a guess.
        seed: Seed of the classifier and of the folds.

    Returns:
        The accuracy.

    Raises:
        ValueError: If the two are not matrices of equally wide rows, have fewer than 5 rows, or
            hold NaN or infinite values.
        ImportError: If scikit-learn is not installed.

    Reference:
        Revisiting Classifier Two-Sample Tests (Lopez-Paz, Oquab, 2017),
        https://arxiv.org/abs/1610.06545; Benchmarking Simulation-Based Inference (Lueckmann,
        Boelts, Greenberg, Goncalves, Macke, 2021), https://arxiv.org/abs/2101.04653
    """
    x, y = np.asarray(samples, np.float64), np.asarray(reference, np.float64)
    if x.ndim != 2 or y.ndim != 2 or x.shape[1] != y.shape[1] or min(len(x), len(y)) < 5:
        raise ValueError(
            f"c2st: expected samples (n, dim) and reference samples (m, dim), at least 5 of each, "
            f"got shapes {x.shape} and {y.shape}."
        )
    for name, values in (("samples", x), ("reference samples", y)):
        bad = int((~np.isfinite(values)).any(axis=1).sum())
        if bad:
            raise ValueError(f"c2st: {bad} of {len(values)} {name} are NaN or infinite.")
    try:
        from sklearn.model_selection import KFold, cross_val_score
        from sklearn.neural_network import MLPClassifier
    except ImportError as error:
        raise ImportError("c2st needs scikit-learn: pip install scikit-learn") from error
    mean, deviation = y.mean(axis=0), y.std(axis=0, ddof=1)
    deviation[np.ptp(y, axis=0) == 0] = 1.0
    data = (np.concatenate([y, x]) - mean) / deviation
    labels = np.repeat([0.0, 1.0], [len(y), len(x)])
    width = 10 * x.shape[1]
    classifier = MLPClassifier((width, width), max_iter=10_000, random_state=seed)
    folds = KFold(n_splits=5, shuffle=True, random_state=seed)
    return float(np.mean(cross_val_score(classifier, data, labels, cv=folds)))


def resimulation_error(
    simulate: Callable[[Array], Array], samples: ArrayLike, y: ArrayLike
) -> Float[Array, "*batch"]:
    """Measures E ||f(x) - y||^2 over posterior samples x, for each observation y.

    The mean over observations is the benchmark's Err_resim.

    Args:
        simulate: The forward process f, from (..., dim) to (..., dim_y). A noisy process adds its
            variance to the error.
        samples: Posterior samples, shape (n, *batch, dim).
        y: The observations, shape (*batch, dim_y).

    Returns:
        One error for each observation, in squared units of y, shape (*batch,).

    Raises:
        ValueError: Fewer than 2 samples, or shapes that do not match.

    Reference:
        Benchmarking Invertible Architectures on Inverse Problems. Kruse, Ardizzone, Rother, Koethe,
        2021. https://arxiv.org/abs/2101.10763
    """
    samples, y = jnp.asarray(samples), jnp.asarray(y)
    _check_samples("resimulation_error", "samples", samples)
    if y.ndim < 1 or samples.shape[1:-1] != y.shape[:-1]:
        raise ValueError(
            f"resimulation_error: expected samples (n, *batch, dim) and y (*batch, dim_y) with the "
            f"same batch, got {samples.shape} and {y.shape}."
        )
    y_sim = simulate(samples)
    if y_sim.shape != samples.shape[:1] + y.shape:
        raise ValueError(
            f"resimulation_error: expected simulate(samples) of shape "
            f"{samples.shape[:1] + y.shape}, got {y_sim.shape}."
        )
    return jnp.mean(jnp.sum((y_sim - y[None]) ** 2, axis=-1), axis=0)


def calibration_error(
    posterior: SamplesPosterior,
    x: ArrayLike,
    y: Any,
    *,
    samples: int = 1000,
    key: int | Array | None = None,
) -> Float[Array, ""]:
    """Measures the median over confidences q of |share of true x in central q-intervals - q|.

    Args:
        posterior: What is tested; its ``sample(key, (samples,), y)`` gives (samples, n, dim).
        x: True parameters, shape (n, dim): with y, n independent draws of the joint distribution.
        y: Their observations, shape (n, dim_y), or a dict of arrays with n rows each.
        samples: Posterior samples for each observation.
        key: A JAX random key, or an int to make one of; the default is 0.

    Returns:
        The error, a scalar between 0 and 1: 0.01 is one percentage point. NaN if a sample or a
        true value is NaN.

    Raises:
        ValueError: Fewer than 2 samples, shapes that do not match, or a key that is none.

    Reference:
        Analyzing Inverse Problems with Invertible Neural Networks. Ardizzone, Kruse, Wirkert,
        Rahner, Pellegrini, Klessen, Maier-Hein, Rother, Koethe, 2019.
        https://arxiv.org/abs/1808.04730
    """
    curve = calibration_curve(posterior, x, y, samples=samples, key=key)
    return jnp.median(jnp.abs(curve.inliers - curve.confidence))


def calibration_curve(
    posterior: SamplesPosterior,
    x: ArrayLike,
    y: Any,
    *,
    samples: int = 1000,
    key: int | Array | None = None,
) -> CalibrationCurve:
    r"""Counts how often the true x lies in central credible intervals of mass 0.01, 0.02, ..., 1.

    A true value with b of the S samples below it and t equal to it has a rank that is uniform on
    b, ..., b + t, spread over ``[b, b + t + 1] / (S + 1)``; the part of that range within q/2 of
    1/2 is counted. So a calibrated posterior has no bias at any S, nor from ties. Observations are
    visited in chunks: the samples held at one time do not grow with their number.

    Args:
        posterior: What is tested; its ``sample(key, (samples,), y)`` gives (samples, n, dim).
        x: True parameters, shape (n, dim): with y, n independent draws of the joint distribution.
        y: Their observations, shape (n, dim_y), or a dict of arrays with n rows each.
        samples: Posterior samples for each observation.
        key: A JAX random key, or an int to make one of; the default is 0.

    Returns:
        A `CalibrationCurve`. Its shares are NaN if a sample or a true value is NaN.

    Raises:
        ValueError: Fewer than 2 samples, shapes that do not match, or a key that is none.
    """
    x, y = check_pairs("calibration_curve", x, y, samples)
    key = as_key(0 if key is None else key, "calibration_curve: key")
    ranges = [
        _rank_range(chunk.draws, chunk.x)[:, : chunk.kept]
        for chunk in draw_in_chunks("calibration_curve", posterior, key, samples, x, y)
    ]
    return _inliers(jnp.concatenate(ranges, axis=1), samples)


@jax.jit
def _rank_range(
    draws: Float[Array, "samples chunk dim"], x: Float[Array, "chunk dim"]
) -> Float[Array, "2 chunk dim"]:
    below = jnp.sum(draws < x[None], axis=0)
    not_above = jnp.sum(draws <= x[None], axis=0)
    ends = jnp.stack([below, not_above + 1]).astype(float)
    undefined = jnp.isnan(draws).any(axis=0) | jnp.isnan(x)
    return jnp.where(undefined[None], jnp.nan, ends)


@jax.jit
def _inliers(ranges: Float[Array, "2 n dim"], samples: ArrayLike) -> CalibrationCurve:
    low, high = ranges
    confidence = jnp.arange(1, 101) / 100.0

    def share(q: Array) -> Array:
        middle, half = (samples + 1) / 2, q * (samples + 1) / 2
        overlap = jnp.minimum(high, middle + half) - jnp.maximum(low, middle - half)
        return jnp.mean(jnp.maximum(overlap, 0.0) / (high - low))

    return CalibrationCurve(confidence, jax.lax.map(share, confidence))


def _check_samples(metric: str, name: str, samples: Array) -> None:
    if samples.ndim < 2 or samples.shape[0] < 2:
        raise ValueError(
            f"{metric}: expected at least 2 {name} of shape (n, *batch, dim), got shape "
            f"{samples.shape}."
        )

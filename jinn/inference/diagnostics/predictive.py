"""Posterior predictive checks: would the simulator give data like the observed?"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array

from jinn.inference.chunks import SamplesPosterior, check_samples, sampler
from jinn.inference.diagnostics.calibration import check_level
from jinn.inference.diagnostics.pictures import new_axes
from jinn.networks.randomness import as_key


class PredictiveCheck(NamedTuple):
    """How far observations are from data simulated at posterior samples.

    Attributes:
        name: What was tested.
        passed: Whether no observation's p-value is at most ``level / n``.
        level: False-alarm rate of ``passed`` as a whole (Bonferroni over the observations).
        p_values: Of each observation, shape (n,). They are not uniform where the posterior has
            seen the observation, but too close to 1/2: the check is then conservative.
        z_scores: (observed - mean of simulated) / deviation, shape (n, statistics).
    """

    name: str
    passed: bool
    level: float
    p_values: np.ndarray
    z_scores: np.ndarray

    def draw(self, ax: Any = None) -> Any:
        """Draw the z-scores of every statistic, one line an observation.

        Args:
            ax: Axes of matplotlib, or None for a new figure.

        Returns:
            The axes.

        Raises:
            ImportError: If matplotlib is not installed.
        """
        ax = new_axes() if ax is None else ax
        ax.axhspan(-2, 2, color="0.85", lw=0)
        ax.plot(self.z_scores[:50].T, marker=".", lw=0.5)
        ax.set(xlabel="statistic", ylabel="deviations from the mean", title=self.name)
        return ax


def posterior_predictive_check(
    posterior: SamplesPosterior,
    simulate: Callable[[Array, Array], ArrayLike],
    y: ArrayLike,
    *,
    statistic: Callable[[Array], Array] | None = None,
    samples: int = 1000,
    level: float = 0.05,
    key: int | Array | None = None,
) -> PredictiveCheck:
    """Compares observations with data simulated at samples of their posteriors.

    Several statistics make one p-value: the rank, among observed and simulated data, of the
    largest distance of a statistic from its mean in standard deviations (a maximum statistic).

    Args:
        posterior: Its ``sample(key, (samples,), y)`` gives (samples, n, dim).
        simulate: The noisy simulator, ``simulate(key, x)`` from (samples, n, dim) to
            (samples, n, dim_y).
        y: Observations, shape (n, dim_y).
        statistic: What is compared, from (..., dim_y) to (..., statistics); the default is y.
        samples: Posterior samples for each observation.
        level: False-alarm rate over all observations.
        key: A JAX random key, or an int to make one of; the default is 0.

    Returns:
        A `PredictiveCheck`.

    Raises:
        ValueError: Wrong shapes, values that are not finite, or too few samples for n observations
            at this level.

    Reference:
        Posterior Predictive Assessment of Model Fitness via Realized Discrepancies. Gelman, Meng,
        Stern, 1996. https://www.jstor.org/stable/24306036
    """
    name = "posterior_predictive_check"
    y = jnp.asarray(y)
    if y.ndim != 2 or 0 in y.shape:
        raise ValueError(f"{name}: expected y of shape (n, dim_y), got {y.shape}.")
    check_level(name, level)
    check_samples(name, samples)
    least = int(np.ceil(len(y) / level))
    if samples < least:
        raise ValueError(
            f"{name}: {samples} samples are too few for {len(y)} observations at level {level}: "
            f"no p-value could be small enough. Take samples={least} or more, or fewer "
            "observations."
        )
    sample_key, simulate_key = jax.random.split(as_key(0 if key is None else key, f"{name}: key"))
    draws = sampler(name, posterior)(sample_key, (samples,), y)
    if draws.ndim != 3 or draws.shape[:2] != (samples, len(y)):
        raise ValueError(
            f"{name}: expected posterior.sample to give shape {(samples, len(y), 'dim')}, got "
            f"{draws.shape}."
        )
    simulated = jnp.asarray(simulate(simulate_key, draws))
    if simulated.shape != (samples, *y.shape):
        raise ValueError(
            f"{name}: expected simulate(key, x) to give shape {(samples, *y.shape)}, got "
            f"{simulated.shape}."
        )
    both = jnp.concatenate([y[None], simulated])
    both = np.asarray(both if statistic is None else statistic(both), np.float64)
    if both.ndim != 3 or both.shape[:2] != (samples + 1, len(y)):
        raise ValueError(
            f"{name}: expected statistic(y) to give shape {(samples + 1, len(y), 'statistics')}, "
            f"got {both.shape}."
        )
    bad = int((~np.isfinite(both)).sum())
    if bad:
        raise ValueError(
            f"{name}: {bad} of {both.size} values of y or simulated y, or of their statistic, are "
            "NaN or infinite; expected none. Give a statistic that is finite for them, such as a "
            "clipped one."
        )
    deviation = both.std(axis=0)
    distance = np.max(
        np.abs(both - both.mean(axis=0)) / np.where(deviation > 0, deviation, 1.0), axis=-1
    )
    p_values = np.mean(distance >= distance[:1], axis=0)
    own = both[1:].std(axis=0)
    z_scores = (both[0] - both[1:].mean(axis=0)) / np.where(own > 0, own, 1.0)
    passed = bool(np.all(p_values > level / len(y)))
    return PredictiveCheck("posterior predictive", passed, level, p_values, z_scores)

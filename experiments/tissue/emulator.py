"""A network that stands in for the surrogate where 10^6 simulations are wanted."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

import jinn
from experiments.tissue.parameters import along, cut, seen, standardized, uncut
from experiments.tissue.problem import DIM_X, DIM_Y, prior
from experiments.tissue.settings import Settings
from experiments.tissue.simulations import Pairs
from jinn.networks import MLP


class Emulator(nnx.Module):
    """Maps parameters (..., 13) to the logarithm of their spectra (..., 8).

    Args:
        y: Such logarithms, (n, 8), whose means and deviations scale what the network gives.
        rngs: Seed of its weights.
        **options: Of `jinn.networks.MLP`.
    """

    def __init__(self, y: jax.Array, *, rngs: jax.Array, **options: Any) -> None:
        """See the class."""
        self.network = MLP(DIM_X, DIM_Y, rngs=rngs, **options)
        self.mean = tuple(np.mean(y, axis=0).tolist())
        self.scale = tuple(np.std(y, axis=0).tolist())

    def __call__(self, x: jax.Array) -> jax.Array:
        """See the class."""
        y = self.network(standardized(cut(x)))
        return y * along(np.array(self.scale), y) + along(np.array(self.mean), y)


def train_emulator(key: jax.Array, pairs: Pairs, settings: Settings) -> jinn.FitResult:
    """Fits an emulator by the squared error of log reflectances."""
    build_key, fit_key = jax.random.split(key)
    y = jnp.log(pairs.spectra)
    return jinn.fit(
        fit_key,
        Emulator(y, rngs=build_key, **settings.options),
        (pairs.x, y),
        loss=squared_error,
        steps=settings.steps,
        batch_size=settings.batch_size,
        learning_rate=settings.learning_rate,
        ema_decay=settings.ema_decay,
        validation=0,
    )


def squared_error(
    emulator: Emulator, batch: tuple[jax.Array, jax.Array], key: jax.Array | None
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """The mean squared error of log reflectances, scaled as the network sees them."""
    x, y = batch
    return jnp.mean(((emulator(x) - y) / along(np.array(emulator.scale), y)) ** 2), {}


def emulator_error(emulator: Emulator, pairs: Pairs, signal_to_noise: float) -> dict[str, float]:
    """Gives relative errors on unseen spectra, and their root mean square beside the camera's."""
    error = np.abs(np.asarray(emulator(pairs.x)) - np.log(pairs.spectra))
    rms = float(np.sqrt(np.mean(error**2)))
    return {
        "median": float(np.median(error)),
        "95 %": float(np.quantile(error, 0.95)),
        "root mean square": rms,
        "over camera noise": rms * signal_to_noise,
    }


def emulate(
    key: jax.Array, emulator: Emulator, n: int, signal_to_noise: float
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Draws n tissues before the cut, (n, 13), the logs of their spectra and what is seen of them.

    Returns:
        Parameters (n, 13), log spectra (n, 8), and the same with the camera's noise (n, 8).
    """
    prior_key, uncut_key, noise_key = jax.random.split(key, 3)
    x = prior(prior_key, n)
    log_spectra = jax.jit(
        lambda x: jax.lax.map(emulator, x, batch_size=min(n, 4096))  # what caches hold
    )(x)
    noisy = seen(noise_key, jnp.exp(log_spectra), signal_to_noise)
    return uncut(uncut_key, x), log_spectra, noisy

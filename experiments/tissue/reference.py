"""The posterior by many simulations: the nearest of them (ABC), or all by their likelihood."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from experiments.tissue.parameters import log_likelihood


class Nearest:
    """ABC: the posterior is the tissues whose simulated spectra, with noise, are nearest.

    Args:
        x: Tissues, (N, 13).
        noisy: Logarithms of what the camera sees of them, (N, 8).
        keep: Number of nearest ones to keep.
    """

    def __init__(self, x: jax.Array, noisy: jax.Array, keep: int) -> None:
        """See the class."""
        self.x, self.noisy, self.keep = np.asarray(x), np.asarray(noisy), keep
        self.squares = np.sum(self.noisy**2, axis=1)

    def sample(self, key: jax.Array, shape: tuple[int, ...], y: jax.Array) -> jax.Array:
        """Draws from those kept, with replacement: (*shape, n, 13) for y (n, 8)."""
        seed = int(jax.random.bits(key, (), jnp.uint32))
        generator, rows = np.random.default_rng(seed), []
        for spectrum in np.asarray(y):
            distances = self.squares - 2 * self.noisy @ spectrum
            nearest = np.argpartition(distances, self.keep)[: self.keep]
            rows.append(generator.choice(nearest, shape))
        return jnp.asarray(self.x[np.stack(rows, axis=-1)])


class Weighted:
    """Importance sampling: exact, but for the number of simulations and for their error.

    Args:
        x: Tissues, (N, 13).
        log_spectra: Logarithms of their spectra without noise, (N, 8).
        signal_to_noise: Of the camera.
    """

    def __init__(self, x: jax.Array, log_spectra: jax.Array, signal_to_noise: float) -> None:
        """See the class."""
        self.x, self.log_spectra = np.asarray(x), jnp.asarray(log_spectra)
        self.weigh = jax.jit(partial(log_likelihood, signal_to_noise=signal_to_noise))
        self.effective: list[float] = []

    def sample(self, key: jax.Array, shape: tuple[int, ...], y: jax.Array) -> jax.Array:
        """Draws by weight, with replacement: (*shape, n, 13) for y (n, 8).

        The effective numbers of simulations are kept in `effective`.
        """
        seed = int(jax.random.bits(key, (), jnp.uint32))
        generator, rows = np.random.default_rng(seed), []
        for spectrum in y:
            logs = np.asarray(self.weigh(spectrum, self.log_spectra), np.float64)
            weights = np.exp(logs - logs.max())
            self.effective.append(float(weights.sum() ** 2 / np.sum(weights**2)))
            total = np.cumsum(weights)
            rows.append(np.searchsorted(total, total[-1] * generator.random(shape), side="right"))
        return jnp.asarray(self.x[np.stack(rows, axis=-1)])

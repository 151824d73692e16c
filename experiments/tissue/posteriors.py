"""The networks: a conditional flow by its likelihood, and an INN by L2 and MMD."""

import time
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

import jinn
from experiments.record import parameter_count
from experiments.tissue.parameters import (
    SUPPORT,
    from_normal,
    noise_in,
    seen,
    to_normal,
    uncut,
)
from experiments.tissue.problem import DIM_X, DIM_Y
from experiments.tissue.settings import Settings
from experiments.tissue.simulations import Pairs
from jinn import flows
from jinn.losses import inn_loss


class INNPosterior(nnx.Module):
    """The posterior of an INN over standard normal parameters and the camera's noise.

    The noise is a part of the INN's x, since y follows from x for an INN; samples leave it out.

    Args:
        inn: The INN.
    """

    def __init__(self, inn: flows.INN) -> None:
        """See the class."""
        self.inn = inn

    def sample(self, key: jax.Array, shape: tuple[int, ...], y: jax.Array) -> jax.Array:
        """Draws samples (*shape, *batch, 13) for y (*batch, 8)."""
        return from_normal(self.inn.sample(key, shape, y)[..., :DIM_X])


def train(key: jax.Array, pairs: Pairs, settings: Settings) -> tuple[Any, dict[str, Any]] | None:
    """Trains a network on the pairs, with new noise of the camera in every step.

    Args:
        key: A JAX key.
        pairs: The training set.
        settings: The network's.

    Returns:
        A posterior over parameters before the cut given log spectra, and its number of parameters
        and training seconds; None if Ctrl-C ended the training.
    """
    build_key, fit_key = jax.random.split(key)
    options: dict[str, Any] = {
        "steps": settings.steps,
        "batch_size": settings.batch_size,
        "learning_rate": settings.learning_rate,
        "ema_decay": settings.ema_decay,
        "validation": 0,
    }
    signal_to_noise = settings.data.signal_to_noise

    def draw(key: jax.Array, n: int) -> tuple[jax.Array, jax.Array, jax.Array]:
        row_key, uncut_key, noise_key = jax.random.split(key, 3)
        rows = jax.random.randint(row_key, (n,), 0, len(pairs.x))
        x, spectra = uncut(uncut_key, pairs.x[rows]), pairs.spectra[rows]
        y = seen(noise_key, spectra, signal_to_noise)
        return x, y, noise_in(y, jnp.log(spectra), signal_to_noise)

    start = time.perf_counter()
    if settings.method == "cinn":
        flow = flows.neural_spline_flow(
            DIM_X, condition_dim=DIM_Y, rngs=build_key, **settings.options
        )
        parameters = parameter_count(flow)
        posterior = jinn.fit_posterior(
            fit_key, lambda key, n: draw(key, n)[:2], flow=flow, support=SUPPORT, **options
        )
        interrupted = posterior.training.interrupted
    else:
        inn = flows.inn(DIM_X + DIM_Y, DIM_Y, rngs=build_key, **settings.options)
        parameters = parameter_count(inn)

        def draw_normal(key: jax.Array, n: int) -> tuple[jax.Array, jax.Array]:
            x, y, noise = draw(key, n)
            return jnp.concatenate([to_normal(x), noise], axis=-1), y

        result = jinn.fit(fit_key, inn, draw_normal, loss=inn_loss(), **options)
        posterior, interrupted = INNPosterior(result.flow), result.interrupted
    if interrupted:
        return None
    jax.block_until_ready(jax.tree.leaves(posterior))
    return posterior, {
        "parameters": parameters,
        "training_seconds": time.perf_counter() - start,
    }

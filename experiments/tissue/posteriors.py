"""The networks: a conditional flow by its likelihood, and an INN by L2 and MMD."""

import time
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

import jinn
from experiments.record import parameter_count
from experiments.tissue.parameters import SUPPORT, along, seen, uncut
from experiments.tissue.problem import DIM_X, DIM_Y
from experiments.tissue.settings import Settings
from experiments.tissue.simulations import Pairs
from jinn import flows
from jinn.bijectors import Unconstrain
from jinn.losses import inn_loss


class InsideSupport(nnx.Module):
    """An INN over unbounded parameters, as a posterior over those of the prior.

    Args:
        inn: The INN.
    """

    def __init__(self, inn: flows.INN) -> None:
        """See the class."""
        self.inn, self.unconstrain = inn, Unconstrain((DIM_X,), *SUPPORT)

    def sample(self, key: jax.Array, shape: tuple[int, ...], y: jax.Array) -> jax.Array:
        """Draws samples (*shape, *batch, 13) for y (*batch, 8)."""
        return self.unconstrain.inverse(self.inn.sample(key, shape, y))


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
    unconstrain = Unconstrain((DIM_X,), *SUPPORT)

    def draw(key: jax.Array, n: int) -> tuple[jax.Array, jax.Array]:
        row_key, uncut_key, noise_key = jax.random.split(key, 3)
        rows = jax.random.randint(row_key, (n,), 0, len(pairs.x))
        x = uncut(uncut_key, pairs.x[rows])
        return x, seen(noise_key, pairs.spectra[rows], settings.data.signal_to_noise)

    def draw_unbounded(key: jax.Array, n: int) -> tuple[jax.Array, jax.Array]:
        x, y = draw(key, n)
        return unconstrain.forward(inside(x)), y

    start = time.perf_counter()
    if settings.method == "cinn":
        flow = flows.neural_spline_flow(
            DIM_X, condition_dim=DIM_Y, rngs=build_key, **settings.options
        )
        parameters = parameter_count(flow)
        posterior = jinn.fit_posterior(fit_key, draw, flow=flow, support=SUPPORT, **options)
        interrupted = posterior.training.interrupted
    else:
        inn = flows.inn(DIM_X, DIM_Y, rngs=build_key, **settings.options)
        parameters = parameter_count(inn)
        loss = inn_loss(**settings.loss)
        result = jinn.fit(fit_key, inn, draw_unbounded, loss=loss, **options)
        posterior, interrupted = InsideSupport(result.flow), result.interrupted
    if interrupted:
        return None
    jax.block_until_ready(jax.tree.leaves(posterior))
    return posterior, {
        "parameters": parameters,
        "training_seconds": time.perf_counter() - start,
    }


def inside(x: jax.Array) -> jax.Array:
    """Moves bounded parameters inside of their ranges by a millionth of these."""
    low, high = (along(end.astype(x.dtype), x) for end in SUPPORT)
    margin = jnp.where(jnp.isfinite(high), 1e-6 * (high - low), 0.0)
    return jnp.clip(x, low + margin, high - margin)

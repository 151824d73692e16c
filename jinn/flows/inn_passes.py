"""What an INN computes of many rows: outputs, samples and densities, a chunk at a time."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from jinn.distributions import Normal
from jinn.flows.chunks import draw_in_chunks, map_chunks
from jinn.flows.inn_parts import InnOutput
from jinn.networks.buffer import constant


def outputs(model: Any, x: Array) -> InnOutput:
    """The forward map of x padded with zeros.

    Args:
        model: The INN.
        x: Checked parameters `(*batch, x_dim)`.

    Returns:
        The parts of the result, standardised.
    """

    def forward(x: Array, _: None) -> InnOutput:
        u = model.standardize(x)
        return model.split_forward(u, jnp.zeros((*u.shape[:-1], model.sizes.x_padding), u.dtype))

    return map_chunks(forward, x, None, event_shape=model.event_shape, condition_shape=None)


def draw(model: Any, key: jax.Array, code: Array, shape: tuple[int, ...]) -> Array:
    """Samples of x, `f^-1(y + y_noise e, z, padding_noise e)`.

    Args:
        model: The INN.
        key: A JAX key.
        code: Observations `(*batch, code_dim)`, as `INN.encode` writes them.
        shape: Leading axes of the draw.

    Returns:
        Samples `(*shape, *batch, x_dim)`.
    """
    sizes = model.sizes

    def generate(key: jax.Array, shape: tuple[int, ...], code: Array) -> Array:
        noise = jax.random.normal(key, (*shape, *code.shape[:-1], sizes.total), code.dtype)
        e, z, padding = jnp.split(noise, (sizes.y, sizes.y + sizes.z), axis=-1)
        y = code[(None,) * len(shape)] + model.y_noise * e
        w = jnp.concatenate([y, z, model.padding_noise * padding], -1)
        shapes: Any = {"event_shape": (sizes.total,), "condition_shape": None}
        out = map_chunks(lambda w, _: model.bijector.inverse(w), w, None, **shapes)
        return model.restore(out[..., : sizes.x])

    chunks: Any = {"event_shape": (sizes.x,), "condition_shape": (sizes.y,)}
    return draw_in_chunks(generate, key, shape, code, operands=model, **chunks)


def log_density(model: Any, x: Array, code: Array, key: jax.Array | None) -> Array:
    """The log-density of samples of x that is not padded.

    Args:
        model: The INN.
        x: Checked parameters with all batch axes, `(*batch, x_dim)`.
        code: Observations as `INN.encode` writes them, whose batch broadcasts to that of x.
        key: A JAX key for a stochastic log-determinant, or None.

    Returns:
        `log p(x | y)` in nats per unit of x, `(*batch,)`.
    """
    sizes = model.sizes
    lengths = (sizes.y, sizes.z, sizes.z_padding)
    scales = np.repeat([model.y_noise, 1.0, model.padding_noise], lengths)

    def density(x: Array, code: Array) -> Array:
        u = model.standardize(x)
        out = model.split_forward(u, u[..., :0], with_log_det=True, key=key)
        error = out.y - jnp.broadcast_to(code, out.y.shape)
        joined = jnp.concatenate([error, out.z, out.padding], -1)
        log_prob = Normal(model.event_shape, scale=scales).log_prob(joined)
        log_det: Any = out.log_det
        units = jnp.sum(jnp.log(constant(model.x_scale)))
        return log_prob + log_det - units.astype(log_prob.dtype)

    if key is not None:  # one for the whole batch
        return density(x, code)
    shapes: Any = {"event_shape": model.event_shape, "condition_shape": (sizes.y,)}
    return map_chunks(density, x, code, **shapes)

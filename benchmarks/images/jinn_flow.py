"""jinn: `multiscale_flow`, the convolutions in it alone, and `Haar`."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

import jinn
from benchmarks.compiled import Program, count, training_step
from benchmarks.coupling.jinn_flow import split
from benchmarks.images.cases import CLAMP, LEARNING_RATE, Case, Wavelets
from jinn.bijectors import Haar
from jinn.functional.convolution import convolve


def build(case: Case, **options: Any) -> jinn.Flow:
    """Builds the flow of a case."""
    shape = (case.size, case.size, case.channels)
    maps = {name: (size, size, channels) for name, (size, channels) in case.maps.items()}
    glow: dict[str, Any] = {"downsample": "squeeze", "mixing": "plu"}
    two_sided: dict[str, Any] = {
        "condition_shape": maps,
        "mixing": "permute",
        "two_sided": True,
        "normalize": False,
        "law": "arctan",
    }
    settings: dict[str, Any] = {
        "scales": case.scales,
        "depth": case.depth,
        "hidden": (case.hidden, case.hidden),
        "clamp": CLAMP,
        "activation": "relu",
        "rngs": 0,
    } | options
    return jinn.flows.multiscale_flow(shape, **settings, **two_sided if case.conditional else glow)


def data(case: Case, flow: jinn.Flow) -> tuple[jax.Array, Any]:
    """A batch of images, and their feature maps or None."""
    key, *keys = jax.random.split(jax.random.key(0), 1 + case.scales)
    x = jax.random.normal(key, (case.batch, case.size, case.size, case.channels))
    if not isinstance(flow.condition_shape, dict):
        return x, None
    shapes = flow.condition_shape.items()
    return x, {
        name: jax.random.normal(key, (case.batch, *shape))
        for key, (name, shape) in zip(keys, shapes, strict=True)
    }


def make(case: Case, name: str) -> tuple[Program, int]:
    """Makes a training step, samples, or the step's convolutions alone; counts parameters.

    "convolutions" have jinn's gradients, and "convolutions, JAX's" those that JAX derives.
    """
    flow = build(case)
    model, (x, c) = split(flow), data(case, flow)
    parameters = count(model.params)
    if name == "step":
        constants = (model.fixed, x, c)
        return training_step(model.log_prob, model.params, constants, LEARNING_RATE), parameters
    if name == "convolutions":
        return convolutions(case, convolve), parameters
    if name == "convolutions, JAX's":
        return convolutions(case, plain_convolve), parameters
    shape = () if case.conditional else (case.batch,)

    @jax.jit
    def sample(flow: jinn.Flow, key: jax.Array, c: Any) -> jax.Array:
        return flow.sample(key, shape, c)

    return Program(sample, None, (flow, jax.random.key(1), c)), parameters


def plain_convolve(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """A convolution with the gradients that JAX derives."""
    layout = ("NHWC", "HWIO", "NHWC")
    return jax.lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=layout)


def convolutions(case: Case, convolve: Callable[[Any, Any], Any]) -> Program:
    """The conditioners' convolutions of a step, without all else, forward and backward."""
    networks = case.depth * (2 if case.conditional else 1)
    taps = (3, 1, 3)
    kernels, images, maps = [], [], []
    for size, channels in case.stages:
        path = (channels // 2, case.hidden, case.hidden, channels)
        kernels.append(
            [
                jnp.full((networks, n, n, a, b), 0.1 / (n * n * a))
                for n, a, b in zip(taps, path[:-1], path[1:], strict=True)
            ]
        )
        if case.conditional:
            kernels[-1].append(jnp.full((networks, 3, 3, case.features, case.hidden), 1e-3))
            maps.append(jnp.ones((case.batch, size, size, case.features)))
        images.append(jnp.ones((case.batch, size, size, channels // 2)))

    def loss(kernels: Any, images: Any, maps: Any) -> jax.Array:
        total = jnp.zeros(())
        for i, x in enumerate(images):

            def network(x: Any, layer: Any, i: int = i) -> tuple[Any, Any]:
                h = convolve(x, layer[0])
                if maps:
                    h = h + convolve(maps[i], layer[3])
                out = convolve(convolve(h, layer[1]), layer[2])
                half = out.shape[-1] // 2
                return out[..., :half] + out[..., half:], None

            x, _ = jax.lax.scan(network, x, kernels[i])
            total = total + jnp.sum(x)
        return total

    return Program(jax.jit(jax.grad(loss, argnums=(0, 1))), None, (kernels, images, maps))


def haar(wavelets: Wavelets) -> dict[str, Program]:
    """The transform, its inverse, and copies of the array."""
    shape = (wavelets.size, wavelets.size, wavelets.channels)
    bijector = Haar(shape)
    x = jax.random.normal(jax.random.key(0), (wavelets.batch, *shape))
    z = jax.block_until_ready(bijector.forward(x))
    return {
        "jinn forward": Program(jax.jit(bijector.forward), None, (x,)),
        "jinn inverse": Program(jax.jit(bijector.inverse), None, (z,)),
        "copy": Program(jax.jit(jnp.copy), None, (x,)),
    }


def memory(case: Case, backprop: Any, depth: int) -> int:
    """Bytes of temporaries of the gradient of the mean log_prob, compiled and not run."""
    flow = build(case, backprop=backprop, depth=depth)
    x, c = data(case, flow)

    def loss(flow: jinn.Flow) -> jax.Array:
        return -flow.log_prob(x, c).mean()

    compiled: Any = jax.jit(jax.grad(loss)).lower(flow).compile()
    return compiled.memory_analysis().temp_size_in_bytes

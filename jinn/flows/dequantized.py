"""Probabilities of integers, such as the values of pixels, by a flow over real numbers."""

import math
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax.core import Tracer
from jaxtyping import Array

from jinn.bijectors.base import InitializedFlag
from jinn.bijectors.module import initialize
from jinn.bijectors.shapes import (
    array_shape,
    as_event,
    check_condition,
    match_batch,
)
from jinn.flows.flow import Flow
from jinn.functional.dequantization import dequantize, quantize
from jinn.networks.options import is_count
from jinn.networks.randomness import as_key

MOST_LEVELS = 2**16


class Dequantized(nnx.Module):
    """Probabilities of integers x, `P(x) = integral of p((x + u) / levels) / levels^n du`.

    The n-dimensional integral over the cell, u in [0, 1)^n, is bounded from below by noise from a
    density q of one's choice, `log P(x) >= E_q[log p((x + u) / levels) - n log(levels) -
    log q(u | x)]`. q is uniform (Theis et al.), or a flow that is trained with the other to make
    the bound tight (variational dequantisation, Ho et al.). It trains as a flow does:

        model = Dequantized(multiscale_flow((32, 32, 3), rngs=0))
        model = jinn.fit(key, model, images).flow  # images: uint8
        bits = bits_per_dimension(model.log_prob(test_images, key=key, samples=16), 32 * 32 * 3)

    Args:
        flow: The density p of values in [0, 1)^n; what it has outside is lost.
        levels: Number of levels, x being 0 to levels - 1.
        noise: None for uniform noise, or a flow over [0, 1)^n, such as one whose first bijector is
            a `Logit`, of the same event shape. It is conditioned on the picture: its
            `condition_shape` is the event's shape too, and it is given (x + 1/2) / levels.

    Raises:
        ValueError: If a flow is none, shapes do not fit, or levels is no integer from 2 to 65536.

    Reference:
        A note on the evaluation of generative models (Theis, van den Oord, Bethge, 2016), section
        3.1, https://arxiv.org/abs/1511.01844; Flow++: Improving Flow-Based Generative Models with
        Variational Dequantization and Architecture Design (Ho, Chen, Srinivas, Duan, Abbeel,
        2019), section 3.1, https://arxiv.org/abs/1902.00275
    """

    def __init__(self, flow: Flow, *, levels: int = 256, noise: Flow | None = None) -> None:
        """See the class."""
        for name, part in (("flow", flow), ("noise", noise)):
            if not isinstance(part, Flow) and (part is not None or name == "flow"):
                raise ValueError(
                    f"Dequantized: expected {name} to be a Flow, got {type(part).__name__}"
                )
        shape = array_shape(flow.event_shape, "Dequantized: event_shape of the flow")
        if not is_count(levels) or not 2 <= levels <= MOST_LEVELS:
            raise ValueError(
                f"Dequantized: expected levels to be an integer from 2 to {MOST_LEVELS}, got "
                f"{levels!r}"
            )
        if noise is not None and (noise.event_shape, noise.condition_shape) != (shape, shape):
            raise ValueError(
                f"Dequantized: expected noise to be a flow over events of shape {shape}, "
                f"conditioned on the picture of the same shape, got event_shape "
                f"{noise.event_shape} and condition_shape {noise.condition_shape}"
            )
        self.event_shape, self.condition_shape = shape, flow.condition_shape
        self.flow, self.noise, self.levels = flow, noise, int(levels)
        self.initialized = InitializedFlag(jnp.zeros(()))

    def log_prob(
        self, x: Any, condition: Any = None, *, key: jax.Array | None = None, samples: int = 1
    ) -> Array:
        """Lower bound of the log-probability, `log 1/K sum_k p(x + u_k) / q(u_k | x)`, in nats.

        Its mean grows with the number K of draws, to the log-probability itself.

        Args:
            x: Integers 0 to levels - 1, of any type, `(*batch, *event_shape)`.
            condition: Conditions `(*condition_batch, *condition_shape)`, or None.
            key: A JAX key for the noise, and for a stochastic log-determinant.
            samples: Number of draws K of the noise.

        Returns:
            The bound, `(*batch,)`, batch being the broadcast of both batches. It is NaN where x has
            another value, or the noise one outside of [0, 1]; outside of jit the former raise.

        Raises:
            ValueError: If a shape is wrong, x has another value (outside of jit), a condition is
                missing or unexpected, or there is no key.
        """
        if key is None:
            raise ValueError("Dequantized: log_prob needs a key, which the noise is drawn with")
        if not is_count(samples):
            raise ValueError(
                f"Dequantized: expected samples to be a positive integer, got {samples!r}"
            )
        x, condition = self._checked(x, condition)
        noise_key, flow_key = jax.random.split(as_key(key, "Dequantized: key"))
        u, log_q = self._draw(noise_key, x, samples)
        y = dequantize(jnp.broadcast_to(x, u.shape), u, levels=self.levels)
        axes = tuple(range(-len(self.event_shape), 0))
        good = _is_level(x, self.levels).all(axes) & ((u >= 0) & (u <= 1)).all((0, *axes))
        log_p = self.flow.log_prob(y, condition, key=flow_key)
        log_p = log_p - math.prod(self.event_shape) * math.log(self.levels) - log_q
        bound = jax.nn.logsumexp(log_p, axis=0) - math.log(samples)
        return jnp.where(good, bound, jnp.nan)

    def sample(self, key: jax.Array, shape: tuple[int, ...] = (), condition: Any = None) -> Array:
        """Draw independent events of integers, by rounding down what the flow draws.

        Args:
            key: A JAX key.
            shape: Leading axes of the draw.
            condition: Conditions `(*condition_batch, *condition_shape)`, or None.

        Returns:
            Integers 0 to levels - 1, `(*shape, *condition_batch, *event_shape)`, of type uint8 if
            they fit, else int32. What the flow puts beyond [0, 1) goes to the nearest level.

        Raises:
            ValueError: If a shape is wrong, or a condition is missing or unexpected.
        """
        return quantize(self.flow.sample(key, shape, condition), levels=self.levels)

    def _draw(self, key: jax.Array, x: Array, samples: int) -> tuple[Array, Array]:
        """Noise `(samples, *batch, *event_shape)` and its log-density `(samples, *batch)`."""
        if self.noise is not None:
            return self.noise.sample_and_log_prob(key, (samples,), self._picture(x))
        u = jax.random.uniform(key, (samples, *x.shape), x.dtype)
        return u, jnp.zeros(u.shape[: u.ndim - len(self.event_shape)], x.dtype)

    def _picture(self, x: Array) -> Array:
        return (x + 0.5) / self.levels

    def _checked(self, x: Any, condition: Any) -> tuple[Array, Any]:
        """The arguments of a call, x as floats and broadcast to the call's batch."""
        name = "Dequantized"
        event: Any = as_event(x, self.event_shape, f"{name}: x", jnp.float32)
        if not isinstance(event, Tracer) and not bool(_is_level(event, self.levels).all()):
            raise ValueError(
                f"{name}: expected x to be whole numbers from 0 to {self.levels - 1}, got values "
                f"from {event.min()} to {event.max()}; set levels, or round what is no integer"
            )
        condition = check_condition(condition, self.condition_shape, name, event.dtype)
        shapes = (self.event_shape, self.condition_shape)
        return match_batch(event, condition, *shapes, name), condition

    def _initialized_from(self, x: Any, condition: Any) -> "Dequantized":
        """See `jinn.initialize`."""
        x, condition = self._checked(x, condition)
        u = jax.random.uniform(jax.random.key(0), x.shape, x.dtype)
        new = nnx.clone(self)
        new.flow = initialize(self.flow, dequantize(x, u, levels=self.levels), condition)
        if self.noise is not None:
            new.noise = initialize(self.noise, u, self._picture(x))
        new.initialized = InitializedFlag(jnp.ones(()))
        return new


def _is_level(x: Array, levels: int) -> Array:
    return (x >= 0) & (x <= levels - 1) & (x == jnp.floor(x))

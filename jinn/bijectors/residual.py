"""Invertible residual blocks."""

import math
from collections.abc import Callable, Sequence
from typing import Any, Literal, cast

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from jinn.bijectors.base import Bijector, Info
from jinn.bijectors.conditioners import network_attribute
from jinn.bijectors.shapes import Shape, array_shape, batch_shape, insert_axes
from jinn.functional.fixed_point import METHODS, Method
from jinn.functional.residual import (
    ESTIMATORS,
    residual_forward,
    residual_inverse_with_info,
)
from jinn.functional.solver import direct
from jinn.networks.lipschitz import LipschitzConvNet, LipschitzMLP

_EXACT_UP_TO = 8


class InvertibleResidual(Bijector):
    """Add a contraction, `y = x + g(x; condition)` with `Lip(g) <= coefficient < 1`.

    The inverse is a fixed point, `x = y - g(x)`; entries for which it does not converge are NaN,
    and `inverse_with_info` says which they are. The log-determinant is exact without a key. With a
    key, "power_series" and "russian_roulette" estimate it with random probes, at a cost that does
    not grow with the size of an event; see `jinn.functional.log_det_power_series` and
    `jinn.functional.log_det_russian_roulette`, which returns standard errors, too. The roulette
    takes another term with a probability of `coefficient`, so that its variance is finite, and on
    average `2 + coefficient / (1 - coefficient)` terms.

    Args:
        event_shape: Shape of one event: `(n,)`, or `(height, width, channels)` for images.
        network: The map g, a callable `(x, condition) -> array` of x's shape whose Lipschitz
            constant in x is at most `coefficient`, or None for a `LipschitzMLP` or, for images, a
            `LipschitzConvNet`. It gets the condition with its own batch axes.
        coefficient: Bound of g's Lipschitz constant, between 0 and 1.
        condition_shape: Shape of one condition (a tuple or a dict of tuples), or None.
        hidden: Widths of the default network's hidden layers.
        activation: Name of the default network's activation: "elu", "lipswish" or "tanh".
        estimator: "exact", "power_series" (biased), "russian_roulette" (unbiased), or "auto":
            "exact" up to 8 elements an event, "russian_roulette" beyond.
        terms: Number of terms of "power_series".
        probes: Number of random probes of the two estimators.
        solver: "plain", "anderson", "newton", or "auto": "newton" up to 8 elements an event and
            "anderson" beyond; see `jinn.functional.fixed_point`.
        tolerance: Relative tolerance of the inverse; None is 1e-6 for float32, 1e-12 for float64.
        max_steps: Largest number of evaluations of g in an inverse.
        param_dtype: Type of the default network's parameters.
        rngs: An int, a JAX key or `flax.nnx.Rngs`, for the default network.

    Raises:
        ValueError: If an option is out of range or unknown, `rngs` is missing, or the network is
            over events of another shape.

    Reference:
        Invertible Residual Networks (Behrmann, Grathwohl, Chen, Duvenaud, Jacobsen, 2019),
        https://arxiv.org/abs/1811.00995; Residual Flows for Invertible Generative Modeling (Chen,
        Behrmann, Duvenaud, Jacobsen, 2019), https://arxiv.org/abs/1906.02735
    """

    def __init__(
        self,
        event_shape: tuple[int, ...],
        *,
        network: Callable[[Any, Any], Any] | None = None,
        coefficient: float = 0.9,
        condition_shape: Shape | None = None,
        hidden: Sequence[int] | int = (128, 128),
        activation: str = "lipswish",
        estimator: Literal["auto", "exact", "power_series", "russian_roulette"] = "auto",
        terms: int = 20,
        probes: int = 1,
        solver: Literal["auto", "plain", "anderson", "newton"] = "auto",
        tolerance: float | None = None,
        max_steps: int = 1000,
        param_dtype: jax.typing.DTypeLike = jnp.float32,
        rngs: int | jax.Array | nnx.Rngs | None = None,
    ) -> None:
        """See the class."""
        name = "InvertibleResidual"
        shape = array_shape(event_shape, f"{name} event_shape")
        for option, value, known in (
            ("estimator", estimator, ("auto", *ESTIMATORS)),
            ("solver", solver, ("auto", *METHODS)),
        ):
            if value not in known:
                raise ValueError(
                    f"{name}: expected {option} to be one of {list(known)}, got {value!r}"
                )
        if not 0 < coefficient < 1:
            raise ValueError(
                f"{name}: expected a Lipschitz coefficient between 0 and 1, both excluded, got "
                f"{coefficient}; 0.9 is usual"
            )
        if min(terms, probes, max_steps) < 1 or not (tolerance is None or tolerance > 0):
            raise ValueError(
                f"{name}: expected terms, probes and max_steps of at least 1 and a positive "
                f"tolerance, got terms={terms}, probes={probes}, max_steps={max_steps}, "
                f"tolerance={tolerance}"
            )
        self._declare(shape, condition_shape=condition_shape, fast_direction="forward")
        self.event_shape: tuple[int, ...]
        if network is None:
            network = self._default_network(
                hidden=hidden,
                coefficient=coefficient,
                activation=activation,
                param_dtype=param_dtype,
                rngs=rngs,
            )
        elif isinstance(network, LipschitzMLP | LipschitzConvNet):
            seen = shape[-len(network.event_shape) :]  # a perceptron may see pixel by pixel
            if seen != network.event_shape:
                raise ValueError(
                    f"{name}: a {type(network).__name__} over {network.event_shape} does not fit "
                    f"event_shape={shape}; make one over {seen}"
                )
        self.network = network_attribute(network, name, "network")
        small = math.prod(shape) <= _EXACT_UP_TO
        if estimator == "auto":
            estimator = "exact" if small else "russian_roulette"
        if solver == "auto":
            solver = "newton" if small else "anderson"
        self.coefficient, self.estimator = float(coefficient), estimator
        self.terms, self.probes = terms, probes
        self.solver, self.tolerance, self.max_steps = solver, tolerance, max_steps

    def lipschitz_bound(self) -> Float[Array, ""]:
        """Certify the Lipschitz constant of g, by the singular values of its scaled weights.

        Call it outside of training; of a stack's blocks, call it on each, `stack[i]`.

        Returns:
            An upper bound of the constant in x.

        Raises:
            ValueError: If the network is one of yours that cannot say.
        """
        if not hasattr(self.network, "lipschitz_bound"):
            raise ValueError(
                f"InvertibleResidual: {type(self.network).__name__} has no method "
                "lipschitz_bound(), as LipschitzMLP and LipschitzConvNet have"
            )
        return self.network.lipschitz_bound()

    def _default_network(
        self, *, rngs: int | jax.Array | nnx.Rngs | None, **options: Any
    ) -> LipschitzMLP | LipschitzConvNet:
        if rngs is None:
            raise ValueError("InvertibleResidual: the default network needs rngs, such as rngs=0")
        options["condition_shape"] = self.condition_shape
        if len(self.event_shape) == 1:
            return LipschitzMLP(self.event_shape[0], rngs=rngs, **options)
        if len(self.event_shape) == 3:
            return LipschitzConvNet(self.event_shape, rngs=rngs, **options)
        raise ValueError(
            f"InvertibleResidual: events of shape {self.event_shape} need a network of their own; "
            "the defaults are for vectors and for images (height, width, channels)"
        )

    def _bind(self, condition: Any, dtype: Any) -> tuple[Any, Any]:
        """The network as a function of x alone, and a faster way to its Jacobian or None."""
        if isinstance(self.network, LipschitzConvNet):
            return self.network.bind(condition, dtype)
        if isinstance(self.network, LipschitzMLP):
            spatial = len(self.event_shape) - 1
            if spatial:  # it sees each pixel by itself
                if condition is not None:
                    condition = insert_axes(condition, self.condition_shape, spatial)
                return self.network.bind(condition, dtype)[0], None
            return self.network.bind(condition, dtype)

        def evaluate(x: Array) -> Array:
            value = self.network(x, condition)
            if jnp.shape(value) != x.shape:
                raise ValueError(
                    f"InvertibleResidual: expected the network to return shape {x.shape}, that of "
                    f"x, got {jnp.shape(value)}"
                )
            return value.astype(x.dtype)

        return evaluate, None

    def _options(self, key: jax.Array | None, with_log_det: bool) -> dict[str, Any]:
        options: dict[str, Any] = {
            "estimator": self.estimator,
            "key": key,
            "event_ndim": len(self.event_shape),
            "with_log_det": with_log_det,
        }
        if self.estimator == "power_series":
            options |= {"terms": self.terms, "probes": self.probes}
        if self.estimator == "russian_roulette":
            options |= {"rate": self.coefficient, "probes": self.probes}
        return options

    def _forward(
        self, x: Any, condition: Any, *, key: jax.Array | None, with_log_det: bool
    ) -> tuple[Array, Array | None]:
        residual, jacobian = self._bind(condition, x.dtype)
        options = self._options(key, with_log_det)
        return residual_forward(x, residual, jacobian=jacobian, **options)

    def _inverse(
        self, y: Any, condition: Any, *, key: jax.Array | None, with_log_det: bool
    ) -> tuple[Array, Array | None]:
        return self._inverse_with_info(y, condition, key=key, with_log_det=with_log_det)[:2]

    def _forward_with_info(
        self, x: Any, condition: Any, *, key: jax.Array | None, with_log_det: bool
    ) -> tuple[Array, Array | None, Info]:
        y, log_det = self._forward(x, condition, key=key, with_log_det=with_log_det)
        return y, log_det, direct(batch_shape(x, self.event_shape))

    def _inverse_with_info(
        self, y: Any, condition: Any, *, key: jax.Array | None, with_log_det: bool
    ) -> tuple[Array, Array | None, Info]:
        residual, jacobian = self._bind(condition, y.dtype)
        return residual_inverse_with_info(
            y,
            residual,
            jacobian=jacobian,
            tolerance=self.tolerance,
            max_steps=self.max_steps,
            method=cast(Method, self.solver),
            **self._options(key, with_log_det),
        )

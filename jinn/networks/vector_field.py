"""Perceptrons of a time, values and a condition: the vector fields of continuous flows."""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from jinn.networks.activations import activation_by_name
from jinn.networks.mlp import ConditionShape, named_shapes
from jinn.networks.options import computing_type
from jinn.networks.randomness import as_key

Modulation = Literal["concat", "concatsquash", "film"]
MODULATIONS = ("concat", "concatsquash", "film")


class VectorField(nnx.Module):
    """Perceptron `h_l = a(s_l * (W_l h_{l-1}) + m_l)`, scales s and shifts m by time and condition.

    - "concat": `m_l = T_l e(t) + V_l c + b_l`, no scales, as if time and condition were joined to
      each layer's input.
    - "concatsquash": the same shifts, and `s_l = sigmoid(T'_l e(t) + V'_l c + b'_l)`.
    - "film": `[s_l - 1, m_l] = M_l a(T e(t) + V c + b)`, through one more layer.

    `e(t) = [t, cos(pi k t), sin(pi k t) for k = 1, ..., frequencies]`. The last layer is linear,
    and its scale, with "concatsquash", depends on time alone. The condition's part is computed at
    the condition's own batch, for "concat" and "concatsquash" once a solve. With at most two hidden
    layers the divergence is exact for one product more, whatever the number of elements.

    Args:
        size: Length of x, and of the result.
        hidden: Widths of the hidden layers, at least one; a number is one layer.
        condition_shape: Shape of one condition: a tuple, a dict of tuples, or None.
        modulation: "concat", "concatsquash" or "film".
        frequencies: Number of frequencies in the embedding of time.
        activation: Name of the activation, see `jinn.networks.MLP`; smooth ones need fewer steps.
        residual: Add each hidden layer after the first to its input, which needs equal widths.
        zero_init_last: Start with the last layer at zero, so that a flow starts as identity.
        param_dtype: Type of the parameters.
        dtype: Type of the computation; None follows the input and the parameters.
        rngs: An int, a JAX key or `flax.nnx.Rngs`.

    Raises:
        ValueError: If a size is out of range, a name is unknown, or `residual` meets unequal
            widths.

    Reference:
        FFJORD: Free-form Continuous Dynamics for Scalable Reversible Generative Models (Grathwohl,
        Chen, Bettencourt, Sutskever, Duvenaud, 2019), https://arxiv.org/abs/1810.01367; FiLM:
        Visual Reasoning with a General Conditioning Layer (Perez, Strub, de Vries, Dumoulin,
        Courville, 2018), https://arxiv.org/abs/1709.07871
    """

    def __init__(
        self,
        size: int,
        *,
        hidden: Sequence[int] | int = (64, 64),
        condition_shape: ConditionShape = None,
        modulation: Modulation = "concatsquash",
        frequencies: int = 1,
        activation: str = "tanh",
        residual: bool = False,
        zero_init_last: bool = True,
        param_dtype: jax.typing.DTypeLike = jnp.float32,
        dtype: jax.typing.DTypeLike | None = None,
        rngs: int | jax.Array | nnx.Rngs,
    ) -> None:
        """See the class."""
        hidden = (hidden,) if isinstance(hidden, int) else tuple(map(int, hidden))
        if size < 1 or frequencies < 0 or not hidden or min(hidden) < 1:
            raise ValueError(
                "VectorField: expected size >= 1, frequencies >= 0 and at least one hidden width "
                f">= 1, got size={size}, frequencies={frequencies}, hidden={hidden}"
            )
        if modulation not in MODULATIONS:
            raise ValueError(
                f"VectorField: expected modulation to be one of {list(MODULATIONS)}, got "
                f"{modulation!r}"
            )
        if residual and len(set(hidden)) > 1:
            raise ValueError(
                "VectorField: residual=True needs hidden layers of equal width, got "
                f"hidden={hidden}"
            )
        activation_by_name(activation)
        self.size, self.hidden, self.modulation = size, hidden, modulation
        self.frequencies, self.activation, self.residual = frequencies, activation, residual
        self.dtype = computing_type(dtype, "VectorField")
        shapes = named_shapes(condition_shape)
        self.condition_sizes = tuple((name, math.prod(shape)) for name, shape in shapes.items())
        self.condition_ranks = tuple((name, len(shape)) for name, shape in shapes.items())

        widths = (size, *hidden)
        keys = iter(jax.random.split(as_key(rngs), len(widths) + 3 + len(shapes)))
        gain = math.sqrt(3.0)  # variance 1 / fan_in

        def uniform(shape: tuple[int, ...], fan_in: int, gain: float = gain) -> nnx.Param:
            limit = gain / math.sqrt(fan_in)
            return nnx.Param(jax.random.uniform(next(keys), shape, param_dtype, -limit, limit))

        self.kernels = nnx.data(tuple(uniform(shape, shape[0]) for shape in pairwise(widths)))
        last_gain = 0.0 if zero_init_last else gain
        self.last_kernel = uniform((size, hidden[-1]), hidden[-1], last_gain)
        shifts = sum(hidden) + (0 if modulation == "film" else size)
        scales = {"concat": 0, "concatsquash": sum(hidden) + size, "film": sum(hidden)}[modulation]
        inputs = 1 + 2 * frequencies + sum(n for _, n in self.condition_sizes)
        outputs = shifts + scales
        if modulation == "film":
            self.film_kernel = uniform((hidden[0], outputs), hidden[0])
            self.last_bias = nnx.Param(jnp.zeros((size,), param_dtype))
            outputs = hidden[0]
        of_condition = outputs - (size if modulation == "concatsquash" else 0)
        self.time_kernel = uniform((1 + 2 * frequencies, outputs), inputs)
        self.condition_kernels = nnx.data(
            {name: uniform((n, of_condition), inputs) for name, n in self.condition_sizes}
        )
        if zero_init_last and modulation != "film":  # the last layer's shift, see `_modulations`
            last = slice(sum(hidden), sum(hidden) + size)
            self.time_kernel[...] = self.time_kernel[...].at[:, last].set(0.0)
            for kernel in self.condition_kernels.values():
                kernel[...] = kernel[...].at[:, last].set(0.0)
        self.bias = nnx.Param(jnp.zeros((outputs,), param_dtype))

    def __call__(
        self,
        time: jax.typing.ArrayLike,
        x: Float[Array, "*batch size"],
        condition: Any = None,
    ) -> Float[Array, "*out_batch size"]:
        """Evaluate the field.

        Args:
            time: The time, a scalar or times that broadcast against x's batch.
            x: Values `(*batch, size)`.
            condition: Conditions with their own batch, broadcastable against x's batch, or None.

        Returns:
            Derivatives `(*broadcast batch, size)`.

        Raises:
            ValueError: If the condition is missing, unexpected or of other entries.
        """
        return self.velocity(jnp.asarray(time), x, self.prepare(condition))

    def prepare(self, condition: Any) -> tuple[Array, ...] | None:
        """The condition's part of scales and shifts, at the condition's own batch.

        Args:
            condition: Conditions with their batch axes, or None.

        Returns:
            Arrays with the same batch axes, or None.

        Raises:
            ValueError: If the condition is missing, unexpected or of other entries.
        """
        if isinstance(condition, dict):
            entries = condition
        else:
            entries = {} if condition is None else {"condition": condition}
        expected = [name for name, _ in self.condition_sizes]
        if sorted(entries) != sorted(expected):
            raise ValueError(
                f"VectorField: expected the condition's entries {expected}, got {list(entries)}; "
                "condition_shape says which it takes"
            )
        part = None
        for (name, n), (_, rank) in zip(self.condition_sizes, self.condition_ranks, strict=True):
            value = self._compute(entries[name])
            value = value.reshape(*value.shape[: value.ndim - rank], n)
            product = value @ self._cast(self.condition_kernels[name])
            part = product if part is None else _add(part, product)
        if part is None:
            return None
        # Apart from the start, since the gradient of a split pads and adds in each evaluation.
        return (part,) if self.modulation == "film" else tuple(self._split(part))

    def velocity(
        self,
        time: Float[Array, "*times"],
        x: Float[Array, "*batch size"],
        prepared: tuple[Array, ...] | None,
    ) -> Float[Array, "*out_batch size"]:
        """Evaluate the field with the condition's part at hand.

        Args:
            time: The time, a scalar or times that broadcast against x's batch.
            x: Values `(*batch, size)`.
            prepared: What `prepare` returned.

        Returns:
            Derivatives `(*broadcast batch, size)`.
        """
        return self._evaluate(time, x, prepared, slopes=False)[0]

    def velocity_and_divergence(
        self,
        time: Float[Array, ""],
        x: Float[Array, "*batch size"],
        prepared: tuple[Array, ...] | None,
    ) -> tuple[Float[Array, "*out_batch size"], Float[Array, "*out_batch"]] | None:
        """Evaluate the field with its exact divergence, by one product for two hidden layers.

        With the layers' slopes u, v at an event, scales included, and the output's scale s, the
        divergence is `sum_jk u_j W2_jk (W1' diag(s) W3')_jk v_k`: the matrix in the middle is the
        same for all events.

        Args:
            time: The time, a scalar.
            x: Values `(*batch, size)`.
            prepared: What `prepare` returned.

        Returns:
            Derivatives and divergences, or None for more than two hidden layers.
        """
        if len(self.hidden) > 2:
            return None
        value, slopes, last_scale = self._evaluate(time, x, prepared, slopes=True)
        first, last = self._cast(self.kernels[0]), self._cast(self.last_kernel)
        first = first if last_scale is None else first * last_scale[:, None]
        around = first.T @ last  # (first hidden, last hidden), summed over the event's elements
        wide = jnp.promote_types(x.dtype, jnp.float32)
        terms = []
        if len(slopes) == 1 or self.residual:  # what passes the first hidden layer alone
            diagonal = jnp.broadcast_to(jnp.diagonal(around), slopes[0].shape)
            terms.append(jnp.sum(slopes[0] * diagonal, -1, dtype=wide))
        if len(slopes) == 2:
            middle = self._cast(self.kernels[1]) * around
            terms.append(jnp.sum((slopes[0] @ middle) * slopes[1], -1, dtype=wide))
        return value, sum(terms[1:], terms[0])

    def _evaluate(
        self, time: Array, x: Array, prepared: tuple[Array, ...] | None, *, slopes: bool
    ) -> tuple[Array, list[Array], Array | None]:
        """The field, the slopes of the hidden layers if they are wanted, and the last scale."""
        act = activation_by_name(self.activation)
        scales, shifts, last_scale, last_shift = self._modulations(time, x, prepared)
        h, found = self._compute(x), []
        for i, kernel in enumerate(self.kernels):
            z = h @ self._cast(kernel)
            z = z if scales is None else _multiply(z, scales[i])
            z = _add(z, shifts[i])
            if slopes:
                update, slope = jax.jvp(act, (z,), (jnp.ones_like(z),))
                found.append(slope if scales is None else _multiply(slope, scales[i]))
            else:
                update = act(z)
            h = h + update if self.residual and i else update
        out = jnp.tensordot(h, self._cast(self.last_kernel), axes=(-1, 1))
        if last_scale is not None:
            out = _multiply(out, last_scale)
        return _add(out, last_shift), found, last_scale

    def _modulations(
        self, time: Array, x: Array, prepared: tuple[Array, ...] | None
    ) -> tuple[list[Array] | None, list[Array], Array | None, Array]:
        """Scales and shifts of the hidden layers, then scale and shift of the last one."""
        time = time.astype(x.dtype)[..., None]
        waves = _multiply(time, math.pi * jnp.arange(1, 1 + self.frequencies, dtype=time.dtype))
        embedding = jnp.concatenate([time, jnp.cos(waves), jnp.sin(waves)], -1)
        embedding = self._compute(embedding)
        of_time = _add(embedding @ self._cast(self.time_kernel), self._cast(self.bias))
        last_scale = None
        if self.modulation == "concatsquash":
            last_scale = jax.nn.sigmoid(of_time[..., -self.size :])
            of_time = of_time[..., : -self.size]
        if self.modulation == "film":
            joint = of_time if prepared is None else _add(prepared[0], of_time)
            act = activation_by_name(self.activation)
            parts = self._split(act(joint) @ self._cast(self.film_kernel))
            shifts, raw = parts[: len(self.hidden)], parts[len(self.hidden) :]
            return [1 + part for part in raw], shifts, None, self._cast(self.last_bias)
        parts = self._split(of_time)
        if prepared is not None:
            parts = [_add(a, b) for a, b in zip(prepared, parts, strict=True)]
        *shifts, last_shift = parts[: len(self.hidden) + 1]
        scales = [jax.nn.sigmoid(part) for part in parts[len(self.hidden) + 1 :]]
        return scales or None, shifts, last_scale, last_shift

    def _split(self, joint: Array) -> list[Array]:
        """Shifts of the hidden layers and, but for "film", of the last one; then scales."""
        shifts = self.hidden if self.modulation == "film" else (*self.hidden, self.size)
        widths = shifts if self.modulation == "concat" else (*shifts, *self.hidden)
        return jnp.split(joint, np.cumsum(widths)[:-1], axis=-1)

    def _compute(self, value: Array) -> Array:
        return value if self.dtype is None else value.astype(self.dtype)

    def _cast(self, param: nnx.Param) -> Array:
        """A parameter's array in the type of the computation."""
        return self._compute(param[...])


def _align(a: Array, b: Array) -> tuple[Array, Array]:
    """The arrays with leading axes of size 1 where one has fewer."""
    rank = max(a.ndim, b.ndim)
    a, b = (v.reshape(*[1] * (rank - v.ndim), *v.shape) for v in (a, b))
    return a, b


def _add(a: Array, b: Array) -> Array:
    a, b = _align(a, b)
    return a + b


def _multiply(a: Array, b: Array) -> Array:
    a, b = _align(a, b)
    return a * b

"""The multilayer perceptron that conditions couplings."""

import math
from collections.abc import Sequence
from functools import reduce
from itertools import pairwise
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from jinn.networks.activations import activation_by_name
from jinn.networks.options import computing_type, floating_type, layer_widths
from jinn.networks.randomness import as_key

ConditionShape = tuple[int, ...] | dict[str, tuple[int, ...]] | None


class MLP(nnx.Module):
    """Perceptron `h1 = a(W x + V c + b), h2 = a(W2 h1 + b2), ..., out = W_n h + b_n`.

    The first layer has separate weights for x and for the condition c, and `V c` is computed at
    the condition's own batch: a million values of x for one condition cost one product with V.
    Where both have the same batch, they share one product.

    Args:
        in_size: Length of x's last axis; 0 makes a function of the condition alone.
        out_size: Length of the output's last axis.
        hidden: Widths of the hidden layers, at least one; a number is one layer.
        condition_shape: Shape of one condition: a tuple (any rank, flattened), a dict of such
            shapes (one weight matrix an entry), or None.
        activation: Name of the activation: "relu", "gelu", "silu", "tanh", "elu", "softplus" or
            "leaky_relu".
        residual: Add each hidden layer after the first to its input, which needs equal widths.
        zero_init_last: Start with the last layer at zero, so that a coupling starts as identity.
        param_dtype: Type of the parameters.
        dtype: Type of the computation; None follows the input and the parameters.
        rngs: An int, a JAX key or `flax.nnx.Rngs`.

    Raises:
        ValueError: If a size is out of range or no integer, a type is not floating, the activation
            is unknown, or `residual` meets unequal widths.
    """

    def __init__(
        self,
        in_size: int,
        out_size: int,
        *,
        hidden: Sequence[int] | int = (128, 128),
        condition_shape: ConditionShape = None,
        activation: str = "silu",
        residual: bool = False,
        zero_init_last: bool = True,
        param_dtype: jax.typing.DTypeLike = jnp.float32,
        dtype: jax.typing.DTypeLike | None = None,
        rngs: int | jax.Array | nnx.Rngs,
    ) -> None:
        """See the class."""
        hidden, param_dtype = layer_widths(hidden, "MLP"), floating_type(param_dtype, "MLP")
        if in_size < 0 or out_size < 1 or not hidden or min(hidden) < 1:
            raise ValueError(
                "MLP: expected in_size >= 0, out_size >= 1 and at least one hidden width >= 1, "
                f"got in_size={in_size}, out_size={out_size}, hidden={hidden}"
            )
        if residual and len(set(hidden)) > 1:
            raise ValueError(
                f"MLP: residual=True needs hidden layers of equal width, got hidden={hidden}"
            )
        self.in_size, self.out_size, self.hidden = in_size, out_size, hidden
        self.activation, self.residual = activation, residual
        activation_by_name(activation)
        self.dtype = computing_type(dtype, "MLP")
        shapes = named_shapes(condition_shape)
        self.condition_sizes = tuple((name, math.prod(shape)) for name, shape in shapes.items())
        self.condition_ranks = tuple((name, len(shape)) for name, shape in shapes.items())

        fan_in = max(in_size + sum(size for _, size in self.condition_sizes), 1)
        keys = iter(jax.random.split(as_key(rngs), 2 * len(hidden) + 3 + len(shapes)))

        def uniform(shape: tuple[int, ...], fan_in: int, gain: float) -> nnx.Param:
            limit = gain / math.sqrt(fan_in)
            return nnx.Param(jax.random.uniform(next(keys), shape, param_dtype, -limit, limit))

        gain = math.sqrt(6.0 / 2.0)  # variance 1 / fan_in
        self.input_kernel = uniform((in_size, hidden[0]), fan_in, gain)
        self.condition_kernels = nnx.data(
            {name: uniform((n, hidden[0]), fan_in, gain) for name, n in self.condition_sizes}
        )
        self.biases = nnx.data(
            tuple(
                uniform((width,), previous, 1.0)
                for width, previous in zip(hidden, (fan_in, *hidden[:-1]), strict=True)
            )
        )
        self.kernels = nnx.data(tuple(uniform(shape, shape[0], gain) for shape in pairwise(hidden)))
        last_gain = 0.0 if zero_init_last else gain
        self.last_kernel = uniform((out_size, hidden[-1]), hidden[-1], last_gain)
        self.last_bias = nnx.Param(jnp.zeros((out_size,), param_dtype))

    def __call__(
        self,
        x: Float[Array, "*batch in_size"],
        condition: Float[Array, "*condition"] | dict[str, Float[Array, "..."]] | None = None,
    ) -> Float[Array, "*out_batch out_size"]:
        """Evaluate the network.

        The last kernel is stored as (outputs, inputs): its gradient is then one plain product, and
        not, for the few outputs of an affine coupling, the slowest of the network.

        Args:
            x: Inputs, shape `(*batch, in_size)`.
            condition: Conditions with their own batch, broadcastable against x's batch.

        Returns:
            Outputs of shape `(*broadcast batch, out_size)`; with in_size 0 and a condition, at the
            condition's own batch.

        Raises:
            ValueError: If the condition is missing, unexpected or of other entries.
        """
        act = activation_by_name(self.activation)
        h = reduce(_add, self._first_layer(x, condition), self._cast(self.biases[0]))
        h = act(h)
        for kernel, bias in zip(self.kernels, self.biases[1:], strict=True):
            update = act(_add(h @ self._cast(kernel), self._cast(bias)))
            h = h + update if self.residual else update
        out = jnp.tensordot(h, self._cast(self.last_kernel), axes=(-1, 1))
        return _add(out, self._cast(self.last_bias))

    def _first_layer(self, x: Array, condition: Array | dict[str, Array] | None) -> list[Array]:
        """The products with x and with the condition's entries, each at its own batch.

        Inputs of equal batch are joined, so that they cost one product and one sum.
        """
        flat = condition_entries(condition, self.condition_sizes, self.condition_ranks, "MLP")
        factors = [(self._compute(x), self.input_kernel)] if self.in_size else []
        factors += [
            (self._compute(value), self.condition_kernels[name]) for name, value in flat.items()
        ]
        if not factors:
            return [jnp.zeros((*x.shape[:-1], self.hidden[0]), self._compute(x).dtype)]
        by_batch: dict[tuple[int, ...], list[tuple[Array, nnx.Param]]] = {}
        for value, kernel in factors:
            by_batch.setdefault(value.shape[:-1], []).append((value, kernel))
        products = []
        for group in by_batch.values():
            values, kernels = zip(*group, strict=True)
            joined = jnp.concatenate([self._cast(kernel) for kernel in kernels])
            products.append(jnp.concatenate(values, axis=-1) @ joined)
        return products

    def _compute(self, value: Array) -> Array:
        return value if self.dtype is None else value.astype(self.dtype)

    def _cast(self, param: nnx.Param) -> Array:
        """A parameter's array in the type of the computation."""
        return self._compute(param[...])


def _add(a: Array, b: Array) -> Array:
    """Add arrays of different rank, the shorter one broadcast over leading axes."""
    rank = max(a.ndim, b.ndim)
    a, b = (v.reshape(*[1] * (rank - v.ndim), *v.shape) for v in (a, b))
    return a + b


def named_shapes(shape: ConditionShape) -> dict[str, tuple[int, ...]]:
    """Shapes of a condition's entries by name; a single array is the entry "condition".

    Args:
        shape: Shape of one condition.

    Returns:
        A dict, empty for no condition.
    """
    if shape is None:
        return {}
    return dict(shape) if isinstance(shape, dict) else {"condition": tuple(shape)}


def condition_entries(
    condition: Any,
    sizes: tuple[tuple[str, int], ...],
    ranks: tuple[tuple[str, int], ...],
    name: str,
) -> dict[str, Array]:
    """A condition's entries by name, each flattened behind its batch.

    Args:
        condition: An array, a dict of arrays, or None.
        sizes: Name and size of each entry that is expected.
        ranks: Name and rank of each.
        name: What to call the network in the error.

    Returns:
        Arrays `(*condition_batch, size)`, in the order of the sizes.

    Raises:
        ValueError: If the condition is missing, unexpected or of other entries.
    """
    if isinstance(condition, dict):
        entries = condition
    else:
        entries = {} if condition is None else {"condition": condition}
    expected = [entry for entry, _ in sizes]
    if sorted(entries) != sorted(expected):
        raise ValueError(
            f"{name}: expected the condition's entries {expected}, got {list(entries)}; "
            "condition_shape says which it takes"
        )
    flat = {}
    for (entry, size), (_, rank) in zip(sizes, ranks, strict=True):
        value = entries[entry]
        flat[entry] = value.reshape(*value.shape[: value.ndim - rank], size)
    return flat

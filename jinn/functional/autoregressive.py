"""Autoregressive maps: each element is transformed given those before it in some order."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jinn.functional.coupling import Transformer, apply_transformer, split_parameters
from jinn.functional.loop import varying_like

Conditioner = Callable[[Any], Any]
"""From elements `(*batch, n)` to parameters `(*batch, n_params * n)`, see
`autoregressive_forward`."""


@runtime_checkable
class SequentialConditioner(Protocol):
    """A conditioner that can also be evaluated element after element, without doing work twice.

    `order` lists the elements in the order in which they become known.
    """

    @property
    def order(self) -> tuple[int, ...]:
        """The elements' indices, first the one whose parameters depend on none."""
        ...

    def __call__(self, x: Array) -> Array:
        """Evaluate the parameters of all elements at once."""
        ...

    def begin(self, like: Array) -> tuple[Any, list[Any]]:
        """Prepare an evaluation element after element.

        Args:
            like: An array of the batch and type of x.

        Returns:
            A state in which no element is known, and a list of stages, one loop each: what their
            steps need, pytrees whose leaves have a leading axis of the elements in their order.
        """
        ...

    def resume(self, state: Any, stage: Any) -> Any:
        """Ready the state for a stage.

        Args:
            state: The state at the end of the stage before.
            stage: What the steps of the stage need.

        Returns:
            The state to begin its loop with.
        """
        ...

    def parameters(self, state: Any, step: Any) -> tuple[Any, Array]:
        """Evaluate the next element's parameters.

        Args:
            state: The state in which all elements before it are known.
            step: This element's slice of what the steps need.

        Returns:
            The state, and parameters `(n_params, *batch)`.
        """
        ...

    def append(self, state: Any, step: Any, value: Array) -> Any:
        """Make the element known.

        Args:
            state: The state that `parameters` returned.
            step: This element's slice of what the steps need.
            value: The element, shape `(*batch,)`.

        Returns:
            The new state.
        """
        ...


def autoregressive_forward(
    x: Float[Array, "*batch n"], conditioner: Conditioner, transformer: Transformer
) -> tuple[Float[Array, "*batch n"], Float[Array, "*batch"]]:
    """Transform each element given those before it, `y_i = T(x_i; conditioner_i(x_<i))`, at once.

    Args:
        x: Values.
        conditioner: Any callable from `(*batch, n)` to `(*batch, n_params * n)`, all elements'
            first parameter, then all elements' second, and so on. The parameters of an element may
            depend on the elements before it in some order only, or the log-determinant is wrong.
        transformer: An invertible map of single elements, see `jinn.functional.Transformer`.

    Returns:
        `y`, and the log-determinant, float32 or wider.

    Raises:
        ValueError: If the conditioner or the transformer returns a wrong shape, or the transformer
            acts on whole events.

    Reference:
        Masked Autoregressive Flow for Density Estimation (Papamakarios, Pavlakou, Murray, 2017),
        https://arxiv.org/abs/1705.07057
    """
    check_elementwise(transformer, "autoregressive")
    params = split_parameters(conditioner(x), x, transformer.n_params, "autoregressive")
    y, log_slopes = apply_transformer(transformer.forward, x, params, "autoregressive")
    return y, _sum(log_slopes, -1)


def autoregressive_inverse(
    y: Float[Array, "*batch n"],
    conditioner: Conditioner,
    transformer: Transformer,
    *,
    order: Sequence[int] | None = None,
) -> tuple[Float[Array, "*batch n"], Float[Array, "*batch"]]:
    """Undo `autoregressive_forward` by a loop over the elements, `x_i = T^-1(y_i; params_i)`.

    Args:
        y: Values.
        conditioner: The conditioner of the forward map. A `SequentialConditioner` computes each of
            its units once; any other callable is evaluated n times.
        transformer: The transformer of the forward map.
        order: The elements in the order of their dependence, each integer from 0 to n - 1 once;
            None is the conditioner's own, or 0, ..., n - 1.

    Returns:
        `x`, and the log-determinant, float32 or wider.

    Raises:
        ValueError: If the conditioner or the transformer returns a wrong shape, the transformer
            acts on whole events, or the order is no permutation.
    """
    name = "autoregressive"
    check_elementwise(transformer, name)
    n = y.shape[-1]
    if not isinstance(conditioner, SequentialConditioner):
        places = tuple(range(n)) if order is None else check_order(order, n, name)
        conditioner = _Repeated(conditioner, transformer.n_params, places)
    elif order is not None and tuple(order) != conditioner.order:
        raise ValueError(
            f"{name}: the conditioner has the order {conditioner.order}, got order={order!r}; "
            "leave it out"
        )
    place_of = np.argsort(conditioner.order)
    values = jnp.moveaxis(y, -1, 0)[np.array(conditioner.order, int)]

    def solve(state: Any, inputs: Any) -> tuple[Any, tuple[Array, Array]]:
        step, value = inputs
        state, params = conditioner.parameters(state, step)
        params = params.astype(jnp.promote_types(value.dtype, jnp.float32))
        x, log_slope = transformer.inverse(value.astype(params.dtype), params)
        x = x.astype(value.dtype)
        return conditioner.append(state, step, x), (x, log_slope)

    state, stages = conditioner.begin(y)
    parts, start = [], 0
    for stage in stages:
        end = start + len(jax.tree.leaves(stage)[0])
        state = varying_like(conditioner.resume(state, stage), (y, stages))
        state, part = jax.lax.scan(solve, state, (stage, values[start:end]))
        parts.append(part)
        start = end
    x, log_slopes = jax.tree.map(lambda *a: jnp.concatenate(a), *parts)
    return jnp.moveaxis(x[place_of], 0, -1), _sum(log_slopes, 0)


def check_order(order: Sequence[int], n: int, name: str) -> tuple[int, ...]:
    """Check an order of elements.

    Args:
        order: What a user gave.
        n: Number of elements.
        name: What to call the owner in the error.

    Returns:
        The order as integers.

    Raises:
        ValueError: If it is not a permutation of 0, ..., n - 1.
    """
    array = np.asarray(order)
    if array.dtype.kind not in "iu" or array.ndim != 1 or sorted(array) != list(range(n)):
        raise ValueError(
            f"{name}: expected order to be the integers 0 to {n - 1}, each once, with the element "
            f"that depends on no other first, got {order!r}"
        )
    return tuple(map(int, array))


def check_elementwise(transformer: Transformer, name: str) -> None:
    """Check that a transformer maps single elements.

    Args:
        transformer: What a user gave.
        name: What to call the owner in the error.

    Raises:
        ValueError: If it acts on whole events.
    """
    if getattr(transformer, "of_events", False):
        raise ValueError(
            f"{name}: expected a transformer of single elements, got {type(transformer).__name__}, "
            "which acts on whole events; each element would depend on all others"
        )


@dataclass(frozen=True)
class _Repeated:
    """Any callable element after element, evaluated anew each time on what is known, else 0."""

    conditioner: Conditioner
    n_params: int
    order: tuple[int, ...]

    def __call__(self, x: Array) -> Array:
        return self.conditioner(x)

    def begin(self, like: Array) -> tuple[Array, list[Array]]:
        return jnp.zeros_like(like), [jnp.array(self.order)]

    def resume(self, state: Array, stage: Array) -> Array:
        return state

    def parameters(self, state: Array, step: Array) -> tuple[Array, Array]:
        params = split_parameters(self(state), state, self.n_params, "autoregressive")
        return state, jax.lax.dynamic_index_in_dim(params, step, axis=1, keepdims=False)

    def append(self, state: Array, step: Array, value: Array) -> Array:
        return jax.lax.dynamic_update_index_in_dim(state, value, step, axis=-1)


def _sum(log_slopes: Array, axis: int) -> Array:
    return jnp.sum(log_slopes, axis, dtype=jnp.promote_types(log_slopes.dtype, jnp.float32))

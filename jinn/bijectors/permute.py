"""Permutation of an event's last axis."""

import contextlib
import operator
from collections.abc import Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array

from jinn.bijectors.base import Bijector, Buffer, constant, zeros_log_det
from jinn.functional.permutation import (
    ascending,
    permutation_forward,
    permutation_inverse,
    places,
)
from jinn.networks.randomness import as_key


class Permute(Bijector):
    """Reorder the last axis of an event, `z[i] = x[permutation[i]]`.

    A random permutation is stored as sort keys, floats in a `Buffer`, so that every member of a
    stack or an ensemble has its own.

    Args:
        event_shape: Shape of one event, `(n,)` or `(H, W, C)`.
        permutation: "random", "reverse", or the integers 0 to n - 1 in their new order.
        leaving: Only for "random": booleans of length n. Elements where it is True tend to move
            to the front and the others to the back. With a coupling that transforms the back,
            give it the coupling's mask: then few elements are transformed twice in a row, and
            with two elements none.
        rngs: An int, a JAX key or `flax.nnx.Rngs`, only for "random".

    Raises:
        ValueError: If the permutation does not fit the event, or `rngs` is missing.
    """

    analytic_inverse = True

    def __init__(
        self,
        event_shape: tuple[int, ...],
        permutation: Literal["random", "reverse"] | Sequence[int] = "random",
        *,
        leaving: Sequence[bool] | None = None,
        rngs: int | jax.Array | nnx.Rngs | None = None,
    ) -> None:
        """See the class."""
        self._declare(event_shape)
        if isinstance(self.event_shape, dict) or not self.event_shape:
            raise ValueError(f"Permute: expected an event with a last axis, got {event_shape}")
        n = self.event_shape[-1]
        if isinstance(permutation, str) and permutation == "random":
            self.order = None
            self.sort_keys = Buffer(_sort_keys(n, leaving, rngs))
        else:
            self.order = _checked_order(n, permutation)
            self.sort_keys = None

    @property
    def permutation(self) -> Array:
        """The permutation as integers of shape `(n,)`."""
        if self.sort_keys is None:
            return jnp.array(self.order, int)
        return ascending(constant(self.sort_keys))

    @property
    def _reverses(self) -> bool:
        """Whether it is a reversal, which needs no indices, nor does its gradient."""
        return self.order is not None and self.order == tuple(range(len(self.order)))[::-1]

    def _forward(
        self, x: Any, condition: Any, *, key: jax.Array | None, with_log_det: bool
    ) -> tuple[Array, Array | None]:
        if self._reverses:
            y = jnp.flip(x, -1)
        else:
            y, _ = permutation_forward(x, self.permutation)
        return y, zeros_log_det(x, self.event_shape)

    def _inverse(
        self, y: Any, condition: Any, *, key: jax.Array | None, with_log_det: bool
    ) -> tuple[Array, Array | None]:
        if self._reverses:
            x = jnp.flip(y, -1)
        elif self.sort_keys is None:
            x, _ = permutation_inverse(y, self.permutation)
        else:
            x, _ = permutation_forward(y, places(constant(self.sort_keys)))
        return x, zeros_log_det(y, self.event_shape)


def _checked_order(n: int, permutation: str | Sequence[int]) -> tuple[int, ...]:
    order: tuple[int, ...] = ()
    if not isinstance(permutation, str):
        with contextlib.suppress(TypeError):  # no integers: refused below
            order = tuple(operator.index(i) for i in permutation)
    elif permutation == "reverse":
        order = tuple(range(n)[::-1])
    if sorted(order) != list(range(n)):
        raise ValueError(
            f'Permute: expected "random", "reverse" or the integers 0 to {n - 1} in some order, '
            f"got {permutation!r}"
        )
    return order


def _sort_keys(n: int, leaving: Sequence[bool] | None, rngs: Any) -> Array:
    if rngs is None:
        raise ValueError("Permute: a random permutation needs rngs, for example rngs=0")
    keys = jax.random.uniform(as_key(rngs), (n,))
    if leaving is not None:
        if len(leaving) != n:
            raise ValueError(f"Permute: expected leaving of length {n}, got length {len(leaving)}")
        head_start = 1.0 if n <= 3 else 0.5
        keys = keys - head_start * jnp.array(leaving, keys.dtype)
    ranks = jnp.argsort(jnp.argsort(keys))  # whole numbers survive a cast to a narrow type
    return ranks.astype(keys.dtype)

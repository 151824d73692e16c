"""The bijectors that mix an event's elements between the blocks of a named flow."""

from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp

from jinn.bijectors.base import Bijector
from jinn.bijectors.householder import Householder
from jinn.bijectors.orthogonal import Orthogonal
from jinn.bijectors.permute import Permute
from jinn.bijectors.triangular import PLU

Mixing = Literal["permute", "orthogonal", "learned_orthogonal", "householder", "plu"]
MixingOrReverse = Literal[Mixing, "reverse"]


def check_mixing(mixing: str, name: str, *, allowed: Any = Mixing) -> None:
    """Check the name of a mixing.

    Args:
        mixing: What a user gave.
        name: What to call the flow in the error.
        allowed: The names, as a type.

    Raises:
        ValueError: If there is no such mixing.
    """
    names = list(get_args(allowed))
    if mixing not in names:
        raise ValueError(f"{name}: expected mixing to be one of {names}, got {mixing!r}")


def make_mixing(
    mixing: MixingOrReverse,
    event_shape: tuple[int, ...],
    key: jax.Array,
    *,
    leaving: tuple[bool, ...] | None = None,
    volume_preserving: bool = False,
    param_dtype: jax.typing.DTypeLike = jnp.float32,
) -> Bijector:
    """Make one mixing of an event's last axis.

    Args:
        mixing: "permute" (fixed random), "reverse", "orthogonal" (fixed random), or the learned
            "learned_orthogonal", "householder" and "plu".
        event_shape: Shape of one event.
        key: A JAX key.
        leaving: For "permute", the elements that a coupling behind it should not transform again;
            see `jinn.bijectors.Permute`.
        volume_preserving: Keep the log-determinant of "plu" at 0; that of the others always is.
        param_dtype: Type of the parameters.

    Returns:
        The bijector.
    """
    if mixing == "permute":
        return Permute(event_shape, leaving=leaving, rngs=key)
    if mixing == "reverse":
        return Permute(event_shape, "reverse")
    if mixing == "householder":
        return Householder(event_shape, param_dtype=param_dtype, rngs=key)
    if mixing == "plu":
        return PLU(
            event_shape, volume_preserving=volume_preserving, param_dtype=param_dtype, rngs=key
        )
    learned = mixing == "learned_orthogonal"
    return Orthogonal(event_shape, learned=learned, param_dtype=param_dtype, rngs=key)

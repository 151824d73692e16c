"""Variables of a module that are not trained."""

import jax
from flax import nnx
from jaxtyping import Array


class Buffer(nnx.Variable):
    """A constant of a module that no optimiser may change; read it with `constant`."""


def constant(buffer: nnx.Variable) -> Array:
    """Read a buffer so that no gradient reaches it, `stop_gradient(value)`.

    Args:
        buffer: The variable to read.

    Returns:
        Its array.
    """
    return jax.lax.stop_gradient(buffer[...])


def read(variable: nnx.Variable) -> Array:
    """Read a parameter, or a buffer as `constant` does, for what may be either.

    Args:
        variable: The variable to read.

    Returns:
        Its array.
    """
    return constant(variable) if isinstance(variable, Buffer) else variable[...]

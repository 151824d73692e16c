"""The one form of randomness that jinn uses inside."""

from numbers import Integral

import jax
from flax import nnx


def as_key(rngs: int | jax.Array | nnx.Rngs, name: str = "rngs") -> jax.Array:
    """Make one fresh JAX key of what a user may pass as `rngs` or `key`.

    Args:
        rngs: A seed, a JAX key (typed or raw), or `flax.nnx.Rngs`, whose stream "params"
            (or, without one, its default stream) advances.
        name: What to call it in the error.

    Returns:
        A typed JAX key.

    Raises:
        ValueError: If `rngs` is none of these.
    """
    if isinstance(rngs, nnx.Rngs):
        return rngs.params()
    if isinstance(rngs, Integral) and not isinstance(rngs, bool):
        return jax.random.key(int(rngs))
    if isinstance(rngs, jax.Array):
        if jax.numpy.issubdtype(rngs.dtype, jax.dtypes.prng_key) and rngs.ndim == 0:
            return rngs
        if rngs.dtype == jax.numpy.uint32 and rngs.ndim == 1:
            return jax.random.wrap_key_data(rngs)
        if jax.numpy.issubdtype(rngs.dtype, jax.numpy.integer) and rngs.ndim == 0:
            return jax.random.key(rngs)
    raise ValueError(
        f"{name}: expected an int, one JAX key or flax.nnx.Rngs, got {rngs!r}; "
        "for example 0 or jax.random.key(0)"
    )

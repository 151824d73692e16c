"""Linear maps whose spectral norm is bounded, and the networks' activations that keep the bound."""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from jinn.functional.convolution import convolve
from jinn.functional.spectral import convolution_norm_bound, spectral_norm
from jinn.networks.buffer import Buffer, constant

_STEPS_AT_FIRST, _STEPS_IN_REFRESH, _STEPS_IN_USE = 50, 5, 1

# The slope of silu is at most 1.0998...
CONTRACTIONS: dict[str, Callable[[Array], Array]] = {
    "elu": jax.nn.elu,
    "lipswish": lambda x: jax.nn.silu(x) / 1.1,
    "tanh": jnp.tanh,
}


def contraction_by_name(name: str) -> Callable[[Array], Array]:
    """Find an activation whose slope is at most 1 in size.

    Args:
        name: One of the keys of `CONTRACTIONS`.

    Returns:
        The function, from an array to an array of the same shape.

    Raises:
        ValueError: If there is no such activation of that name.
    """
    if name not in CONTRACTIONS:
        raise ValueError(
            f"activation: expected one of {sorted(CONTRACTIONS)}, whose slopes are at most 1, "
            f"got {name!r}"
        )
    return CONTRACTIONS[name]


class SpectralKernel(nnx.Module):
    """The weights W of a linear map, scaled down where its norm is too large, `W min(1, b / |W|)`.

    The norm is estimated by power iteration from a singular vector that is kept. It follows the
    weights when `jinn.refresh` is called, which `jinn.fit` does after every step.

    Args:
        shape: (inputs, outputs) of a matrix, or (height, width, inputs, outputs) of a convolution.
        bound: Largest spectral norm b.
        image_size: Height and width of the images that a convolution is for.
        param_dtype: Type of the weights.
        key: A JAX key.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        *,
        bound: float,
        image_size: tuple[int, int] | None = None,
        param_dtype: jax.typing.DTypeLike = jnp.float32,
        key: jax.Array,
    ) -> None:
        """See the class."""
        self.ndim, self.bound, self.image_size = len(shape), bound, image_size
        kernel_key, vector_key = jax.random.split(key)
        limit = math.sqrt(3 / math.prod(shape[:-1]))  # variance 1 / fan_in
        kernel = jax.random.uniform(kernel_key, shape, param_dtype, -limit, limit)
        start = jax.random.normal(vector_key, (*(image_size or ()), shape[-2]), param_dtype)
        self.kernel = nnx.Param(kernel)
        self.vector = Buffer(self._norm(kernel, start, _STEPS_AT_FIRST)[1])

    def __call__(self) -> Float[Array, "..."]:
        """Scale the weights.

        Returns:
            Weights of the shape given, of spectral norm at most the bound.
        """
        kernel = self.kernel[...]
        norm, _ = self._norm(kernel, constant(self.vector), _STEPS_IN_USE)
        return kernel / jnp.maximum(1.0, norm / self.bound)

    def refreshed(self) -> "SpectralKernel":
        """Improve the singular vector, of every kernel where several are stacked.

        Returns:
            A copy with another vector.
        """

        def improve(kernel: Array, vector: Array) -> Array:
            return self._norm(kernel, vector, _STEPS_IN_REFRESH)[1]

        kernel, vector = constant(self.kernel), constant(self.vector)
        for _ in range(kernel.ndim - self.ndim):
            improve = jax.vmap(improve)
        new = nnx.clone(self)
        new.vector[...] = improve(kernel, vector)
        return new

    def certified_norm(self) -> Float[Array, ""]:
        """An upper bound of the scaled weights' spectral norm, by singular values.

        Returns:
            The norm of a matrix; of a convolution the bound of `convolution_norm_bound`.
        """
        if self.image_size is None:
            return jnp.linalg.norm(self(), 2)
        return convolution_norm_bound(self(), self.image_size)

    def _norm(self, kernel: Array, vector: Array, steps: int) -> tuple[Array, Array]:
        linear = jnp.matmul if self.image_size is None else convolve
        return spectral_norm(linear, kernel, vector, steps=steps)

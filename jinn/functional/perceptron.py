"""Multilayer perceptrons as functions of their weights, with structured Jacobians."""

import math
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

Activation = Callable[[Array], Array]


def perceptron(
    x: Float[Array, "*batch n_in"],
    kernels: Sequence[Float[Array, "_ _"]],
    shifts: Sequence[Float[Array, "..."]],
    activation: Activation,
) -> Float[Array, "*out_batch n_out"]:
    """Evaluate `h_1 = a(W_1 x + b_1), ..., out = W_n h_(n-1) + b_n`.

    Args:
        x: Inputs.
        kernels: The weights W, each of shape (inputs, outputs).
        shifts: The shifts b, each of shape `(*shift_batch, outputs)`: their batch axes broadcast
            against those of x, so that they may depend on a condition.
        activation: The element-wise function a.

    Returns:
        The outputs, at the joint batch.
    """
    h = x
    for kernel, shift in zip(kernels[:-1], shifts[:-1], strict=True):
        h = activation(add_batches(h @ kernel, shift))
    return add_batches(h @ kernels[-1], shifts[-1])


def perceptron_and_jacobian(
    x: Float[Array, "*batch n_in"],
    kernels: Sequence[Float[Array, "_ _"]],
    shifts: Sequence[Float[Array, "..."]],
    activation: Activation,
) -> tuple[Float[Array, "*batch n_out"], Float[Array, "*batch n_out n_in"]]:
    """Evaluate a `perceptron` and its Jacobian in x, one product with each kernel for all columns.

    Args:
        x: Inputs, at the joint batch of x and the shifts.
        kernels: The weights, as for `perceptron`.
        shifts: The shifts, as for `perceptron`.
        activation: The element-wise function.

    Returns:
        The outputs, and the Jacobians `J_ij = d out_i / d x_j`.
    """
    h, columns = x, None  # columns[..., j, :] = d h / d x_j
    for kernel, shift in zip(kernels[:-1], shifts[:-1], strict=True):
        z = add_batches(h @ kernel, shift)
        h, slope = jax.jvp(activation, (z,), (jnp.ones_like(z),))
        columns = slope[..., None, :] * _next_columns(columns, kernel, z.ndim)
    out = add_batches(h @ kernels[-1], shifts[-1])
    columns = jnp.broadcast_to(
        _next_columns(columns, kernels[-1], out.ndim),
        (*out.shape[:-1], x.shape[-1], out.shape[-1]),
    )
    return out, jnp.swapaxes(columns, -1, -2)


def _next_columns(columns: Array | None, kernel: Array, ndim: int) -> Array:
    """The columns after a linear layer; those of the first are the kernel itself."""
    if columns is None:
        return kernel.reshape(*[1] * (ndim - 1), *kernel.shape)
    # As one matrix: the gradient of a product with several batch axes is a quarter slower on CPU.
    flat = columns.reshape(math.prod(columns.shape[:-1]), columns.shape[-1])
    return (flat @ kernel).reshape(*columns.shape[:-1], kernel.shape[-1])


def add_batches(a: Array, b: Array) -> Array:
    """Add arrays whose batch axes broadcast, of different rank too.

    Args:
        a: One array.
        b: The other.

    Returns:
        The sum.
    """
    rank = max(a.ndim, b.ndim)
    a, b = (v.reshape(*[1] * (rank - v.ndim), *v.shape) for v in (a, b))
    return a + b

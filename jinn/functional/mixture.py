"""Mixtures of normal densities, by the Cholesky factors of their precisions."""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.linalg import solve_triangular
from jax.scipy.special import logsumexp
from jaxtyping import Array, Float


def gaussian_mixture_log_prob(
    x: Float[Array, "*batch n"],
    logits: Float[Array, "*#batch k"],
    means: Float[Array, "*#batch k n"],
    log_diagonals: Float[Array, "*#batch k n"],
    above: Float[Array, "*#batch k m"] | None = None,
) -> Float[Array, "*batch"]:
    """Log-density `log sum_k w_k N(x; mu_k, (U_k^T U_k)^-1)` of a mixture of normals.

    The U_k are upper triangular with positive diagonals, the Cholesky factors of the precisions:
    `log N = sum(log diag U) - |U (x - mu)|^2 / 2 - n log(2 pi) / 2` takes no solve.

    Args:
        x: Values.
        logits: Raw weights; softmax makes them positive with sum 1.
        means: The means mu_k.
        log_diagonals: Logarithms of the diagonals of U_k.
        above: What U_k has above the diagonal, row after row, `m = n (n - 1) / 2` numbers; None
            for zeros, independent elements.

    Returns:
        Log-densities in nats.

    Reference:
        Training Mixture Density Networks with full covariance matrices (Kruse, 2020),
        https://arxiv.org/abs/2003.05739
    """
    offset = x[..., None, :] - means
    if above is None:
        standard = jnp.exp(log_diagonals) * offset
    else:
        factor = precision_factor(log_diagonals, above)
        standard = jnp.einsum("...kij,...kj->...ki", factor, offset, precision="highest")
    log_det = jnp.sum(log_diagonals, axis=-1)
    constant = 0.5 * x.shape[-1] * math.log(2 * math.pi)
    log_normal = log_det - 0.5 * jnp.sum(jnp.square(standard), axis=-1) - constant
    return logsumexp(jax.nn.log_softmax(logits, axis=-1) + log_normal, axis=-1)


def gaussian_mixture_sample(
    key: jax.Array,
    logits: Float[Array, "*#batch k"],
    means: Float[Array, "*#batch k n"],
    log_diagonals: Float[Array, "*#batch k n"],
    above: Float[Array, "*#batch k m"] | None = None,
    *,
    batch: tuple[int, ...],
) -> Float[Array, "*batch n"]:
    """Draw from a mixture of normals: a component k, then `x = mu_k + U_k^-1 z`, z standard normal.

    Gradients reach the means and the factors along the samples. None reaches the weights, and none
    counts that another component might have been drawn.

    Args:
        key: A JAX key.
        logits: Raw weights, as in `gaussian_mixture_log_prob`, as are the others.
        means: The means mu_k.
        log_diagonals: Logarithms of the diagonals of U_k.
        above: What U_k has above the diagonal, or None.
        batch: Shape of the batch that is drawn; those of the parameters broadcast to it.

    Returns:
        Independent samples.
    """
    component_key, normal_key = jax.random.split(key)
    k, n = means.shape[-2:]
    drawn = jax.random.categorical(component_key, jnp.broadcast_to(logits, (*batch, k)))
    here = jax.nn.one_hot(drawn, k, dtype=means.dtype)
    z = jax.random.normal(normal_key, (*batch, n), means.dtype)
    # Products with the one-hot vectors keep the parameters at their own, smaller batch.
    mean = jnp.einsum("...k,...kn->...n", here, means, precision="highest")
    if above is None:
        scale = jnp.exp(-log_diagonals)
        return mean + z * jnp.einsum("...k,...kn->...n", here, scale, precision="highest")
    placed = here[..., None] * z[..., None, :]
    factor = covariance_factor(log_diagonals, above)
    return mean + jnp.einsum("...kj,...kij->...i", placed, factor, precision="highest")


def precision_factor(
    log_diagonals: Float[Array, "*batch n"], above: Float[Array, "*batch m"]
) -> Float[Array, "*batch n n"]:
    """The upper triangular U of a precision `U^T U`, from the numbers it is made of.

    Args:
        log_diagonals: Logarithms of the diagonal.
        above: What is above the diagonal, row after row.

    Returns:
        The matrices.
    """
    n = log_diagonals.shape[-1]
    diagonal, (rows, columns) = np.arange(n), np.triu_indices(n, 1)
    matrix = jnp.zeros((*log_diagonals.shape, n), log_diagonals.dtype)
    matrix = matrix.at[..., diagonal, diagonal].set(jnp.exp(log_diagonals))
    return matrix.at[..., rows, columns].set(above)


def covariance_factor(
    log_diagonals: Float[Array, "*batch n"], above: Float[Array, "*batch m"] | None
) -> Float[Array, "*batch n n"]:
    """The upper triangular `V = U^-1` of the covariance `V V^T`, for the U of `precision_factor`.

    Args:
        log_diagonals: Logarithms of the diagonal of U.
        above: What U has above the diagonal, row after row, or None for zeros.

    Returns:
        The matrices.
    """
    identity = jnp.eye(log_diagonals.shape[-1], dtype=log_diagonals.dtype)
    identity = jnp.broadcast_to(identity, (*log_diagonals.shape, identity.shape[-1]))
    if above is None:
        return identity * jnp.exp(-log_diagonals)[..., None]
    return solve_triangular(precision_factor(log_diagonals, above), identity)

"""Whether an INN's latents are what its samples take them for: normal, and independent of y."""

from collections.abc import Sequence
from functools import partial
from numbers import Real
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from jinn.flows.inn_data import check_rows
from jinn.flows.inn_model import INN
from jinn.functional.kernels import kernel_lengths, mmd_squared
from jinn.networks.options import is_count
from jinn.networks.randomness import as_key


class LatentCheck(NamedTuple):
    """How far latents z are from normal and from independent of y; all are scalars.

    Attributes:
        mmd: ``MMD^2`` between z and as many draws of N(0, I), unbiased.
        mmd_threshold: What that exceeds in a share ``level`` of cases where z is normal.
        joint_mmd: ``MMD^2`` between (z, y) and (draws of N(0, I), y), y standardised, unbiased.
        joint_threshold: What that exceeds in a share ``level`` of cases where z is normal and
            independent of y.
        correlation: Largest absolute correlation of an element of z with one of y.
        correlation_threshold: What that exceeds in a share ``level`` of cases where z is normal and
            independent of y. With few rows that is much: 0.08 for 1000 rows of two elements each.
    """

    mmd: Float[Array, ""]
    mmd_threshold: Float[Array, ""]
    joint_mmd: Float[Array, ""]
    joint_threshold: Float[Array, ""]
    correlation: Float[Array, ""]
    correlation_threshold: Float[Array, ""]


def check_latent(
    model: INN,
    x: ArrayLike,
    y: ArrayLike,
    *,
    bandwidths: Sequence[float] | float = (0.5, 1.0, 2.0),
    draws: int = 200,
    level: float = 0.05,
    mmd_rows: int | None = None,
    key: int | Array | None = None,
) -> LatentCheck:
    """Tests whether ``z = f_z(x)`` is standard normal and independent of y.

    The thresholds are quantiles of the same statistics over sets of latents drawn from N(0, I), a
    parametric bootstrap. It takes about ``6 draws n^2`` kernel values, where n is `mmd_rows`.

    Args:
        model: An INN.
        x: Parameters that it was not trained on, shape (n, x_dim).
        y: Their observations, shape (n, y_dim), or labels (n,).
        bandwidths: Lengths of the inverse multiquadratic kernel, for z and the standardised y.
        draws: Number of sets drawn.
        level: Share of sets of true normal latents that the thresholds call wrong.
        mmd_rows: Take so many rows, the first, for the two MMDs; the correlation takes all. None is
            all for both.
        key: A JAX random key, or an int to make one of; the default is 0.

    Returns:
        A `LatentCheck`; latents pass where ``mmd < mmd_threshold`` and
        ``joint_mmd < joint_threshold``.

    Raises:
        ValueError: If the model is no INN, rows of x and y differ in number or are fewer than 3, or
            draws, level, mmd_rows or bandwidths are out of range.

    Reference:
        A Kernel Two-Sample Test. Gretton, Borgwardt, Rasch, Schoelkopf, Smola, 2012.
        https://jmlr.org/papers/v13/gretton12a.html
    """
    if not isinstance(model, INN):
        raise ValueError(
            f"check_latent: expected an INN of jinn.flows.inn, got {type(model).__name__}"
        )
    if not is_count(draws) or not (isinstance(level, Real) and 0 < float(level) < 1):
        raise ValueError(
            f"check_latent: expected at least 1 draw and a level between 0 and 1, got "
            f"draws={draws!r} and level={level!r}"
        )
    if mmd_rows is not None and not (is_count(mmd_rows) and mmd_rows >= 3):
        raise ValueError(
            f"check_latent: expected mmd_rows to be at least 3, or None for all, got {mmd_rows!r}"
        )
    z, code = model.latent(x), model.encode(y)
    check_rows("check_latent", jnp.asarray(x), code, y, model, least=3)
    lengths = kernel_lengths(bandwidths)
    if not lengths:
        raise ValueError(
            f"check_latent: expected bandwidths to be positive, got {bandwidths!r}; squares of "
            "lengths must be in the range of float32"
        )
    key = as_key(0 if key is None else key, "check_latent: key")
    rows = len(z) if mmd_rows is None else int(mmd_rows)
    z = z.astype(jnp.promote_types(z.dtype, jnp.float32))
    return _check(z, code.astype(z.dtype), key, lengths, int(draws), float(level), rows)


@partial(jax.jit, static_argnums=(3, 4, 5, 6))
def _check(
    z: Float[Array, "n z_dim"],
    code: Float[Array, "n y_dim"],
    key: Array,
    bandwidths: tuple[float, ...],
    draws: int,
    level: float,
    mmd_rows: int,
) -> LatentCheck:
    def statistics(z: Array, key: Array) -> Array:
        correlation = _largest_correlation(z, code)
        z, y = z[:mmd_rows], code[:mmd_rows]
        normal = jax.random.normal(key, z.shape, z.dtype)
        joint, joint_normal = (jnp.concatenate([latent, y], -1) for latent in (z, normal))
        own = mmd_squared(z, normal, bandwidths=bandwidths)
        both = mmd_squared(joint, joint_normal, bandwidths=bandwidths)
        return jnp.stack([own, both, correlation])

    def drawn(key: Array) -> Array:
        z_key, normal_key = jax.random.split(key)
        return statistics(jax.random.normal(z_key, z.shape, z.dtype), normal_key)

    own_key, drawn_key = jax.random.split(key)
    found = statistics(z, own_key)
    under_null = jax.lax.map(drawn, jax.random.split(drawn_key, draws))
    thresholds = jnp.quantile(under_null, 1 - level, axis=0)
    return LatentCheck(*(number for pair in zip(found, thresholds, strict=True) for number in pair))


def _largest_correlation(z: Array, code: Array) -> Array:
    """Elements that do not vary are correlated with none."""

    def standardized(a: Any) -> Array:
        centred = _scaled(a)
        centred = _scaled(centred - jnp.mean(centred, axis=0, keepdims=True))
        length = jnp.linalg.norm(centred, axis=0, keepdims=True)
        return centred / jnp.where(length == 0, 1.0, length)

    return jnp.max(jnp.abs(standardized(z).T @ standardized(code)))


def _scaled(a: Array) -> Array:
    """Columns of largest absolute value 1, whose squares leave no type's range; zeros stay."""
    largest = jnp.max(jnp.abs(a), axis=0, keepdims=True)
    return a / jnp.where(largest == 0, 1.0, largest)

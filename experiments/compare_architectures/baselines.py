"""What invertible networks are compared with: autoencoders, and a decoder in place of an inverse.

Each model has ``sample(key, shape, y)`` and takes x and y in their units; each loss is one for
`jinn.fit`, from the model, a batch `(x, y)` and a key to a scalar and the metrics.
"""

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array

from jinn.flows import INN
from jinn.flows.standardization import restored, standardized, statistics
from jinn.functional.kernels import mmd_squared
from jinn.losses import inn_loss
from jinn.networks import MLP

LATENT_WEIGHT = 100.0
NOISE = 0.02
"""Deviation of the noise on y and z before a decoder, in deviations of y."""
VAE_WEIGHT = 0.01
"""Weight of the divergence from the prior of z."""
BANDWIDTHS = (0.5, 1.0, 2.0)

Metrics = dict[str, Array]


class Scales(nnx.Module):
    """Means and deviations of the training data, by which x and y are standardised.

    Args:
        x: Parameters `(n, x_dim)`.
        y: Observations `(n, y_dim)`.
    """

    def __init__(self, x: Array, y: Array) -> None:
        """See the class."""
        self.x_mean, self.x_scale = statistics(x)
        self.y_mean, self.y_scale = statistics(y)

    def standardize(self, x: Array, y: Array) -> tuple[Array, Array]:
        """Bring rows of both to mean 0 and deviation 1."""
        return standardized(x, self.x_mean, self.x_scale), self.standardize_y(y)

    def standardize_y(self, y: Array) -> Array:
        """Bring y of any leading axes to mean 0 and deviation 1."""
        return standardized(y, self.y_mean, self.y_scale)

    def restore(self, u: Array) -> Array:
        """Bring standardised x of any leading axes back to its units."""
        return restored(u, self.x_mean, self.x_scale)


class Decoding(nnx.Module):
    """A model with a decoder from y and normal z to x."""

    scales: Scales
    decoder: MLP
    z_dim: int

    def sample(self, key: jax.Array, shape: tuple[int, ...], y: Any) -> Array:
        """Decode draws of z, `(*shape, *batch, x_dim)` for y `(*batch, y_dim)`; compiled."""
        return _draw(self, key, tuple(shape), jnp.asarray(y))

    def draw(self, key: jax.Array, shape: tuple[int, ...], y: Array) -> Array:
        """What `sample` compiles."""
        code = jnp.broadcast_to(self.scales.standardize_y(y), (*shape, *y.shape))
        z = jax.random.normal(key, (*code.shape[:-1], self.z_dim), code.dtype)
        return self.scales.restore(self.decoder(jnp.concatenate([code, z], -1)))


class Autoencoder(Decoding):
    """The encoder `x -> [y, z]` and the decoder `[y, z] -> x`, two perceptrons.

    Args:
        scales: Those of the data.
        hidden: Widths of the hidden layers of each.
        z_dim: Length of z.
        rngs: A JAX key.
    """

    def __init__(
        self, scales: Scales, *, hidden: tuple[int, ...], z_dim: int, rngs: jax.Array
    ) -> None:
        """See the class."""
        keys = jax.random.split(rngs)
        self.scales = scales
        self.x_dim, self.y_dim = scales.x_mean[...].size, scales.y_mean[...].size
        self.z_dim = z_dim
        options: Any = {"hidden": hidden, "zero_init_last": False}
        self.encoder = MLP(self.x_dim, self.y_dim + z_dim, rngs=keys[0], **options)
        self.decoder = MLP(self.y_dim + z_dim, self.x_dim, rngs=keys[1], **options)


def autoencoder_loss(
    model: Autoencoder, batch: Any, key: jax.Array | None = None
) -> tuple[Array, Metrics]:
    """Squared errors of y and of the reconstruction, and the MMD of [z, y] from [normal, y]."""
    u, code = model.scales.standardize(*batch)
    latent_key, noise_key = jax.random.split(jax.random.key(0) if key is None else key)
    out = model.encoder(u)
    y, z = jnp.split(out, (model.y_dim,), axis=-1)
    noise = NOISE * jax.random.normal(noise_key, out.shape, out.dtype)
    found = jnp.concatenate([z, jax.lax.stop_gradient(y)], -1)
    wanted = jnp.concatenate([jax.random.normal(latent_key, z.shape, z.dtype), code], -1)
    parts = {
        "loss_y": _mean_square(y - code),
        "loss_z": mmd_squared(found, wanted, bandwidths=BANDWIDTHS),
        "loss_reconstruction": _mean_square(model.decoder(out + noise) - u),
    }
    total = parts["loss_y"] + LATENT_WEIGHT * parts["loss_z"] + parts["loss_reconstruction"]
    return total, parts


class ConditionalVAE(Decoding):
    """A variational autoencoder given y: q(z | x, y) is normal, the decoder maps (z, y) to x.

    Args:
        scales: Those of the data.
        hidden: Widths of the hidden layers of encoder and decoder.
        z_dim: Length of z.
        rngs: A JAX key.
    """

    def __init__(
        self, scales: Scales, *, hidden: tuple[int, ...], z_dim: int, rngs: jax.Array
    ) -> None:
        """See the class."""
        keys = jax.random.split(rngs)
        self.scales, self.z_dim = scales, z_dim
        x_dim, y_dim = scales.x_mean[...].size, scales.y_mean[...].size
        options: Any = {"hidden": hidden, "zero_init_last": False}
        self.encoder = MLP(x_dim + y_dim, 2 * z_dim, rngs=keys[0], **options)
        self.decoder = MLP(y_dim + z_dim, x_dim, rngs=keys[1], **options)


def conditional_vae_loss(
    model: ConditionalVAE, batch: Any, key: jax.Array | None = None
) -> tuple[Array, Metrics]:
    """The reconstruction's squared error, and the weighted divergence of q from N(0, I)."""
    u, code = model.scales.standardize(*batch)
    key = jax.random.key(0) if key is None else key
    mean, log_deviation = jnp.split(model.encoder(jnp.concatenate([u, code], -1)), 2, axis=-1)
    log_deviation = 6.0 * jnp.tanh(log_deviation / 6.0)
    z = mean + jnp.exp(log_deviation) * jax.random.normal(key, mean.shape, mean.dtype)
    divergence = 0.5 * (mean**2 + jnp.exp(2 * log_deviation) - 1) - log_deviation
    parts = {
        "loss_reconstruction": _mean_square(model.decoder(jnp.concatenate([code, z], -1)) - u),
        "divergence": jnp.mean(jnp.sum(divergence, -1)),
    }
    return parts["loss_reconstruction"] + VAE_WEIGHT * parts["divergence"], parts


class WithDecoder(Decoding):
    """An INN whose inverse is slow, and a perceptron `[y, z] -> x` that learns to stand in for it.

    Args:
        inn: The INN, without padding.
        hidden: Widths of the decoder's hidden layers.
        rngs: A JAX key.
    """

    def __init__(self, inn: INN, *, hidden: tuple[int, ...], rngs: jax.Array) -> None:
        """See the class."""
        self.inn = inn
        size = inn.sizes.total
        self.decoder = MLP(size, inn.sizes.x, hidden=hidden, zero_init_last=False, rngs=rngs)

    def draw(self, key: jax.Array, shape: tuple[int, ...], y: Array) -> Array:
        """What `sample` compiles."""
        inn = self.inn
        code = jnp.broadcast_to(inn.encode(y), (*shape, *y.shape))
        z = jax.random.normal(key, (*code.shape[:-1], inn.sizes.z), code.dtype)
        return inn.restore(self.decoder(jnp.concatenate([code, z], -1)))

    def _initialized_from(self, x: Any, y: Any) -> "WithDecoder":
        """With the INN initialised from data, as `jinn.initialize` asks of models."""
        new = nnx.clone(self)
        new.inn = self.inn._initialized_from(x, y)
        return new


_LIKELIHOOD = inn_loss(method="likelihood")


def decoder_loss(
    model: WithDecoder, batch: Any, key: jax.Array | None = None
) -> tuple[Array, Metrics]:
    """The INN's likelihood, and the decoder's squared error, of which the INN gets no gradient."""
    inn_key, noise_key = jax.random.split(jax.random.key(0) if key is None else key)
    likelihood, parts = _LIKELIHOOD(model.inn, batch, inn_key)
    u = model.inn.standardize(batch[0])
    out = model.inn.split_forward(u, u[..., :0])
    joined = jax.lax.stop_gradient(jnp.concatenate([out.y, out.z], -1))
    noise = NOISE * jax.random.normal(noise_key, joined.shape, joined.dtype)
    error = _mean_square(model.decoder(joined + noise) - u)
    return likelihood + error, parts | {"loss_reconstruction": error}


_draw = jax.jit(lambda model, key, shape, y: model.draw(key, shape, y), static_argnums=2)


def _mean_square(error: Array) -> Array:
    return jnp.mean(jnp.sum(error**2, -1))

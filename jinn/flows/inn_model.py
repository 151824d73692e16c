"""The bidirectional INN: x to what is observed of it, y, and to the rest, z, by one map."""

import math
import os
import warnings
from numbers import Integral
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax.core import Tracer
from jaxtyping import Array

from jinn.bijectors.base import Bijector, Buffer, InitializedFlag, constant
from jinn.bijectors.shapes import as_event, batched, check_sample_shape, match_batch
from jinn.flows.archive import named_arrays, read_archive, with_arrays, write_archive
from jinn.flows.chunks import draw_in_chunks, map_chunks
from jinn.flows.compiled import compiled
from jinn.flows.failures import warn_of_failures
from jinn.flows.inn_parts import InnOutput, InnSizes, inn_sizes
from jinn.flows.specification import build_specified, is_specified
from jinn.networks.options import is_positive
from jinn.networks.randomness import as_key

_KIND = "jinn.flows.INN, version 1"


class INN(nnx.Module):
    """The invertible map `[x, padding] <-> [y, z, padding]` of an inverse problem.

    y is what is observed of x, z holds all else and is standard normal and independent of y once
    `jinn.losses.inn_loss` has trained the map; draws of z then give the posterior p(x | y).
    `jinn.flows.inn` builds one, and `jinn.fit(key, inn, (x, y), loss=inn_loss(...))` trains it. x
    and y are standardised by what `jinn.initialize(inn, x, y)` or `fit` sees of them; labels
    become one-hot vectors.

    Args:
        bijector: The map of vectors, which takes no condition; x is padded to its length.
        x_dim: Length of x.
        y_dim: Length of y, or None where y is a label.
        categories: Number of categories of which y is one, a label from 0; None for numbers.
        z_dim: Length of z. None takes x_dim - y_dim, or x_dim where that is not positive or y is a
            label, if there is room.
        y_noise: Standard deviation of the tolerance on y, in standard deviations of y (as it is
            for one-hot vectors), in training and in samples.
        padding_noise: Standard deviation of the numbers that pad x and z in training.

    Attributes:
        event_shape: Shape of one x.
        condition_shape: Shape of one y, () for labels.
        sizes: The lengths of the parts.
        specification: JSON that says how `jinn.flows.inn` built it, or None.

    Raises:
        ValueError: If the lengths do not fit, or an option is out of range.

    Reference:
        Analyzing Inverse Problems with Invertible Neural Networks (Ardizzone, Kruse, Wirkert,
        Rahner, Pellegrini, Klessen, Maier-Hein, Rother, Kothe, 2019),
        https://arxiv.org/abs/1808.04730
    """

    def __init__(
        self,
        bijector: Bijector,
        x_dim: int,
        y_dim: int | None = None,
        *,
        categories: int | None = None,
        z_dim: int | None = None,
        y_noise: float = 0.02,
        padding_noise: float = 0.01,
    ) -> None:
        """See the class."""
        shape = getattr(bijector, "event_shape", None)
        if (
            not isinstance(bijector, Bijector)
            or not isinstance(shape, tuple)
            or len(shape) != 1
            or bijector.event_shape_out != shape
            or bijector.condition_shape is not None
        ):
            raise ValueError(
                "INN: expected a bijector of vectors without a condition, got "
                f"{type(bijector).__name__} of events {shape} and conditions "
                f"{getattr(bijector, 'condition_shape', None)}"
            )
        for name, value in (("y_noise", y_noise), ("padding_noise", padding_noise)):
            if not is_positive(value):
                raise ValueError(f"INN: expected {name} to be positive, got {value!r}")
        padding = shape[0] - x_dim if isinstance(x_dim, Integral) else 0
        sizes = inn_sizes("INN", x_dim, y_dim, categories=categories, z_dim=z_dim, padding=padding)
        self.sizes: InnSizes = sizes
        self.categories = categories
        self.event_shape: tuple[int, ...] = (sizes.x,)
        self.condition_shape: tuple[int, ...] = () if categories is not None else (sizes.y,)
        self.y_noise, self.padding_noise = float(y_noise), float(padding_noise)
        self.bijector = bijector
        self.x_mean, self.x_scale = Buffer(jnp.zeros(sizes.x)), Buffer(jnp.ones(sizes.x))
        self.y_mean, self.y_scale = Buffer(jnp.zeros(sizes.y)), Buffer(jnp.ones(sizes.y))
        self.initialized = InitializedFlag(jnp.zeros(()))
        self.specification: str | None = None

    def predict(self, x: Any) -> Array:
        """The forward process, `y = f_y(x)`; compiled.

        Args:
            x: Parameters `(*batch, x_dim)`.

        Returns:
            `(*batch, y_dim)` in the units of the training data, or labels `(*batch,)`.

        Raises:
            ValueError: If the shape is wrong.
        """
        y = compiled(INN._outputs, (self, self._checked(x, "predict"))).y
        if self.categories is not None:
            return jnp.argmax(y, axis=-1)
        return y * _aligned(self.y_scale, y) + _aligned(self.y_mean, y)

    def latent(self, x: Any) -> Array:
        """What y does not say of x, `z = f_z(x)`; compiled.

        Args:
            x: Parameters `(*batch, x_dim)`.

        Returns:
            Latents `(*batch, z_dim)`, standard normal and independent of y once trained; see
            `jinn.inference.check_latent`.

        Raises:
            ValueError: If the shape is wrong.
        """
        return compiled(INN._outputs, (self, self._checked(x, "latent"))).z

    def sample(self, key: jax.Array, shape: int | tuple[int, ...] = (), y: Any = None) -> Array:
        """Draw samples of `p(x | y)`, `x = f^-1(y + y_noise e, z)`; compiled, and in chunks.

        Args:
            key: A JAX key.
            shape: Number of samples for each y, an integer or leading axes.
            y: Observations `(*batch, y_dim)` in the units of the training data, or labels
                `(*batch,)`.

        Returns:
            Samples of shape `(*shape, *batch, x_dim)`.

        Raises:
            ValueError: If y is missing, of a wrong shape or no label, or the shape is none.
        """
        axes: Any = (shape,) if isinstance(shape, Integral) else shape
        sizes = check_sample_shape(axes, "INN.sample")
        x = compiled(INN._sample, (self, as_key(key, "INN.sample: key"), self.encode(y)), sizes)
        warn_of_failures("INN.sample", x, self.event_shape, self.bijector, "inverse")
        return x

    def log_prob(self, x: Any, y: Any) -> Array:
        """Log-density, `log N(f_y(x); y, y_noise^2) + log N(f_z(x); 0, 1) + log|det df/dx|`.

        It is that of `sample`, so a posterior under a tolerance of y_noise, and means something for
        a map that was trained by maximum likelihood.

        Args:
            x: Parameters `(*batch, x_dim)`.
            y: Observations `(*y_batch, y_dim)`, or labels `(*y_batch,)`.

        Returns:
            `log p(x | y)` in nats per unit of x, `(*batch,)`, the broadcast of both batches.

        Raises:
            ValueError: If x is padded, since the density of x alone is then not known, or a shape
                is wrong.
        """
        if self.sizes.x_padding:
            raise ValueError(
                f"INN.log_prob: x is padded by {self.sizes.x_padding} elements, with which alone "
                "it has a density; build the INN with z_dim = x_dim - y_dim and no padding"
            )
        code = self.encode(y)
        x = match_batch(
            self._checked(x, "log_prob"), code, self.event_shape, (self.sizes.y,), "INN.log_prob"
        )
        return compiled(INN._log_prob, (self, x, code))

    def encode(self, y: Any) -> Array:
        """Write y as the map gives it: standardised, or for labels as one-hot vectors.

        Args:
            y: Observations `(*batch, y_dim)`, or labels `(*batch,)` of an integer type.

        Returns:
            `(*batch, code_dim)`.

        Raises:
            ValueError: If y is missing, of a wrong shape, or no label from 0 to categories - 1.
        """
        if y is None:
            shape = batched(self.condition_shape)
            raise ValueError(f"INN: y is missing; expected observations of shape {shape}")
        if self.categories is None:
            y = self._checked_y(y)
            return (y - _aligned(self.y_mean, y)) / _aligned(self.y_scale, y)
        labels = jnp.asarray(y)
        if not jnp.issubdtype(labels.dtype, jnp.integer):
            raise ValueError(
                f"INN: expected y to be labels of an integer type, from 0 to {self.categories - 1},"
                f" got {labels.dtype}; pass y.astype(int) of shape (*batch,), the argmax of one-hot"
                " vectors, or build the INN with y_dim instead of categories"
            )
        if not isinstance(labels, Tracer) and bool(
            jnp.any((labels < 0) | (labels >= self.categories))
        ):
            raise ValueError(
                f"INN: expected labels from 0 to {self.categories - 1}, got "
                f"{int(labels.min())} to {int(labels.max())}"
            )
        return jax.nn.one_hot(labels, self.categories, dtype=jnp.result_type(float))

    def save(self, path: str | os.PathLike) -> None:
        """Write the INN to a file without pickle, to be read by `INN.load`.

        Args:
            path: The file; one of that name is replaced.
        """
        described = is_specified(self)
        if not described:
            warnings.warn(
                "INN.save: this INN was not built by jinn.flows.inn, or its parts were changed "
                "since, so the file holds its arrays only; read it with INN.load(path, model=...), "
                "given an INN built as this one",
                stacklevel=2,
            )
        specification = self.specification if described else None
        write_archive(path, named_arrays(self), {"kind": _KIND, "specification": specification})

    @classmethod
    def load(cls, path: str | os.PathLike, *, model: "INN | None" = None) -> "INN":
        """Read an INN that `save` wrote.

        Args:
            path: The file.
            model: An INN built with the same options, with any weights; needed where
                `jinn.flows.inn` did not build the saved one.

        Returns:
            The INN.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If the file holds no INN, or needs a model, or that does not fit.
        """
        arrays, description = read_archive(path)
        if not isinstance(description, dict) or description.get("kind") != _KIND:
            raise ValueError(f"INN.load: {path} holds no INN of this version of jinn")
        if model is None and description["specification"] is None:
            raise ValueError(
                f"INN.load: {path} does not say how its INN was built, since jinn.flows.inn did "
                "not; pass model= an INN built as the saved one was"
            )
        blank = build_specified(description["specification"]) if model is None else model
        return with_arrays(blank, arrays, f"INN.load: {path}")

    def standardize(self, x: Array) -> Array:
        """Bring x to the mean 0 and the deviation 1 of the data that initialised the INN.

        Args:
            x: Parameters `(*batch, x_dim)`.

        Returns:
            Of the same shape.
        """
        return (x - _aligned(self.x_mean, x)) / _aligned(self.x_scale, x)

    def split_forward(
        self, u: Array, padding: Array, *, with_log_det: bool = False, key: Any = None
    ) -> InnOutput:
        """The map `[u, padding] -> [y, z, padding]`, all standardised.

        Args:
            u: Standardised parameters `(*batch, x_dim)`.
            padding: What pads them, `(*batch, sizes.x_padding)`.
            with_log_det: Whether to compute the log-determinant.
            key: A JAX key for a stochastic log-determinant.

        Returns:
            The parts of the result.
        """
        joined, log_det = jnp.concatenate([u, padding], -1), None
        if with_log_det:
            out, log_det = self.bijector.forward_and_log_det(joined, key=key)
        else:
            out = self.bijector.forward(joined)
        ends = (self.sizes.y, self.sizes.y + self.sizes.z)
        y, z, rest = jnp.split(out, ends, axis=-1)
        return InnOutput(y, z, rest, log_det)

    def split_inverse(self, y: Array, z: Array, padding: Array) -> tuple[Array, Array]:
        """The map `[y, z, padding] -> [u, padding]`, all standardised.

        Args:
            y: Observations `(*batch, code_dim)`, as `encode` writes them.
            z: Latents `(*batch, z_dim)`.
            padding: What pads them, `(*batch, sizes.z_padding)`.

        Returns:
            Standardised parameters `(*batch, x_dim)`, and what pads them.
        """
        out = self.bijector.inverse(jnp.concatenate([y, z, padding], -1))
        return out[..., : self.sizes.x], out[..., self.sizes.x :]

    def _checked(self, x: Any, method: str) -> Any:
        return as_event(x, self.event_shape, f"INN.{method}: x")

    def _checked_y(self, y: Any) -> Any:
        return as_event(y, self.condition_shape, "INN: y")

    def _outputs(self, x: Array) -> InnOutput:
        u = self.standardize(x)
        return self.split_forward(u, jnp.zeros((*u.shape[:-1], self.sizes.x_padding), u.dtype))

    def _sample(self, key: jax.Array, code: Array, shape: tuple[int, ...]) -> Array:
        def generate(key: jax.Array, shape: tuple[int, ...], code: Array) -> Array:
            sizes = self.sizes
            noise = jax.random.normal(key, (*shape, *code.shape[:-1], sizes.total), code.dtype)
            e, z, padding = jnp.split(noise, (sizes.y, sizes.y + sizes.z), axis=-1)
            y = code[(None,) * len(shape)] + self.y_noise * e
            w = jnp.concatenate([y, z, self.padding_noise * padding], -1)
            shapes: Any = {"event_shape": (sizes.total,), "condition_shape": None}
            out = map_chunks(lambda w, _: self.bijector.inverse(w), w, None, **shapes)
            u = out[..., : sizes.x]
            return u * _aligned(self.x_scale, u) + _aligned(self.x_mean, u)

        shapes: Any = {"event_shape": (self.sizes.x,), "condition_shape": (self.sizes.y,)}
        return draw_in_chunks(generate, key, shape, code, operands=self, **shapes)

    def _log_prob(self, x: Array, code: Array) -> Array:
        u = self.standardize(x)
        out = self.split_forward(u, u[..., :0], with_log_det=True)
        distance = (out.y - jnp.broadcast_to(code, out.y.shape)) / self.y_noise
        scales = jnp.sum(jnp.log(constant(self.x_scale))) + self.sizes.y * math.log(self.y_noise)
        constants = 0.5 * self.sizes.x * math.log(2 * math.pi) + scales
        squares = jnp.sum(distance**2, -1) + jnp.sum(out.z**2, -1)
        log_det: Any = out.log_det
        return log_det - 0.5 * squares - constants.astype(squares.dtype)

    def _initialized_from(self, x: Any, y: Any) -> "INN":
        """The INN with means and scales of the data, and the data-dependent parts of its map."""
        x = self._checked(x, "initialize")
        code = self.encode(y)
        new = nnx.clone(self)
        new.x_mean, new.x_scale = _statistics(x)
        if self.categories is None:
            new.y_mean, new.y_scale = _statistics(self._checked_y(y))
        if len(x) != len(code) or x.ndim != 2:
            raise ValueError(
                f"INN: expected rows of x and as many of y, got {x.shape} and {jnp.shape(y)}"
            )
        u = new.standardize(x)
        # Of deviation 1, lest an ActNorm blows up the little that pads x in training.
        padding = jax.random.normal(jax.random.key(0), (len(u), self.sizes.x_padding), u.dtype)
        joined = jnp.concatenate([u, padding], -1)
        new.bijector = self.bijector._initialize(joined, None, invert=False)[0]
        new.initialized = InitializedFlag(jnp.ones(()))
        return new

    def __repr__(self) -> str:
        """Describe the INN: the lengths of its parts, its map and its parameter count."""
        params = sum(map(jnp.size, jax.tree.leaves(nnx.state(self, nnx.Param))))
        s = self.sizes
        y = f"y {s.y}" if self.categories is None else f"y one of {s.y}"
        return (
            f"INN([x {s.x}, padding {s.x_padding}] <-> [{y}, z {s.z}, padding {s.z_padding}], "
            f"{type(self.bijector).__name__}, parameters={params:,})"
        )

    def __str__(self) -> str:
        """Describe the INN, as `repr` does."""
        return repr(self)


def _aligned(buffer: Buffer, like: Array) -> Array:
    """A constant vector in the rank and the type of an array whose last axis it goes along."""
    return constant(buffer).astype(like.dtype).reshape(*[1] * (like.ndim - 1), -1)


def _statistics(values: Array) -> tuple[Buffer, Buffer]:
    """Mean and deviation over the rows; the deviation is 1 where rows differ by rounding only."""
    mean, deviation = jnp.mean(values, 0), jnp.std(values, 0)
    rounding = 4 * jnp.finfo(values.dtype).eps * jnp.max(jnp.abs(values), 0)
    return Buffer(mean), Buffer(jnp.where(deviation > rounding, deviation, 1.0))

"""Coupling layers."""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.core import Tracer
from jaxtyping import Array

from jinn.bijectors.base import Bijector
from jinn.bijectors.conditioners import (
    Conditioner,
    bind,
    default_conditioner,
    network_attribute,
)
from jinn.bijectors.shapes import Shape, array_shape
from jinn.bijectors.transformers import Transformer, as_transformer
from jinn.functional.coupling import (
    coupling_forward,
    coupling_inverse,
    coupling_pullback,
    two_sided_coupling_forward,
    two_sided_coupling_inverse,
)
from jinn.functional.reversible import add_floats, zero_floats
from jinn.networks.randomness import as_key


class Coupling(Bijector):
    """Transform one part of an event given the other, `z_t = T(x_t; net(x_u, condition))`.

    Args:
        event_shape: Shape of one event.
        mask: Booleans of the event's shape, True where the event is transformed; see `half_mask`,
            and for images `channel_mask` and `checkerboard_mask`. It may be True everywhere if
            there is a condition. It must not be traced.
        conditioner: Any callable `(x_u, condition) -> parameters`, or None for an `MLP` (of
            vectors) or a `ConvNet` (of images) with the widths `hidden`. It gets the untouched
            elements `(*batch, *spatial, n_u)` and the condition with its own batch axes, and
            returns `(*batch, *spatial, n_params * n_t)`: all elements' first parameter, then all
            elements' second, and so on. With a mask that differs between spatial positions it
            sees the whole event, zero where it is transformed, and serves all channels; see
            `jinn.functional.coupling_forward`. An `MLP` given for an image sees each pixel by
            itself, with the same condition at all.
        transformer: "additive", "affine", "volume_preserving" or "rational_quadratic_spline", or
            an object with `n_params`, `forward(x, params)`, `inverse(y, params)` and parameters on
            the leading axis; see `jinn.bijectors.transformers`.
        condition_shape: Shape of one condition (a tuple or a dict of tuples), or None.
        hidden: Widths of the default conditioner's hidden layers.
        activation: Name of the default conditioner's activation.
        separate_networks: Make the default conditioner of one network for each of the
            transformer's parameters, as FrEIA's Real NVP block has them for scale and shift.
        param_dtype: Type of the default conditioner's parameters.
        dtype: Type in which the default conditioner computes; None follows the input.
        rngs: An int, a JAX key or `flax.nnx.Rngs`, for the default conditioner.

    Raises:
        ValueError: If the mask does not fit or transforms nothing, if the transformer is unknown,
            or if the default conditioner cannot be built.

    Reference:
        Density estimation using Real NVP (Dinh, Sohl-Dickstein, Bengio, 2017), section 3.3,
        https://arxiv.org/abs/1605.08803
    """

    def __init__(
        self,
        event_shape: tuple[int, ...],
        *,
        mask: Any,
        conditioner: Conditioner | None = None,
        transformer: str | Transformer = "affine",
        condition_shape: Shape | None = None,
        hidden: Sequence[int] | int = (128, 128),
        activation: str = "silu",
        separate_networks: bool = False,
        param_dtype: jax.typing.DTypeLike = jnp.float32,
        dtype: jax.typing.DTypeLike | None = None,
        rngs: int | jax.Array | nnx.Rngs | None = None,
    ) -> None:
        """See the class."""
        self._declare(event_shape, condition_shape=condition_shape)
        array = _check_mask(mask, self.event_shape, "Coupling")
        self._mask = array.tobytes()  # static, and compared and hashed fast
        self.transformer = nnx.static(as_transformer(transformer))
        self.analytic_inverse = getattr(self.transformer, "analytic_inverse", False)
        if conditioner is None:
            conditioner = default_conditioner(
                array,
                self.transformer.n_params,
                "Coupling",
                condition_shape=self.condition_shape,
                hidden=hidden,
                activation=activation,
                separate_networks=separate_networks,
                param_dtype=param_dtype,
                dtype=dtype,
                rngs=rngs,
            )
        self.conditioner = network_attribute(conditioner, "Coupling", "conditioner")

    def _pull_back(
        self,
        y: Any,
        kept: Any,
        condition: Any,
        key: jax.Array | None,
        cotangents: tuple[Any, Array | None],
        *,
        inverse: bool,
    ) -> tuple[Any, tuple[Bijector, Any, Any]]:
        if kept is not None:
            return super()._pull_back(y, kept, condition, key, cotangents, inverse=inverse)

        def conditioner(operands: Any, u: Array) -> Any:
            coupling, condition = operands
            return bind(coupling.conditioner, condition, coupling)(u)

        x, by_x, by_operands = coupling_pullback(
            y,
            *cotangents,
            conditioner,
            (self, condition),
            self.transformer,
            mask=self.mask,
            inverse=inverse,
        )
        return x, (by_operands[0], by_x, by_operands[1])

    @property
    def mask(self) -> np.ndarray:
        """Booleans of the event's shape, True where the event is transformed."""
        return _mask_of(self)

    def _forward(
        self, x: Any, condition: Any, *, key: jax.Array | None, with_log_det: bool
    ) -> tuple[Array, Array | None]:
        network = bind(self.conditioner, condition, self)
        return coupling_forward(x, network, self.transformer, mask=self.mask)

    def _inverse(
        self, y: Any, condition: Any, *, key: jax.Array | None, with_log_det: bool
    ) -> tuple[Array, Array | None]:
        network = bind(self.conditioner, condition, self)
        return coupling_inverse(y, network, self.transformer, mask=self.mask)


class TwoSidedCoupling(Bijector):
    """Transform both parts, `v1 = T(u1; net1(u2, condition)), v2 = T(u2; net2(v1, condition))`.

    The block of the INN papers. It does what two `Coupling`s with opposite masks do.

    Args:
        event_shape: Shape of one event.
        mask: Booleans of the event's shape, True for u1, which is transformed first, and False for
            u2; see `half_mask`. Both parts must have elements.
        conditioners: Two callables as for `Coupling`: net1 serves u1, net2 serves u2. None makes
            MLPs (of vectors) or ConvNets (of images) with the widths `hidden`.
        transformer: As for `Coupling`; the same for both parts.
        condition_shape: Shape of one condition (a tuple or a dict of tuples), or None.
        hidden: Widths of the default conditioners' hidden layers.
        activation: Name of the default conditioners' activation.
        separate_networks: Make each default conditioner of one network for each of the
            transformer's parameters; with `transformers.Affine(law="arctan")` this is FrEIA's
            Real NVP block.
        param_dtype: Type of the default conditioners' parameters.
        dtype: Type in which the default conditioners compute; None follows the input.
        rngs: An int, a JAX key or `flax.nnx.Rngs`, for the default conditioners.

    Raises:
        ValueError: If the mask does not fit or leaves a part empty, if the transformer is unknown,
            or if the default conditioners cannot be built.

    Reference:
        Analyzing Inverse Problems with Invertible Neural Networks (Ardizzone et al., 2019),
        equation 7, https://arxiv.org/abs/1808.04730
    """

    def __init__(
        self,
        event_shape: tuple[int, ...],
        *,
        mask: Any,
        conditioners: tuple[Conditioner, Conditioner] | None = None,
        transformer: str | Transformer = "affine",
        condition_shape: Shape | None = None,
        hidden: Sequence[int] | int = (128, 128),
        activation: str = "silu",
        separate_networks: bool = False,
        param_dtype: jax.typing.DTypeLike = jnp.float32,
        dtype: jax.typing.DTypeLike | None = None,
        rngs: int | jax.Array | nnx.Rngs | None = None,
    ) -> None:
        """See the class."""
        name = "TwoSidedCoupling"
        self._declare(event_shape, condition_shape=condition_shape)
        array = _check_mask(mask, self.event_shape, name)
        if array.all():
            raise ValueError(f"{name}: the mask leaves one part empty; set it False somewhere")
        self._mask = array.tobytes()  # static, and compared and hashed fast
        self.transformer = nnx.static(as_transformer(transformer))
        self.analytic_inverse = getattr(self.transformer, "analytic_inverse", False)
        if conditioners is None:
            build = partial(
                default_conditioner,
                n_params=self.transformer.n_params,
                name=name,
                condition_shape=self.condition_shape,
                hidden=hidden,
                activation=activation,
                separate_networks=separate_networks,
                param_dtype=param_dtype,
                dtype=dtype,
            )
            keys = (None, None) if rngs is None else jax.random.split(as_key(rngs))
            conditioners = build(array, rngs=keys[0]), build(~array, rngs=keys[1])
        if not isinstance(conditioners, tuple | list) or len(conditioners) != 2:
            raise ValueError(
                f"{name}: expected two conditioners, one for each part, got {conditioners!r}"
            )
        self.first_conditioner = network_attribute(conditioners[0], name, "conditioner")
        self.second_conditioner = network_attribute(conditioners[1], name, "conditioner")

    def _pull_back(
        self,
        y: Any,
        kept: Any,
        condition: Any,
        key: jax.Array | None,
        cotangents: tuple[Any, Array | None],
        *,
        inverse: bool,
    ) -> tuple[Any, tuple[Bijector, Any, Any]]:
        if kept is not None:
            return super()._pull_back(y, kept, condition, key, cotangents, inverse=inverse)

        def conditioner(operands: Any, u: Array, *, part: int) -> Any:
            coupling, condition = operands
            return coupling._networks(condition)[part](u)

        by_y, by_log_det = cotangents
        total = zero_floats((self, condition))
        for part, mask in ((0, self.mask), (1, ~self.mask))[:: 1 if inverse else -1]:
            y, by_y, by_operands = coupling_pullback(
                y,
                by_y,
                by_log_det,
                partial(conditioner, part=part),
                (self, condition),
                self.transformer,
                mask=mask,
                inverse=inverse,
            )
            total = add_floats(total, by_operands)
        return y, (total[0], by_y, total[1])

    @property
    def mask(self) -> np.ndarray:
        """Booleans of the event's shape, True where the event is transformed first."""
        return _mask_of(self)

    def _forward(
        self, x: Any, condition: Any, *, key: jax.Array | None, with_log_det: bool
    ) -> tuple[Array, Array | None]:
        networks = self._networks(condition)
        return two_sided_coupling_forward(x, networks, self.transformer, mask=self.mask)

    def _inverse(
        self, y: Any, condition: Any, *, key: jax.Array | None, with_log_det: bool
    ) -> tuple[Array, Array | None]:
        networks = self._networks(condition)
        return two_sided_coupling_inverse(y, networks, self.transformer, mask=self.mask)

    def _networks(self, condition: Any) -> tuple[Callable[[Any], Any], Callable[[Any], Any]]:
        return (
            bind(self.first_conditioner, condition, self),
            bind(self.second_conditioner, condition, self),
        )


def half_mask(n: int) -> tuple[bool, ...]:
    """Mask that transforms the second half of a vector, the larger half where n is odd.

    Args:
        n: Length of the vector.

    Returns:
        Booleans of length n, True where the vector is transformed.
    """
    return tuple(i >= n // 2 for i in range(n))


def channel_mask(event_shape: tuple[int, ...]) -> np.ndarray:
    """Mask that transforms the second half of an image's channels, at every pixel.

    Args:
        event_shape: Shape of one event, `(*space, channels)`, of at least two channels.

    Returns:
        Booleans of that shape, True where the event is transformed: at the larger half of the
        channels where their number is odd. `~channel_mask(...)` transforms the others.

    Raises:
        ValueError: If there are fewer than two channels.
    """
    shape = array_shape(event_shape, "channel_mask event_shape")
    if len(shape) == 0 or shape[-1] < 2:
        raise ValueError(
            f"channel_mask: expected events of at least two channels, got {shape}; of one channel "
            "use a checkerboard_mask, or Squeeze the event first"
        )
    return np.array(np.broadcast_to(half_mask(shape[-1]), shape))


def checkerboard_mask(event_shape: tuple[int, ...]) -> np.ndarray:
    """Mask that transforms every second pixel of an image, in all channels, as on a checkerboard.

    Args:
        event_shape: Shape of one event, `(*space, channels)`, of at least two pixels.

    Returns:
        Booleans of that shape, True where the event is transformed: where the sum of the pixel's
        indices is odd, not at the first pixel. `~checkerboard_mask(...)` transforms the others.

    Raises:
        ValueError: If there are fewer than two pixels.

    Reference:
        Density estimation using Real NVP (Dinh, Sohl-Dickstein, Bengio, 2017), section 3.4,
        https://arxiv.org/abs/1605.08803
    """
    shape = array_shape(event_shape, "checkerboard_mask event_shape")
    if math.prod(shape[:-1]) < 2:
        raise ValueError(
            f"checkerboard_mask: expected images (*space, channels) of at least two pixels, got "
            f"{shape}"
        )
    odd = np.indices(shape[:-1]).sum(axis=0) % 2 == 1
    return np.array(np.broadcast_to(odd[..., None], shape))


def _check_mask(mask: Any, event_shape: Shape, name: str) -> np.ndarray:
    if isinstance(mask, Tracer):
        raise ValueError(f"{name}: expected a static mask, got a traced array; use tuples")
    array = np.asarray(mask)
    if array.dtype != bool or array.shape != event_shape or array.ndim == 0:
        raise ValueError(
            f"{name}: expected a mask of booleans of the event's shape {event_shape}, True where "
            f"the event is transformed, got {array.dtype} of shape {array.shape}"
        )
    if not array.any():
        raise ValueError(f"{name}: the mask transforms nothing; set it True somewhere")
    return array


def _mask_of(coupling: Coupling | TwoSidedCoupling) -> np.ndarray:
    shape: Any = coupling.event_shape
    return np.frombuffer(coupling._mask, bool).reshape(shape)

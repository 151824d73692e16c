"""Coupling: one part of an event is transformed, with parameters computed from the other part."""

from collections.abc import Callable
from functools import partial
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jinn.functional.reversible import float_vjp

Conditioner = Callable[[Any], Any]
"""From the untouched elements `(*batch, *untouched)` to parameters
`(*batch, *spatial, n_params * n)`, see `coupling_forward`."""


@runtime_checkable
class Transformer(Protocol):
    """An invertible map of single elements with `n_params` parameters each.

    `forward(x, params)` and `inverse(y, params)` take values of any shape and parameters of shape
    `(n_params, *x.shape)` and return the mapped values and the log-derivative of each element.

    A map of whole events, such as a volume-preserving one, has an attribute `of_events = True`. Its
    methods take a third argument, `mask`: booleans, static, True for the elements of one event
    that are transformed. The event's axes then lead: values have shape `(*mask.shape, *batch)`.

    One whose methods undo each other by a formula, to rounding, has `analytic_inverse = True`.
    """

    @property
    def n_params(self) -> int:
        """Number of parameters an element."""
        ...

    def forward(self, x: Array, params: Array) -> tuple[Array, Array]:
        """Map values from data to latent.

        Args:
            x: Values, any shape.
            params: Parameters, shape `(n_params, *x.shape)`.

        Returns:
            The mapped values and each element's log-derivative.
        """
        ...

    def inverse(self, y: Array, params: Array) -> tuple[Array, Array]:
        """Map values from latent to data.

        Args:
            y: Values, any shape.
            params: Parameters, shape `(n_params, *y.shape)`.

        Returns:
            The mapped values and each element's log-derivative.
        """
        ...


def coupling_forward(
    x: Float[Array, "*batch_and_event"],
    conditioner: Conditioner,
    transformer: Transformer,
    *,
    mask: Any,
) -> tuple[Float[Array, "*batch_and_event"], Float[Array, "*batch"]]:
    """Transform the masked elements given the others, `y_t = T(x_t; conditioner(x_u)), y_u = x_u`.

    The mask cuts the event along its last axis where it is the same for every position of the
    other (spatial) axes, as it is for vectors: `x_u` has shape `(*batch, *spatial, n_u)` and the
    conditioner returns `(*batch, *spatial, n_params * n_t)`, all elements' first parameter, then
    all elements' second, and so on. Any other mask (a checkerboard) leaves the shape whole: `x_u`
    is `x` with the transformed elements set to 0 and the conditioner returns
    `(*batch, *spatial, n_params * n)`, of which the entries at transformed elements are used.

    Args:
        x: Values, shape `(*batch, *event)`; the event's rank is that of the mask.
        conditioner: Any callable from the untouched elements to the parameters.
        transformer: An elementwise invertible map, see `Transformer`.
        mask: Booleans of the event's shape, static, True where the event is transformed.

    Returns:
        `y` in the shape of `x`, and the log-determinant in the batch's shape, float32 or wider.

    Raises:
        ValueError: If the mask does not fit `x`, or the conditioner returns a wrong shape.

    Reference:
        Density estimation using Real NVP (Dinh, Sohl-Dickstein, Bengio, 2017), section 3.3,
        https://arxiv.org/abs/1605.08803
    """
    return _couple(x, conditioner, transformer, transformer.forward, mask)


def coupling_inverse(
    y: Float[Array, "*batch_and_event"],
    conditioner: Conditioner,
    transformer: Transformer,
    *,
    mask: Any,
) -> tuple[Float[Array, "*batch_and_event"], Float[Array, "*batch"]]:
    """Undo `coupling_forward`: the untouched elements give the same parameters as before.

    Args:
        y: Values, shape `(*batch, *event)`.
        conditioner: The conditioner of the forward map.
        transformer: The transformer of the forward map.
        mask: The mask of the forward map.

    Returns:
        `x` in the shape of `y`, and the log-determinant in the batch's shape, float32 or wider.

    Raises:
        ValueError: If the mask does not fit `y`, or the conditioner returns a wrong shape.
    """
    return _couple(y, conditioner, transformer, transformer.inverse, mask)


def two_sided_coupling_forward(
    x: Float[Array, "*batch_and_event"],
    conditioners: tuple[Conditioner, Conditioner],
    transformer: Transformer,
    *,
    mask: Any,
) -> tuple[Float[Array, "*batch_and_event"], Float[Array, "*batch"]]:
    """Transform both parts, `v1 = T(u1; net1(u2)), v2 = T(u2; net2(v1))`.

    Args:
        x: Values, shape `(*batch, *event)`; the event's rank is that of the mask.
        conditioners: net1, from u2 to the parameters of u1, and net2, from v1 to those of u2; as
            in `coupling_forward`.
        transformer: An elementwise invertible map, see `Transformer`.
        mask: Booleans of the event's shape, static, True for u1, which is transformed first.

    Returns:
        `y` in the shape of `x`, and the log-determinant in the batch's shape, float32 or wider.

    Raises:
        ValueError: If the mask does not fit `x`, or a conditioner returns a wrong shape.

    Reference:
        Analyzing Inverse Problems with Invertible Neural Networks (Ardizzone et al., 2019),
        equation 7, https://arxiv.org/abs/1808.04730
    """
    v, first = coupling_forward(x, conditioners[0], transformer, mask=mask)
    y, second = coupling_forward(v, conditioners[1], transformer, mask=np.logical_not(mask))
    return y, first + second


def two_sided_coupling_inverse(
    y: Float[Array, "*batch_and_event"],
    conditioners: tuple[Conditioner, Conditioner],
    transformer: Transformer,
    *,
    mask: Any,
) -> tuple[Float[Array, "*batch_and_event"], Float[Array, "*batch"]]:
    """Undo `two_sided_coupling_forward`: u2 from v1 first, then u1 from u2.

    Args:
        y: Values, shape `(*batch, *event)`.
        conditioners: The conditioners of the forward map.
        transformer: The transformer of the forward map.
        mask: The mask of the forward map.

    Returns:
        `x` in the shape of `y`, and the log-determinant in the batch's shape, float32 or wider.

    Raises:
        ValueError: If the mask does not fit `y`, or a conditioner returns a wrong shape.
    """
    v, second = coupling_inverse(y, conditioners[1], transformer, mask=np.logical_not(mask))
    x, first = coupling_inverse(v, conditioners[0], transformer, mask=mask)
    return x, first + second


def coupling_pullback(
    y: Float[Array, "*batch_and_event"],
    cotangent: Float[Array, "*batch_and_event"],
    log_det_cotangent: Float[Array, "*batch"] | None,
    conditioner: Callable[[Any, Any], Any],
    operands: Any,
    transformer: Transformer,
    *,
    mask: Any,
    inverse: bool = False,
) -> tuple[Float[Array, "*batch_and_event"], Float[Array, "*batch_and_event"], Any]:
    """Undo a coupling and pull cotangents back through it, at one evaluation of the conditioner.

    Untouched elements are the same before and after, so the network's output, and what its
    backward pass needs, serve both the inversion and the gradient.

    Args:
        y: What `coupling_forward` gave (`coupling_inverse` with `inverse=True`), shape
            `(*batch, *event)`.
        cotangent: Cotangent of y.
        log_det_cotangent: Cotangent of the log-determinant, or None for zero.
        conditioner: From the operands and the untouched elements to the parameters.
        operands: A tree of all that the conditioner is to be differentiated by.
        transformer: The transformer of the map.
        mask: The mask of the map.
        inverse: Whether `coupling_inverse` gave y.

    Returns:
        The values x before the map, their cotangent, and that of the operands.

    Reference:
        The Reversible Residual Network: Backpropagation Without Storing Activations (Gomez, Ren,
        Urtasun, Grosse, 2017), section 3, https://arxiv.org/abs/1707.04585
    """
    mask = np.asarray(mask, bool)
    there, back = transformer.forward, transformer.inverse
    if inverse:
        there, back = back, there
    u, pull_untouched = jax.vjp(lambda y: _untouched(y, mask), y)
    raw, pull_network = float_vjp(conditioner, operands, u)
    x, _ = _transform_given(y, raw, transformer, back, mask)

    def transform(x: Array, raw: Array) -> tuple[Array, Array]:
        return _transform_given(x, raw, transformer, there, mask)

    (_, log_det), pull = jax.vjp(transform, x, raw)
    if log_det_cotangent is None:
        log_det_cotangent = jnp.zeros_like(log_det)
    by_x, by_raw = pull((cotangent, log_det_cotangent.astype(log_det.dtype)))
    by_operands, by_u = pull_network(by_raw)
    return x, by_x + pull_untouched(by_u)[0], by_operands


def coupling_sizes(mask: Any) -> tuple[int, int]:
    """Count the elements along the last axis that a conditioner gets and has to serve.

    Args:
        mask: Booleans of the event's shape, True where the event is transformed.

    Returns:
        `(n_u, n_t)`: the last axis of the conditioner's input, and the number of elements along
        the last axis that it returns parameters for.
    """
    channels = _channel_mask(np.asarray(mask, bool))
    if channels is None:
        n = np.shape(mask)[-1]
        return n, n
    return int(np.sum(~channels)), int(np.sum(channels))


def _channel_mask(mask: np.ndarray) -> np.ndarray | None:
    """The mask along the last axis, or None where it differs between spatial positions."""
    rows = mask.reshape(-1, mask.shape[-1])
    return rows[0] if (rows == rows[0]).all() else None


def _couple(
    x: Array, conditioner: Conditioner, transformer: Transformer, transform: Callable, mask: Any
) -> tuple[Array, Array]:
    mask = np.asarray(mask, bool)
    rank = mask.ndim
    if rank == 0 or x.ndim < rank or x.shape[x.ndim - rank :] != mask.shape:
        raise ValueError(
            f"coupling: expected values that end in the mask's shape {mask.shape}, got {x.shape}"
        )
    return _transform_given(x, conditioner(_untouched(x, mask)), transformer, transform, mask)


def _untouched(x: Array, mask: np.ndarray) -> Array:
    """What the conditioner sees of the values, before and after the map alike."""
    channels = _channel_mask(mask)
    if channels is None:
        return jnp.where(mask, 0.0, x)
    return _select(x, np.flatnonzero(~channels))


def _transform_given(
    x: Array, raw: Any, transformer: Transformer, transform: Callable, mask: np.ndarray
) -> tuple[Array, Array]:
    """The coupling with what the conditioner returned."""
    rank = mask.ndim
    channels = _channel_mask(mask)
    apply = transform
    if getattr(transformer, "of_events", False):
        moved = mask if channels is None else mask[..., channels]
        apply = partial(_transform_events, transform, moved)
    if channels is None:
        params = split_parameters(raw, x, transformer.n_params)
        values, log_slopes = apply_transformer(apply, x, params)
        y = jnp.where(mask, values, x)
        log_slopes = jnp.where(mask, log_slopes, 0.0)
    else:
        untouched, transformed = np.flatnonzero(~channels), np.flatnonzero(channels)
        u, t = _select(x, untouched), _select(x, transformed)
        params = split_parameters(raw, t, transformer.n_params)
        values, log_slopes = apply_transformer(apply, t, params)
        y = _merge(u, values, untouched, transformed)
    axes = tuple(range(x.ndim - rank, x.ndim))
    wide = jnp.promote_types(x.dtype, jnp.float32)
    return y, jnp.sum(log_slopes, axes, dtype=wide)


def split_parameters(raw: Any, values: Array, n_params: int, name: str = "coupling") -> Array:
    """Bring a conditioner's output to `(n_params, n, *rest)`, as `apply_transformer` takes it.

    Args:
        raw: What the conditioner returned, `(*rest, n_params * n)` or a shape that broadcasts.
        values: The elements to be transformed, `(*rest, n)`.
        n_params: Number of parameters an element.
        name: What to call the map in an error.

    Returns:
        The parameters, float32 or wider.

    Raises:
        ValueError: If the conditioner returned a wrong shape.
    """
    n = values.shape[-1]
    expected = (*values.shape[:-1], n_params * n)
    raw = jnp.asarray(raw)
    try:
        if raw.shape[-1:] != expected[-1:]:
            raise ValueError
        raw = jnp.broadcast_to(raw, expected)
    except ValueError:
        raise ValueError(
            f"{name}: expected the conditioner to return shape {expected} "
            f"({n_params} parameters for each of {n} transformed elements), got {raw.shape}"
        ) from None
    params = jnp.moveaxis(raw, -1, 0).reshape(n_params, n, *raw.shape[:-1])
    return params.astype(jnp.promote_types(values.dtype, jnp.float32))


def apply_transformer(
    transform: Callable, x: Array, params: Array, name: str = "coupling"
) -> tuple[Array, Array]:
    """Apply a transformer with the elements leading, as the parameters come from the network.

    It computes in float32 or wider, and the values are given back in the type of x.

    Args:
        transform: A transformer's `forward` or `inverse`.
        x: Values `(*rest, n)`.
        params: Parameters `(n_params, n, *rest)`.
        name: What to call the map in an error.

    Returns:
        The mapped values and each element's log-derivative, both `(*rest, n)`.

    Raises:
        ValueError: If the transformer returned a wrong shape.
    """
    values = jnp.moveaxis(x, -1, 0).astype(params.dtype)
    y, log_slopes = transform(values, params)
    if jnp.shape(y) != values.shape or jnp.shape(log_slopes) != values.shape:
        raise ValueError(
            f"{name}: expected the transformer to return values and log-derivatives, one for each "
            f"element, both of shape {values.shape}, got {jnp.shape(y)} and {jnp.shape(log_slopes)}"
        )
    return jnp.moveaxis(y, 0, -1).astype(x.dtype), jnp.moveaxis(log_slopes, 0, -1)


def _transform_events(
    transform: Callable, mask: np.ndarray, x: Array, params: Array
) -> tuple[Array, Array]:
    """Apply a transformer of whole events, with all of the event's axes leading."""
    spatial = mask.ndim - 1
    last, first = tuple(range(-spatial, 0)), tuple(range(1, 1 + spatial))
    after_params = tuple(range(2, 2 + spatial))
    y, log_slopes = transform(
        jnp.moveaxis(x, last, first),
        jnp.moveaxis(params, last, after_params),
        np.moveaxis(mask, -1, 0),
    )
    return jnp.moveaxis(y, first, last), jnp.moveaxis(log_slopes, first, last)


def _select(x: Array, indices: np.ndarray) -> Array:
    """Elements along the last axis; a slice where the indices are consecutive."""
    if indices.size == 0:
        return x[..., :0]
    first, last = int(indices[0]), int(indices[-1])
    if last - first + 1 == indices.size:
        return jax.lax.slice_in_dim(x, first, last + 1, axis=-1)
    return x[..., indices]


def _merge(u: Array, t: Array, untouched: np.ndarray, transformed: np.ndarray) -> Array:
    """Put the two parts back in the order of the event."""
    order = np.concatenate([untouched, transformed])
    joined = jnp.concatenate([u, t], axis=-1)
    if (order == np.arange(order.size)).all():
        return joined
    if (np.roll(order, -untouched.size) == np.arange(order.size)).all():
        return jnp.concatenate([t, u], axis=-1)
    return joined[..., np.argsort(order)]

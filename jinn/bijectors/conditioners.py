"""The networks inside bijectors: made by default, kept as attributes, given their condition."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array

from jinn.bijectors.base import Bijector
from jinn.bijectors.shapes import batch_shape, insert_axes
from jinn.functional.coupling import coupling_sizes
from jinn.networks.condition import evaluate_on_condition
from jinn.networks.conv import ConvNet
from jinn.networks.mlp import MLP
from jinn.networks.options import layer_widths
from jinn.networks.separate import SeparateNetworks

Conditioner = Callable[[Any, Any], Any]


@runtime_checkable
class Conditioned(Protocol):
    """What has parameters by a condition: a bijector, or a base density."""

    event_shape: Any
    condition_shape: Any


def default_conditioner(
    mask: np.ndarray,
    n_params: int,
    name: str,
    *,
    separate_networks: bool,
    rngs: int | jax.Array | nnx.Rngs | None,
    **options: Any,
) -> nnx.Module:
    """Make an MLP for a coupling of vectors, a ConvNet for one of images.

    Args:
        mask: Booleans, True where the coupling transforms.
        n_params: Number of the transformer's parameters an element.
        name: What to call the bijector in an error.
        separate_networks: Whether each of the parameters gets a network.
        rngs: An int, a JAX key or `flax.nnx.Rngs`.
        **options: For both networks.

    Returns:
        The network.

    Raises:
        ValueError: If the event is neither a vector nor an image, or `rngs` is missing.
    """
    if mask.ndim not in (1, 3):
        raise ValueError(
            f"{name}: events of shape {mask.shape} need a conditioner of their own; the default "
            "ones are an MLP for vectors and a ConvNet for images (height, width, channels)"
        )
    if rngs is None:
        raise ValueError(f"{name}: the default conditioner needs rngs, such as rngs=0")
    n_in, n_out = coupling_sizes(mask)
    kind: Any = MLP
    if mask.ndim == 3:
        equal = len(set(layer_widths(options["hidden"], name))) == 1
        kind = partial(ConvNet, residual=equal)
    if not separate_networks:
        return kind(n_in, n_params * n_out, rngs=rngs, **options)
    return SeparateNetworks(lambda key: kind(n_in, n_out, rngs=key, **options), n_params, rngs=rngs)


def condition_network(
    conditioner: Callable[[Any], Any] | None,
    out_size: int,
    owner: Conditioned,
    *,
    rngs: int | jax.Array | nnx.Rngs | None,
    **options: Any,
) -> Any:
    """The network of parameters that come from the condition alone, as an attribute.

    Args:
        conditioner: What the user gave, or None for an MLP.
        out_size: Number of parameters that it returns.
        owner: The bijector or density, declared with its condition_shape.
        rngs: An int, a JAX key or `flax.nnx.Rngs`, for the MLP.
        **options: For `jinn.networks.MLP`.

    Returns:
        What to assign.

    Raises:
        ValueError: If the conditioner cannot be called, or `rngs` is missing.
    """
    name = type(owner).__name__
    if conditioner is None:
        if rngs is None:
            raise ValueError(f"{name}: the default conditioner needs rngs, such as rngs=0")
        shape = owner.condition_shape
        conditioner = MLP(0, out_size, condition_shape=shape, rngs=rngs, **options)
    return network_attribute(conditioner, name, "conditioner")


def condition_parameters(
    conditioner: Any, condition: Any, owner: Conditioned, shape: tuple[int, ...], like: Array
) -> Array:
    """Parameters from the condition alone, at the condition's own batch.

    Args:
        conditioner: A function of the condition that returns `(*batch, prod(shape))`.
        condition: Conditions with their batch axes.
        owner: The bijector or density.
        shape: Shape of the parameters of one event.
        like: Events, whose rank of batch and whose type the parameters get.

    Returns:
        Parameters `(*ones, *batch, *shape)` with as many axes in front as `like` has in its batch.

    Raises:
        ValueError: If the conditioner returns another shape.
    """
    params = evaluate_on_condition(conditioner, condition)
    batch = batch_shape(condition, owner.condition_shape)
    expected = (*batch, math.prod(shape))
    if jnp.shape(params) != expected:
        raise ValueError(
            f"{type(owner).__name__}: expected the conditioner to return shape {expected}, the "
            f"parameters {shape} of an event as one axis, for a condition of batch {batch}, got "
            f"{jnp.shape(params)}"
        )
    ones = [1] * (like.ndim - len(owner.event_shape) - len(batch))
    return jnp.reshape(params, (*ones, *batch, *shape)).astype(like.dtype)


def network_attribute(network: Any, owner: str, name: str) -> Any:
    """A network as an attribute of a module: data if it holds arrays, static if it is a function.

    Args:
        network: Any callable.
        owner: The bijector's name, for the error.
        name: The attribute's name, for the error.

    Returns:
        What to assign.

    Raises:
        ValueError: If it cannot be called.
    """
    if not callable(network):
        raise ValueError(f"{owner}: expected {name} to be callable, got {type(network).__name__}")
    has_leaves = any(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(network))
    return nnx.data(network) if has_leaves else network


def bind(conditioner: Any, condition: Any, bijector: Bijector) -> Callable[[Any], Any]:
    """The conditioner as a function of the untouched elements alone.

    An `MLP` sees each pixel of an image by itself, so its condition gets axes of size 1 where
    the pixels are.

    Args:
        conditioner: A function of untouched elements and condition.
        condition: Conditions with a batch of their own, or None.
        bijector: The coupling.

    Returns:
        The function.
    """
    spatial = len(bijector.event_shape) - 1
    network = conditioner.networks if isinstance(conditioner, SeparateNetworks) else conditioner
    if spatial and condition is not None and isinstance(network, MLP):
        condition = insert_axes(condition, bijector.condition_shape, spatial)
    return lambda u: conditioner(u, condition)

"""What a training loop needs to know of a flow or any other module."""

from typing import Any, TypeVar

import jax
from flax import nnx

from jinn.bijectors.base import Bijector, InitializedFlag
from jinn.bijectors.container import member_condition
from jinn.bijectors.values import check_data
from jinn.networks.spectral import SpectralKernel

Module = TypeVar("Module")


def trainable(module: Module) -> Module:
    """Mark what an optimiser may change: a copy of the module with a boolean for every array.

    Pass it to `optax.masked(optimiser, jinn.trainable(flow))`, so that weight decay leaves
    buffers alone. `jinn.fit` does so by itself.

    Args:
        module: A flow, a bijector, or any pytree that holds them.

    Returns:
        The same tree with True for parameters and False for buffers and other variables. Plain
        arrays that are no Flax variable count as parameters where they are floating.
    """

    def mark(node: Any) -> Any:
        if isinstance(node, nnx.Variable):
            return jax.tree.map(lambda _: isinstance(node, nnx.Param), node)
        dtype = getattr(node, "dtype", None)  # a conditioner's leaf may be a function
        return dtype is not None and bool(jax.numpy.issubdtype(dtype, jax.numpy.inexact))

    return jax.tree.map(mark, module, is_leaf=lambda node: isinstance(node, nnx.Variable))


def needs_initialization(module: Any) -> bool:
    """Tell whether data-dependent initialisation is still to be done.

    Args:
        module: A flow or bijector, outside of jit.

    Returns:
        True if some ActNorm was never set from data.
    """
    flags = [
        node
        for node in jax.tree.leaves(module, is_leaf=lambda n: isinstance(n, InitializedFlag))
        if isinstance(node, InitializedFlag)
    ]
    return any(bool((flag[...] == 0).any()) for flag in flags)


def initialize(flow: Module, x: Any, condition: Any = None) -> Module:
    """Set a flow's data-dependent parameters, ActNorm's scales and shifts, from a batch of data.

    Walks the chain once in order, through stacks too. The flow given is not changed.

    Args:
        flow: A `Flow`, a bijector, or another model that is initialised from data, such as
            `jinn.flows.INN`.
        x: Data of shape `(*batch, *event_shape)`, a few hundred rows or more.
        condition: Their conditions, or None; the y of an INN.

    Returns:
        The flow with its ActNorms set so that their outputs have mean 0 and variance 1.

    Raises:
        ValueError: If a shape is wrong, a condition is missing or unexpected, or (outside of
            jit) the data are empty or not finite.
    """
    of_its_own = getattr(flow, "_initialized_from", None)
    if of_its_own is not None:
        return of_its_own(x, condition)
    bijector: Any = flow if isinstance(flow, Bijector) else getattr(flow, "bijector", None)
    if not isinstance(bijector, Bijector):
        raise ValueError(f"initialize: expected a Flow or a Bijector, got {type(flow).__name__}")
    if getattr(flow, "condition_shape", None) is not None:  # it may be the base's alone
        condition = member_condition(bijector, condition)
    x, condition = bijector._check(x, condition, bijector.event_shape, "x")
    check_data(x, "x")
    check_data(condition, "condition")
    new: Any = bijector._initialize(x, condition, invert=False)[0]
    if isinstance(flow, Bijector):
        return new
    copy: Any = nnx.clone(flow)
    copy.bijector = new
    return copy


def first_not_finite(bijector: Bijector, x: Any, condition: Any = None) -> str | None:
    """Name the first of a bijector's parts whose output or log-determinant is not finite.

    Walks the parts of containers in order, wrapped ones too, outside of jit.

    Args:
        bijector: A bijector.
        x: Events `(*batch, *event_shape)`.
        condition: Their conditions, or None.

    Returns:
        Such as "bijector[1][0] (Coupling)", or None where all are finite.
    """
    condition = member_condition(bijector, condition)
    x, condition = bijector._check(x, condition, bijector.event_shape, "x")
    for name, *results in bijector._outputs("bijector", x, condition, inverse=False):
        if not all(bool(jax.numpy.isfinite(leaf).all()) for leaf in jax.tree.leaves(results)):
            return name
    return None


def refresh(flow: Module) -> Module:
    """Bring state that follows the parameters up to date, once after each optimiser step.

    It moves the singular vectors by which residual flows bound their Lipschitz constants.

    Args:
        flow: A flow or any module.

    Returns:
        The flow; unchanged for bijectors without such state.
    """

    def update(node: Any) -> Any:
        return node.refreshed() if isinstance(node, SpectralKernel) else node

    return jax.tree.map(update, flow, is_leaf=lambda node: isinstance(node, SpectralKernel))

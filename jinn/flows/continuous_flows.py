"""Named flows along vector fields."""

import json
from collections.abc import Sequence
from typing import Any, Literal, TypeVar

import jax
import jax.numpy as jnp
from flax import nnx

from jinn.bijectors.continuous import Continuous
from jinn.distributions.standard_normal import StandardNormal
from jinn.flows.flow import Flow
from jinn.flows.specification import plain, specified
from jinn.networks.vector_field import Modulation

Module = TypeVar("Module")


@specified
def continuous_flow(
    event_dim: int,
    *,
    condition_dim: int = 0,
    hidden: Sequence[int] | int = (64, 64),
    modulation: Modulation = "concatsquash",
    frequencies: int = 1,
    activation: str = "tanh",
    residual: bool = False,
    divergence: str = "auto",
    probes: int = 1,
    solver: Any = "tsit5",
    rtol: float = 1e-5,
    atol: float = 1e-5,
    steps: int | None = None,
    max_steps: int = 1024,
    adjoint: Any = "recursive_checkpoint",
    stepping: Literal["joint", "per_sample"] = "joint",
    param_dtype: jax.typing.DTypeLike = jnp.float32,
    dtype: jax.typing.DTypeLike | None = None,
    rngs: int | jax.Array | nnx.Rngs,
) -> Flow:
    """Build a continuous flow, `dx/dt = f(t, x; condition)` from data to a standard normal.

    It is trained by likelihood, which solves the equation in each step, or without any solve by
    `jinn.losses.flow_matching`, for which a wide residual field is good:
    `hidden=(256,) * 4, modulation="concat", activation="silu", residual=True`, and to sample
    `solver="rk4", steps=8`.

    Args:
        event_dim: Length of x.
        condition_dim: Length of the condition, 0 for none.
        hidden: Widths of the field's hidden layers; up to two make exact divergences cheap.
        modulation: How time and condition enter the field: "concat", "concatsquash" or "film", see
            `jinn.networks.VectorField`.
        frequencies: Number of frequencies in the embedding of time.
        activation: Name of the field's activation, see `jinn.networks.MLP`.
        residual: Whether hidden layers of equal width add to their input.
        divergence: "auto" (exact up to 32 elements, Hutchinson above), "exact", "hutchinson" or
            "hutch++"; log_prob is exact without a key.
        probes: Number of random directions of an estimate.
        solver: Name of the solver, or a diffrax solver, see `jinn.functional.ODESolver`.
        rtol: Relative tolerance of each step.
        atol: Absolute tolerance of each step.
        steps: Number of equal steps, or None to adapt them.
        max_steps: Most steps of a solve.
        adjoint: "recursive_checkpoint", "backsolve" or "direct", or a diffrax adjoint.
        stepping: "joint" or "per_sample".
        param_dtype: Type of the parameters.
        dtype: Type in which the field computes; None follows the input.
        rngs: An int, a JAX key or `flax.nnx.Rngs`.

    Returns:
        A flow over vectors; log_prob and sample take a solve each. `with_solver` makes one that
        solves in another way.

    Raises:
        ValueError: If an option is out of range or unknown.

    Reference:
        FFJORD: Free-form Continuous Dynamics for Scalable Reversible Generative Models (Grathwohl,
        Chen, Bettencourt, Sutskever, Duvenaud, 2019), https://arxiv.org/abs/1810.01367
    """
    if event_dim < 1 or condition_dim < 0:
        raise ValueError(
            "continuous_flow: expected event_dim >= 1 and condition_dim >= 0, got "
            f"{event_dim} and {condition_dim}"
        )
    bijector = Continuous(
        (event_dim,),
        condition_shape=(condition_dim,) if condition_dim else None,
        divergence=divergence,
        probes=probes,
        hidden=hidden,
        modulation=modulation,
        frequencies=frequencies,
        activation=activation,
        residual=residual,
        param_dtype=param_dtype,
        dtype=dtype,
        rngs=rngs,
        solver=solver,
        rtol=rtol,
        atol=atol,
        steps=steps,
        max_steps=max_steps,
        adjoint=adjoint,
        stepping=stepping,
    )
    return Flow(bijector, StandardNormal((event_dim,)))


def with_solver(module: Module, **solver: Any) -> Module:
    """Give the continuous bijectors of a flow another way to solve, and leave the weights.

    Args:
        module: A flow, a bijector, a posterior or any pytree that holds `Continuous` bijectors.
        **solver: Options of `jinn.functional.ODESolver` to change, such as
            `solver="rk4", steps=8`.

    Returns:
        The same with the same weights; the one given is not changed.

    Raises:
        ValueError: If there is no continuous bijector, or an option is unknown or out of range.
    """
    found = []

    def change(node: Any) -> Any:
        if isinstance(node, Continuous):
            found.append(node)
            return node.with_solver(**solver)
        if isinstance(node, Flow):
            bijector = jax.tree.map(change, node.bijector, is_leaf=_is_continuous)
            new = nnx.clone(node)
            new.bijector = bijector
            new.specification = _respecified(node.specification, solver)
            return new
        return node

    new = jax.tree.map(change, module, is_leaf=lambda n: _is_continuous(n) or isinstance(n, Flow))
    if not found:
        raise ValueError(
            f"with_solver: {type(module).__name__} has no Continuous bijector; "
            "jinn.flows.continuous_flow builds a flow with one"
        )
    return new


def _is_continuous(node: Any) -> bool:
    return isinstance(node, Continuous)


def _respecified(specification: str | None, solver: dict[str, Any]) -> str | None:
    """A flow's specification with another solver, None where it cannot be written."""
    parts = None if specification is None else json.loads(specification)
    if parts is None or parts["builder"] != continuous_flow.__name__:
        return specification
    try:
        parts["arguments"] |= plain(solver)
        return json.dumps(parts)
    except TypeError:  # a solver given as an object
        return None

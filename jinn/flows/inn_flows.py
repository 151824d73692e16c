"""The builder of bidirectional INNs."""

import inspect
from collections.abc import Callable
from typing import Any, Literal

import jax
from flax import nnx

from jinn.flows.autoregressive_flows import iaf, maf
from jinn.flows.coupling_flows import gin, neural_spline_flow, nice, real_nvp
from jinn.flows.flow import Flow
from jinn.flows.inn_model import INN
from jinn.flows.inn_parts import inn_sizes
from jinn.flows.residual_flows import residual_flow
from jinn.flows.specification import specified

Architecture = Literal[
    "real_nvp", "neural_spline_flow", "nice", "gin", "maf", "iaf", "residual_flow"
]
_BUILDERS: dict[str, Callable[..., Flow]] = {
    builder.__name__: builder
    for builder in (real_nvp, neural_spline_flow, nice, gin, maf, iaf, residual_flow)
}


@specified
def inn(
    x_dim: int,
    y_dim: int | None = None,
    *,
    categories: int | None = None,
    z_dim: int | None = None,
    padding: int | None = None,
    y_noise: float = 0.02,
    padding_noise: float = 0.01,
    architecture: Architecture = "real_nvp",
    rngs: int | jax.Array | nnx.Rngs,
    **options: Any,
) -> INN:
    """Build an INN, `[x, padding] <-> [y, z, padding]`, for `jinn.losses.inn_loss` to train.

    `two_sided=True, separate_networks=True, clamp=4.0, law="arctan"` are the INN paper's blocks.

    Args:
        x_dim: Length of x.
        y_dim: Length of y, or None where y is a label.
        categories: Number of categories of which y is one, a label from 0; None for numbers.
        z_dim: Length of z; None takes x_dim - y_dim, or x_dim where that is not positive or y is a
            label, if there is room.
        padding: Elements that pad x; None takes as few as y and z need. More make the map more
            flexible.
        y_noise: Standard deviation of the tolerance on y, in standard deviations of y.
        padding_noise: Standard deviation of the numbers that pad x and z in training.
        architecture: The builder of the map, a name in `jinn.flows`.
        rngs: An int, a JAX key or `flax.nnx.Rngs`.
        **options: Options of that builder, such as depth, hidden and mixing.

    Returns:
        The INN. `predict`, `latent` and `sample` take one pass each, but for `sample` of "maf" and
        "residual_flow" and the others of "iaf".

    Raises:
        ValueError: If y has more dimensions than x and the padding leave room for, or an option is
            out of range or unknown.

    Reference:
        Analyzing Inverse Problems with Invertible Neural Networks (Ardizzone, Kruse, Wirkert,
        Rahner, Pellegrini, Klessen, Maier-Hein, Rother, Kothe, 2019),
        https://arxiv.org/abs/1808.04730
    """
    if architecture not in list(_BUILDERS):
        raise ValueError(
            f"inn: expected architecture to be one of {list(_BUILDERS)}, got {architecture!r}"
        )
    taken = {"event_dim", "condition_dim", "rngs"}
    known = [n for n in inspect.signature(_BUILDERS[architecture]).parameters if n not in taken]
    for name in options:
        if name not in known:
            raise ValueError(f"inn: {architecture} takes no option {name!r} here, only {known}")
    sizes = inn_sizes("inn", x_dim, y_dim, categories=categories, z_dim=z_dim, padding=padding)
    return INN(
        _BUILDERS[architecture](sizes.total, rngs=rngs, **options).bijector,
        x_dim,
        y_dim,
        categories=categories,
        z_dim=sizes.z,
        y_noise=y_noise,
        padding_noise=padding_noise,
    )

"""The block that has all of what most flows are stacked from."""

from collections.abc import Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from jinn.bijectors.actnorm import ActNorm
from jinn.bijectors.base import Bijector
from jinn.bijectors.chain import Chain
from jinn.bijectors.conditioners import Conditioner
from jinn.bijectors.conjugate import Conjugate
from jinn.bijectors.coupling import Coupling, half_mask
from jinn.bijectors.shapes import Shape, array_shape, last_axis
from jinn.bijectors.transformers import Affine, VolumePreserving
from jinn.flows.mixing import Mixing, check_mixing, make_mixing
from jinn.networks.randomness import as_key


def all_in_one_block(
    event_shape: tuple[int, ...],
    *,
    condition_shape: Shape | None = None,
    conditioner: Conditioner | None = None,
    mixing: Mixing = "permute",
    reverse: bool = False,
    volume_preserving: bool = False,
    clamp: float = 2.0,
    law: Literal["tanh", "arctan"] = "tanh",
    hidden: Sequence[int] | int = (128, 128),
    activation: str = "silu",
    param_dtype: jax.typing.DTypeLike = jnp.float32,
    dtype: jax.typing.DTypeLike | None = None,
    rngs: int | jax.Array | nnx.Rngs,
) -> Bijector:
    """Build FrEIA's all-in-one block, `z = R (s * coupling(x) + t)`, R mixing the last axis.

    An affine coupling of the second half given the first, with clamped log-scales; a global scale s
    and shift t for each channel (`ActNorm`); and a mixing. `Stack(lambda key:
    all_in_one_block((4,), rngs=key), 8, rngs=0)` makes eight in a row.

    Args:
        event_shape: Shape of one event, `(n,)` or `(H, W, C)`.
        condition_shape: Shape of one condition (a tuple or a dict of tuples), or None.
        conditioner: As for `jinn.bijectors.Coupling`, needed for images; None makes an `MLP` with
            the widths `hidden`.
        mixing: R: "permute" (fixed random), "orthogonal" (fixed random), "learned_orthogonal",
            "householder" or "plu" (all three learned).
        reverse: Mix by the inverse before the coupling, too, `z = R (s * coupling(R^-1 x) + t)`:
            the block then starts close to the identity.
        volume_preserving: Keep log|det| at 0, as GIN does: the coupling's log-scales sum to zero,
            and s and t are left out.
        clamp: Bound of the coupling's log-scales.
        law: How they are bounded, "tanh" or "arctan", see `jinn.bijectors.transformers`.
        hidden: Widths of the default conditioner's hidden layers.
        activation: Name of the default conditioner's activation.
        param_dtype: Type of the parameters.
        dtype: Type in which the default conditioner computes; None follows the input.
        rngs: An int, a JAX key or `flax.nnx.Rngs`.

    Returns:
        A `Chain` of coupling, ActNorm (unless volume-preserving) and mixing; with `reverse` a
        `Conjugate` of the mixing around the others.

    Raises:
        ValueError: If an option is out of range or unknown, or events are images and no conditioner
            is given.

    Reference:
        Framework for Easily Invertible Architectures (Ardizzone et al., 2018-2022), its
        AllInOneBlock, https://github.com/vislearn/FrEIA; `reverse`: Invert to Learn to Invert
        (Putzky, Welling, 2019), https://arxiv.org/abs/1911.10914
    """
    name = "all_in_one_block"
    shape = array_shape(event_shape, f"{name} event_shape")
    half = half_mask(last_axis(shape, name))
    check_mixing(mixing, name)
    mixing_key, coupling_key = jax.random.split(as_key(rngs))
    coupling = Coupling(
        shape,
        mask=np.broadcast_to(np.array(half), shape),
        conditioner=conditioner,
        transformer=(VolumePreserving if volume_preserving else Affine)(clamp, law),
        condition_shape=condition_shape,
        hidden=hidden,
        activation=activation,
        param_dtype=param_dtype,
        dtype=dtype,
        rngs=coupling_key,
    )
    members: list[Any] = [coupling]
    if not volume_preserving:
        members.append(ActNorm(shape, param_dtype=param_dtype))
    mix = make_mixing(
        mixing,
        shape,
        mixing_key,
        leaving=None if reverse else half,
        volume_preserving=volume_preserving,
        param_dtype=param_dtype,
    )
    return Conjugate(mix, Chain(members)) if reverse else Chain([*members, mix])

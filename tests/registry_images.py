"""The registry's cases of bijectors for images: wavelets, squeezing, 1x1 convolutions, scales."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from jinn.bijectors import (
    ActNorm,
    Chain,
    ConditionalAffine,
    Conv1x1,
    Coupling,
    FactorOut,
    Haar,
    Invert,
    Orthogonal,
    Planar,
    Reshape,
    Squeeze,
    channel_mask,
    checkerboard_mask,
)
from jinn.functional import coupling_sizes
from tests.registry_case import Case

_SHAPES = ((8, 8, 1), (16, 16, 3), (12, 20, 2))
_CONDITION = (2,)


class ConvConditioner(nnx.Module):
    """Two convolutions, the condition added to every pixel between them."""

    def __init__(self, channels_in: int, channels_out: int, dtype: Any) -> None:
        options: dict[str, Any] = {"param_dtype": dtype, "dtype": dtype, "rngs": nnx.Rngs(0)}
        self.first = nnx.Conv(channels_in, 2, (3, 3), **options)
        self.of_condition = nnx.Linear(*_CONDITION, 2, use_bias=False, **options)
        self.last = nnx.Conv(2, channels_out, (1, 1), **options)

    def __call__(self, x: jax.Array, condition: jax.Array) -> jax.Array:
        hidden = self.first(x)
        added = self.of_condition(condition)[..., None, None, :]
        batch = jnp.broadcast_shapes(hidden.shape[:-3], added.shape[:-3])
        hidden = jnp.broadcast_to(hidden, (*batch, *hidden.shape[-3:]))
        return self.last(nnx.silu(hidden + jnp.broadcast_to(added, hidden.shape)))


def _coupling(shape: tuple, mask: Any) -> Case:
    n_in, n_out = coupling_sizes(mask)

    def make(dtype: Any) -> Coupling:
        conditioner = ConvConditioner(n_in, 2 * n_out, dtype)
        return Coupling(shape, mask=mask, conditioner=conditioner, condition_shape=_CONDITION)

    return Case(Coupling, make)


def _sized(kind: Any, shape: tuple, /, **options: Any) -> Case:
    return Case(kind, lambda dtype: kind(shape, **options))


def _learned(kind: Any, shape: tuple, /, **options: Any) -> Case:
    return Case(kind, lambda dtype: kind(shape, param_dtype=dtype, **options))


def _large_coupling(shape: tuple, mask: Any) -> Case:
    """Without a condition, which would double the time."""
    return _learned(Coupling, shape, mask=mask, hidden=(2,), rngs=0)


def _two_scales(dtype: Any) -> Chain:
    """Two latents by name; the coarse scale solves, is initialised and takes the condition."""
    coarse = Chain(
        [
            Squeeze((2, 2, 2)),
            ActNorm((1, 1, 8), param_dtype=dtype),
            ConditionalAffine(
                (1, 1, 8), condition_shape=(2,), hidden=(4,), param_dtype=dtype, rngs=0
            ),
            Reshape((1, 1, 8), (8,)),
            Planar((8,), param_dtype=dtype, rngs=1),
        ]
    )
    top = FactorOut(coarse, channels=2, name="fine", rest_name="coarse")
    return Chain([Haar((4, 4, 1)), Orthogonal((2, 2, 4), param_dtype=dtype, rngs=2), top])


def _three_scales(dtype: Any) -> Chain:
    """Factored out twice, one flat dict."""
    last = ActNorm((1, 1, 5), param_dtype=dtype)
    inner = Chain([Squeeze((2, 2, 2)), FactorOut(last, channels=3, name="b", rest_name="a")])
    outer = FactorOut(inner, channels=2, name="c")
    return Chain([Haar((4, 4, 1)), ActNorm((2, 2, 4), param_dtype=dtype), outer])


IMAGE_CASES: dict[str, Case] = {
    "haar": _sized(Haar, (4, 2, 3)),
    "haar, averaging": _sized(Haar, (2, 4, 3), averaging=True),
    "haar, rebalanced, by channel": _sized(Haar, (4, 4, 2), rebalance=0.5, order="channel"),
    "squeeze": _sized(Squeeze, (2, 4, 3)),
    "invert haar": Case(
        Invert, lambda dtype: Invert(Haar((2, 2, 2), averaging=True, order="channel"))
    ),
    "factor out, vector": Case(
        FactorOut,
        lambda dtype: FactorOut(
            ActNorm((2,), param_dtype=dtype), channels=1, name="z2", rest_name="z1"
        ),
    ),
    "factor out, two scales": Case(Chain, _two_scales),
    "factor out, three scales": Case(Chain, _three_scales),
    "invert factor out": Case(Invert, lambda dtype: Invert(_three_scales(dtype))),
}
IMAGE_CASES |= {
    "conv 1x1, fixed": _learned(Conv1x1, (2, 1, 3), rngs=0),
    "conv 1x1, learned orthogonal": _learned(Conv1x1, (1, 2, 3), kind="learned_orthogonal", rngs=0),
    "conv 1x1, plu": _learned(Conv1x1, (2, 2, 2), kind="plu", rngs=0),
    "conv coupling, channels": _coupling((2, 4, 3), channel_mask((2, 4, 3))),
    "conv coupling, all by the condition": _learned(
        Coupling,
        (2, 2, 1),
        mask=np.ones((2, 2, 1), bool),
        condition_shape=(2,),
        hidden=(2,),
        rngs=0,
    ),
    "conv coupling, checkerboard": _coupling((4, 2, 2), checkerboard_mask((4, 2, 2))),
}

for _shape in _SHAPES:
    _name = "x".join(map(str, _shape))
    IMAGE_CASES |= {
        f"haar {_name}": _sized(Haar, _shape, rebalance=2.0, averaging=True),
        f"squeeze {_name}": _sized(Squeeze, _shape),
        f"flatten {_name}": _sized(Reshape, _shape, event_shape_out=(math.prod(_shape),)),
        f"actnorm {_name}": _learned(ActNorm, _shape),
        f"conv coupling, checkerboard {_name}": _large_coupling(_shape, checkerboard_mask(_shape)),
    }
    if _shape[-1] > 1:
        _mask = channel_mask(_shape)
        IMAGE_CASES[f"conv coupling, channels {_name}"] = _large_coupling(_shape, _mask)
    for _kind in ("orthogonal", "learned_orthogonal", "plu"):
        IMAGE_CASES[f"conv 1x1 {_kind} {_name}"] = _learned(Conv1x1, _shape, kind=_kind, rngs=0)

"""The registry's cases of bijectors for images: wavelets, squeezing, 1x1 convolutions, scales."""

from typing import Any

from jinn.bijectors import (
    ActNorm,
    Chain,
    ConditionalAffine,
    FactorOut,
    Haar,
    Invert,
    Orthogonal,
    Planar,
    Reshape,
    Squeeze,
)
from tests.registry_case import Case

_SHAPES = ((8, 8, 1), (16, 16, 3), (12, 20, 2))


def _sized(kind: type, shape: tuple, *, slow: bool = False, **options: Any) -> Case:
    return Case(kind, lambda dtype: kind(shape, **options), slow=slow)


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
for _shape in _SHAPES:
    _name = "x".join(map(str, _shape))
    IMAGE_CASES[f"haar {_name}"] = _sized(Haar, _shape, rebalance=2.0, slow=True)
    IMAGE_CASES[f"squeeze {_name}"] = _sized(Squeeze, _shape, slow=True)

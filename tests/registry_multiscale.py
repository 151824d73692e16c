"""The registry's cases of the multi-scale flow."""

from functools import partial
from typing import Any

from jinn.bijectors import Bijector, Chain, EmbedCondition
from jinn.flows import Stage, multiscale_flow
from tests.registry_case import Case


def _bijector(dtype: Any, **options: Any) -> Bijector:
    options = {"scales": 2, "depth": 2, "hidden": 4, "features": 2} | options
    return multiscale_flow(param_dtype=dtype, rngs=0, **options).bijector


def _case(kind: type[Bijector], event_shape: tuple, **options: Any) -> Case:
    return Case(kind, partial(_bijector, event_shape=event_shape, **options))


def _maps(height: int, width: int) -> dict[str, tuple[int, ...]]:
    return {
        "scale_0": (height, width, 2),
        "scale_1": (height // 2, width // 2, 3),
        "vector": (2,),
    }


_STAGES = (
    Stage(depth=1, mask="checkerboard"),
    Stage("squeeze", depth=1, kernel_size=1, conditional=False, keep=3),
    Stage(depth=1, hidden=(4, 4)),
)

MULTISCALE_CASES: dict[str, Case] = {
    "multiscale_flow 4x4x2, maps": _case(
        Chain, (4, 4, 2), condition_shape=_maps(4, 4), scales=_STAGES, fully_connected=1
    ),
    "multiscale_flow 4x4x3, picture": _case(
        EmbedCondition, (4, 4, 3), condition_shape=(8, 8, 1), depth=1, fully_connected=1
    ),
    "multiscale_flow 4x4x3": _case(Chain, (4, 4, 3), mixing="orthogonal"),
    "multiscale_flow 4x4x2, invert": _case(
        Chain, (4, 4, 2), condition_shape=(2,), depth=1, backprop="invert"
    ),
}

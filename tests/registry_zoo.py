"""The registry's cases of convolutions, of flows with few parameters and of fixed matrices."""

from typing import Any

from jinn.bijectors import FourierConvolution
from tests.registry_case import Case


def _convolution(shape: tuple, kernel_size: Any) -> Case:
    return Case(
        FourierConvolution,
        lambda dtype: FourierConvolution(shape, kernel_size=kernel_size, param_dtype=dtype, rngs=0),
    )


def _root_tolerance(dtype: Any) -> float:
    return 4 * float(jnp.finfo(dtype).eps)


def _vector(kind: Any, n: int, **options: Any) -> Case:
    return Case(
        kind,
        lambda dtype: kind((n,), param_dtype=dtype, rngs=0, **options),
        solver_tolerance=_root_tolerance,
    )


ZOO_CASES: dict[str, Case] = {
    "fourier convolution, one channel": _convolution((5, 1), 3),
    "fourier convolution, channels, even": _convolution((4, 2), 2),
    "fourier convolution, image": _convolution((3, 2, 2), (3, 4)),
    "planar": _vector(Planar, 3),
    "planar, one element": _vector(Planar, 1),
    "invert planar": Case(
        Invert,
        lambda dtype: Invert(Planar((2,), param_dtype=dtype, rngs=0)),
        solver_tolerance=_root_tolerance,
    ),
    "radial": _vector(Radial, 3),
    "radial, one element": _vector(Radial, 1),
    "sylvester": _vector(Sylvester, 3),
    "sylvester, fewer directions": _vector(Sylvester, 4, n_directions=2),
    "sylvester, one element": _vector(Sylvester, 1),
}

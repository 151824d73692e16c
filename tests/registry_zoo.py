"""The registry's cases of convolutions, of flows with few parameters and of fixed matrices."""

from typing import Any

import jax.numpy as jnp
import numpy as np

from jinn.bijectors import (
    FourierConvolution,
    InvAutoActivation,
    InvAutoConv,
    InvAutoDense,
    Invert,
    Linear,
    Planar,
    Radial,
    Sylvester,
)
from tests.registry_case import Case


def _convolution(shape: tuple, kernel_size: Any) -> Case:
    return Case(
        FourierConvolution,
        lambda dtype: FourierConvolution(shape, kernel_size=kernel_size, param_dtype=dtype, rngs=0),
    )


def _linear(shape: tuple) -> Case:
    matrix = np.array([[0.5, -2.0, 0.0], [1.0, 0.0, 1.0], [0.0, 3.0, -1.0]])
    return Case(
        Linear, lambda dtype: Linear(shape, matrix, shift=[1.0, 0.0, -1.0], param_dtype=dtype)
    )


def _tied(kind: Any, shape: tuple, **options: Any) -> Case:
    """Invertible up to the orthogonality error, below 1e-4 after changes of 1e-5."""
    return Case(
        kind,
        lambda dtype: kind(shape, param_dtype=dtype, rngs=0, **options),
        solver_tolerance=lambda dtype: 1e-4,
        perturbation=1e-5,
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
    "linear": _linear((3,)),
    "linear, image": _linear((2, 1, 3)),
    "inv auto dense": _tied(InvAutoDense, (4,)),
    "inv auto convolution": _tied(InvAutoConv, (3, 2)),
    "inv auto convolution, image": _tied(InvAutoConv, (2, 3, 2), kernel_size=(1, 2)),
    "inv auto activation, tied": Case(
        InvAutoActivation, lambda dtype: InvAutoActivation((3,), param_dtype=dtype)
    ),
    "inv auto activation, image": Case(
        InvAutoActivation,
        lambda dtype: InvAutoActivation((2, 1, 2), negative=0.3, param_dtype=dtype),
    ),
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

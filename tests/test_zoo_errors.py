"""The errors of convolutions in Fourier space, of flows with few parameters, of fixed matrices."""

import jax.numpy as jnp
import numpy as np
import pytest

from jinn import functional as F
from jinn.bijectors import Affine, FourierConvolution, Linear, Planar, Radial, Sylvester
from tests.errors import raises


@pytest.mark.parametrize(
    ("x", "kernel"),
    [
        ((5, 2), (3, 2, 3)),
        ((5, 3), (3, 2, 2)),
        ((5, 2), (3, 3, 2, 2)),
        ((5, 2), (2, 2)),
        ((5, 2), (0, 2, 2)),
        ((5, 2), (2,)),
    ],
)
def test_kernels_of_other_shapes(x, kernel):
    for f in (F.fourier_convolution_forward, F.fourier_convolution_inverse):
        with raises("fourier_convolution: expected values", f"got values of shape {x} and", "("):
            f(jnp.ones(x), jnp.ones(kernel))


def test_fourier_convolution():
    for shape in ((), (3,), (0, 2), (4, 0)):
        with raises("FourierConvolution: expected events (length, channels) or", f"got {shape}"):
            FourierConvolution(shape, rngs=0)
    for size in (0, -1, 1.5, (3,), (3, 0), (3, 3, 3), "33"):
        with raises("FourierConvolution: expected kernel_size to be a positive integer", "2 axes"):
            FourierConvolution((4, 4, 2), kernel_size=size, rngs=0)
    with raises("FourierConvolution: x: expected shape (*batch, 4, 2), got (3, 2)"):
        FourierConvolution((4, 2), rngs=0).forward(np.ones((3, 2)))


@pytest.mark.parametrize("kind", [Planar, Radial, Sylvester])
def test_flows_of_vectors(kind):
    for shape in ((), (0,), (2, 3)):
        with raises(f"{kind.__name__}: expected events (n,) of at least one element", f"{shape}"):
            kind(shape, rngs=0)
    with raises("rngs: expected an int, one JAX key or flax.nnx.Rngs, got", "for example 0"):
        kind((3,), rngs=None)
    with raises(f"{kind.__name__}: expected param_dtype to be a floating type such as"):
        kind((3,), param_dtype=int, rngs=0)
    with raises(f"{kind.__name__}: x: expected shape (*batch, 3), got (4,)"):
        kind((3,), rngs=0).forward(np.ones(4))


@pytest.mark.parametrize("n_directions", [0, 4, -1, 1.5, True, "two"])
def test_directions(n_directions):
    with raises("Sylvester: expected n_directions to be an integer from 1 to 3, or None", "got"):
        Sylvester((3,), n_directions=n_directions, rngs=0)


@pytest.mark.parametrize(
    "matrix",
    [
        np.ones((2, 3)),
        np.eye(2),
        np.ones((3, 3)),
        np.zeros((3, 3)),
        np.diag([1.0, 1.0, 1e-9]),
        np.diag([1.0, np.nan, 1.0]),
        2.0,
    ],
)
def test_matrices_that_are_singular_or_not_square(matrix):
    with raises("Linear: expected an invertible matrix of shape (3, 3), all finite, got shape"):
        Linear((3,), matrix)


def test_linear_and_learned_scales():
    with raises("Linear: expected an event with a last axis, got ()"):
        Linear((), np.eye(1))
    with raises("Linear: shift: expected a shape that broadcasts to the event (3,), got (2,)"):
        Linear((3,), np.eye(3), shift=[1.0, 2.0])
    with raises("Linear: shift: expected finite numbers, got nan"):
        Linear((3,), np.eye(3), shift=np.nan)
    for learned in ("shift", 2, None):
        with raises('Affine: expected learned to be a boolean or "scale", got', f"{learned!r}"):
            Affine((3,), learned=learned)

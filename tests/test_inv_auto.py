"""Tied layers against their matrices: they are invertible up to the orthogonality error."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jinn
from jinn import functional as F
from jinn.bijectors import (
    Chain,
    InvAutoActivation,
    InvAutoConv,
    InvAutoDense,
    Stack,
)
from jinn.distributions import StandardNormal
from jinn.losses import with_orthogonality
from tests.errors import raises
from tests.test_fourier import circulant

RNG = np.random.default_rng(0)


def shaken(module, size):
    return jax.tree.map(
        lambda leaf: leaf + size * jnp.asarray(RNG.normal(size=leaf.shape), leaf.dtype), module
    )


def kernel_and_matrix(layer):
    """The layer's linear map as one matrix, from the inputs to the outputs, both flattened."""
    zero = jnp.zeros(layer.event_shape)
    columns = jax.jacfwd(layer.forward)(zero)
    n = int(np.prod(layer.event_shape))
    return np.asarray(columns, float).reshape(-1, n)


LAYERS = {
    "dense": lambda: InvAutoDense((5,), rngs=0),
    "dense, wider": lambda: InvAutoDense((3,), size_out=6, rngs=0),
    "dense, narrower": lambda: InvAutoDense((6,), size_out=2, rngs=0),
    "convolution": lambda: InvAutoConv((4, 3, 2), rngs=0),
    "convolution, wider": lambda: InvAutoConv((5, 2), channels_out=3, kernel_size=2, rngs=0),
    "convolution, narrower": lambda: InvAutoConv((3, 4, 3), channels_out=1, rngs=0),
}
every_layer = pytest.mark.parametrize("name", LAYERS)


@every_layer
def test_it_starts_orthogonal(name):
    layer = LAYERS[name]()
    assert layer.orthogonality_error() < 1e-5 and layer.orthogonality_penalty() < 1e-8
    x = jnp.asarray(RNG.normal(size=(4, *layer.event_shape)), jnp.float32)
    y, log_det = layer.forward_and_log_det(x)
    assert y.shape == (4, *layer.event_shape_out)
    np.testing.assert_allclose(log_det, 0.0, atol=1e-4)
    if "narrower" in name:
        np.testing.assert_allclose(layer.forward(layer.inverse(y)), y, atol=1e-5)
    else:
        np.testing.assert_allclose(layer.inverse(y), x, atol=1e-5)


@every_layer
def test_a_round_trip_and_the_volume_are_as_good_as_the_bound_says(name):
    layer = shaken(LAYERS[name](), 0.05)
    matrix = kernel_and_matrix(layer)
    values = np.linalg.svd(matrix, compute_uv=False)
    bound = layer.orthogonality_error()
    np.testing.assert_allclose(bound, np.abs(values**2 - 1).max(), rtol=1e-3)
    small = matrix.T @ matrix if matrix.shape[0] >= matrix.shape[1] else matrix @ matrix.T
    pixels = int(np.prod(layer.event_shape[:-1]))
    penalty = np.sum((small - np.eye(len(small))) ** 2) / pixels
    np.testing.assert_allclose(layer.orthogonality_penalty(), penalty, rtol=1e-3)

    x = jnp.asarray(RNG.normal(size=(50, *layer.event_shape)), jnp.float32)
    y, log_det = layer.forward_and_log_det(x)
    x_back, log_det_back = layer.inverse_and_log_det(y)
    if "narrower" in name:
        x, x_back = y - layer.forward(0 * x), layer.forward(x_back) - layer.forward(0 * x)
    moved, size = (np.linalg.norm(np.reshape(v, (50, -1)), axis=1) for v in (x_back - x, x))
    assert np.all(moved <= bound * size * (1 + 1e-4) + 1e-5) and moved.max() > 0.05 * bound
    np.testing.assert_allclose(log_det, np.log(values).sum(), atol=1e-3)
    np.testing.assert_allclose(log_det_back, log_det, atol=1e-5)
    assert np.all(np.abs(log_det + log_det_back) <= len(values) * np.abs(np.log(1 - bound)))


@pytest.mark.parametrize("size", [(3,), (2,), (7,)])
def test_the_inverse_is_the_transposed_matrix(size, x64):
    kernel, shift = RNG.normal(size=(*size, 2, 3)), RNG.normal(size=3)
    square = np.zeros((*size, 3, 3))
    square[..., :2, :] = kernel  # the same with a third channel that is always 0
    matrix = circulant(square, (5,)).reshape(15, 5, 3)[..., :2].reshape(15, 10)
    x, y = RNG.normal(size=(4, 5, 2)), RNG.normal(size=(4, 5, 3))
    image, _ = F.tied_convolution_forward(*map(jnp.asarray, (x, kernel, shift)))
    np.testing.assert_allclose(
        image, (x.reshape(4, 10) @ matrix.T).reshape(4, 5, 3) + shift, atol=1e-12
    )
    back, _ = F.tied_convolution_inverse(*map(jnp.asarray, (y, kernel, shift)))
    expected = ((y - shift).reshape(4, 15) @ matrix).reshape(4, 5, 2)
    np.testing.assert_allclose(back, expected, atol=1e-12)


def test_activations_are_freias():
    x = jnp.asarray([[-3.0, -0.5], [0.0, 2.0]])
    tied = InvAutoActivation((2,), positive=2.0)
    np.testing.assert_allclose(tied.forward(x), np.where(x >= 0, 2 * x, x / 2), rtol=1e-6)
    free = InvAutoActivation((2,), positive=3.0, negative=0.25)
    y, log_det = free.forward_and_log_det(x)
    np.testing.assert_allclose(y, np.where(x >= 0, 3 * x, x / 4), rtol=1e-6)
    np.testing.assert_allclose(log_det, np.log([0.25 * 0.25, 9.0]), rtol=1e-5)
    np.testing.assert_allclose(free.inverse(y), x, rtol=1e-6)
    fixed = InvAutoActivation((2,), learned=False)
    assert not any(jax.tree.leaves(jinn.trainable(fixed)))


def test_the_loss_makes_layers_orthogonal():
    def block(key):
        return Chain([InvAutoDense((3,), rngs=key), InvAutoActivation((3,))])

    chain = Chain([Stack(block, 2, rngs=0), InvAutoDense((3,), rngs=1)])
    flow = jinn.Flow(shaken(chain, 0.2), StandardNormal((3,)))
    layers = [flow.bijector[0][i][0] for i in range(2)] + [flow.bijector[1]]
    loss = with_orthogonality(
        lambda flow, batch, key: (jnp.zeros(()), {"data": jnp.ones(())}), weight=0.5
    )
    value, metrics = loss(flow, jnp.zeros((2, 3)), None)
    total = sum(layer.orthogonality_penalty() for layer in layers)
    np.testing.assert_allclose(value, 0.5 * total, rtol=1e-5)
    np.testing.assert_allclose(metrics["orthogonality"], total, rtol=1e-5)
    assert metrics["data"] == 1.0

    @jax.jit
    def descend(flow):
        def step(flow, _):
            slopes = jax.grad(lambda f: loss(f, None, None)[0])(flow)
            return jax.tree.map(lambda p, g: p - 0.1 * g, flow, slopes), None

        return jax.lax.scan(step, flow, length=200)[0]

    assert descend(flow).bijector[1].orthogonality_error() < 1e-3
    assert with_orthogonality(weight=0.5) == with_orthogonality(weight=0.5)


@pytest.mark.no_type_hook
def test_errors():
    for weight in (-1.0, np.nan, np.inf):
        with raises("with_orthogonality: expected a weight of at least 0, got"):
            with_orthogonality(weight=weight)
    flow = jinn.Flow(InvAutoActivation((3,)), StandardNormal((3,)))
    with raises("with_orthogonality: expected a flow with InvAutoDense or InvAutoConv in it, got"):
        with_orthogonality()(flow, jnp.zeros((2, 3)), None)
    for shape in ((), (0,), (2, 3)):
        with raises("InvAutoDense: expected events (n,) of at least one element, got", f"{shape}"):
            InvAutoDense(shape, rngs=0)
    for shape in ((), (3,), (0, 2)):
        with raises("InvAutoConv: expected events (length, channels) or (height, width, channels)"):
            InvAutoConv(shape, rngs=0)
    for bad in (0, 1.5, True):
        with raises("InvAutoDense: size_out: expected a positive integer, got"):
            InvAutoDense((3,), size_out=bad, rngs=0)
        with raises("InvAutoConv: channels_out: expected a positive integer, got"):
            InvAutoConv((3, 2), channels_out=bad, rngs=0)
        with raises("InvAutoConv: expected kernel_size to be a positive integer"):
            InvAutoConv((3, 2), kernel_size=bad, rngs=0)
    with raises("one for each of the 2 axes of space, got (3,)"):
        InvAutoConv((3, 3, 2), kernel_size=(3,), rngs=0)
    for slope in (0.0, -1.0, np.inf):
        with raises("InvAutoActivation: expected positive, finite slopes, got"):
            InvAutoActivation((3,), positive=slope)
        with raises("InvAutoActivation: expected positive, finite slopes, got"):
            InvAutoActivation((3,), negative=slope)

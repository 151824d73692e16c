"""The convolutional networks: their formula, batches, conditions and types."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jinn.bijectors import Coupling, half_mask
from jinn.functional.convolution import convolve
from jinn.networks import ConvNet
from jinn.networks.activations import ACTIVATIONS

GENERATOR = np.random.default_rng(0)
X = GENERATOR.normal(size=(3, 4, 6, 2)).astype(np.float32)
MAP = GENERATOR.normal(size=(3, 4, 6, 5)).astype(np.float32)
VECTOR = GENERATOR.normal(size=(3, 4)).astype(np.float32)

call = jax.jit(lambda network, *arguments: network(*arguments))


def convolve_by_hand(x, kernel):
    """Every output pixel, by its sum over the window."""
    reach = kernel.shape[0] // 2
    around = np.pad(x, ((0, 0), (reach, reach), (reach, reach), (0, 0)))
    out = np.zeros((*x.shape[:-1], kernel.shape[-1]))
    for i in range(x.shape[1]):
        for j in range(x.shape[2]):
            window = around[:, i : i + kernel.shape[0], j : j + kernel.shape[1]]
            out[:, i, j] = np.tensordot(window, kernel, axes=3)
    return out


def by_hand(net, x, feature_map=None, vector=None):
    def act(h):
        return np.asarray(ACTIVATIONS[net.activation](jnp.asarray(h, jnp.float32)))

    kernels = [np.asarray(kernel[...]) for kernel in (*net.kernels, net.last_kernel)]
    biases = [np.asarray(bias[...]) for bias in (*net.biases, net.last_bias)]
    h = convolve_by_hand(x, np.asarray(net.input_kernel[...])) + biases[0]
    if feature_map is not None:
        h = h + convolve_by_hand(feature_map, np.asarray(net.condition_kernels["map"][...]))
    if vector is not None:
        h = h + (vector @ np.asarray(net.condition_kernels["vector"][...]))[:, None, None]
    h = act(h)
    for kernel, bias in zip(kernels[:-1], biases[1:-1], strict=True):
        update = act(convolve_by_hand(h, kernel) + bias)
        h = h + update if net.residual else update
    return convolve_by_hand(h, kernels[-1]) + biases[-1]


def make(**options):
    options = {"hidden": (8, 8), "zero_init_last": False, "rngs": 0} | options
    return ConvNet(2, 3, **options)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("size", [1, 3])
def test_convolution(size, stride):
    kernel = GENERATOR.normal(size=(size, size, 2, 3)).astype(np.float32)
    expected = convolve_by_hand(X, kernel)
    # Of an even number of pixels, "SAME" keeps those whose window ends at the border.
    start = stride - 1 if size == 3 else 0
    out = convolve(jnp.asarray(X), jnp.asarray(kernel), stride=stride)
    np.testing.assert_allclose(out, expected[:, start::stride, start::stride], atol=1e-5)


@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("size", [(1, 2), (3, 4), (5, 6), (7, 1)])
def test_strides_and_sizes(size, stride):
    x = jnp.asarray(GENERATOR.normal(size=(2, 6, 12, 3)), jnp.float32)
    kernel = jnp.asarray(GENERATOR.normal(size=(*size, 3, 4)), x.dtype)
    out = convolve(x, kernel, stride=stride)
    np.testing.assert_allclose(out, plainly(x, kernel, stride), atol=1e-5)


def plainly(x, kernel, stride=1):
    """The convolution with JAX's own derivatives."""
    layout, strides = ("NHWC", "HWIO", "NHWC"), (stride, stride)
    flat = x.reshape(-1, *x.shape[-3:])
    y = jax.lax.conv_general_dilated(flat, kernel, strides, "SAME", dimension_numbers=layout)
    return y.reshape(*x.shape[:-3], *y.shape[1:])


def of_gradients(loss):
    def squares(x, kernel):
        return sum(jnp.sum(part**2) for part in jax.grad(loss, (0, 1))(x, kernel))

    return jax.grad(squares, (0, 1))


@pytest.mark.parametrize(
    "differentiate",
    [
        lambda loss: jax.grad(loss, (0, 1)),
        lambda loss: jax.jacfwd(loss, (0, 1)),
        lambda loss: jax.grad(jax.checkpoint(loss), 1),
        lambda loss: jax.vmap(jax.grad(loss, (0, 1)), (0, None)),
        lambda loss: jax.hessian(loss, 1),
        of_gradients,
    ],
    ids=["reverse", "forward", "remat", "vmap", "hessian", "twice"],
)
@pytest.mark.parametrize(("size", "stride"), [((3, 3), 1), ((5, 1), 1), ((2, 3), 2)])
def test_derivatives_of_a_convolution(size, stride, differentiate):
    x = jnp.asarray(X)
    kernel = jnp.asarray(GENERATOR.normal(size=(*size, 2, 3)), x.dtype)

    def derivatives(convolution):
        def loss(x, kernel):
            return jnp.sum(jnp.sin(convolution(x, kernel, stride=stride)))

        return jax.jit(differentiate(loss))(x, kernel)

    for own, plain in zip(
        jax.tree.leaves(derivatives(convolve)),
        jax.tree.leaves(derivatives(plainly)),
        strict=True,
    ):
        np.testing.assert_allclose(own, plain, rtol=1e-4, atol=1e-4)


def test_only_the_gradient_asked_for_is_computed():
    """And no convolution of zeros stands for the other."""
    x, kernel = jnp.asarray(X), jnp.ones((3, 3, 2, 3))
    for argument in (0, 1):
        gradient = jax.grad(lambda *both: jnp.sum(jnp.sin(convolve(*both))), argument)
        assert len(list(convolutions(jax.make_jaxpr(gradient)(x, kernel).jaxpr))) == 2


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"residual": False, "hidden": (4, 8)},
        {"kernel_size": 1, "hidden": 4, "activation": "leaky_relu"},
        {"kernel_size": (3, 1, 5)},
    ],
)
def test_formula(options):
    net = make(**options)
    np.testing.assert_allclose(call(net, jnp.asarray(X)), by_hand(net, X), atol=1e-5)


def test_formula_with_a_map_and_a_vector():
    net = make(condition_shape={"map": (4, 6, 5), "vector": (4,)})
    out = call(net, jnp.asarray(X), {"map": jnp.asarray(MAP), "vector": jnp.asarray(VECTOR)})
    np.testing.assert_allclose(out, by_hand(net, X, MAP, VECTOR), atol=1e-5)


@pytest.mark.parametrize("shape", [(4, 6, 5), (4,), (2, 2)])
@pytest.mark.parametrize("x_batch", [(), (3,), (2, 3)])
@pytest.mark.parametrize("condition_batch", [(), (3,), (2, 1)])
def test_batches_broadcast(shape, x_batch, condition_batch):
    net = make(condition_shape=shape)
    x = jax.random.normal(jax.random.key(0), (*x_batch, 4, 6, 2))
    condition = jax.random.normal(jax.random.key(1), (*condition_batch, *shape))
    batch = np.broadcast_shapes(x_batch, condition_batch)
    out = call(net, x, condition)
    assert out.shape == (*batch, 4, 6, 3)
    copied = call(
        net, jnp.broadcast_to(x, (*batch, 4, 6, 2)), jnp.broadcast_to(condition, (*batch, *shape))
    )
    np.testing.assert_allclose(out, copied, atol=1e-5)


def test_vmap_and_an_empty_batch():
    net = make(condition_shape=(4, 6, 5))
    x, condition = jnp.asarray(X), jnp.asarray(MAP)
    out = call(net, x, condition)
    np.testing.assert_allclose(jax.vmap(net)(x, condition), out, atol=1e-5)
    shared = jax.vmap(net, in_axes=(0, None))(x, condition[0])
    np.testing.assert_allclose(shared, call(net, x, condition[0]), atol=1e-5)
    two = jax.vmap(lambda key: make(condition_shape=(4, 6, 5), rngs=key))
    several = two(jax.random.split(jax.random.key(0)))
    outs = jax.vmap(lambda net: net(x, condition))(several)
    second = jax.tree.map(lambda leaf: leaf[1], several)
    np.testing.assert_allclose(outs[1], call(second, x, condition), atol=1e-5)
    assert net(x[:0], condition[0]).shape == (0, 4, 6, 3)


def test_one_by_one_kernels_see_each_pixel_by_itself():
    for size, reach in ((1, 0), (3, 3)):
        net = make(kernel_size=size)
        x = jnp.asarray(X[0])
        change = np.abs(net(x.at[1, 2].add(1.0)) - net(x)).max(-1) > 0
        rows, columns = np.nonzero(change)
        assert max(abs(rows - 1).max(), abs(columns - 2).max()) == reach


def convolutions(jaxpr):
    """The shapes of the images of every convolution."""
    for equation in jaxpr.eqns:
        if equation.primitive.name == "conv_general_dilated":
            yield equation.invars[0].aval.shape
        for value in jax.tree.leaves(
            list(equation.params.values()), is_leaf=lambda v: hasattr(v, "eqns")
        ):
            inner = getattr(value, "jaxpr", value)
            if hasattr(inner, "eqns"):
                yield from convolutions(inner)


@pytest.mark.parametrize("batch", [(), (1,)])
def test_one_condition_for_many_images_costs_one_convolution(batch):
    net = make(condition_shape=(4, 6, 5))
    jaxpr = jax.make_jaxpr(net)(jnp.ones((100, 4, 6, 2)), jnp.ones((*batch, 4, 6, 5))).jaxpr
    assert [shape for shape in convolutions(jaxpr) if shape[-1] == 5] == [(1, 4, 6, 5)]


def test_the_last_layer_starts_at_zero_and_the_rest_at_variance_one():
    net = ConvNet(2, 3, rngs=0)
    np.testing.assert_array_equal(call(net, jnp.asarray(X)), np.zeros((3, 4, 6, 3)))
    wide = ConvNet(16, 3, hidden=(64, 64), rngs=0)
    for kernel in (wide.input_kernel, wide.kernels[0]):
        variance = np.var(kernel[...]) * np.prod(kernel.shape[:-1])
        assert variance == pytest.approx(1.0, abs=0.05)


def image_coupling(**options):
    mask = np.broadcast_to(half_mask(4), (4, 6, 4))
    net = ConvNet(2, 4, hidden=(8, 8), condition_shape=(4, 6, 5), zero_init_last=False, **options)
    return Coupling((4, 6, 4), mask=mask, conditioner=net, condition_shape=(4, 6, 5))


def test_bfloat16_networks_keep_float32_log_dets():
    x = jax.random.normal(jax.random.key(0), (3, 4, 6, 4))
    condition = jnp.asarray(MAP)
    (y, log_det), (exact, exact_log_det) = (
        image_coupling(rngs=0, **options).forward_and_log_det(x, condition)
        for options in ({"dtype": jnp.bfloat16}, {})
    )
    assert y.dtype == log_det.dtype == jnp.float32
    np.testing.assert_allclose(log_det, exact_log_det, rtol=0.05, atol=0.5)
    assert 1e-5 < np.abs(y - exact).max() < 0.2  # computed in another type, and not far off
    net = image_coupling(rngs=0, dtype=jnp.bfloat16).conditioner
    assert net.input_kernel[...].dtype == jnp.float32
    assert net(x[..., :2], condition).dtype == jnp.bfloat16


def test_float64(x64):
    coupling = image_coupling(rngs=0, param_dtype=jnp.float64)
    x = jax.random.normal(jax.random.key(0), (3, 4, 6, 4))
    y, log_det = coupling.forward_and_log_det(x, jnp.asarray(MAP, jnp.float64))
    assert y.dtype == log_det.dtype == jnp.float64
    np.testing.assert_allclose(coupling.inverse(y, MAP), x, atol=1e-12)


def test_the_default_conditioner_of_images_is_a_conv_net():
    mask = np.broadcast_to(half_mask(4), (4, 6, 4))
    coupling = Coupling((4, 6, 4), mask=mask, hidden=(8, 4), condition_shape=(3,), rngs=0)
    assert isinstance(coupling.conditioner, ConvNet)
    assert coupling.conditioner.hidden == (8, 4)
    np.testing.assert_array_equal(coupling.mask, mask)
    two = Coupling((4, 6, 4), mask=mask, hidden=(8,), separate_networks=True, rngs=0)
    assert two.forward(np.ones((4, 6, 4))).shape == (4, 6, 4)


@pytest.mark.parametrize("size", [1, 3])
@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16])
def test_images_of_half_precision_meet_wider_kernels(size, dtype):
    x = jax.random.normal(jax.random.key(0), (2, 4, 6, 3), dtype)
    kernel = jax.random.normal(jax.random.key(1), (size, size, 3, 5))
    found = convolve(x, kernel)
    assert found.dtype == jnp.float32
    np.testing.assert_allclose(found, convolve(x.astype(jnp.float32), kernel), rtol=1e-6)

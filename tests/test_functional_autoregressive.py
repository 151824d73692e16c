"""Autoregressive maps and masked perceptrons: Jacobians, orders, the loop of the inverse."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jinn.bijectors.transformers import Affine, RationalQuadraticSpline, VolumePreserving
from jinn.functional import MaskedPerceptron, autoregressive_forward, autoregressive_inverse
from jinn.functional.masked import hidden_degrees, masks_of

SIZE = 5
AFFINE, SPLINE = Affine(), RationalQuadraticSpline(bins=4)
ORDERS = {"natural": (0, 1, 2, 3, 4), "reverse": (4, 3, 2, 1, 0), "any": (2, 0, 4, 1, 3)}


def network(order, n_params, widths=(7, 9), lowest=1, residual=False, shift_batch=(), seed=0):
    rng = np.random.default_rng(seed)

    def weights(*shape):
        return jnp.asarray(0.5 * rng.normal(size=shape), jnp.float32)

    size = len(order)
    sizes = (size - 1, *widths)
    return MaskedPerceptron(
        tuple(weights(a, b) for a, b in zip(sizes[:-1], widths, strict=True)),
        weights(n_params * size, widths[-1]),
        (weights(*shift_batch, widths[0]), *(weights(width) for width in widths[1:])),
        weights(n_params * size),
        jax.nn.silu,
        order,
        lowest,
        residual,
    )


def events(*shape, seed=1):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


@pytest.mark.parametrize("lowest", [0, 1])
@pytest.mark.parametrize("name", ORDERS)
def test_parameters_depend_on_earlier_elements_only_and_on_all_of_them(name, lowest):
    order = ORDERS[name]
    net = network(order, 3, lowest=lowest)
    jacobian = jax.jit(jax.jacrev(net))(events(SIZE)).reshape(3, SIZE, SIZE)[:, order][..., order]
    depends = np.tri(SIZE, k=-1, dtype=bool)
    for of_parameter in np.asarray(jacobian):
        assert np.all(of_parameter[~depends] == 0)
        assert np.all(of_parameter[depends] != 0)


def test_degrees_are_even_and_begin_where_the_condition_may_enter():
    assert hidden_degrees(5, 8, lowest=1).tolist() == [1, 1, 2, 2, 3, 3, 4, 4]
    assert hidden_degrees(3, 6, lowest=0).tolist() == [0, 0, 1, 1, 2, 2]
    assert hidden_degrees(9, 3, lowest=0).tolist() == [0, 3, 6]
    assert [mask.shape for mask in masks_of((0, 1, 2), (4, 6), 2, lowest=1)] == [
        (2, 4),
        (4, 6),
        (6, 6),
    ]


@pytest.mark.parametrize(
    ("name", "transformer", "options"),
    [
        ("natural", AFFINE, {}),
        ("reverse", AFFINE, {"lowest": 0}),
        ("any", AFFINE, {"widths": (2,)}),
        ("any", AFFINE, {"widths": (8, 8, 8), "residual": True}),
        ("any", SPLINE, {}),
    ],
)
def test_laws(name, transformer, options):
    net = network(ORDERS[name], transformer.n_params, **options)

    @jax.jit
    def check(x):
        y, log_det = autoregressive_forward(x, net, transformer)
        back, back_log_det = autoregressive_inverse(y, net, transformer)
        jacobian = jax.jacrev(lambda x: autoregressive_forward(x, net, transformer)[0])(x)
        inverse = jax.jacfwd(lambda y: autoregressive_inverse(y, net, transformer)[0])(y)
        return log_det, back, back_log_det, jacobian, inverse

    x = events(SIZE)
    log_det, back, back_log_det, jacobian, inverse = check(x)
    np.testing.assert_allclose(back, x, atol=1e-5)
    np.testing.assert_allclose(log_det, np.linalg.slogdet(jacobian)[1], atol=1e-5)
    np.testing.assert_allclose(back_log_det, -log_det, atol=1e-5)
    np.testing.assert_allclose(inverse @ jacobian, np.eye(SIZE), atol=1e-4)


@pytest.mark.parametrize("name", ORDERS)
def test_the_loop_computes_what_one_pass_does(name):
    """Units of one degree a step: the same parameters as with all elements known."""
    net = network(ORDERS[name], 2, lowest=0, shift_batch=(3,))
    x = events(4, 3, SIZE)
    state, [steps] = net.begin(x)
    state = net.resume(state, steps)
    found = []
    for k in range(SIZE):
        step = jax.tree.map(lambda leaf, k=k: leaf[k], steps)
        state, params = net.parameters(state, step)
        found.append(params)
        state = net.append(state, step, x[..., net.order[k]])
    expected = net(x).reshape(4, 3, 2, SIZE)[..., np.array(net.order)]
    np.testing.assert_allclose(jnp.stack(found, -1), jnp.moveaxis(expected, 2, 0), atol=1e-5)


def test_stages_of_a_long_event():
    """From 32 elements on there are several loops, each with a larger state."""
    order = tuple(np.random.default_rng(0).permutation(33).tolist())
    net = network(order, 2, widths=(40, 50), lowest=0)
    net = replace(net, last_kernel=0.1 * net.last_kernel)
    x = events(3, 33)
    assert len(net.begin(x)[1]) == 2
    back = jax.jit(
        lambda x: autoregressive_inverse(autoregressive_forward(x, net, AFFINE)[0], net, AFFINE)
    )
    np.testing.assert_allclose(back(x)[0], x, atol=1e-4)


def test_any_callable_is_evaluated_element_after_element():
    order = ORDERS["any"]
    net = network(order, 2)
    y = events(6, SIZE)
    expected, log_det = autoregressive_inverse(y, net, AFFINE)
    found, found_log_det = jax.jit(
        lambda y: autoregressive_inverse(y, lambda x: net(x), AFFINE, order=order)
    )(y)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    np.testing.assert_allclose(found_log_det, log_det, atol=1e-5)


def test_gradients_of_the_loop_in_both_modes():
    net = network(ORDERS["any"], 2)
    y, direction = events(SIZE), events(SIZE, seed=2)

    def total(y):
        x, log_det = autoregressive_inverse(y, net, AFFINE)
        return jnp.sum(jnp.sin(x)) + log_det

    @jax.jit
    def slopes(y, direction):
        forward = jax.jvp(total, (y,), (direction,))[1]
        near = [total(y + step * direction) for step in (1e-2, -1e-2)]
        return forward, jax.grad(total)(y) @ direction, (near[0] - near[1]) / 2e-2

    forward, reverse, difference = slopes(y, direction)
    np.testing.assert_allclose(forward, reverse, rtol=1e-4)
    np.testing.assert_allclose(forward, difference, rtol=1e-2)


def test_one_element_depends_on_shifts_alone():
    net = network((0,), 2, lowest=0, shift_batch=(3,))
    x = events(3, 1)
    y, log_det = autoregressive_forward(x, net, AFFINE)
    back, back_log_det = autoregressive_inverse(y, net, AFFINE)
    np.testing.assert_allclose(back, x, atol=1e-5)
    np.testing.assert_allclose(back_log_det, -log_det, atol=1e-6)
    assert len(np.unique(log_det)) == 3


@pytest.mark.no_type_hook
@pytest.mark.parametrize("order", [(0, 1), (0, 1, 1, 2, 3), (1, 2, 3, 4, 5), (0.0, 1, 2, 3, 4)])
def test_error_of_an_order_that_is_no_permutation(order):
    with pytest.raises(ValueError, match="autoregressive: expected order to be the integers 0 to"):
        autoregressive_inverse(events(SIZE), lambda x: x, AFFINE, order=order)


@pytest.mark.no_type_hook
def test_error_of_an_order_that_is_not_the_conditioners():
    with pytest.raises(ValueError, match=r"the conditioner has the order \(0, 1, 2, 3, 4\)"):
        net = network(ORDERS["natural"], 2)
        autoregressive_inverse(events(SIZE), net, AFFINE, order=ORDERS["reverse"])


@pytest.mark.no_type_hook
def test_error_of_a_transformer_of_events():
    with pytest.raises(ValueError, match="autoregressive: expected a transformer of single"):
        autoregressive_forward(events(SIZE), network(ORDERS["any"], 2), VolumePreserving())


@pytest.mark.no_type_hook
def test_error_of_a_conditioner_with_a_wrong_shape():
    with pytest.raises(ValueError, match="autoregressive: expected the conditioner to return"):
        autoregressive_forward(events(SIZE), lambda x: x, AFFINE)

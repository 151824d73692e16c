"""Coupling with any callable, any element-wise map and any mask."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jinn.functional import (
    affine_forward,
    affine_inverse,
    coupling_forward,
    coupling_inverse,
    coupling_sizes,
    rational_quadratic_spline_forward,
    rational_quadratic_spline_inverse,
)


class Affine(NamedTuple):
    """Any object with these three names is a transformer."""

    n_params: int = 2

    def forward(self, x, params):
        return affine_forward(x, params[0], jnp.tanh(params[1]))

    def inverse(self, y, params):
        return affine_inverse(y, params[0], jnp.tanh(params[1]))


class Spline(NamedTuple):
    n_params: int = 8

    def forward(self, x, params):
        parts = params[:3], params[3:6], params[6:]
        return rational_quadratic_spline_forward(x, *parts, bound=4.0)

    def inverse(self, y, params):
        parts = params[:3], params[3:6], params[6:]
        return rational_quadratic_spline_inverse(y, *parts, bound=4.0)


CHECKERBOARD = np.indices((2, 3, 2)).sum(0) % 2 == 0
MASKS = {
    "back": np.array([False, False, True, True]),
    "front": np.array([True, True, True, False]),
    "alternating": np.array([True, False, True, False, True]),
    "one": np.array([False, True, False]),
    "all": np.array([True, True]),
    "none": np.array([False, False]),
    "channels": np.broadcast_to([True, False, True], (2, 2, 3)),
    "checkerboard": CHECKERBOARD,
    "half of the rows": np.arange(4).reshape(2, 2, 1) < 2,
}


def network(n_in, n_out, seed=0):
    """A conditioner for both kinds of mask: a mixing of the last axis and of all positions."""
    rng = np.random.default_rng(seed)
    weights = jnp.asarray(rng.normal(size=(n_in, n_out)), jnp.float32)
    bias = jnp.asarray(rng.normal(size=n_out), jnp.float32)

    def conditioner(u):
        summary = jnp.sum(u, axis=-1, keepdims=True)
        h = jnp.tanh(u @ weights) + jnp.cos(summary)
        return h + bias.reshape(*[1] * (h.ndim - 1), -1)

    return conditioner


def coupling(mask, transformer):
    n_in, n_out = coupling_sizes(mask)
    conditioner = network(n_in, transformer.n_params * n_out)
    return tuple(
        lambda x, f=f: f(x, conditioner, transformer, mask=mask)
        for f in (coupling_forward, coupling_inverse)
    )


def event(shape, seed=1):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


@pytest.mark.parametrize(
    ("name", "transformer"),
    [*((name, Affine()) for name in MASKS), ("alternating", Spline()), ("checkerboard", Spline())],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_laws(name, transformer):
    mask = MASKS[name]
    forward, inverse = coupling(mask, transformer)

    def check(x):
        y, log_det = forward(x)
        back, back_log_det = inverse(y)
        flat = jax.jacrev(lambda flat: forward(flat.reshape(mask.shape))[0].reshape(-1))
        return y, log_det, back, back_log_det, jnp.linalg.slogdet(flat(x.reshape(-1)))[1]

    x = event(mask.shape)
    y, log_det, back, back_log_det, expected = jax.jit(check)(x)
    assert log_det.shape == ()
    np.testing.assert_allclose(back, x, atol=2e-5)
    np.testing.assert_allclose(log_det, expected, atol=1e-4)
    np.testing.assert_allclose(back_log_det, -log_det, atol=1e-4)
    np.testing.assert_array_equal(y[~mask], x[~mask])
    assert np.all(y[mask] != x[mask])


@pytest.mark.parametrize("name", ["alternating", "channels", "checkerboard"])
def test_batches_in_front(name):
    mask = MASKS[name]
    forward, inverse = (jax.jit(f) for f in coupling(mask, Affine()))
    x = event((2, 3, *mask.shape))
    y, log_det = forward(x)
    assert y.shape == x.shape and log_det.shape == (2, 3)
    one_y, one_log_det = forward(x[1, 2])
    np.testing.assert_allclose(y[1, 2], one_y, atol=1e-6)
    np.testing.assert_allclose(log_det[1, 2], one_log_det, atol=1e-5)
    np.testing.assert_allclose(inverse(y)[0], x, atol=1e-5)


@pytest.mark.parametrize("bits", range(16))
def test_any_mask_of_a_vector(bits):
    mask, x = np.array([bool(bits >> i & 1) for i in range(4)]), event((2, 4))
    forward, inverse = coupling(mask, Affine())
    y, log_det, back, back_log_det = jax.jit(lambda x: (*forward(x), *inverse(forward(x)[0])))(x)
    np.testing.assert_allclose(back, x, atol=1e-5)
    np.testing.assert_allclose(back_log_det, -log_det, atol=1e-5)
    np.testing.assert_array_equal(y[:, ~mask], x[:, ~mask])


class Recorder:
    """An affine map that keeps the parameters that it was given."""

    n_params = 2

    def forward(self, x, params):
        self.params = params
        return affine_forward(x, params[0], params[1])

    inverse = forward


def test_the_first_parameters_of_all_elements_come_before_the_second():
    """`(*batch, n_params * n)` reaches the transformer as `(n_params, n, *batch)`."""
    recorder = Recorder()
    raw = jnp.arange(6.0)[None] + jnp.array([[0.0], [100.0]])
    mask = np.array([True, False, True, True])
    coupling_forward(jnp.zeros((2, 4)), lambda u: raw, recorder, mask=mask)
    np.testing.assert_array_equal(recorder.params[..., 0], [[0, 1, 2], [3, 4, 5]])
    np.testing.assert_array_equal(recorder.params[..., 1], [[100, 101, 102], [103, 104, 105]])


def test_the_conditioner_sees_the_untouched_elements():
    seen = []

    def conditioner(u):
        seen.append(u)
        return jnp.zeros((*u.shape[:-1], 4))

    x = jnp.arange(8.0).reshape(2, 4)
    coupling_forward(x, conditioner, Affine(), mask=np.array([True, False, True, False]))
    np.testing.assert_array_equal(seen[0], x[:, 1::2])
    image = jnp.arange(1.0, 13.0).reshape(CHECKERBOARD.shape)
    coupling_forward(image, conditioner, Affine(), mask=CHECKERBOARD)
    np.testing.assert_array_equal(seen[1], np.where(CHECKERBOARD, 0, image))


def test_sizes_along_the_last_axis():
    assert coupling_sizes(MASKS["front"]) == (1, 3)
    assert coupling_sizes(MASKS["channels"]) == (1, 2)
    assert coupling_sizes(MASKS["checkerboard"]) == (2, 2)
    assert coupling_sizes((True, False)) == (1, 1)


def test_parameters_without_a_batch_serve_every_entry():
    y, log_det = coupling_forward(
        jnp.ones((3, 2)), lambda u: jnp.array([2.0, 0.0]), Affine(), mask=(False, True)
    )
    np.testing.assert_array_equal(y, [[1, 3]] * 3)
    assert log_det.shape == (3,)


def test_narrow_types_have_wide_log_determinants():
    mask, x = MASKS["front"], event((5, 4)).astype(jnp.bfloat16)
    forward, _ = coupling(mask, Affine())
    y, log_det = forward(x)
    assert y.dtype == jnp.bfloat16 and log_det.dtype == jnp.float32


@pytest.mark.no_type_hook
@pytest.mark.parametrize("returned", [(3, 3), (5,), (3, 5), (2, 4), ()])
def test_error_of_a_conditioner_with_a_wrong_shape(returned):
    mask = np.array([True, False, True])
    with pytest.raises(
        ValueError, match=r"coupling: expected the conditioner to return shape"
    ) as e:
        coupling_forward(jnp.ones((3, 3)), lambda u: jnp.ones(returned), Affine(), mask=mask)
    assert "(3, 4)" in str(e.value) and f"got {returned}" in str(e.value)
    assert "2 parameters for each of 2 transformed elements" in str(e.value)


@pytest.mark.no_type_hook
def test_error_of_a_transformer_that_sums_its_log_derivatives():
    class Summed(Affine):
        def forward(self, x, params):
            y, log_slopes = super().forward(x, params)
            return y, log_slopes.sum()

    with pytest.raises(ValueError, match=r"both of shape \(2, 3\), got \(2, 3\) and \(\)"):
        coupling_forward(jnp.ones((3, 4)), network(2, 4), Summed(), mask=MASKS["back"])


@pytest.mark.no_type_hook
@pytest.mark.parametrize("mask", [(True, False), (True, False, True, True), True])
def test_error_of_a_mask_that_does_not_fit(mask):
    with pytest.raises(ValueError, match="coupling: expected values that end in the mask's") as e:
        coupling_forward(jnp.ones((5, 3)), lambda u: u, Affine(), mask=mask)
    assert f"{np.shape(mask)}, got (5, 3)" in str(e.value)

"""The texts of the errors of `fit_posterior` and `Posterior`."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jinn

KEY = jax.random.key(0)
X = jax.random.uniform(KEY, (100, 3))
Y = X[:, :2]


def fit(data=(X, Y), **options):
    return jinn.fit_posterior(KEY, data, steps=1, progress=False, **options)


@pytest.fixture(scope="module")
def posterior():
    flow = jinn.flows.real_nvp(3, condition_dim=2, depth=1, hidden=(8,), rngs=0)
    return fit(flow=flow)


def test_x_outside_the_declared_support_names_rows_and_elements():
    x = X.at[7, 1].set(1.5).at[9, 1].set(-0.5)
    with pytest.raises(ValueError, match=r"support in 2 of 100 rows, .* row 7"):
        fit((x, Y), support=(0, 1))


def test_simulated_x_outside_the_support():
    def simulate(key, n):
        x = jax.random.normal(key, (n, 3))
        return x, x[:, :2]

    with pytest.raises(ValueError, match="outside the declared support"):
        fit(simulate, support=(0, 1))


@pytest.mark.parametrize("support", [(0,), 1.0, "unit"])
def test_support_is_a_pair(support):
    with pytest.raises(ValueError, match=r"expected support=\(low, high\)"):
        fit(support=support)


def test_support_bounds_in_order():
    with pytest.raises(ValueError, match="expected low < high"):
        fit(support=(1, 0))


def test_support_of_another_shape():
    with pytest.raises(ValueError, match=r"low: expected a shape that broadcasts to .* \(3,\)"):
        fit(support=(np.zeros(2), np.ones(2)))


def test_validation_data_of_another_width_or_outside_the_support():
    with pytest.raises(ValueError, match=r"validation data have x of shape \(3,\) and y of shape "
                       r"\(1,\), but the training data have \(3,\) and \(2,\)"):  # fmt: skip
        fit(validation=(X[:5], Y[:5, :1]))
    with pytest.raises(ValueError, match=r"validation data have x of shape \(1,\) and y of"):
        fit(validation=(X[:5, :1], Y[:5]))
    with pytest.raises(ValueError, match=r"x of the validation data is outside the declared"):
        fit(validation=(X[:5] + 1, Y[:5]), support=(0, 1))
    with pytest.raises(ValueError, match="the rows of validation data have the shapes"):
        fit(validation=np.zeros((5, 3), np.float32))


def test_x_that_is_a_dict_or_complex():
    with pytest.raises(ValueError, match=r"expected x of the training data to be one .* dict"):
        fit(({"a": X}, Y))
    with pytest.raises(ValueError, match="expected x of the training data to be real, got complex"):
        fit((X + 1j, Y))
    with pytest.raises(ValueError, match="expected y of the training data to be real, got complex"):
        fit((X, Y + 1j))


def test_simulators_that_jax_cannot_trace_or_of_other_rows():
    with pytest.raises(ValueError, match=r"fit_posterior: JAX cannot trace simulate.* beforehand"):
        fit(lambda key, n: (np.asarray(jax.random.normal(key, (n, 3))), jnp.zeros((n, 2))))
    with pytest.raises(ValueError, match="asked for n=16384 rows and returned x 100, y 100"):
        fit(lambda key, n: (jax.random.normal(key, (100, 3)), jnp.zeros((100, 2))))


def test_unknown_method():
    with pytest.raises(ValueError, match="expected method to be \"likelihood\", got 'magic'"):
        fit(method="magic")


@pytest.mark.parametrize("size", [0, 2.5, True, "2"])
def test_sizes_that_no_ensemble_has(size):
    with pytest.raises(
        ValueError, match=f"ensemble to be a whole number of at least 1, got {size!r}"
    ):
        fit(ensemble=size)


def test_data_that_are_no_pair():
    with pytest.raises(ValueError, match=r"expected training data \(x, y\)"):
        fit(X)


def test_nan_in_the_data_names_array_and_rows():
    with pytest.raises(ValueError, match=r"x of the training data has NaN .* 2 of 100 rows"):
        fit((X.at[3:5, 0].set(jnp.nan), Y))
    with pytest.raises(ValueError, match=r"y of the training data has NaN .* 1 of 100 rows"):
        fit((X, Y.at[3, 0].set(jnp.nan)))


def test_rows_that_differ():
    with pytest.raises(ValueError, match="differ in their number of rows: x 100, y 99"):
        fit((X, Y[:-1]))


def test_empty_data():
    with pytest.raises(ValueError, match="empty"):
        fit((X[:0], Y[:0]))


def test_vectors_wanted():
    with pytest.raises(ValueError, match=r"expected y of shape \(n, size\), got \(100,\)"):
        fit((X, Y[:, 0]))


def test_batch_larger_than_the_data():
    with pytest.raises(ValueError, match="batch_size=200 is larger than the 90 rows"):
        fit(batch_size=200)


def test_flow_of_another_shape():
    flow = jinn.flows.real_nvp(3, condition_dim=1, depth=1, hidden=(8,), rngs=0)
    with pytest.raises(ValueError, match=r"but the flow takes \(3,\) given \(1,\)"):
        fit(flow=flow)


def test_default_flow_is_for_vectors():
    with pytest.raises(ValueError, match="need a flow of their own"):
        fit((X[..., None], Y))


def test_observation_of_a_wrong_size(posterior):
    with pytest.raises(ValueError, match=r"Posterior y: expected shape \(\*batch, 2\), got \(3,\)"):
        posterior.sample(KEY, (1,), jnp.zeros(3))


def test_observation_is_missing(posterior):
    with pytest.raises(ValueError, match="Posterior: y is missing"):
        posterior.sample(KEY, (1,))


@pytest.mark.parametrize("shape", [-1, 1e3, (2.5,), (2, -3), "3"])
def test_shapes_that_no_draw_has(posterior, shape):
    with pytest.raises(ValueError, match=r"Posterior.sample: expected shape to be a whole number"):
        posterior.sample(KEY, shape, jnp.zeros(2))


def test_x_of_a_wrong_size(posterior):
    with pytest.raises(ValueError, match=r"x: expected shape \(\*batch, 3\), got \(2,\)"):
        posterior.log_prob(jnp.zeros(2), jnp.zeros(2))

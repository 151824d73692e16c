"""The parts of the INN's losses against NumPy, and both variants on a known posterior."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jinn
from jinn.bijectors import Affine
from jinn.flows import INN, inn
from jinn.inference import check_latent
from jinn.losses import inn_loss, with_orthogonality
from tests.test_inn import SMALL, moved
from tests.test_kernels import plain_mmd_squared

KEY = jax.random.key(0)
LENGTHS = (0.5, 2.0)
ROWS = 7
X = np.random.default_rng(0).normal(size=(ROWS, 2)).astype(np.float32)
Y = np.stack([X[:, 0] ** 2, X[:, 1], X[:, 0]], 1)


def waves(rows, width):
    return np.sin(np.arange(rows * width) + width).reshape(rows, width).astype(np.float32)


@pytest.fixture
def known_noise(monkeypatch):
    """Noise that the test can compute too."""
    monkeypatch.setattr(
        "jinn.losses.inn._normal", lambda key, like, w: jnp.array(waves(len(like), w))
    )


@pytest.fixture(scope="module")
def padded():
    """x of 2 and 5 of padding, y of 3, z of 2 and 2 of padding."""
    options = {"padding": 5, "y_noise": 0.1, "padding_noise": 0.2}
    return moved(jinn.initialize(inn(2, 3, **options, **SMALL), X, Y))


def mmd(x, y, a=None, length=1.0):
    a = np.zeros((ROWS, 1)) if a is None else a
    return plain_mmd_squared(x, y, a, a, "inverse_multiquadratic", True, length)


def mean_square(a):
    return np.mean(np.sum(np.asarray(a) ** 2, 1))


def whole(model, x):
    """What the map makes of x and known padding, cut into its parts, with the log-determinant."""
    u = (x - np.mean(x, 0)) / np.std(x, 0)
    joined = np.concatenate([u, 0.2 * waves(ROWS, 5)], 1)
    out, log_det = model.bijector.forward_and_log_det(joined)
    return u, *np.split(np.asarray(out), (3, 5), 1), np.asarray(log_det)


def evaluate(loss, model, batch, step=None):
    return jax.jit(lambda m, b: loss(m, b, KEY, step=step))(model, batch)


@pytest.mark.parametrize("y_bandwidth", [None, 0.7])
def test_every_part_is_what_numpy_makes_of_it(padded, known_noise, y_bandwidth):
    loss = inn_loss(
        z_bandwidths=LENGTHS, x_bandwidths=LENGTHS, y_bandwidth=y_bandwidth, z_noise=0.3
    )
    value, metrics = evaluate(loss, padded, (X, Y))
    u, y, z, padding, _ = whole(padded, X)
    code = (Y - Y.mean(0)) / Y.std(0)
    e_y, e_z, e_p = np.split(waves(ROWS, 7), (3, 5), 1)
    start = np.concatenate([code + 0.1 * e_y, e_z, 0.2 * e_p], 1)
    generated = np.asarray(padded.bijector.inverse(start))
    start = np.concatenate([y + 0.1 * e_y, z + 0.3 * e_z, padding + 0.2 * e_p], 1)
    back = np.asarray(padded.bijector.inverse(start))
    seen, wanted = (np.concatenate(p, 1) for p in ((z, y), (waves(ROWS, 2), code)))
    expected = {
        "loss_y": mean_square(y - code),
        "loss_z": mmd(seen, wanted),
        "loss_padding": mean_square(padding) + mean_square(generated[:, 2:]),
        "loss_x": mmd(generated[:, :2], u, y_bandwidth and code, y_bandwidth or 1.0),
        "loss_reconstruction": mean_square(back[:, :2] - u),
    }
    assert metrics.keys() == expected.keys()
    for name, part in expected.items():
        np.testing.assert_allclose(metrics[name], part, rtol=1e-3, atol=1e-4, err_msg=name)
    total = np.dot([100, 100, 1, 100, 1], list(expected.values()))
    np.testing.assert_allclose(value, total, rtol=1e-3, atol=1e-2)


def test_the_likelihood_is_what_numpy_makes_of_it(padded, known_noise):
    value, metrics = evaluate(inn_loss(method="likelihood", y_weight=2.0), padded, (X, Y))
    _, y, z, padding, log_det = whole(padded, X)
    code = (Y - Y.mean(0)) / Y.std(0) + 0.1 * waves(ROWS, 7)[:, :3]
    expected = {
        "loss_y": mean_square(y - code) / (2 * 0.1**2),
        "loss_z": mean_square(z) / 2,
        "loss_padding": mean_square(padding) / (2 * 0.2**2),
        "log_det": log_det.mean(),
    }
    assert metrics.keys() == expected.keys()
    for name, part in expected.items():
        np.testing.assert_allclose(metrics[name], part, rtol=1e-3, err_msg=name)
    np.testing.assert_allclose(value, np.dot([2, 1, 1, -1], list(expected.values())), rtol=1e-3)


@pytest.mark.parametrize("z_dim", [1, 2])
def test_the_likelihood_is_the_density_at_noisy_y(known_noise, z_dim):
    x, y = np.concatenate([X, Y[:, :1]], 1), Y[:, 1:2]
    options = {"z_dim": z_dim, "y_noise": 0.1, "padding_noise": 0.2}
    model = moved(jinn.initialize(inn(3, 1, **options, **SMALL), x, y))
    value, metrics = evaluate(inn_loss(method="likelihood"), model, (x, y))
    assert ("loss_padding" in metrics) == (z_dim == 1)
    noisy = y + 0.1 * waves(ROWS, 3)[:, :1] * y.std()
    constants = 1.5 * np.log(2 * np.pi) + np.log(0.1) + np.log(x.std(0)).sum()
    constants += (2 - z_dim) * np.log(0.2)
    density = model.log_prob(x, noisy)
    np.testing.assert_allclose(value, -np.mean(density) - constants, rtol=1e-3)


def test_what_pads_a_short_z_is_drawn_to_zero():
    model = INN(Affine((3,), learned=True), 3, 1, z_dim=1)
    x = np.concatenate([X, X[:, :1] + 2], 1)
    _, metrics = evaluate(inn_loss(x_weight=0.0), model, (x, X[:, :1]))
    np.testing.assert_allclose(metrics["loss_padding"], np.mean(x[:, 2] ** 2), rtol=1e-5)


def test_labels_are_learned_by_their_cross_entropy_and_one_hot_vectors(known_noise):
    model = moved(inn(2, categories=3, **SMALL))
    labels = np.arange(ROWS) % 3
    _, metrics = evaluate(inn_loss(x_weight=0.0, z_bandwidths=LENGTHS), model, (X, labels))
    padded = np.concatenate([X, 0.01 * waves(ROWS, 3)], 1)
    y, z = np.split(np.asarray(model.bijector.forward(padded), np.float64), (3,), 1)
    odds = np.exp(10 * y)
    probabilities = odds / odds.sum(1, keepdims=True)
    expected = -np.log(probabilities[np.arange(ROWS), labels]).mean()
    expected += mean_square(y - np.eye(3)[labels])
    np.testing.assert_allclose(metrics["loss_y"], expected, rtol=1e-4)
    wanted = np.concatenate([waves(ROWS, 2), np.eye(3)[labels]], 1)
    expected = mmd(np.concatenate([z, probabilities], 1), wanted)
    np.testing.assert_allclose(metrics["loss_z"], expected, rtol=1e-3, atol=1e-4)
    assert "loss_x" not in metrics


def test_no_gradient_of_the_latent_part_goes_through_y():
    model = INN(Affine((2,), learned=True), 2, 1)  # y is the first element, z the second
    gradient = jax.jit(
        jax.grad(lambda m, loss: loss(m, (X, X[:, :1] + 1), KEY)[0]), static_argnums=1
    )
    of_z = {"y_weight": 0.0, "x_weight": 0.0, "reconstruction_weight": 0.0}
    found = gradient(model, inn_loss(**of_z)).bijector
    for leaf in (found.shift, found.log_scale):
        assert leaf[0] == 0 and abs(leaf[1]) > 1e-3
    of_y = {"z_weight": 0.0, "x_weight": 0.0, "reconstruction_weight": 0.0}
    found = gradient(model, inn_loss(**of_y)).bijector
    assert abs(found.shift[0]) > 1e-3 and found.shift[1] == 0


def test_the_weight_of_generated_x_warms_up():
    model = INN(Affine((2,), learned=True), 2, 1)
    options = {"y_weight": 0.0, "z_weight": 0.0, "reconstruction_weight": 0.0, "x_weight": 50.0}
    loss = inn_loss(x_warm_up=10, **options)
    batch = (X, X[:, :1])
    for step, share in ((0, 0.002), (5, 0.002**0.5), (10, 1.0), (99, 1.0), (None, 1.0)):
        for one in (loss, inn_loss(**options, x_warm_up=10)):
            value, metrics = evaluate(one, model, batch, step)
            np.testing.assert_allclose(metrics["weight_x"], 50 * share, rtol=1e-5)
            np.testing.assert_allclose(value, metrics["weight_x"] * metrics["loss_x"], rtol=1e-5)
    history = jinn.fit(
        KEY, model, (X, X[:, :1]), loss=loss, steps=4, batch_size=7, validation=0, progress=False,
        validate_every=1,
    ).history  # fmt: skip
    np.testing.assert_allclose(
        history["weight_x"], 50 * 0.002 ** (1 - np.arange(4) / 10), rtol=1e-5
    )


def test_a_loss_around_it_passes_the_step_on():
    class Recorder:
        steps = ()

        def __call__(self, flow, batch, key=None, *, step=None):
            self.steps = (*self.steps, step)
            return jnp.zeros(()), {}

    recorder, layer = Recorder(), jinn.bijectors.InvAutoDense((2,), rngs=0)
    with_orthogonality(recorder)(layer, X, step=3)
    assert recorder.steps == (3,)


def test_equal_options_make_equal_losses():
    assert inn_loss(x_warm_up=3) == inn_loss(x_warm_up=3, x_bandwidths=[0.1, 0.4, 1.6])
    assert hash(inn_loss()) == hash(inn_loss()) and inn_loss() != inn_loss(z_weight=1.0)


def test_a_batch_of_4096_is_affordable():
    """Six matrices of all pairs would take 400 MB for their numbers alone."""
    model = INN(Affine((4,), learned=True), 4, 2)
    shapes = [jax.ShapeDtypeStruct((4096, n), jnp.float32) for n in (4, 2)]
    gradient = jax.grad(lambda m, x, y: inn_loss(y_bandwidth=0.5)(m, (x, y), KEY)[0])
    analysis = jax.jit(gradient).lower(model, *shapes).compile().memory_analysis()
    assert analysis.temp_size_in_bytes < 100e6


SCALES, MEAN, MATRIX, OFFSET = np.array([2.0, 0.5]), np.array([3.0, -1.0]), np.array([1.0, 2.0]), 5
NOISE = 0.1


def linear(key, n):
    """x ~ N(MEAN, SCALES^2), y = MATRIX x + OFFSET."""
    x = MEAN[None] + jax.random.normal(key, (n, 2)) * SCALES[None]
    return x, x @ MATRIX[:, None] + OFFSET


def linear_posterior(y, noise):
    prior = np.diag(SCALES**2)
    gain = prior @ MATRIX / (MATRIX @ prior @ MATRIX + noise**2)
    mean = MEAN + gain * (y - OFFSET - MATRIX @ MEAN)
    return mean, prior - np.outer(gain, MATRIX @ prior)


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("method", "steps", "tolerance"), [("likelihood", 250, 0.1), ("mmd", 500, 0.25)]
)
def test_a_known_posterior_is_learned(method, steps, tolerance):
    """A narrow ridge across both elements of x; correlated with them by 0.95 and 0.45."""
    result = jinn.fit(
        KEY,
        inn(2, 1, depth=2, hidden=(16,), y_noise=NOISE, rngs=0),
        linear,
        loss=inn_loss(method=method),
        steps=steps,
        batch_size=192,
        learning_rate=1e-2,
        validation=0,
        progress=False,
    )
    model = result.flow
    x, y = linear(jax.random.key(5), 500)
    assert np.std(model.predict(x) - y) < 0.1 * np.std(y)
    latent = check_latent(model, x, y, draws=20)
    assert latent.correlation < 0.15 and latent.mmd < 2 * latent.mmd_threshold
    mean, covariance = linear_posterior(6.0, NOISE * float(model.y_scale[0]))
    samples = model.sample(jax.random.key(1), 5000, jnp.array([6.0]))
    deviations = np.sqrt(np.diag(covariance))
    np.testing.assert_allclose((samples.mean(0) - mean) / deviations, 0, atol=1.5 * tolerance)
    scaled = np.cov(samples.T) / np.outer(deviations, deviations)
    expected = covariance / np.outer(deviations, deviations)
    np.testing.assert_allclose(scaled, expected, atol=2 * tolerance)

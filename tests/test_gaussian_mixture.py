"""Mixtures of normals against scipy's, their samples, and mixture density networks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

import jinn
from jinn.bijectors import trainable
from jinn.distributions import GaussianMixture
from jinn.flows import Flow, mixture_density_network
from jinn.flows.specification import is_specified

KEY = jax.random.key(0)
RNG = np.random.default_rng(0)
K, N = 3, 4
WEIGHTS = np.array([0.2, 0.5, 0.3])
MEANS = 2 * RNG.normal(size=(K, N))
ROOTS = RNG.normal(size=(K, N, N))
COVARIANCES = ROOTS @ ROOTS.transpose(0, 2, 1) + 0.1 * np.eye(N)
VARIANCES = RNG.uniform(0.1, 3.0, (K, N))
X = 3 * RNG.normal(size=(5, 2, N))


def exact(x, weights, means, covariances):
    parts = [
        w * scipy.stats.multivariate_normal(m, c).pdf(x)
        for w, m, c in zip(weights, means, covariances, strict=True)
    ]
    return np.log(sum(parts))


def given(covariance="full", **options):
    covariances = COVARIANCES if covariance == "full" else VARIANCES
    values = {"weights": 7 * WEIGHTS, "means": MEANS, "covariances": covariances}
    return GaussianMixture((N,), K, covariance=covariance, **values, **options)


@pytest.mark.parametrize("learned", [True, False])
@pytest.mark.parametrize("covariance", ["full", "diagonal"])
def test_free_parameters_are_those_of_scipy(covariance, learned, x64):
    base = given(covariance, learned=learned, param_dtype=float)
    matrices = COVARIANCES if covariance == "full" else [np.diag(v) for v in VARIANCES]
    np.testing.assert_allclose(
        base.log_prob(X), exact(X, WEIGHTS, MEANS, matrices), rtol=0, atol=1e-9
    )
    weights, means, covariances = base.mixture()
    np.testing.assert_allclose(weights, WEIGHTS, atol=1e-12)
    np.testing.assert_allclose(means, MEANS, atol=1e-12)
    np.testing.assert_allclose(covariances, matrices, atol=1e-12)
    assert set(jax.tree.leaves(trainable(base))) == {learned}
    assert base.log_prob(X.astype(np.float32)).dtype == jnp.float32
    assert base.log_prob(jnp.asarray(X, jnp.bfloat16)).dtype == jnp.float32


def test_a_single_number_and_an_image():
    one = GaussianMixture((), 2, means=[-1.0, 2.0], covariances=0.25)
    normal = scipy.stats.norm
    density = 0.5 * (normal(-1, 0.5).pdf(0.3) + normal(2, 0.5).pdf(0.3))
    np.testing.assert_allclose(one.log_prob(0.3), np.log(density), rtol=1e-5)
    assert one.sample(KEY, (3,)).shape == (3,)
    image = GaussianMixture((2, 1, 2), K, means=MEANS.reshape(K, 2, 1, 2), covariances=COVARIANCES)
    flat = GaussianMixture((N,), K, means=MEANS, covariances=COVARIANCES)
    np.testing.assert_allclose(
        image.log_prob(X.reshape(5, 2, 2, 1, 2)), flat.log_prob(X), rtol=1e-5
    )
    np.testing.assert_array_equal(image.sample(KEY, (6,)).reshape(6, N), flat.sample(KEY, (6,)))


def upper(flat):
    """FrEIA's layout of one factor: logarithms of the diagonal, then rows above it."""
    matrix = np.diag(np.exp(flat[:N]))
    matrix[np.triu_indices(N, 1)] = flat[N:]
    return matrix


SIZES = [K, K * N, K * N, K * N * (N - 1) // 2]
PROJECTION = 0.5 * RNG.normal(size=(2, sum(SIZES)))


@pytest.mark.thorough
def test_a_conditioner_gives_all_parameters_in_the_layout_that_is_documented(x64):
    base = GaussianMixture(
        (N,), K, condition_shape=(2,), conditioner=lambda c: jnp.tanh(c) @ PROJECTION
    )
    c = RNG.normal(size=(2, 2))
    rows = []
    for i, condition in enumerate(c):
        parts = np.split(np.tanh(condition) @ PROJECTION, np.cumsum(SIZES)[:-1])
        logits, means, diagonals, above = parts[0], *(p.reshape(K, -1) for p in parts[1:])
        factors = [upper(np.concatenate(f)) for f in zip(diagonals, above, strict=True)]
        covariances = [np.linalg.inv(u.T @ u) for u in factors]
        weights = np.exp(logits) / np.exp(logits).sum()
        rows.append(exact(X[:, i], weights, means, covariances))
        mixture = base.mixture(condition)
        np.testing.assert_allclose(mixture.covariances, covariances, rtol=1e-9)
    np.testing.assert_allclose(base.log_prob(X, c), np.stack(rows, 1), atol=1e-9)
    for x_batch, c_batch in (((), (2,)), ((5, 1), (2,)), ((2,), ())):
        x, condition = np.ones((*x_batch, N)), np.broadcast_to(c[0], (*c_batch, 2))
        batch = np.broadcast_shapes(x_batch, c_batch)
        each = base.log_prob(np.ones(N), c[0])
        np.testing.assert_allclose(base.log_prob(x, condition), np.full(batch, each), atol=1e-9)
    assert base.mixture(c).weights.shape == (2, K)


@pytest.mark.parametrize("covariance", ["full", "diagonal"])
def test_samples_have_the_weights_means_and_covariances(covariance):
    n = 40_000
    base = given(covariance)
    x = np.asarray(base.sample(KEY, (4, n // 4)), float).reshape(n, N)
    weights, means, covariances = (np.asarray(a, float) for a in base.mixture())
    mean = weights @ means
    spread = means - mean
    total = np.einsum("k,kij->ij", weights, covariances + spread[:, :, None] * spread[:, None])
    scale = np.sqrt(np.diag(total))
    np.testing.assert_allclose((x.mean(0) - mean) / scale, 0, atol=5 / n**0.5)
    np.testing.assert_allclose((np.cov(x.T) - total) / np.outer(scale, scale), 0, atol=0.05)
    deviations = np.sqrt(np.diagonal(covariances, axis1=1, axis2=2))
    for i in range(N):

        def cdf(at, i=i):
            return sum(
                w * scipy.stats.norm(m[i], s[i]).cdf(at)
                for w, m, s in zip(weights, means, deviations, strict=True)
            )

        assert scipy.stats.kstest(x[:, i], cdf).pvalue > 1e-3


def test_samples_given_conditions_come_from_their_own_mixtures():
    """Two narrow components an order of magnitude apart, and their place is the condition's."""

    def conditioner(c):
        ones = jnp.ones((*c.shape[:-1], 1), c.dtype)
        return jnp.concatenate([0 * ones, ones, c, -c, 9 * ones, 9 * ones], -1)

    base = GaussianMixture((1,), 2, condition_shape=(1,), conditioner=conditioner)
    c = jnp.asarray([[1.0], [5.0], [20.0]])
    x = base.sample(KEY, (2000,), c)
    assert x.shape == (2000, 3, 1)
    np.testing.assert_allclose(np.abs(x), np.broadcast_to(c, x.shape), atol=2e-3)
    np.testing.assert_allclose((x > 0).mean((0, 2)), 1 / (1 + np.e), atol=0.05)
    agreement = np.corrcoef(np.asarray(x[..., 0] > 0, float).T)
    np.testing.assert_allclose(agreement, np.eye(3), atol=0.1)


def test_samples_carry_gradients_to_means_and_factors_alone():
    base = GaussianMixture((2,), K, rngs=0)
    slopes = jax.grad(lambda base: jnp.sum(base.sample(KEY, (50,)) ** 2))(base).parameters[...]
    logits, rest = slopes[:K], slopes[K:]
    assert not np.asarray(logits).any()
    assert np.asarray(rest).all()


# --- The mixture density network ------------------------------------------------------------------


def test_components_differ_at_the_start_and_are_those_of_no_condition():
    flow = mixture_density_network(2, condition_dim=3, components=4, hidden=(8,), rngs=0)
    assert flow.event_shape == (2,) and flow.condition_shape == (3,)
    weights, means, covariances = flow.base.mixture(jnp.ones((5, 3)))
    np.testing.assert_allclose(weights, 0.25, atol=1e-6)
    np.testing.assert_allclose(covariances, np.broadcast_to(np.eye(2), (5, 4, 2, 2)), atol=1e-6)
    assert len(np.unique(means[0])) == 8
    np.testing.assert_array_equal(means, np.broadcast_to(means[0], means.shape))
    again = jax.vmap(lambda key: mixture_density_network(2, rngs=key))(jax.random.split(KEY, 2))
    assert not np.array_equal(*again.base.parameters[...])


def two_branches(key, n):
    """x is near y or -y, in equal parts, in its second element with the opposite sign."""
    keys = jax.random.split(key, 3)
    y = jax.random.uniform(keys[0], (n, 1), minval=1.0, maxval=3.0)
    sign = jax.random.rademacher(keys[1], (n, 1), y.dtype)
    noise = 0.1 * jax.random.normal(keys[2], (n, 2))
    return sign * y * jnp.asarray([[1.0, -1.0]]) + noise, y


@pytest.mark.thorough
def test_a_posterior_finds_both_branches_and_is_saved_and_loaded(tmp_path):
    flow = mixture_density_network(2, condition_dim=1, components=4, hidden=(16,), rngs=0)
    assert is_specified(flow)
    options = {"steps": 600, "batch_size": 128, "learning_rate": 1e-2, "progress": False}
    posterior = jinn.fit_posterior(KEY, two_branches, flow=flow, validation=0, **options)
    x, y = two_branches(jax.random.key(5), 4000)
    entropy = np.log(2) + 1 + np.log(2 * np.pi) + 2 * np.log(0.1)  # of two normals far apart
    log_prob = posterior.log_prob(x, y)
    assert abs(-log_prob.mean() - entropy) < 0.15
    drawn = posterior.sample(KEY, 2000, jnp.asarray([2.0]))
    upper = np.asarray(drawn[:, 0] > 0)
    assert 0.4 < upper.mean() < 0.6
    np.testing.assert_allclose(np.median(drawn[upper], 0), [2.0, -2.0], atol=0.1)
    posterior.save(tmp_path / "posterior")
    loaded = jinn.Posterior.load(tmp_path / "posterior")
    np.testing.assert_array_equal(loaded.log_prob(x, y), log_prob)


def test_as_the_base_of_another_flow_it_counts_with_the_map():
    base = GaussianMixture((2,), 2, condition_shape=(1,), hidden=(4,), rngs=0)
    flow = Flow(jinn.bijectors.Affine((2,), shift=1.0, scale=2.0), base)
    x, c = jnp.asarray(X[..., :2], jnp.float32), jnp.ones((2, 1))
    expected = base.log_prob(2 * x + 1, c) + 2 * np.log(2)
    np.testing.assert_allclose(flow.log_prob(x, c), expected, rtol=1e-5)
    drawn, log_prob = flow.sample_and_log_prob(KEY, (7,), c)
    assert drawn.shape == (7, 2, 2)
    np.testing.assert_allclose(flow.log_prob(drawn, c), log_prob, rtol=1e-4)

"""The errors of mixtures, of the monotone network, of conjugates and of the all-in-one block."""

import jax.numpy as jnp
import numpy as np
import pytest

from jinn import functional as F
from jinn.bijectors import Affine, ConditionalAffine, Conjugate, Reshape
from jinn.bijectors import transformers as t
from jinn.distributions import GaussianMixture
from jinn.flows import all_in_one_block, mixture_density_network
from tests.errors import raises


def test_components_and_options_of_mixtures():
    for components in (0, -1, 2.5, "3", True):
        with raises(f"GaussianMixture: expected an integer components >= 1, got {components!r}"):
            GaussianMixture((2,), components, rngs=0)
    with raises("GaussianMixture: expected an integer components >= 1, got 0"):
        mixture_density_network(2, components=0, rngs=0)
    with raises('expected covariance to be "full" or "diagonal", got \'round\'', "covariances="):
        GaussianMixture((2,), 2, covariance="round", rngs=0)
    with raises("GaussianMixture: expected an event with elements, got (0,)"):
        GaussianMixture((0,), 2, rngs=0)
    with raises("GaussianMixture event_shape: expected the shape of one array"):
        GaussianMixture({"a": (2,)}, 2, rngs=0)
    with raises("GaussianMixture: expected param_dtype to be a floating type"):
        GaussianMixture((2,), 2, param_dtype=int, rngs=0)
    for sizes in ({"event_dim": 0}, {"event_dim": 2, "condition_dim": -1}, {"event_dim": 1.5}):
        with raises("mixture_density_network: expected integers event_dim >= 1 and condition_dim"):
            mixture_density_network(**sizes, rngs=0)


def test_what_a_mixture_is_given():
    with raises("GaussianMixture: random means and the default conditioner need rngs, such as"):
        GaussianMixture((2,), 2)
    with raises("GaussianMixture: random means and the default conditioner need rngs, such as"):
        GaussianMixture((2,), 2, means=0.0, condition_shape=(1,))
    with raises("GaussianMixture: a conditioner needs conditions (condition_shape)"):
        GaussianMixture((2,), 2, conditioner=lambda c: c)
    with raises("give no weights, means or covariances beside it"):
        GaussianMixture((2,), 2, condition_shape=(1,), conditioner=lambda c: c, means=0.0)
    with raises("GaussianMixture: learned=False is for free parameters"):
        GaussianMixture((2,), 2, condition_shape=(1,), learned=False, rngs=0)
    with raises("GaussianMixture: expected conditioner to be callable, got int"):
        GaussianMixture((2,), 2, condition_shape=(1,), conditioner=3)
    for name, shape in (("weights", (2,)), ("means", (2, 3)), ("covariances", (2, 3, 3))):
        with raises(f"{name}: expected a shape that broadcasts to {shape}, got (5,)"):
            GaussianMixture((3,), 2, rngs=0, **{name: np.ones(5)})
        with raises(f"GaussianMixture: {name}: expected finite numbers, got nan"):
            GaussianMixture((3,), 2, rngs=0, **{name: np.nan})
    with raises("GaussianMixture: weights: expected positive numbers, got [0.0, 1.0]"):
        GaussianMixture((3,), 2, weights=[0.0, 1.0], rngs=0)
    with raises("GaussianMixture: covariances: expected positive numbers, got -1.0"):
        GaussianMixture((3,), 2, covariance="diagonal", covariances=-1.0, rngs=0)
    for matrix in ([[1.0, 2.0], [2.0, 1.0]], [[1.0, 0.5], [0.0, 1.0]], [[0.0, 0.0], [0.0, 1.0]]):
        with raises("covariances: expected symmetric, positive definite matrices, got"):
            GaussianMixture((2,), 2, covariances=matrix, rngs=0)


def test_calls_of_mixtures():
    wrong = GaussianMixture((2,), 2, condition_shape=(3,), conditioner=lambda c: c)
    with raises("GaussianMixture: expected the conditioner to return shape (4, 12)", "got (4, 3)"):
        wrong.log_prob(np.ones((4, 2)), np.ones((4, 3)))
    good = GaussianMixture((2,), 2, condition_shape=(3,), hidden=(4,), rngs=0)
    for call in (good.mixture, lambda: good.sample(0), lambda: good.log_prob(np.ones(2))):
        with raises("GaussianMixture: the condition is missing; expected one of shape"):
            call()
    with raises("GaussianMixture: x: expected shape (*batch, 2), got (3,)"):
        good.log_prob(np.ones(3), np.ones(3))
    with raises("GaussianMixture: got a condition, but takes none"):
        GaussianMixture((2,), 2, rngs=0).mixture(np.ones(3))


def test_the_monotone_network():
    for units in (0, -1, 2.5, "2", True):
        with raises(f"Sigmoidal: expected an integer units >= 1, got {units!r}"):
            t.Sigmoidal(units=units)
    x, p = jnp.ones(3), jnp.ones((4, 3))
    for bad in ((p[:0],) * 3, (p, p[:2], p), (p, p, p[:, :2]), (p.T,) * 3, (p, p, p[0])):
        for f in (F.sigmoidal_forward, F.sigmoidal_inverse):
            with raises("sigmoidal: expected weights, slopes and centers of one shape (units, *(3"):
                f(x, *bad)


def test_conjugates():
    two, three = Affine((2,)), Affine((3,))
    with raises("Conjugate: expected inner to be a Bijector, got function"):
        Conjugate(two, lambda x: x)
    with raises("Conjugate: expected outer to be a Bijector, got NoneType"):
        Conjugate(None, two)
    with raises("Conjugate: expected inner to map events", "(2,), to that shape, got (3,) to (3,)"):
        Conjugate(two, three)
    with raises("to that shape, got (2,) to (2, 1)"):
        Conjugate(two, Reshape((2,), (2, 1)))
    first, second = (
        ConditionalAffine((2,), condition_shape=(n,), hidden=(4,), rngs=0) for n in (1, 2)
    )
    with raises("Conjugate: bijector 1 (ConditionalAffine) expects a condition of shape (2,)"):
        Conjugate(first, second)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"mixing": "soft"}, "all_in_one_block: expected mixing to be one of"),
        ({"clamp": 0.0}, "Affine transformer: expected a positive, finite clamp, got 0.0"),
        ({"law": "sigmoid"}, "expected law to be one of ['arctan', 'tanh'], got 'sigmoid'"),
        ({"clamp": -1.0, "volume_preserving": True}, "VolumePreserving transformer: expected a"),
        ({"event_shape": ()}, "all_in_one_block: expected an event with a last axis, got ()"),
        ({"event_shape": (2, 3)}, "need a conditioner of their own; the default ones are an MLP"),
        ({"hidden": ()}, "MLP: expected in_size >= 0, out_size >= 1 and at least one hidden"),
        ({"param_dtype": int}, "expected param_dtype to be a floating type"),
    ],
)
def test_the_block(options, text):
    options = {"event_shape": (3,), "rngs": 0} | options
    with raises(text):
        all_in_one_block(**options)

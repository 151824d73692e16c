"""What a user of flows and densities gets wrong is said in the user's words."""

import jax
import numpy as np
import pytest

from jinn.bijectors import Sigmoid
from jinn.bijectors.transformers import Affine as AffineTransformer
from jinn.bijectors.transformers import Composed, RationalQuadraticSpline, VolumePreserving
from jinn.distributions import StandardNormal, Uniform
from jinn.flows import Flow, neural_spline_flow, real_nvp
from tests.errors import raises

KEY = jax.random.key(0)


def test_calls_of_a_flow():
    flow = real_nvp(3, condition_dim=2, depth=1, hidden=(4,), rngs=0)
    with raises("x: expected shape (*batch, 3), got (2,)"):
        flow.log_prob(np.ones(2), np.ones(2))
    for call in (
        lambda condition: flow.log_prob(np.ones(3), condition),
        lambda condition: flow.sample(KEY, (), condition),
        lambda condition: flow.sample_and_log_prob(KEY, (), condition),
    ):
        with raises("Flow: the condition is missing; expected one of shape (*batch, 2)"):
            call(None)
        with raises("Flow: condition: expected shape (*batch, 2), got (3,)"):
            call(np.ones(3))
    with raises("the batch (4,) of x and the batch (5,) of the condition do not broadcast"):
        flow.log_prob(np.ones((4, 3)), np.ones((5, 2)))
    for draw in (flow.sample, flow.sample_and_log_prob):
        for shape in (7, (2.5,), (-1,)):
            with raises(
                f"Flow: expected the shape of a draw to be a tuple such as (1000,), got {shape}"
            ):
                draw(KEY, shape, np.ones(2))
    unconditional = real_nvp(3, depth=1, hidden=(4,), rngs=0)
    for call in (
        lambda: unconditional.log_prob(np.ones(3), np.ones(2)),
        lambda: unconditional.sample(KEY, (), np.ones(2)),
    ):
        with raises("Flow: got a condition, but takes none"):
            call()


def test_parts_of_a_flow_that_do_not_fit():
    with raises(
        "Flow: the bijector gives events of shape (3,)", "StandardNormal is over events of"
    ):
        Flow(Sigmoid((3,)), StandardNormal((2,)))
    with raises("Flow: expected a Bijector and a Distribution, got list", "a Chain"):
        Flow([Sigmoid((3,))], StandardNormal((3,)))


@pytest.mark.parametrize("build", [real_nvp, neural_spline_flow])
def test_options_of_the_named_flows(build):
    name = build.__name__
    with raises(f"{name}: expected mixing to be", "permute", "orthogonal", "got 'shuffle'"):
        build(3, mixing="shuffle", rngs=0)
    with raises("activation: expected one of", "silu", "got 'swish'"):
        build(3, activation="swish", rngs=0)
    with raises("Stack: expected backprop to be one of ['invert', 'remat', 'store'], got 'forget'"):
        build(3, backprop="forget", rngs=0)
    for options in ({"event_dim": 0}, {"condition_dim": -1}, {"depth": 0}, {"condition_dim": None}):
        (option, value), *_ = options.items()
        with raises(f"{name}: expected integers event_dim >= 1", f"{option}={value}"):
            build(**{"event_dim": 3, "rngs": 0} | options)
    with raises("MLP: expected", "at least one hidden width >= 1, got", "hidden=()"):
        build(3, hidden=(), rngs=0)
    with raises("rngs: expected an int, one JAX key or flax.nnx.Rngs, got 'seed'", "for example 0"):
        build(3, rngs="seed")


def test_options_of_transformers():
    with raises("Affine transformer: expected a positive, finite clamp, got 0"):
        real_nvp(3, clamp=0.0, rngs=0)
    for bins in (1, 8.5, 8.0, "8"):
        with raises(f"RationalQuadraticSpline: expected an integer 2 <= bins < 1000, got {bins!r}"):
            neural_spline_flow(3, bins=bins, rngs=0)
    for option in ("2", None, np.nan):
        with raises("Affine transformer: expected a positive, finite clamp, got"):
            real_nvp(3, clamp=option, rngs=0)
        with raises("RationalQuadraticSpline: expected a positive, finite bound, got"):
            neural_spline_flow(3, bound=option, rngs=0)
    with raises("RationalQuadraticSpline: expected a positive, finite bound, got -1"):
        neural_spline_flow(3, bound=-1.0, rngs=0)
    with raises("VolumePreserving transformer: expected a positive, finite clamp, got inf"):
        VolumePreserving(float("inf"))
    with raises("Affine transformer: expected law to be one of ['arctan', 'tanh'], got 'sigmoid'"):
        AffineTransformer(law="sigmoid")
    with raises("Composed: expected transformers of single elements, got VolumePreserving"):
        Composed((AffineTransformer(), VolumePreserving()))
    assert AffineTransformer() == AffineTransformer(2.0)
    assert RationalQuadraticSpline() != RationalQuadraticSpline(bins=9)


def test_densities():
    with raises("StandardNormal: x: expected shape (*batch, 3), got (2,)"):
        StandardNormal((3,)).log_prob(np.ones(2))
    with raises("StandardNormal: got a condition, but takes none"):
        StandardNormal((3,)).log_prob(np.ones(3), np.ones(2))
    with raises("StandardNormal: expected the shape of a draw to be a tuple", "got 5"):
        StandardNormal((3,)).sample(KEY, 5)
    for key in ("seed", 0.5, None, jax.random.split(KEY)):
        with raises("StandardNormal: key: expected an int, one JAX key", "got", "for example 0"):
            StandardNormal((3,)).sample(key, (2,))
    first, again = (StandardNormal((3,)).sample(key) for key in (0, KEY))
    np.testing.assert_array_equal(first, again)
    with raises("Uniform event_shape: expected the shape of one array", "got {'a': (2,)}"):
        Uniform({"a": (2,)})
    with raises("StandardNormal event_shape: expected a tuple of sizes", "got 'three'"):
        StandardNormal("three")
    with raises(
        "Uniform: expected bounds that broadcast to the event (3,), got shapes (2,) and ()"
    ):
        Uniform((3,), [0.0, 0.0])
    for low, high in ((1.0, 1.0), (2.0, 1.0), (-np.inf, 0.0), (0.0, np.nan)):
        with raises("Uniform: expected finite bounds low < high, got"):
            Uniform((3,), low, high)

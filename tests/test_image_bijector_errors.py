"""What the bijectors for images say to wrong arguments."""

import jax.numpy as jnp
import pytest

from jinn.bijectors import (
    ActNorm,
    Affine,
    Conv1x1,
    FactorOut,
    Haar,
    Split,
    Squeeze,
    channel_mask,
    checkerboard_mask,
)
from jinn.distributions import Normal, StandardNormal
from jinn.functional import haar_forward, haar_inverse, squeeze_forward, squeeze_inverse
from tests.errors import raises


@pytest.mark.parametrize("kind", [Haar, Squeeze])
@pytest.mark.parametrize("shape", [(5, 4, 1), (4, 7, 1)])
def test_an_odd_side(kind, shape) -> None:
    with raises(kind.__name__, "even height and width", str(shape), "cut the last row or column"):
        kind(shape)


@pytest.mark.parametrize("kind", [Haar, Squeeze])
@pytest.mark.parametrize("shape", [(4,), (4, 4), (2, 4, 4, 1), (4, 4, 0)])
def test_no_image(kind, shape) -> None:
    with raises(kind.__name__, "(height, width, channels)", str(shape)):
        kind(shape)
    with raises(kind.__name__, "event_shape"):
        kind({"a": (4, 4, 1)})


@pytest.mark.parametrize("function", [haar_forward, squeeze_forward])
def test_functions_of_an_odd_image(function) -> None:
    with raises(function.__name__, "even height and width", "(2, 3, 4, 1)"):
        function(jnp.zeros((2, 3, 4, 1)))


@pytest.mark.parametrize("function", [haar_inverse, squeeze_inverse])
def test_functions_of_no_four_channels(function) -> None:
    with raises(function.__name__, "multiple of 4", "(2, 2, 6)"):
        function(jnp.zeros((2, 2, 6)))


def test_options_of_haar() -> None:
    for rebalance in (0.0, -1.0, float("inf"), float("nan"), "half", True):
        with raises("Haar", "positive, finite rebalance", repr(rebalance)):
            Haar((2, 2, 1), rebalance=rebalance)  # type: ignore[arg-type]
        with raises("haar_forward", "positive, finite rebalance"):
            haar_forward(jnp.zeros((2, 2, 1)), rebalance=rebalance)  # type: ignore[arg-type]
    with raises("Haar", "order", '"band" or "channel"', "'wavelet'"):
        Haar((2, 2, 1), order="wavelet")  # type: ignore[arg-type]
    with raises("haar_inverse", "order", "'wavelet'"):
        haar_inverse(jnp.zeros((1, 1, 4)), order="wavelet")  # type: ignore[arg-type]


def test_factor_out() -> None:
    rest = ActNorm((2, 2, 3))
    with raises("FactorOut", "rest", "Bijector"):
        FactorOut((2, 2, 3), channels=1, name="a", rest_name="b")  # type: ignore[arg-type]
    with raises("FactorOut", "last axis", "Affine"):
        FactorOut(Affine(()), channels=1, name="a", rest_name="b")
    for channels in (0, -1, 1.5, True):
        with raises("FactorOut", "channels", "positive integer", repr(channels)):
            FactorOut(rest, channels=channels, name="a", rest_name="b")  # type: ignore[arg-type]
    with raises("FactorOut", "gives an array", "rest_name"):
        FactorOut(rest, channels=1, name="a")
    with raises("FactorOut", "a name other than", "['a']", "got 'a'"):
        FactorOut(rest, channels=1, name="a", rest_name="a")
    inner = FactorOut(rest, channels=1, name="a", rest_name="b")
    with raises("FactorOut", "a name other than", "['a', 'b']", "got 'b'"):
        FactorOut(inner, channels=1, name="b")
    with raises("FactorOut", "gives a dict", "leave rest_name out", "'c'"):
        FactorOut(inner, channels=1, name="d", rest_name="c")
    with raises("FactorOut", "a name other than", "got 3"):
        FactorOut(inner, channels=1, name=3)  # type: ignore[arg-type]
    with raises("FactorOut", "a name other than", "['u', 'v']", "got 'u'"):
        FactorOut(Split((3,), {"u": 1, "v": 2}), channels=1, name="u")


def test_log_probs_of_arrays() -> None:
    for density in (StandardNormal((2,)), Normal((2,))):
        with raises(type(density).__name__, "log_probs", "dict events", "use log_prob"):
            density.log_probs(jnp.zeros(2))


def test_conv_1x1() -> None:
    for shape in ((3,), (4, 3), (4, 4, 0)):
        with raises("Conv1x1", "(height, width, channels)", str(shape)):
            Conv1x1(shape, rngs=0)
    with raises("Conv1x1", "kind", '"orthogonal", "learned_orthogonal" or "plu"', "'lu'"):
        Conv1x1((2, 2, 3), kind="lu", rngs=0)  # type: ignore[arg-type]


def test_masks() -> None:
    for shape in ((), (4, 4, 1)):
        with raises("channel_mask", "at least two channels", str(shape), "checkerboard_mask"):
            channel_mask(shape)
    for shape in ((), (4,), (1, 1, 4)):
        with raises("checkerboard_mask", "at least two pixels", str(shape)):
            checkerboard_mask(shape)

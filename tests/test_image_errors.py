"""What a user is told whose images, feature maps or scales do not fit."""

import jax.numpy as jnp
import pytest

from jinn.networks import ConvNet
from tests.errors import raises


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"in_channels": 0}, "ConvNet: expected in_channels >= 1, out_channels >= 1"),
        ({"hidden": ()}, "at least one hidden layer of >= 1 channels"),
        ({"hidden": (8, 4)}, "residual=True needs hidden layers of equal channels"),
        ({"hidden": "8"}, "expected hidden to be the widths"),
        ({"kernel_size": 2}, "expected kernel_size to be an odd number such as 3, or 2 of them"),
        ({"kernel_size": (3, 1, 3)}, "or 2 of them, one for each layer, got (3, 1, 3)"),
        ({"activation": "swish"}, "activation: expected one of"),
        ({"param_dtype": int}, "ConvNet: expected param_dtype to be a floating type"),
    ],
)
def test_options_of_networks(options, text):
    options = {"in_channels": 2, "out_channels": 2, "hidden": (8,), "rngs": 0} | options
    with raises(text):
        ConvNet(**options)


def test_conditions_of_networks():
    net = ConvNet(2, 2, hidden=8, condition_shape=(4, 4, 3), rngs=0)
    x = jnp.ones((8, 8, 2))
    with raises("feature map of 4 x 4 pixels, but the images have 8 x 8; give a map of that size"):
        net(x, jnp.ones((4, 4, 3)))
    with raises("ConvNet: expected the condition's entries ['condition'], got []"):
        net(x)

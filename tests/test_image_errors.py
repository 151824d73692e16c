"""What a user is told whose images, feature maps or scales do not fit."""

import jax.numpy as jnp
import pytest

from jinn.flows import Stage, multiscale_flow
from jinn.networks import ConvNet, FeatureExtractor
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
        ({"dtype": int}, "ConvNet: expected dtype to be a floating type"),
        ({"dtype": "bf16"}, "ConvNet: expected dtype to be a floating type"),
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


# --- The feature extractor and the multi-scale flow -----------------------------------------------


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"sizes": {"a": (6, 6)}}, "halving a picture of 16 x 16 pixels does not give the 6 x 6"),
        (
            {"sizes": {"a": (32, 32)}},
            "does not give the 32 x 32 of 'a'; crop or resize pictures",
        ),
        ({"sizes": {"a": (4, 4), "b": (8, 8)}}, "does not give the 8 x 8 of 'b'"),
        ({"sizes": {}}, "expected the different sizes of one map or more, got {}"),
        ({"channels": (2, 3)}, "expected channels to be a positive integer, or one for each of"),
        ({"vector": 0}, "expected vector to be a positive integer or None"),
        ({"activation": "swish"}, "activation: expected one of"),
    ],
)
def test_options_of_feature_extractors(options, text):
    options = {"image_shape": (16, 16, 1), "sizes": {"a": (8, 8)}, "rngs": 0} | options
    with raises(text):
        FeatureExtractor(**options)


def test_pictures_of_feature_extractors():
    network = FeatureExtractor((16, 16, 1), {"a": (8, 8)}, channels=2, rngs=0)
    with raises("expected pictures of shape (*batch, *(16, 16, 1)), got (3, 8, 8, 1)"):
        network(jnp.ones((3, 8, 8, 1)))


MAPS = {"scale_1": (4, 4, 1), "scale_2": (2, 2, 1)}


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"event_shape": (8, 8)}, "expected event_shape to be (height, width, channels)"),
        (
            {"event_shape": (8, 6, 1), "scales": 2},
            "stage 1 cannot halve images of 4 x 3 pixels, the event after 1 halvings; crop or pad "
            "events to multiples of 4 pixels, or use fewer scales",
        ),
        ({"event_shape": (7, 8, 1)}, "stage 0 cannot halve images of 7 x 8 pixels"),
        ({"scales": 0}, "expected scales to be a number such as 3, or a list of Stages"),
        ({"scales": ("haar",)}, "expected Stages, or dicts with keys of"),
        ({"scales": (Stage(depth=1),)}, "stage 0 has one channel and couples by channels"),
        ({"scales": (Stage("haar", keep=4),)}, "expected keep to be 1 to 3 of its 4 channels"),
        ({"scales": (Stage("haar", keep=2), Stage(keep=1))}, "channels left 1 halvings down"),
        ({"scales": ({"downsample": "haar", "mask": "rows"},)}, "expected mask to be"),
        ({"scales": (Stage("haar", depth=-1),)}, "expected depth >= 0, got -1"),
        ({"depth": (1, 2, 3)}, "expected depth to be one value, or one for each of 2 scales"),
        ({"downsample": "pool"}, 'expected downsample to be "haar", "squeeze" or'),
        ({"mixing": "soft"}, "multiscale_flow: expected mixing to be one of"),
        ({"fully_connected": -1}, "expected fully_connected to be a number of blocks >= 0"),
        ({"clamp": 0.0}, "Affine transformer: expected a positive, finite clamp"),
        ({"condition_shape": (8, 8)}, "that of a vector (n,), of a picture"),
        ({"condition_shape": (12, 12, 1)}, "halving a picture of 12 x 12 pixels does not give the"),
        ({"condition_shape": (2, 2, 1)}, "does not give the 4 x 4 of 'scale_1'"),
        ({"condition_shape": {"scale_1": (4, 4, 1)}}, "a feature map for each of ['scale_1', "),
        ({"condition_shape": MAPS | {"scale_2": (4, 4, 1)}}, "map 'scale_2' to be of shape (2, 2,"),
        ({"condition_shape": MAPS | {"vector": (2,)}}, "got the entries ['scale_1', 'scale_2', 'v"),
        (
            {"condition_shape": MAPS | {"vector": (2, 2)}, "fully_connected": 1},
            'expected "vector" to be of shape (n,), got (2, 2)',
        ),
        (
            {"condition_shape": (3,), "scales": (Stage("haar", conditional=False),)},
            "got a condition_shape, but no stage is conditional",
        ),
    ],
)
def test_options_of_the_multiscale_flow(options, text):
    options = {"event_shape": (8, 8, 1), "scales": 2, "depth": 1, "hidden": 4, "rngs": 0} | options
    with raises(text):
        multiscale_flow(**options)


def test_a_picture_that_feeds_fully_connected_blocks_alone():
    with raises("a picture as the condition needs a conditional stage"):
        multiscale_flow(
            (8, 8, 1),
            condition_shape=(8, 8, 1),
            scales=(Stage("haar", conditional=False),),
            fully_connected=1,
            rngs=0,
        )


def test_conditions_of_the_multiscale_flow():
    flow = multiscale_flow(
        (8, 8, 1), condition_shape=(16, 16, 1), scales=1, depth=1, hidden=4, features=2, rngs=0
    )
    with raises("condition: expected shape (*batch, 16, 16, 1), got (8, 8, 1)"):
        flow.log_prob(jnp.ones((8, 8, 1)), jnp.ones((8, 8, 1)))

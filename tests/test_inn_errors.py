"""What the INN, its loss and its check say to bad input."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jinn
from jinn.bijectors import Affine
from jinn.flows import INN, inn, real_nvp
from jinn.inference import check_latent
from jinn.losses import inn_loss
from tests.errors import raises

KEY = jax.random.key(0)
SMALL = {"depth": 1, "hidden": (4,), "rngs": 0}
X, Y = np.ones((6, 2), np.float32), np.ones((6, 1), np.float32)
MODEL = INN(Affine((2,), learned=True), 2, 1)
LABELS = INN(Affine((5,), learned=True), 2, categories=3)


@pytest.mark.parametrize(
    ("arguments", "options", "parts"),
    [
        ((2, 5), {"padding": 2}, ("y has 5 elements and z has 1", "the 2 of x and 2 of padding",
                                  "padding of at least 4")),
        ((2,), {"categories": 8, "padding": 0}, ("y has 8 categories", "padding of at least 7")),
        ((4, 2), {"z_dim": 3, "padding": 0}, ("z has 3", "padding of at least 1, or None")),
        ((4,), {}, ("either y_dim", "or categories", "y_dim=None and categories=None")),
        ((4, 2), {"categories": 2}, ("either y_dim", "y_dim=2 and categories=2")),
        ((4, 0), {}, ("y_dim to be a whole number of at least 1, got 0",)),
        ((2.5, 1), {}, ("x_dim to be a whole number of at least 1, got 2.5",)),
        ((4,), {"categories": 1}, ("categories to be a whole number of at least 2, got 1",)),
        ((4, 2), {"z_dim": 0}, ("z_dim to be a whole number of at least 1, got 0",)),
        ((4, 2), {"padding": -1}, ("padding to be a whole number of at least 0, got -1",)),
        ((4, 2), {"y_noise": 0.0}, ("y_noise to be positive, got 0.0",)),
        ((4, 2), {"padding_noise": -1}, ("padding_noise to be positive, got -1",)),
        ((4, 2), {"architecture": "glow"}, ("one of ['real_nvp', 'neural_spline_flow'", "'glow'")),
        ((4, 2), {"architecture": ["maf"]}, ("one of ['real_nvp'", "got ['maf']")),
        ((4, 2), {"clmp": 1.0}, ("real_nvp takes no option 'clmp' here, only ['depth', 'hidden'",)),
        ((4, 2), {"condition_dim": 1}, ("takes no option 'condition_dim' here",)),
    ],
)  # fmt: skip
def test_lengths_and_options_that_do_not_fit(arguments, options, parts):
    with raises(*parts):
        inn(*arguments, **SMALL, **options)


@pytest.mark.parametrize("bijector", ["affine", Affine((2, 2)), Affine((3,))])
def test_bijectors_that_make_no_inn(bijector):
    with raises("INN: "):
        INN(bijector, 2, 2, z_dim=2)


def test_bijectors_with_too_little_room():
    with raises("x has 4 elements, more than the 3 of the bijector's events", "longer ones"):
        INN(Affine((3,)), 4, 2)
    with raises("y has 2 elements and z has 3", "pass a bijector of events of at least 5 elements"):
        INN(Affine((3,)), 3, 2, z_dim=3)
    with raises("got Flow of events (2,)", "of a flow pass flow.bijector"):
        INN(real_nvp(2, **SMALL), 2, 1)
    conditioned = real_nvp(2, condition_dim=1, **SMALL).bijector
    with raises("a bijector of vectors without a condition", "conditions (1,)"):
        INN(conditioned, 2, 1)


def test_labels_that_are_floats_or_out_of_range():
    labels = np.zeros(6, np.float32)
    with raises("labels of an integer type, from 0 to 2, got float32", "y.astype(int)"):
        inn_loss()(LABELS, (X, labels), KEY)
    with raises("It said", "labels of an integer type, from 0 to 2, got float32"):
        jinn.fit(KEY, LABELS, (X, labels), loss=inn_loss(), steps=1, batch_size=2, progress=False)
    with raises("got float32", "the argmax of one-hot vectors"):
        LABELS.sample(KEY, 2, np.eye(3, dtype=np.float32))
    for wrong, found in (([-1, 3], "-1 to 3"), (np.array(2**32), "4294967296 to 4294967296")):
        with raises(f"labels from 0 to 2, got {found}"):
            LABELS.encode(wrong)
    with raises("labels of an integer type", "got <U3"):
        LABELS.encode(np.array(["cat", "dog"]))


def test_batches_too_small_for_an_mmd():
    for loss in (inn_loss(), inn_loss(method="likelihood", x_weight=1)):
        with raises("at least 2 rows in a batch for an MMD, got 1; raise batch_size"):
            loss(MODEL, (X[:1], Y[:1]), KEY)
    assert jnp.isfinite(inn_loss(method="likelihood")(MODEL, (X[:1], Y[:1]), KEY)[0])


@pytest.mark.parametrize("name", ["z_bandwidths", "x_bandwidths", "y_bandwidth"])
@pytest.mark.parametrize(
    "value", [0.0, -1.0, (0.5, 0.0), (), "wide", float("inf"), 1e25, [[1.0], [0.5, 2.0]]]
)
def test_bandwidths_that_are_not_positive(name, value):
    with raises(f"expected {name} to be positive, got {value!r}"):
        inn_loss(**{name: value})


def test_conditions_have_one_bandwidth():
    with raises("expected y_bandwidth to be one length, got (0.5, 1.0)"):
        inn_loss(y_bandwidth=(0.5, 1.0))


PARTS = ("y", "z", "padding", "x", "reconstruction")


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        ({f"{part}_weight": 0 for part in PARTS}, ("all weights are 0",)),
        ({"x_weight": -1.0}, ("x_weight to be a number of at least 0, got -1.0",)),
        ({"z_weight": float("nan")}, ("z_weight to be a number of at least 0, got nan",)),
        ({"y_weight": True}, ("y_weight to be a number of at least 0, got True",)),
        ({"x_warm_up": True}, ("x_warm_up to be a number of steps of at least 0, got True",)),
        ({"z_noise": -0.1}, ("z_noise to be a number of at least 0, got -0.1",)),
        ({"method": "likelihood", "z_weight": 0}, ("by likelihood", "must be positive")),
        ({"method": "elbo"}, ("one of ['mmd', 'likelihood'], got 'elbo'",)),
        ({"x_warm_up": -1}, ("x_warm_up to be a number of steps of at least 0, got -1",)),
        ({"x_warm_up": 0.5}, ("x_warm_up to be a number of steps of at least 0, got 0.5",)),
    ],
)
def test_options_of_the_loss(options, parts):
    with raises(*parts):
        inn_loss(**options)


def test_a_weight_on_padding_alone_where_there_is_none():
    others = {f"{part}_weight": 0 for part in PARTS if part != "padding"}
    with raises("only padding_weight is positive", "no padding", "give another part a weight"):
        inn_loss(**others)(MODEL, (X, Y), KEY)


def test_models_and_batches_of_other_kinds():
    with raises("expected a model that jinn.flows.inn builds, got Flow"):
        inn_loss()(real_nvp(2, **SMALL), (X, Y), KEY)
    with raises("y is missing", "shape (*batch, 1), in training as the second of a tuple (x, y)"):
        inn_loss()(MODEL, X, KEY)
    with raises("inn_loss: x: expected an array of shape (*batch, 2), got a list that makes none"):
        inn_loss()(MODEL, [X, Y], KEY)
    with raises("inn_loss: x: expected shape (*batch, 2), got (6, 3)"):
        inn_loss()(MODEL, (np.ones((6, 3)), Y), KEY)
    with raises("rows of x and as many of y", "(n, 2) and (n, 1), got (6, 2) and (5, 1)"):
        inn_loss()(MODEL, (X, Y[:5]), KEY)
    with raises("rows of x and as many of y", "(n, 2) and (n), got (6, 2) and (6, 1)"):
        inn_loss()(LABELS, (X, np.zeros((6, 1), int)), KEY)
    with raises("It said", "INN: y: expected shape (*batch, 1), got (5, 2)"):
        jinn.fit(KEY, MODEL, (X, X), loss=inn_loss(), steps=1, batch_size=2, progress=False)


def test_data_to_initialise_from():
    with raises("rows of x and as many of y", "(n, 2) and (n), got (6, 2) and (6, 1)"):
        jinn.initialize(LABELS, X, np.zeros((6, 1), int))
    with raises("rows of x and as many of y", "got (2,) and (1,)"):
        jinn.initialize(MODEL, X[0], Y[0])
    with raises("rows of x and as many of y", "got (0, 2) and (0, 1)"):
        jinn.initialize(MODEL, X[:0], Y[:0])
    with raises("initialize: x has NaN or infinite values"):
        jinn.initialize(MODEL, X * np.nan, Y)
    with raises("initialize: y has NaN or infinite values"):
        jinn.initialize(MODEL, X, Y * np.inf)


def test_calls_that_do_not_fit():
    with raises("y is missing; expected observations of shape (*batch, 1)"):
        MODEL.sample(KEY, 3)
    with raises("INN: y: expected shape (*batch, 1), got (2,)"):
        MODEL.sample(KEY, 3, np.ones(2))
    with raises("INN.sample", "expected the shape of a draw to be a tuple", "got (-1,)"):
        MODEL.sample(KEY, -1, np.ones(1))
    with raises("INN.predict: x: expected shape (*batch, 2), got (3,)"):
        MODEL.predict(np.ones(3))
    for wrong in ("ab", [[1.0, 2.0], [1.0]], None):
        with raises(f"expected an array of shape (*batch, 2), got a {type(wrong).__name__}"):
            MODEL.predict(wrong)
    with raises("INN.log_prob: x is padded by 3 elements"):
        LABELS.log_prob(X, np.zeros(6, int))


def test_files(tmp_path):
    with pytest.warns(UserWarning, match="holds its arrays only"):
        MODEL.save(tmp_path / "own")
    with raises("does not say how its INN was built", "pass model="):
        INN.load(tmp_path / "own")
    with raises("the saved arrays do not fit the model", "pass model= a model built with the same"):
        INN.load(tmp_path / "own", model=LABELS)
    np.savez(tmp_path / "other.npz", a=np.ones(2))
    with raises("no file saved by jinn"):
        INN.load(tmp_path / "other.npz")


def test_the_check_of_latents():
    with raises("expected an INN of jinn.flows.inn, got Flow"):
        check_latent(real_nvp(2, **SMALL), X, Y)
    with raises("at least 3 rows of x and as many of y", "(6, 2) and (5, 1)"):
        check_latent(MODEL, X, Y[:5])
    with raises("at least 1 draw and a level between 0 and 1, got draws=0"):
        check_latent(MODEL, X, Y, draws=0)
    with raises("a level between 0 and 1", "level='5 %'"):
        check_latent(MODEL, X, Y, level="5 %")
    with raises("expected mmd_rows to be at least 3, or None for all, got 2"):
        check_latent(MODEL, X, Y, mmd_rows=2)
    for wrong in ((0.5, -1.0), (), "wide", None):
        with raises(f"check_latent: expected bandwidths to be positive, got {wrong!r}"):
            check_latent(MODEL, X, Y, bandwidths=wrong)

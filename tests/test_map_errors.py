"""The errors of linear and element-wise maps, of embeddings and of densities with parameters."""

from functools import partial
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from jinn import functional as F
from jinn.bijectors import (
    PLU,
    ActNorm,
    Affine,
    ConditionalAffine,
    Coupling,
    EmbedCondition,
    Exp,
    Householder,
    LeakyReLU,
    Orthogonal,
    Power,
    Reshape,
    Softplus,
    Tanh,
    TriangularAffine,
    half_mask,
)
from jinn.distributions import Normal, StudentT
from jinn.flows import Flow
from jinn.networks import MLP
from tests.errors import raises


@pytest.mark.parametrize("n_reflections", [0, -1, 1.5, True, "two"])
def test_reflections(n_reflections):
    with raises("Householder: expected n_reflections to be an integer of at least 1, or None", "g"):
        Householder((4,), n_reflections=n_reflections, rngs=0)


def test_conditional_reflections():
    text = "Householder: a conditioner needs conditions (condition_shape), and a last axis of"
    with raises(text, "got condition_shape=None"):
        Householder((4,), conditioner=lambda c: c, rngs=0)
    with raises(text, "an event of shape (1,)"):
        Householder((1,), condition_shape=(2,), rngs=0)
    wrong = Householder((4,), condition_shape=(2,), conditioner=lambda c: c, rngs=0)
    with raises("Householder: expected the conditioner to return shape (5, 16), the parameters"):
        wrong.forward(np.ones((5, 4)), np.ones((5, 2)))


def test_parametrization():
    with raises("Orthogonal: expected parametrization to be one of ['exponential', 'cayley', "):
        Orthogonal((3,), parametrization="givens", rngs=0)


@pytest.mark.parametrize("kind", [PLU, Householder])
def test_mixing_needs_an_axis_and_randomness(kind):
    for shape in ((), (0,), {"a": (3,)}):
        with raises(f"{kind.__name__}: expected an event with a last axis, got"):
            kind(shape, rngs=0)
    for rngs in (None, "seed", 0.5):
        with raises("rngs: expected an int, one JAX key or flax.nnx.Rngs, got", "for example 0"):
            kind((4,), rngs=rngs)
    with raises(f"{kind.__name__}: x: expected shape (*batch, 4), got (5,)"):
        kind((4,), rngs=0).forward(np.ones(5))


def test_triangular_affine():
    with raises("TriangularAffine: expected an event with a last axis, got ()"):
        TriangularAffine(())
    with raises("TriangularAffine: shift: expected a shape that broadcasts to the event (3,)"):
        TriangularAffine((3,), shift=[1.0, 2.0])
    for matrix in (np.eye(2), -np.eye(3), np.ones((3, 3)), np.zeros((3, 3)), np.nan * np.eye(3)):
        with raises(
            "TriangularAffine: expected a matrix of shape (3, 3), zero above its diagonal and "
            "positive on it, all finite, got shape"
        ):
            TriangularAffine((3,), matrix=matrix)


@pytest.mark.parametrize("value", [np.nan, np.inf, [0.5, -np.inf, 1.0]])
def test_maps_with_numbers_that_are_not_finite(value):
    text = ": expected finite numbers, got"
    for build in (Affine, TriangularAffine):
        with raises(f"{build.__name__}: shift{text}", str(value)):
            build((3,), shift=value, learned=False)
    with raises(f"Affine: scale{text}"):
        Affine((3,), scale=value)
    matrix = np.eye(3)
    matrix[1, 0] = np.max(np.abs(value))
    with raises("TriangularAffine: expected a matrix of shape (3, 3)", "all finite, got shape"):
        TriangularAffine((3,), matrix=matrix)


@pytest.mark.parametrize("dtype", [jnp.int32, bool, "text", jnp.complex64])
def test_types_of_parameters_that_are_not_floating(dtype):
    builders = {
        "PLU": lambda **o: PLU((3,), rngs=0, **o),
        "Householder": lambda **o: Householder((3,), rngs=0, **o),
        "Orthogonal": lambda **o: Orthogonal((3,), rngs=0, **o),
        "MLP": lambda **o: MLP(3, 4, rngs=0, **o),
        **{b.__name__: partial(b, (3,)) for b in (ActNorm, Affine, TriangularAffine)},
    }
    for name, build in builders.items():
        with raises(
            f"{name}: expected param_dtype to be a floating type such as", "got", str(dtype)
        ):
            build(param_dtype=dtype)


@pytest.mark.parametrize("exponent", [0, 0.0, 1e-320, 1e300, np.nan, np.inf, "two", None])
def test_powers(exponent):
    with raises("Power: expected a finite exponent other than 0, got", "use Invert(Exp("):
        Power((3,), exponent)
    if isinstance(exponent, float):
        for f in (F.power_forward, F.power_inverse):
            with raises("power: expected a finite exponent other than 0, got"):
                f(jnp.ones(3), exponent)
    with pytest.raises(TypeError, match="exponent"):
        Power((3,))


@pytest.mark.parametrize("slope", [0.0, -0.1, np.inf, np.nan, "steep"])
def test_slopes(slope):
    with raises("LeakyReLU: expected a positive, finite negative_slope, got"):
        LeakyReLU((3,), slope)
    if isinstance(slope, float):
        for f in (F.leaky_relu_forward, F.leaky_relu_inverse):
            with raises("leaky_relu: expected a positive, finite negative_slope, got"):
                f(jnp.ones(3), slope)


@pytest.mark.parametrize(
    "build",
    [
        Softplus,
        Tanh,
        LeakyReLU,
        Exp,
        lambda shape: Power(shape, 2.0),
        lambda shape: ConditionalAffine(shape, condition_shape=(2,), rngs=0),
        lambda shape: Reshape(shape, (2,)),
        lambda shape: Reshape((2,), shape),
        Normal,
        lambda shape: StudentT(shape, degrees_of_freedom=3.0),
    ],
)
def test_maps_of_dicts(build):
    with raises(": expected the shape of one array such as (4,), got {'a': (2,)}"):
        build({"a": (2,)})


def test_reshape():
    with raises(
        "Reshape: expected two shapes with the same number of elements, got event_shape (2, 3) "
        "with 6 and event_shape_out (5,) with 5"
    ):
        Reshape((2, 3), (5,))
    with raises("Reshape event_shape_out: expected a tuple of sizes such as (4,)", "got (-1,)"):
        Reshape((2, 3), (-1,))
    with raises("Reshape: y: expected shape (*batch, 6), got (2, 3)"):
        Reshape((2, 3), (6,)).inverse(np.ones((2, 3)))


def test_conditional_affine():
    with raises("ConditionalAffine: expected the shape of one condition, got None", "use Affine"):
        ConditionalAffine((3,), condition_shape=None, rngs=0)
    with raises("ConditionalAffine: the default conditioner needs rngs, such as rngs=0"):
        ConditionalAffine((3,), condition_shape=(2,))
    with raises("ConditionalAffine: expected conditioner to be callable, got int"):
        ConditionalAffine((3,), condition_shape=(2,), conditioner=3)
    for clamp in (0.0, -1.0, np.inf):
        with raises("ConditionalAffine: expected a positive, finite clamp, got"):
            ConditionalAffine((3,), condition_shape=(2,), clamp=clamp, rngs=0)
    wrong = ConditionalAffine((3,), condition_shape=(2,), conditioner=lambda c: c)
    with raises(
        "ConditionalAffine: expected the conditioner to return shape (5, 6), the "
        "parameters (2, 3) of an event as one axis, for a condition of batch (5,), got (5, 2)"
    ):
        wrong.forward(np.ones((5, 3)), np.ones((5, 2)))
    with raises("ConditionalAffine: the condition is missing; expected one of shape (*batch, 2)"):
        wrong.forward(np.ones((5, 3)))


def conditional(condition_shape: Any = (4,)) -> Coupling:
    return Coupling((3,), mask=half_mask(3), condition_shape=condition_shape, hidden=(4,), rngs=0)


def test_parts_of_embed_condition():
    with raises("EmbedCondition: expected a Bijector, got function", "wrap flow.bijector"):
        EmbedCondition(lambda x: x, lambda c: c, (2,))
    with raises("EmbedCondition: Exp takes no condition", "build it with the shape of the embed"):
        EmbedCondition(Exp((3,)), lambda c: c, (2,))
    with raises("EmbedCondition: expected network to be callable, got tuple"):
        EmbedCondition(conditional(), (2,), (2,))
    with raises("EmbedCondition: expected the shape of one condition, got None"):
        EmbedCondition(conditional(), lambda c: c, None)


def test_networks_that_embed_in_another_shape():
    x, c = np.ones((5, 3)), np.ones((5, 2))
    name = "EmbedCondition: what the network returns: expected"
    embed = EmbedCondition(conditional(), lambda c: c, (2,))
    for call in (embed.forward, embed.inverse, embed.log_det):
        with raises(name, "shape (*batch, 4), got (5, 2)"):
            call(x, c)
    with raises("EmbedCondition: condition: expected shape (*batch, 2), got (5, 4)"):
        embed.forward(x, np.ones((5, 4)))
    pooled = EmbedCondition(conditional(), lambda c: jnp.ones(4), (2,))
    with raises(name, "shape (*batch, 4) with the condition's batch (5,), got batch ()"):
        pooled.forward(x, c)
    named = EmbedCondition(conditional(), lambda c: {"a": c}, (2,))
    with raises(name, "an array of shape (*batch, 4), got a dict"):
        named.forward(x, c)
    lacking = EmbedCondition(conditional({"a": (2,), "b": ()}), lambda c: {"a": c}, (2,))
    with raises(name, "a dict with the keys ['a', 'b'], got ['a']"):
        lacking.forward(x, c)
    other = MLP(0, 4, hidden=(4,), condition_shape={"a": (2,)}, rngs=0)
    with raises("MLP: expected the condition's entries ['a'], got ['condition']"):
        EmbedCondition(conditional(), other, (2,)).forward(x, c)


def test_densities_with_parameters():
    for build in (Normal, lambda *args: StudentT(*args, degrees_of_freedom=3.0)):
        with raises(": expected a shape that broadcasts to the event (3,), got (2,)"):
            build((3,), [0.0, 1.0])
        with raises(": expected finite numbers, got nan"):
            build((3,), np.nan)
        for scale in (0.0, -1.0, [1.0, 1.0, np.inf], np.nan):
            with raises(": scale: expected positive, finite numbers, got"):
                build((3,), 0.0, scale)
    for nu in (0.0, -1.0, np.inf, np.nan, [1.0, 2.0, -3.0]):
        with raises("StudentT: degrees_of_freedom: expected positive, finite numbers, got"):
            StudentT((3,), degrees_of_freedom=nu)
    with raises("StudentT: degrees_of_freedom: expected a shape that broadcasts", "got (2,)"):
        StudentT((3,), degrees_of_freedom=[1.0, 2.0])


@pytest.mark.parametrize("base", [Normal((2,)), StudentT((2,), degrees_of_freedom=3.0)])
def test_a_base_of_another_shape(base):
    with raises(
        "Flow: the bijector gives events of shape (6,), but the base",
        type(base).__name__,
        "is over events of shape (2,)",
    ):
        Flow(Reshape((2, 3), (6,)), base)

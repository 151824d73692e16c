"""What a user gets wrong is said in the user's words: the thing, what it wants, what it got."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jinn import functional as F
from jinn.bijectors import (
    ActNorm,
    Affine,
    Chain,
    Coupling,
    Invert,
    Logit,
    Orthogonal,
    Permute,
    Sigmoid,
    Stack,
    TwoSidedCoupling,
    Unconstrain,
    initialize,
)
from jinn.bijectors.base import Bijector
from jinn.bijectors.transformers import Affine as AffineTransformer
from jinn.networks import MLP, SeparateNetworks, as_key
from tests.errors import raises

MASK = (False, True, True)
KEY = jax.random.key(0)


def coupling(**options: Any) -> Coupling:
    return Coupling((3,), **{"mask": MASK, "hidden": (4,), "rngs": 0} | options)


class Halve(Bijector):
    """Changes the event's shape: two halves are summed. No inverse."""

    def __init__(self, n):
        self._declare((n,), event_shape_out=(n // 2,))

    def _forward(self, x, condition, *, key, with_log_det):
        raise NotImplementedError

    _inverse = _forward


class Returns(Bijector):
    """Both directions return what the given function makes of the events."""

    def __init__(self, function: Any, event_shape: Any = (2,)):
        self._declare(event_shape)
        self.function = function

    def _forward(self, x, condition, *, key, with_log_det):
        return self.function(x)

    _inverse = _forward


# --- Calls ----------------------------------------------------------------------------------------

CALLS = ["forward_and_log_det", "inverse_and_log_det", "forward", "inverse", "log_det"]
PLAIN = {
    "Sigmoid": Sigmoid((3,)),
    "Permute": Permute((3,), rngs=0),
    "Coupling": coupling(),
    "Chain": Chain([Sigmoid((3,)), coupling()]),
    "Invert": Invert(Sigmoid((3,))),
    "Stack": Stack(lambda key: coupling(rngs=key), 2, rngs=0),
}


@pytest.mark.parametrize("name", PLAIN)
def test_wrong_event_size(name):
    for call in CALLS:
        argument = "y" if call.startswith("inverse") else "x"
        for shape in ((2, 4), (1,), (), (3, 2)):
            with raises(f"{name}: {argument}: ", "(*batch, 3)", f"got {shape}", "batch axes go in"):
                getattr(PLAIN[name], call)(np.ones(shape))


@pytest.mark.parametrize("name", PLAIN)
def test_unexpected_condition(name):
    for call in CALLS:
        with raises(f"{name}: got a condition, but takes none", "build it with a condition_shape"):
            getattr(PLAIN[name], call)(np.ones(3), np.ones(2))


CONDITIONAL = {
    "Coupling": coupling(condition_shape=(2,)),
    "Chain": Chain([Sigmoid((3,)), coupling(condition_shape=(2,))]),
    "Invert": Invert(coupling(condition_shape=(2,))),
    "Stack": Stack(lambda key: coupling(condition_shape=(2,), rngs=key), 2, rngs=0),
}


@pytest.mark.parametrize("name", CONDITIONAL)
def test_missing_and_wrong_sized_conditions(name):
    for call in CALLS:
        method = getattr(CONDITIONAL[name], call)
        with raises(f"{name}: the condition is missing; expected one of shape (*batch, 2)"):
            method(np.ones(3))
        with raises(f"{name}: condition: expected shape (*batch, 2), got (5, 3)"):
            method(np.ones(3), np.ones((5, 3)))
        with raises(f"{name}: condition: expected an array of shape (*batch, 2), got a dict"):
            method(np.ones(3), {"a": np.ones(2)})


@pytest.mark.parametrize("name", CONDITIONAL)
def test_batches_that_do_not_broadcast(name):
    for call in CALLS:
        with raises(f"{name}: the batch (4,) of", "the batch (5,) of the condition do not broad"):
            getattr(CONDITIONAL[name], call)(np.ones((4, 3)), np.ones((5, 2)))


def test_conditions_that_are_dicts():
    bijector = coupling(condition_shape={"a": (2,), "b": ()})
    with raises(
        "Coupling: the condition is missing; expected", "'a': (*batch, 2)", "'b': (*batch)"
    ):
        bijector.forward(np.ones(3))
    with raises("Coupling: condition: expected a dict with the keys ['a', 'b'], got ['a']"):
        bijector.forward(np.ones(3), {"a": np.ones(2)})
    with raises("Coupling: condition: expected a dict with the keys ['a', 'b'], got ndarray"):
        bijector.forward(np.ones(3), np.ones(2))
    with raises("Coupling: condition['a']: expected shape (*batch, 2), got (3,)"):
        bijector.forward(np.ones(3), {"a": np.ones(3), "b": 1.0})
    with raises("Coupling: condition: the batch axes of its entries do not broadcast", "(4, 2)"):
        bijector.forward(np.ones(3), {"a": np.ones((4, 2)), "b": np.ones(5)})


def test_values_that_are_no_real_numbers():
    with raises("Sigmoid: x: expected real numbers, got complex64"):
        Sigmoid((3,)).forward(np.ones(3, np.complex64))


# --- Constructors ---------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(2.7,), (-1,), "ab", None])
def test_event_shapes_that_are_none(shape):
    with raises("Sigmoid event_shape: expected a tuple of sizes such as (4,)", f"got {shape!r}"):
        Sigmoid(shape)


@pytest.mark.parametrize("mask", [(True, False), (0, 1, 1), ((True, False, True),), True], ids=repr)
def test_masks_that_do_not_fit(mask):
    with raises("Coupling: expected a mask of booleans of the event's shape (3,)", "got"):
        coupling(mask=mask)


def test_masks_that_transform_nothing_or_are_traced():
    with raises("Coupling: the mask transforms nothing; set it True somewhere"):
        coupling(mask=(False, False, False))
    with raises("Coupling: expected a static mask, got a traced array"):
        jax.jit(lambda mask: coupling(mask=mask).forward(jnp.ones(3)))(jnp.array(MASK))


def test_two_sided_couplings():
    def two_sided(**options):
        return TwoSidedCoupling((3,), **{"mask": MASK, "hidden": (4,), "rngs": 0} | options)

    with raises("TwoSidedCoupling: the mask leaves one part empty; set it False somewhere"):
        two_sided(mask=(True, True, True))
    with raises("TwoSidedCoupling: the mask transforms nothing"):
        two_sided(mask=(False, False, False))
    with raises("TwoSidedCoupling: expected a mask of booleans of the event's shape (3,)"):
        two_sided(mask=(True, False))
    with raises("TwoSidedCoupling: expected two conditioners, one for each part"):
        two_sided(conditioners=(MLP(1, 4, rngs=0),))
    with raises("TwoSidedCoupling: expected conditioner to be callable, got int"):
        two_sided(conditioners=(MLP(1, 4, rngs=0), 3))
    with raises("TwoSidedCoupling: the default conditioner needs rngs"):
        two_sided(rngs=None)
    with raises("SeparateNetworks: expected count >= 1, got 0"):
        SeparateNetworks(lambda key: MLP(1, 1, rngs=key), 0, rngs=0)


def test_transformers():
    names = "['additive', 'affine', 'rational_quadratic_spline', 'volume_preserving']"
    with raises(f"transformer: expected one of {names}", "got 'cubic'"):
        coupling(transformer="cubic")
    with raises("transformer: expected", "int lacks n_params, forward, inverse"):
        coupling(transformer=3)
    with raises("transformer: expected an object, got the class Affine; write Affine()"):
        coupling(transformer=AffineTransformer)


def test_conditioners():
    with raises("Coupling: expected conditioner to be callable, got int"):
        coupling(conditioner=3)
    with raises("Coupling: the default conditioner needs rngs, such as rngs=0"):
        coupling(rngs=None)
    with raises("Coupling: events of shape (2, 3) need a conditioner of their own"):
        Coupling((2, 3), mask=np.ones((2, 3), bool), rngs=0)
    wrong = coupling(conditioner=lambda u, condition: jnp.ones((5, 3)))
    with raises("coupling: expected the conditioner to return", "(5, 4)", "got (5, 3)"):
        wrong.forward(np.ones((5, 3)))


def test_widths_of_networks():
    assert MLP(3, 4, hidden=np.int64(8), rngs=0).hidden == (8,)
    assert MLP(3, 4, hidden=[np.int32(8), 4], rngs=0).hidden == (8, 4)
    for hidden in ("64", 8.0, (8, 4.5), None, ("8",)):
        with raises(
            "MLP: expected hidden to be the widths of the hidden layers", f"got {hidden!r}"
        ):
            MLP(3, 4, hidden=hidden, rngs=0)


def test_networks():
    with raises("activation: expected one of", "got 'swish'"):
        MLP(3, 4, activation="swish", rngs=0)
    with raises("MLP: residual=True needs hidden layers of equal width, got hidden=(8, 4)"):
        MLP(3, 4, hidden=(8, 4), residual=True, rngs=0)
    for options in ({"in_size": -1}, {"out_size": 0}, {"hidden": (8, 0)}):
        with raises("MLP: expected in_size >= 0, out_size >= 1", f"{next(iter(options))}="):
            MLP(**{"in_size": 3, "out_size": 4, "rngs": 0} | options)
    conditional = MLP(3, 4, condition_shape=(2,), rngs=0)
    with raises("MLP: expected the condition's entries ['condition'], got []"):
        conditional(jnp.ones(3))
    with raises("MLP: expected the condition's entries [], got ['condition']"):
        MLP(3, 4, rngs=0)(jnp.ones(3), jnp.ones(2))


@pytest.mark.parametrize(
    "build", [Affine, Sigmoid, Logit, lambda shape: Unconstrain(shape, 0.0, 1.0)]
)
def test_elementwise_maps_of_dicts(build):
    with raises(": expected the shape of one array such as (4,), got {'a': (2,)}"):
        build({"a": (2,)})


@pytest.mark.parametrize("rngs", ["seed", 0.5, True, None, np.ones(2), jax.random.split(KEY, 3)])
def test_rngs(rngs):
    with raises("rngs: expected an int, one JAX key or flax.nnx.Rngs, got", "for example 0"):
        as_key(rngs)
    for build in (
        lambda: Orthogonal((3,), rngs=rngs),
        lambda: Stack(lambda key: coupling(rngs=key), 2, rngs=rngs),
    ):
        with raises("rngs: expected an int, one JAX key or flax.nnx.Rngs, got"):
            build()


@pytest.mark.parametrize(
    "permutation",
    [(0, 1), (0, 1, 1), (1, 2, 3), "sorted", (0.0, 1.0, 2.0), np.array([[0, 1, 2]]), ()],
    ids=repr,
)
def test_permutations(permutation):
    with raises('Permute: expected "random", "reverse" or the integers 0 to 2 in some order, got'):
        Permute((3,), permutation)


def test_random_permutations():
    with raises("Permute: a random permutation needs rngs, for example rngs=0"):
        Permute((3,))
    with raises("Permute: expected leaving of length 3, got length 2"):
        Permute((3,), leaving=(True, False), rngs=0)
    assert Permute((3,), np.array([2, 0, 1])).order == (2, 0, 1)


@pytest.mark.parametrize(
    "build", [ActNorm, lambda s: Permute(s, rngs=0), lambda s: Orthogonal(s, rngs=0)]
)
@pytest.mark.parametrize("shape", [(), {"a": (3,)}])
def test_events_without_a_last_axis(build, shape):
    with raises("expected an event with a last axis, got"):
        build(shape)


def test_bounds():
    for low, high in ((1.0, 1.0), (2.0, 1.0), ([0, 0, 5], 3.0), (np.nan, 1.0)):
        with raises("Unconstrain: expected low < high for every element, got"):
            Unconstrain((3,), low, high)
    with raises("Unconstrain: high: expected a shape that broadcasts to the event (3,), got (2,)"):
        Unconstrain((3,), 0.0, [1.0, 2.0])


def test_scales():
    for scale in (0.0, -1.0, [1.0, 1.0, -1.0]):
        with raises("Affine: expected positive scales, got"):
            Affine((3,), scale=scale)
    with raises("Affine: shift: expected a shape that broadcasts to the event (3,), got (2,)"):
        Affine((3,), shift=[1.0, 2.0])


def test_chains():
    with raises("Chain: expected at least one bijector, got none"):
        Chain([])
    with raises("Chain: expected bijectors, got function at 1"):
        Chain([Sigmoid((3,)), lambda x: x])
    with raises("Chain: bijector 0 (Sigmoid) gives events of shape (3,)", "(Logit) expects (2,)"):
        Chain([Sigmoid((3,)), Logit((2,))])
    with raises("Chain: bijector 2 (Coupling) expects a condition of shape (1,)", "(2,)", "share"):
        Chain([coupling(condition_shape=(2,)), Sigmoid((3,)), coupling(condition_shape=(1,))])


def test_stacks():
    with raises("Stack: expected an integer depth >= 1, got 2.5"):
        Stack(lambda key: Affine((3,)), 2.5, rngs=0)
    with raises("Stack: expected an integer depth >= 1, got 0"):
        Stack(lambda key: Sigmoid((3,)), 0, rngs=0)
    with raises("Stack: expected backprop to be one of ['invert', 'remat', 'store'], got 'forget'"):
        Stack(lambda key: Sigmoid((3,)), 2, rngs=0, backprop="forget")
    with raises("Chain: expected backprop to be one of ['invert', 'remat', 'store'], got 'forget'"):
        Chain([Sigmoid((3,))], backprop="forget")
    with raises(
        "Stack: expected a block that keeps the event's shape, but Halve maps (4,) to (2,)"
    ):
        Stack(lambda key: Halve(4), 2, rngs=0)
    with raises("Stack: expected make_block to return a Bijector, got"):
        Stack(lambda key: jax.random.normal(key), 2, rngs=0)


def test_initialize():
    with raises("initialize: expected a Flow or a Bijector, got list"):
        initialize([ActNorm((3,))], np.ones((5, 3)))
    with raises("ActNorm: x: expected shape (*batch, 3), got (5, 2)"):
        initialize(ActNorm((3,)), np.ones((5, 2)))
    with raises("initialize: expected rows of x, got shape (0, 3)"):
        initialize(ActNorm((3,)), np.ones((0, 3)))
    with raises("initialize: x has NaN or infinite values; remove or repair these rows"):
        initialize(ActNorm((3,)), np.full((5, 3), np.nan))


# --- Pure functions -------------------------------------------------------------------------------


def test_soft_clamp():
    for limit in (0.0, -1.0, np.nan, np.inf):
        with raises("soft_clamp: expected a positive, finite limit, got"):
            F.soft_clamp(jnp.ones(3), limit)


def test_splines():
    x, w, s = jnp.ones(3), jnp.ones((4, 3)), jnp.ones((3, 3))
    for f in (F.rational_quadratic_spline_forward, F.rational_quadratic_spline_inverse):
        for params in ((w.T, w.T, s.T), (w, w, w), (w, s, s), (w[:1], w[:1], s[:0]), (x, x, x)):
            with raises("rational_quadratic_spline: expected widths and heights", "leading axis"):
                f(x, *params, bound=3.0)
        for bound in (0.0, -1.0, np.inf):
            with raises("rational_quadratic_spline: expected a positive, finite bound, got"):
                f(x, w, w, s, bound=bound)


# --- Bijectors of users ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("log_det", "got"),
    [
        (lambda x: 0.0, "()"),
        (lambda x: jnp.zeros(x.shape), "(3, 2)"),
        (lambda x: jnp.zeros((3, 1)), "(3, 1)"),
        (lambda x: None, "None"),
    ],
)
def test_log_determinants_of_another_shape(log_det, got):
    wrong = Returns(lambda x: (x, log_det(x)))
    text = "expected to return a log_det of shape (3,), one number for each event", f"got {got};"
    x = np.ones((3, 2))
    for bijector in (wrong, Chain([Sigmoid((2,)), wrong]), Stack(lambda _: wrong, 2, rngs=0)):
        with raises("Returns: _forward:", *text):
            bijector.forward_and_log_det(x)
        with raises("Returns: _inverse:", *text):
            bijector.inverse_and_log_det(x)
        assert bijector.forward(x).shape == (3, 2)  # where none is wanted, none is looked at
    with raises("Returns: _inverse:", *text):
        Invert(wrong).log_det(x)


def test_events_of_another_shape():
    x = np.ones((3, 2))
    narrow = Returns(lambda x: (x[..., :1], jnp.zeros(3)))
    text = "expected to return events of shape (3, 2), the batch (3,) and the declared (2,), got (3"
    for bijector in (narrow, Chain([narrow, Affine((2,))])):
        with raises(f"Returns: _forward: {text}, 1)"):
            bijector.forward(x)
        with raises(f"Returns: _inverse: {text}, 1)"):
            bijector.inverse_and_log_det(x)
    with raises(
        "Returns: _forward: expected to return the events and their log-determinant", "got"
    ):
        Returns(lambda x: jnp.ones(3)).forward(x)
    pair = {"a": (), "b": (2,)}
    event = {"a": np.ones(3), "b": x}
    assert Returns(lambda x: (x, jnp.zeros(3)), pair).forward(event).keys() == pair.keys()
    with raises("Returns: _forward: expected to return a dict of the keys ['a', 'b'], got ['a']"):
        Returns(lambda x: ({"a": x["a"]}, jnp.zeros(3)), pair).forward(event)
    with raises("Returns: _forward: expected to return events in 'b' of shape (3, 2)", "got (3,)"):
        Returns(lambda x: ({"a": x["a"], "b": x["a"]}, jnp.zeros(3)), pair).forward(event)

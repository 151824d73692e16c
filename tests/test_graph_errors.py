"""What is wrong with a graph is said when it is built, in words that name the node."""

import sys
from typing import Any

import jax.numpy as jnp
import pytest

from jinn.bijectors import (
    Affine,
    Concatenate,
    ConditionalAffine,
    Coupling,
    Graph,
    Node,
    Permute,
    Split,
)
from jinn.distributions import Joint, StandardNormal, Uniform
from jinn.flows import Flow
from tests.errors import raises


def conditional(condition_shape: Any, size: int = 2) -> ConditionalAffine:
    return ConditionalAffine((size,), condition_shape=condition_shape, hidden=(4,), rngs=0)


A, C = Affine((2,)), conditional((2,))
SPLIT, JOIN = Split((2,), {"a": 1, "b": 1}), Concatenate({"a": (2,), "b": (2,)})
TWO = {"u": (2,), "v": (2,)}


def graph(*nodes: Node, shape: Any = (2,), outputs: Any = "a", condition: Any = None) -> Graph:
    return Graph(shape, nodes, outputs, condition_shape=condition)


# --- Names ----------------------------------------------------------------------------------------


def test_names_that_clash():
    with raises("Graph: the name 'a' clashes, two nodes have it"):
        graph(Node("a", A, "x"), Node("a", A, "a"))
    with raises("Graph: the name 'x' clashes, it is of an input and of node 'x'"):
        graph(Node("x", A, "x"), outputs="x")
    with raises("the name 'u' clashes, it is of an input and of a condition"):
        graph(Node("a", C, "u", "u"), shape=TWO, condition={"u": (2,)})
    with raises("the name 's.a' clashes, it is of node 's.a' and of node 's'"):
        graph(Node("s.a", A, "x"), Node("s", SPLIT, "s.a"), outputs="s")
    with raises("the name 'c' clashes, it is of a condition and of node 'c'"):
        graph(Node("c", jnp.sin, "c"), Node("a", C, "x", "c"), condition={"c": (2,)})


def test_names_that_stand_twice_in_a_list():
    with raises("Graph: outputs: expected each name once, got ['a'] twice"):
        graph(Node("a", A, "x"), outputs=["a", "a"])


def test_names_that_nothing_has():
    with raises("Graph: node 'a': 'w' is unknown", "known are ['a', 'x']"):
        graph(Node("a", A, "w"))
    with raises("node 'a': 's.c' is unknown", "'s.a', 's.b'"):
        graph(Node("a", A, "s.c"), Node("s", SPLIT, "x"))
    with raises("Graph: outputs: 'z' is unknown"):
        graph(Node("a", A, "x"), outputs=["a", "z"])
    with raises("node 'n': 'label' is unknown"):
        graph(Node("n", jnp.sin, "label"), Node("a", C, "x", "n"))


def test_a_condition_that_nothing_declares():
    with raises("Graph: node 'a': condition: 'label' is unknown", "condition_shape declares"):
        graph(Node("a", C, "x", "label"))
    with raises("Graph: node 'a': condition: 'label' is unknown", "known are ['a', 'other', 'x']"):
        graph(Node("a", C, "x", "label"), condition={"other": (2,)})


@pytest.mark.parametrize("source", [{}, [], 3, None, {"a": 3}, {"a": ["x"]}, ["x", None]])
def test_what_is_no_name(source: Any):
    with raises("Graph: node 'a': "):
        graph(Node("a", JOIN, source))
    with raises("Graph: node 'n': "):
        graph(Node("n", jnp.sin, source), Node("a", C, "x", "n"))


def test_a_dict_where_one_array_goes():
    with raises("node 'a': expected one array in 'a', but 's' is a dict with the parts ['s.a'"):
        graph(Node("s", SPLIT, "x"), Node("a", JOIN, {"a": "s", "b": "x"}))


# --- Cycles and loose ends ------------------------------------------------------------------------


def test_cycles():
    with raises("Graph: the nodes form a cycle: 'a' -> 'a'"):
        graph(Node("a", A, "a"))
    with raises("the nodes form a cycle: ", "'b'"):
        graph(Node("a", A, "c"), Node("b", A, "a"), Node("c", A, "b"), outputs="x")
    with raises("the nodes form a cycle: ", "'a'"):
        graph(Node("a", C, "x", "b"), Node("b", A, "a"), outputs="b")
    with raises("Graph: the networks 'm', 'n' form a cycle"):
        nodes = Node("m", jnp.sin, "n"), Node("n", jnp.cos, "m")
        graph(*nodes, Node("a", C, "x", "n"))


def test_a_cycle_in_the_inverse():
    with raises("there is no inverse, because a condition", "'a' -> 'a'"):
        graph(Node("a", C, "x", "x"))
    with raises("there is no inverse", "'b'"):
        graph(Node("a", A, "x"), Node("b", C, "a", "x"), outputs="b")
    with raises("there is no inverse", "'n'"):
        nodes = Node("n", jnp.sin, "u"), Node("a", C, "u", "v"), Node("b", C, "v", "n")
        graph(*nodes, shape=TWO, outputs=["a", "b"])


def test_what_is_not_connected():
    with raises("Graph: 'v' of an input is taken by no node and is no output"):
        graph(Node("a", A, "u"), shape=TWO)
    with raises("Graph: 's.b' of node 's' is taken by no node", "the graph is not connected"):
        graph(Node("s", SPLIT, "x"), Node("a", Affine((1,)), "s.a"))
    with raises("Graph: 'b' of node 'b' is taken by no node and is no output"):
        graph(Node("a", A, "u"), Node("b", A, "v"), shape=TWO)
    with raises("Graph: the condition 'd' is used by no node; leave it out of condition_shape"):
        graph(Node("a", C, "x", "c"), condition={"c": (2,), "d": (2,)})
    with raises("Graph: what node 'n' gives is used by no node"):
        graph(Node("n", jnp.sin, "condition"), Node("a", C, "x", "condition"), condition=(2,))


def test_what_is_taken_twice():
    with raises("Graph: 'x' is taken by node 'a' and by node 'b'", "has no inverse"):
        graph(Node("a", A, "x"), Node("b", A, "x"), outputs=["a", "b"])
    with raises("Graph: 'a' is taken by node 'b' and by outputs"):
        graph(Node("a", A, "x"), Node("b", A, "a"), outputs=["a", "b"])
    with raises("Graph: 'x' is taken by node 'a' and by node 'a'"):
        graph(Node("a", JOIN, {"a": "x", "b": "x"}))
    with raises("Graph: 'a' is taken by outputs and by outputs"):
        graph(Node("a", A, "x"), outputs={"y": "a", "z": "a"})


# --- Shapes and kinds -----------------------------------------------------------------------------


def test_shapes_that_do_not_meet():
    with raises("Graph: node 'a' (Affine) expects events of shape (2,), but 'x' has shape (3,)"):
        graph(Node("a", A, "x"), shape=(3,))
    with raises("node 'a' (Concatenate) expects", "{'a': 'u', 'b': 'v'}", "'b': (3,)"):
        graph(Node("a", JOIN, {"a": "u", "b": "v"}), shape={"u": (2,), "v": (3,)})
    with raises("node 'a' (Concatenate) expects", "{'c': 'u', 'b': 'v'}"):
        graph(Node("a", JOIN, {"c": "u", "b": "v"}), shape=TWO)
    with raises("node 'a' (Affine) expects events of shape (2,)", "'s.a'", "(1,)"):
        graph(Node("s", SPLIT, "x"), Node("a", A, "s"))
    with raises("node 'a' (ConditionalAffine) expects a condition of shape (2,), but 'c' has"):
        graph(Node("a", C, "x", "c"), condition={"c": (4,)})
    with raises("node 'a' (ConditionalAffine) expects a condition of shape (2,), but 'n' has"):
        nodes = Node("n", lambda c: c[..., :1], "condition"), Node("a", C, "x", "n")
        graph(*nodes, condition=(2,))


def test_conditions_that_are_missing_or_not_wanted():
    with raises("node 'a' (ConditionalAffine) expects a condition of shape (2,); name it"):
        graph(Node("a", C, "x"), condition=(2,))
    with raises("node 'a' (Affine) takes no condition", "is given 'condition'"):
        graph(Node("a", A, "x", "condition"), condition=(2,))
    with raises("node 'n' is a network and takes no condition"):
        graph(Node("n", jnp.sin, "x", "condition"), condition=(2,))


def test_conditions_are_no_events():
    with raises("node 'a' (Affine) takes 'condition' of a condition, which is no part of"):
        graph(Node("a", A, "condition"), condition=(2,), outputs=["x", "a"])
    with raises("node 'a' (Affine) takes 'n' of node 'n', which is no part of the event"):
        graph(Node("n", jnp.sin, "x"), Node("a", A, "n"), outputs=["x", "a"])
    with raises("Graph: outputs: 'n' of node 'n' is no part of the event"):
        graph(Node("n", jnp.sin, "x"), Node("a", A, "x"), outputs=["a", "n"])


def test_what_is_no_node():
    with raises("Graph: expected nodes such as Node(", "got ('a', "):
        graph(("a", A, "x"))  # type: ignore[arg-type]
    with raises("Graph: expected nodes such as Node("):
        graph(Node("", A, "x"))
    with raises("node 'a': expected a Bijector or a network", "got Flow", "take flow.bijector"):
        graph(Node("a", Flow(A, StandardNormal((2,))), "x"))
    with raises("Graph: expected at least one node that is a bijector"):
        graph(outputs="x")


def test_networks_that_fail():
    def pairs(c):
        return c, c

    with raises("node 'n': the network fails on inputs of shape (2,): ", "incompatible"):
        nodes = Node("n", lambda c: c + jnp.ones(3), "condition"), Node("a", C, "x", "n")
        graph(*nodes, condition=(2,))
    with raises("node 'n': expected the network to return an array or a dict of arrays, got tuple"):
        graph(Node("n", pairs, "condition"), Node("a", C, "x", "n"), condition=(2,))
    with raises("node 'n': expected the network to return", "got dict in 'deep'"):
        graph(
            Node("n", lambda c: {"deep": {"er": c}}, "c"),
            Node("a", C, "x", "n"),
            condition={"c": (2,)},
        )


# --- Calls ----------------------------------------------------------------------------------------


def test_errors_inside_a_node_name_it():
    def flat(c):
        return jnp.ravel(c)

    network = graph(Node("n", flat, "condition"), Node("a", C, "x", "n"), condition=(2,))
    with raises("Graph: what node 'n' gives: expected shape (*batch, 2)") as caught:
        network.forward(jnp.ones((3, 2)), jnp.ones((3, 2)))
    assert caught.value.__notes__[0] == "This happened in node 'n' of a Graph."
    broken = Coupling((2,), mask=(True, False), conditioner=lambda u, c: u[..., :0])
    inner = graph(Node("a", broken, "x"))
    with raises("param") as caught:
        graph(Node("outer", inner, "x"), outputs="outer").forward(jnp.ones((3, 2)))
    assert [note.split("'")[1] for note in caught.value.__notes__[:2]] == ["a", "outer"]


def test_drawing_without_matplotlib(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(ImportError, match=r"Graph\.draw needs matplotlib: pip install matplotlib"):
        graph(Node("a", A, "x")).draw()


def test_errors_of_sub_graphs():
    whole = graph(Node("n", jnp.sin, "condition"), Node("a", C, "x", "n"), condition=(2,))
    with raises("Graph.subgraph: ['b'] are no nodes, there are ['n', 'a']"):
        whole.subgraph("a", "b")
    with raises("Graph: expected at least one node that is a bijector"):
        whole.subgraph("n")
    with raises("Graph.subgraph: [['a', 'b']] are no nodes"):
        graph(Node("a", A, "x")).subgraph(["a", "b"])  # type: ignore[arg-type]


# --- Split, Concatenate, Joint --------------------------------------------------------------------


def test_errors_of_split():
    with raises("Split: expected sizes that add up to 4", "event (3, 4)", "{'a': 1, 'b': 2}"):
        Split((3, 4), {"a": 1, "b": 2})
    for sizes in ({}, {"a": 0, "b": 4}, {"a": 1.5, "b": 2.5}, (2, 2), {"a": (4,)}):
        with raises("Split: expected the positive size of each part by its name"):
            Split((4,), sizes)  # type: ignore[arg-type]
    for axis in (1, -2, None):
        with raises("Split: expected an axis of an event of 1 axes, got"):
            Split((4,), {"a": 4}, axis=axis)  # type: ignore[arg-type]
    with raises("Split: expected an axis of an event of 0 axes"):
        Split((), {"a": 1})


def test_errors_of_concatenate():
    for axis, shapes in ((-1, {"a": (2, 1), "b": (3, 1)}), (0, {"a": (2, 1), "b": (1,)})):
        with raises(f"Concatenate: expected parts whose shapes differ in axis {axis} alone"):
            Concatenate(shapes, axis=axis)
    for shapes in ({}, (2,)):
        with raises("Concatenate: expected the shape of each part by its name"):
            Concatenate(shapes)  # type: ignore[arg-type]
    with raises("Concatenate: expected an axis of an event of 1 axes, got 1"):
        Concatenate({"a": (2,)}, axis=1)


def test_errors_of_joint():
    with raises("Joint: expected a density for each key of the events, a dict, got {}"):
        Joint({})
    with raises("Joint: expected a Distribution of single arrays for 'y', got Permute"):
        Joint({"y": Permute((2,), "reverse")})  # type: ignore[dict-item]
    with raises("Joint: expected a Distribution of single arrays for 'y', got StandardNormal"):
        Joint({"y": StandardNormal({"a": (2,)})})
    with raises("Flow: the bijector gives events of shape", "the base Joint is over"):
        Flow(graph(Node("a", A, "x")), Joint({"a": Uniform((2,), 0.0, 1.0)}))

"""The registry's cases of graphs, and of what cuts events in parts and joins them."""

from typing import Any

import jax
import jax.numpy as jnp

from jinn.bijectors import (
    ActNorm,
    Affine,
    Chain,
    Concatenate,
    ConditionalAffine,
    Coupling,
    Graph,
    Invert,
    Node,
    Permute,
    Reshape,
    Split,
    half_mask,
)
from jinn.networks import MLP
from tests.registry_case import Case


def moved(shape: Any, condition_shape: Any, dtype: Any, rngs: Any = 0) -> ConditionalAffine:
    """Moves and scales by a condition."""
    return ConditionalAffine(
        shape, condition_shape=condition_shape, hidden=(4,), param_dtype=dtype, rngs=rngs
    )


def coupling(size: int, condition_shape: Any, dtype: Any, rngs: Any = 0) -> Coupling:
    return Coupling(
        (size,),
        mask=half_mask(size),
        condition_shape=condition_shape,
        hidden=(4,),
        param_dtype=dtype,
        rngs=rngs,
    )


def embedding(size: int, condition_shape: Any, dtype: Any) -> MLP:
    return MLP(
        0,
        size,
        hidden=(4,),
        condition_shape=condition_shape,
        zero_init_last=False,
        param_dtype=dtype,
        rngs=1,
    )


def diamond(dtype: Any, rngs: Any = 0) -> Graph:
    """Cut in two, one half moved by the other, joined: a coupling made of a graph."""
    return Graph(
        (3,),
        [
            Node("joined", Concatenate({"a": (2,), "b": (1,)}), {"a": "moved", "b": "halves.b"}),
            Node("moved", moved((2,), (1,), dtype, rngs), "halves.a", "halves.b"),
            Node("halves", Split((3,), {"a": 2, "b": 1}), "x"),
        ],
        "joined",
    )


def two_outputs(dtype: Any) -> Graph:
    """Two inputs of different shapes, mixed, and two outputs; a condition used by two nodes."""
    return Graph(
        {"x": (3,), "w": (2, 1)},
        [
            Node("flat", Reshape((2, 1), (2,)), "w"),
            Node("all", Concatenate({"x": (3,), "flat": (2,)}), ["x", "flat"]),
            Node("mixed", coupling(5, (2,), dtype), "all", "c"),
            Node("parts", Split((5,), {"y": 2, "z": 3}), "mixed"),
            Node("y", Affine((2,), scale=0.5, param_dtype=dtype), "parts.y"),
            Node("z", moved((3,), {"c": (2,), "y": (2,)}, dtype), "parts.z", ["c", "y"]),
        ],
        ["y", "z"],
        condition_shape={"c": (2,)},
    )


def through_networks(dtype: Any) -> Graph:
    """A network of two conditions whose parts condition two nodes, and a network of an event."""

    def heads(features: jax.Array) -> dict[str, jax.Array]:
        return {"a": features[..., :2], "b": jnp.sin(features)}

    shared, last = {"b": "heads.b", "s": "seen"}, {"b": "heads.b", "c": "c"}
    return Graph(
        {"u": (2,), "v": (2,)},
        [
            Node("heads", heads, "trunk"),
            Node("trunk", embedding(3, {"c": (2,), "d": (2, 2)}, dtype), ["c", "d"]),
            Node("first", moved((2,), (2,), dtype, 2), "u", "heads.a"),
            Node("seen", embedding(2, (2,), dtype), "first"),
            Node("shared", moved((2,), {"b": (3,), "s": (2,)}, dtype), "v", shared),
            Node("last", moved((2,), {"b": (3,), "c": (2,)}, dtype), "first", last),
        ],
        {"y": "last", "z": "shared"},
        condition_shape={"c": (2,), "d": (2, 2)},
    )


def nested(dtype: Any) -> Graph:
    """A graph inside a graph, a chain and a stack beside it."""
    inner = two_outputs(dtype)
    block = Chain([ActNorm((3,), param_dtype=dtype), Permute((3,), "reverse")])
    return Graph(
        {"x": (3,), "w": (2, 1)},
        [
            Node("inner", inner, ["x", "w"], {"c": "condition"}),
            Node("z", Chain([block, Invert(diamond(dtype))]), "inner.z"),
        ],
        {"y": "inner.y", "z": "z"},
        condition_shape=(2,),
    )


def image_and_vector(dtype: Any) -> Graph:
    """An image that a vector moves, pixel by pixel, and the vector moved by a label."""
    pixels = Coupling(
        (2, 2, 2),
        mask=[[[True, False]] * 2] * 2,
        conditioner=MLP(1, 2, hidden=(4,), condition_shape=(2,), param_dtype=dtype, rngs=0),
        condition_shape=(2,),
    )
    return Graph(
        {"image": (2, 2, 2), "vector": (2,)},
        [
            Node("norm", ActNorm((2, 2, 2), param_dtype=dtype), "image"),
            Node("pixels", pixels, "norm", "vector"),
            Node("moved", moved((2,), (3,), dtype), "vector", "condition"),
        ],
        {"image": "pixels", "vector": "moved"},
        condition_shape=(3,),
    )


def subgraph(dtype: Any) -> Graph:
    return through_networks(dtype).subgraph("heads", "first", "seen", "shared")


GRAPH_CASES: dict[str, Case] = {
    "split": Case(Split, lambda dtype: Split((4,), {"b": 1, "a": 3})),
    "split image": Case(Split, lambda dtype: Split((2, 3), {"b": 1, "a": 1}, axis=0)),
    "concatenate": Case(Concatenate, lambda dtype: Concatenate({"b": (2, 1), "a": (2, 3)})),
    "graph, diamond": Case(Graph, diamond),
    "graph, two outputs": Case(Graph, two_outputs),
    "graph, through networks": Case(Graph, through_networks),
    "graph, nested": Case(Graph, nested),
    "graph, image and vector": Case(Graph, image_and_vector),
    "graph, sub-graph": Case(Graph, subgraph),
    "chain split and join": Case(
        Chain,
        lambda dtype: Chain(
            [
                Split((4,), {"x": 3, "w": 1}),
                Graph(
                    {"x": (3,), "w": (1,)},
                    [Node("w2", moved((1,), (3,), dtype), "w", "x")],
                    {"x": "x", "w": "w2"},
                ),
                Concatenate({"w": (1,), "x": (3,)}),
            ]
        ),
    ),
}

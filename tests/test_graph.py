"""Graphs of bijectors: what they compute, inside and out, and what else knows them."""

import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jinn.bijectors import (
    ActNorm,
    Affine,
    Chain,
    Concatenate,
    ConditionalAffine,
    Graph,
    Invert,
    Node,
    Orthogonal,
    Permute,
    Split,
    Stack,
    initialize,
    trainable,
)
from jinn.bijectors.module import first_not_finite, needs_initialization
from jinn.distributions import Joint, Normal, StandardNormal
from jinn.flows import Flow
from jinn.functional.solver import SolverInfo
from tests.registry_graph import coupling, diamond, moved, through_networks, two_outputs
from tests.test_solver_info import Halving

KEY = jax.random.key(0)


def far_from_identity(module: Any) -> Any:
    generator = np.random.default_rng(3)

    def move(leaf: Any, learned: bool) -> jax.Array:
        return leaf + learned * jnp.asarray(0.3 * generator.normal(size=leaf.shape), leaf.dtype)

    return jax.tree.map(move, module, trainable(module))


def normal(shape: Any, batch: tuple = (4,), seed: int = 0) -> Any:
    generator = np.random.default_rng(seed)
    shapes = shape if isinstance(shape, dict) else {"": shape}
    drawn = {
        key: jnp.asarray(generator.normal(size=(*batch, *size)), jnp.float32)
        for key, size in shapes.items()
    }
    return drawn if isinstance(shape, dict) else drawn[""]


class Noisy(Affine):
    """An affine map whose log-determinant is a random number where there is a key."""

    def _forward(self, x, condition, *, key, with_log_det):
        y, log_det = super()._forward(x, condition, key=key, with_log_det=with_log_det)
        return y, log_det if key is None else jax.random.normal(key, log_det.shape)


# --- Split and Concatenate ------------------------------------------------------------------------


def test_split_and_concatenate_are_inverse_and_follow_the_order_given():
    x = jnp.arange(24.0).reshape(2, 4, 3)
    split = Split((4, 3), {"z": 1, "a": 3}, axis=0)
    parts, log_det = split.forward_and_log_det(x)
    np.testing.assert_array_equal(parts["z"], x[:, :1])
    np.testing.assert_array_equal(parts["a"], x[:, 1:])
    assert log_det.shape == (2,) and not log_det.any()
    join = Concatenate({"z": (1, 3), "a": (3, 3)}, axis=-2)
    np.testing.assert_array_equal(join.forward(parts), x)
    assert join.event_shape == split.event_shape_out
    reversed_order = Concatenate({"a": (3, 3), "z": (1, 3)}, axis=-2)
    np.testing.assert_array_equal(reversed_order.forward(parts)[:, :3], x[:, 1:])
    for part, back in zip(*map(jax.tree.leaves, (parts, join.inverse(x))), strict=True):
        np.testing.assert_array_equal(part, back)


# --- Values and log-determinants ------------------------------------------------------------------


def test_a_linear_graph_is_a_chain_to_the_last_bit():
    members = [
        Noisy((3,), scale=2.0),
        far_from_identity(coupling(3, (2,), jnp.float32)),
        Noisy((3,), shift=[1.0, 2.0, 3.0], scale=0.5),
        Permute((3,), "reverse"),
    ]
    chain = Chain(members)
    conditions = [None, "condition", None, None]
    nodes = [
        Node(f"n{i}", member, f"n{i - 1}" if i else "x", condition)
        for i, (member, condition) in enumerate(zip(members, conditions, strict=True))
    ]
    graph = Graph((3,), nodes, "n3", condition_shape=(2,))
    x, c = normal((3,)), normal((2,), ())
    for key in (None, KEY):
        for method in ("forward_and_log_det", "inverse_and_log_det"):
            expected = getattr(chain, method)(x, c, key=key)
            for got, want in zip(getattr(graph, method)(x, c, key=key), expected, strict=True):
                np.testing.assert_array_equal(got, want)
    assert graph.fast_direction == chain.fast_direction == "both"


def test_a_diamond_is_a_coupling_computed_by_hand():
    graph = far_from_identity(diamond(jnp.float32))
    x = normal((3,), (2, 4))
    y, log_det, inside = graph.forward_with_intermediates(x)
    assert (y.shape, log_det.shape) == ((2, 4, 3), (2, 4))
    expected, part = graph["moved"].forward_and_log_det(x[..., :2], x[..., 2:])
    np.testing.assert_allclose(y, jnp.concatenate([expected, x[..., 2:]], -1), rtol=1e-6)
    np.testing.assert_allclose(log_det, part, rtol=1e-6)
    assert set(inside.values) == {"x", "halves.a", "halves.b", "moved", "joined"}
    np.testing.assert_array_equal(inside.values["halves.b"], x[..., 2:])
    np.testing.assert_allclose(inside.values["moved"], expected, rtol=1e-6)
    back, _, inside_back = graph.inverse_with_intermediates(y)
    np.testing.assert_allclose(back, x, atol=1e-5)
    for wire, value in inside.values.items():
        np.testing.assert_allclose(inside_back.values[wire], value, atol=1e-5)


@pytest.mark.parametrize("inverse", [False, True], ids=["forward", "inverse"])
def test_the_log_dets_of_the_nodes_sum_to_that_of_the_graph(inverse: bool):
    graph = far_from_identity(through_networks(jnp.float32))
    x = normal(graph.event_shape_out if inverse else graph.event_shape)
    c = normal(graph.condition_shape, seed=1)
    run = graph.inverse_with_intermediates if inverse else graph.forward_with_intermediates
    _, log_det, inside = jax.jit(lambda x, c: run(x, c))(x, c)
    assert set(inside.log_dets) == {"first", "last", "shared"}
    assert all(np.abs(part).max() > 1e-3 for part in inside.log_dets.values())
    np.testing.assert_allclose(sum(inside.log_dets.values()), log_det, rtol=1e-5)
    plain = graph.inverse_and_log_det if inverse else graph.forward_and_log_det
    np.testing.assert_allclose(plain(x, c)[1], log_det, rtol=1e-5)


def test_a_network_runs_at_the_batch_of_what_it_takes():
    seen = []

    def network(c):
        seen.append(c.shape)
        return c

    nodes = [
        Node("features", network, "condition"),
        Node("first", moved((2,), (2,), jnp.float32), "x", "features"),
        Node("second", moved((2,), (2,), jnp.float32), "first", "features"),
    ]
    graph = Graph((2,), nodes, "second", condition_shape=(2,))
    assert seen == [(2,)]  # when it was built
    assert graph.forward(normal((2,), (5, 3)), jnp.ones(2)).shape == (5, 3, 2)
    assert seen[1:] == [(2,)]


def test_every_node_has_a_key_of_its_own_in_both_directions():
    nodes = [Node("a", Noisy((2,)), "x"), Node("b", Noisy((2,)), "w"), Node("c", Noisy((2,)), "b")]
    graph = Graph({"x": (2,), "w": (2,)}, nodes, {"y": "a", "z": "c"})
    parts = graph.forward_with_intermediates(normal(graph.event_shape), key=KEY)[2].log_dets
    expected = [jax.random.normal(key, (4,)) for key in jax.random.split(KEY, 3)]
    for name, value in zip("abc", expected, strict=True):
        np.testing.assert_array_equal(parts[name], value)


# --- Transformations and containers ---------------------------------------------------------------


def test_a_graph_in_chain_invert_and_stack():
    graph = far_from_identity(diamond(jnp.float32))
    x = normal((3,))
    y, log_det = graph.forward_and_log_det(x)
    both = Chain([graph, Permute((3,), "reverse"), Invert(graph)])
    once = graph.inverse_and_log_det(y[:, ::-1])
    got = both.forward_and_log_det(x)
    np.testing.assert_allclose(got[0], once[0], atol=1e-6)
    np.testing.assert_allclose(got[1], log_det + once[1], atol=1e-6)
    stack = far_from_identity(Stack(lambda key: diamond(jnp.float32, key), 2, rngs=0))
    expected = Chain(list(stack)).forward_and_log_det(x)
    for value, want in zip(stack.forward_and_log_det(x), expected, strict=True):
        np.testing.assert_allclose(value, want, atol=1e-6)


def test_gradients_vmap_over_graphs_and_copies():
    def make(key):
        return Graph((3,), [Node("g", diamond(jnp.float32, key), "x")], "g")

    graphs = jax.vmap(make)(jax.random.split(KEY, 2))
    x = normal((3,))

    @jax.jit
    def gradient(graph, x):
        return jax.grad(lambda g: jnp.sum(g.forward(x) ** 2) + jnp.sum(g.log_det(x)))(graph)

    mapped = jax.vmap(gradient, (0, None))(graphs, x)
    single = gradient(jax.tree.map(lambda leaf: leaf[1], graphs), x)
    for a, b in zip(jax.tree.leaves(mapped), jax.tree.leaves(single), strict=True):
        np.testing.assert_allclose(a[1], b, atol=1e-5)
    graph = make(KEY)
    for copy in (nnx.clone(graph), nnx.merge(*nnx.split(graph))):
        np.testing.assert_array_equal(copy.forward(x), graph.forward(x))
        assert str(copy) == str(graph)


def test_initialize_reaches_the_actnorms_of_a_graph_in_both_directions():
    nodes = [
        Node("norm", ActNorm((3,)), "x"),
        Node("other", Chain([Affine((2,), shift=9.0), ActNorm((2,))]), "w"),
        Node("moved", far_from_identity(moved((2,), (3,), jnp.float32)), "other", "norm"),
        Node("last", ActNorm((2,)), "moved"),
    ]
    graph = Graph({"x": (3,), "w": (2,)}, nodes, {"y": "norm", "z": "last"})
    x = jax.tree.map(lambda a: 5.0 + 3.0 * a, normal(graph.event_shape, (200,)))
    new = initialize(graph, x)
    assert needs_initialization(graph) and not needs_initialization(new)
    values = new.forward_with_intermediates(x)[2].values
    for wire in ("norm", "other", "last"):
        np.testing.assert_allclose(values[wire].mean(0), 0.0, atol=1e-4)
        np.testing.assert_allclose(values[wire].var(0), 1.0, atol=1e-3)
    swapped = Graph({"y": (3,), "z": (2,)}, [Node("back", Invert(graph), ["y", "z"])], "back")
    new = initialize(swapped, {"y": x["x"], "z": x["w"]})
    assert not needs_initialization(new)
    out = new.forward({"y": x["x"], "z": x["w"]})
    np.testing.assert_allclose(out["x"].mean(0), 0.0, atol=1e-4)
    np.testing.assert_allclose(out["x"].var(0), 1.0, atol=1e-3)


def test_solves_report_in_the_order_in_which_they_ran():
    nodes = [
        Node("b", Halving(2), "a"),
        Node("a", Chain([Halving(1), Invert(Halving(3))]), "x"),
        Node("other", Permute((2,), "reverse"), "w"),
    ]
    graph = Graph({"x": (2,), "w": (2,)}, nodes, {"y": "b", "z": "other"})
    events = {"x": jnp.ones((3, 2)), "w": jnp.ones((3, 2))}
    infos = graph.forward_with_info(events)[2]
    assert all(isinstance(info, SolverInfo) for info in infos)
    assert [int(info.steps[0]) for info in infos] == [0, 3, 0]
    events = {"y": jnp.ones((3, 2)), "z": jnp.ones((3, 2))}
    assert [int(info.steps[0]) for info in graph.inverse_with_info(events)[2]] == [2, 0, 1]
    assert graph.fast_direction == "neither"


def test_the_first_node_that_is_not_finite_is_named():
    def broken(c):
        return jnp.concatenate([c, jnp.log(c)], -1)

    wrong = ConditionalAffine((2,), condition_shape=(2,), conditioner=broken)
    nodes = [Node("fine", Affine((2,)), "x"), Node("log", Chain([Affine((2,)), wrong]), "w", "x")]
    graph = Graph({"x": (2,), "w": (2,)}, nodes, {"y": "fine", "z": "log"})
    x = {"x": -jnp.ones((3, 2)), "w": jnp.ones((3, 2))}
    assert first_not_finite(graph, x) == "bijector['log'][1] (ConditionalAffine)"
    assert first_not_finite(graph, jax.tree.map(jnp.abs, x)) is None
    back = Invert(graph)
    name = first_not_finite(back, {"y": x["x"], "z": x["w"]})
    assert name == "bijector.bijector['log'][1] (ConditionalAffine)"


# --- Flows ----------------------------------------------------------------------------------------


def test_a_flow_over_a_graph_of_one_array():
    graph = far_from_identity(diamond(jnp.float32))
    flow = Flow(Chain([graph, Orthogonal((3,), rngs=0)]), StandardNormal((3,)))
    x, log_prob = flow.sample_and_log_prob(KEY, (5,))
    z, log_det = flow.bijector.forward_and_log_det(x)
    expected = -0.5 * np.sum(z**2, -1) - 1.5 * np.log(2 * np.pi) + log_det
    np.testing.assert_allclose(log_prob, expected, atol=1e-4)
    np.testing.assert_allclose(flow.log_prob(x), log_prob, atol=1e-4)


def test_a_flow_over_dicts_with_a_base_for_each_output():
    graph = far_from_identity(two_outputs(jnp.float32))
    base = Joint({"z": StandardNormal((3,)), "y": Normal((2,), 1.0, 2.0)})
    flow, c = Flow(graph, base), normal(graph.condition_shape, (2,))
    x, log_prob = flow.sample_and_log_prob(KEY, (3000,), c)  # evaluated in chunks
    assert {k: v.shape for k, v in x.items()} == {"x": (3000, 2, 3), "w": (3000, 2, 2, 1)}
    np.testing.assert_allclose(flow.log_prob(x, c), log_prob, atol=1e-3)
    z, log_det = graph.forward_and_log_det(jax.tree.map(lambda a: a[:3], x), c)
    expected = -0.5 * jnp.sum(((z["y"] - 1) / 2) ** 2, -1) - 0.5 * jnp.sum(z["z"] ** 2, -1)
    expected = expected + log_det - 2.5 * np.log(2 * np.pi) - 2 * np.log(2)
    np.testing.assert_allclose(log_prob[:3], expected, atol=1e-4)


# --- Sub-graphs, tables, pictures -----------------------------------------------------------------


def test_nodes_by_name_and_sub_graphs():
    graph = far_from_identity(through_networks(jnp.float32))
    x, c = normal(graph.event_shape), normal(graph.condition_shape, seed=1)
    values = graph.forward_with_intermediates(x, c)[2].values
    assert graph["trunk"](jnp.zeros(0), c).shape == (4, 3)
    assert callable(graph["heads"])
    with pytest.raises(KeyError, match="no node 'middle'"):
        graph["middle"]
    sub = graph.subgraph("shared", "last", "seen")
    assert sub.event_shape == {"first": (2,), "v": (2,)}
    assert sub.event_shape_out == {"last": (2,), "shared": (2,)}
    assert sub.condition_shape == {"heads.b": (3,), "c": (2,)}
    part = sub.forward(
        {wire: values[wire] for wire in sub.event_shape},
        {wire: values[wire] for wire in sub.condition_shape},
    )
    for wire, value in part.items():
        np.testing.assert_allclose(value, values[wire], rtol=1e-6)
    rebuilt = Graph(
        graph.event_shape,
        graph.nodes,
        {"y": "last", "z": "shared"},
        condition_shape=graph.condition_shape,
    )
    np.testing.assert_array_equal(rebuilt.forward(x, c)["y"], graph.forward(x, c)["y"])


def test_what_comes_out_of_a_node_may_be_taken_whole():
    nodes = [
        Node("parts", Split((3,), {"a": 1, "b": 2}), "x"),
        Node("joined", Concatenate({"b": (2,), "a": (1,)}), "parts"),
    ]
    x = normal((3,))
    y = Graph((3,), nodes, "joined").forward(x)
    np.testing.assert_array_equal(y, x[:, [1, 2, 0]])
    whole = Graph((3,), nodes[:1], "parts")
    assert whole.event_shape_out == {"a": (1,), "b": (2,)}
    np.testing.assert_array_equal(whole.inverse(whole.forward(x)), x)


def test_a_graph_as_a_table():
    lines = str(through_networks(jnp.float32)).splitlines()
    assert lines[0] == "Graph of 6 nodes, 185 parameters, fast direction: both"
    rows = [re.split(r"\s{2,}", line) for line in lines[1:]]
    assert rows[0] == ["name", "kind", "takes", "condition", "gives", "parameters"]
    assert ["u", "input", "u (2,)"] in rows
    assert ["d", "condition", "d (2, 2)"] in rows
    assert ["heads", "network heads", "trunk", "heads.a (2,), heads.b (3,)"] in rows
    assert ["last", "ConditionalAffine", "first", "b: heads.b, c", "last (2,)", "44"] in rows
    assert ["y", "output", "last (2,)"] in rows
    names = [row[0] for row in rows]
    assert names.index("trunk") < names.index("heads") < names.index("first") < names.index("last")


def test_a_graph_as_a_picture():
    import matplotlib.pyplot as plt
    from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

    graph = through_networks(jnp.float32)
    ax = graph.draw()
    texts = {text.get_text() for text in ax.texts}
    assert {"u", "trunk", "network MLP", "last", "ConditionalAffine", "b (3,)", "output"} <= texts
    boxes = [patch for patch in ax.patches if isinstance(patch, FancyBboxPatch)]
    arrows = [patch for patch in ax.patches if isinstance(patch, FancyArrowPatch)]
    assert len(boxes) == 4 + 6 + 2  # inputs and conditions, nodes, outputs
    assert sorted(arrow.get_linestyle() for arrow in arrows) == ["-"] * 5 + ["--"] * 9
    frames = [box.get_bbox() for box in boxes]
    for i, frame in enumerate(frames):
        assert not any(frame.overlaps(other) for other in frames[:i])
    plt.close(ax.figure)
    figure, mine = plt.subplots()
    assert graph.draw(mine) is mine
    plt.close(figure)

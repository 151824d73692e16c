"""A directed acyclic graph of bijectors."""

from collections.abc import Callable, Sequence
from functools import reduce
from operator import add
from typing import Any, NamedTuple

import jax
from flax import nnx
from jaxtyping import Array

from jinn.bijectors.base import Bijector, Info, Outputs
from jinn.bijectors.condition import embed
from jinn.bijectors.conditioners import network_attribute
from jinn.bijectors.container import Reporting, as_tuple, joint_fast_direction, split_key
from jinn.bijectors.graph_picture import draw, table
from jinn.bijectors.shapes import Shape, freeze_shape
from jinn.bijectors.wiring import (
    Node,
    Source,
    Step,
    Wires,
    each_wire,
    gather,
    scatter,
    shape_of,
)
from jinn.bijectors.wiring_build import wire


class Intermediates(NamedTuple):
    """What happened inside a graph.

    Attributes:
        values: What was on every wire, by its name: inputs, conditions, and what nodes gave. Parts
            of the event have the batch axes of the call, the others their own.
        log_dets: The log-determinant `(*batch,)` of every bijector in the direction of the call, by
            the node's name, in the order in which they ran. They sum to the graph's.
    """

    values: dict[str, Array]
    log_dets: dict[str, Array]


class Graph(Reporting):
    """Connect bijectors to a directed acyclic graph, `log|det|` being the sum over its nodes.

    Every part of the event goes to one node or output, so that the whole can be inverted. What is
    a condition may go to many: to bijectors, and through networks. A node may be conditioned on
    parts of the event too, as long as the inverse can have them before it needs them.

        graph = Graph(
            {"x": (4,), "image": (2, 2, 3)},
            [
                Node("halves", Split((4,), {"low": 2, "high": 2}), "x"),
                Node("features", network, "label"),
                Node("moved", coupling, "halves.high", ["halves.low", "features"]),
                Node("joined", Concatenate(shapes), {"low": "halves.low", "high": "moved"}),
                Node("mixed", Permute((2, 2, 3), rngs=0), "image"),
            ],
            {"y": "joined", "z": "mixed"},
            condition_shape={"label": (10,)},
        )

    `graph["moved"]` is a node's bijector or network, `str(graph)` a table, and `graph.draw()` a
    picture. A graph may be a node of another.

    Args:
        event_shape: Shape of one input event. Nodes name the entries of a dict by their keys, and
            an event that is one array `"x"`.
        nodes: The nodes, in any order.
        outputs: Name of what comes out, for events that are one array (or the dict that one node
            gives); or a list of names, or a dict of them, for events that are dicts.
        condition_shape: Shape of one condition, or None. Nodes name the entries of a dict by their
            keys, and a condition that is one array `"condition"`.

    Raises:
        ValueError: If a name clashes or is unknown, a shape does not meet another, a part of the
            event goes nowhere or to two places, a condition to none, or there is a cycle, in the
            graph or its inverse. It names the node.
    """

    def __init__(
        self,
        event_shape: Shape,
        nodes: Sequence[Node],
        outputs: Source,
        *,
        condition_shape: Shape | None = None,
    ) -> None:
        """See the class."""
        shape = freeze_shape(event_shape, "Graph event_shape")
        if condition_shape is not None:
            condition_shape = freeze_shape(condition_shape, "Graph condition_shape")
        nodes = tuple(nodes)
        self._wiring = wire(shape, nodes, outputs, condition_shape)
        members = {n.name: n.function for n in nodes if isinstance(n.function, Bijector)}
        self._declare(
            shape,
            event_shape_out=shape_of(self._wiring.shapes, self._wiring.outputs),
            condition_shape=condition_shape,
            fast_direction=joint_fast_direction(members.values()),
        )
        self.analytic_inverse = all(member.analytic_inverse for member in members.values())
        self.bijectors: dict[str, Bijector] = nnx.data(members)
        self.networks: dict[str, _Network] = nnx.data(
            {n.name: _Network(n.function) for n in nodes if n.name not in members}
        )

    @property
    def nodes(self) -> tuple[Node, ...]:
        """The nodes in an order in which `forward` can run."""
        return tuple(
            Node(
                step.name,
                self[step.name],
                _as_source(step.inputs),
                None if step.condition is None else _as_source(step.condition),
            )
            for step in self._wiring.forward
        )

    def __getitem__(self, name: str) -> Any:
        """Take the bijector or network of a node.

        Args:
            name: The node's name.

        Returns:
            The bijector or network.

        Raises:
            KeyError: If there is no such node.
        """
        if name in self.bijectors:
            return self.bijectors[name]
        if name in self.networks:
            return self.networks[name].function
        raise KeyError(
            f"Graph: no node {name!r}, there are {[s.name for s in self._wiring.forward]}"
        )

    def subgraph(self, *names: str) -> "Graph":
        """Make a graph of some nodes, with the parameters that they have here.

        Its events are dicts, of the names that the parts of the event have here: those that the
        nodes take from outside go in, those that none of them takes come out. What they need from
        outside beside these is its condition, a dict too.

        Args:
            *names: Names of nodes.

        Returns:
            The graph.

        Raises:
            ValueError: If a name is of no node, or the nodes are no graph: a network whose result
                none of them uses, or no bijector.
        """
        steps = [step for step in self._wiring.forward if step.name in names]
        unknown = [name for name in names if name not in [step.name for step in steps]]
        if unknown:
            raise ValueError(
                f"Graph.subgraph: {unknown} are no nodes, there are "
                f"{[step.name for step in self._wiring.forward]}"
            )
        given = [w for step in steps for w in each_wire(step.outputs)]
        taken = [w for step in steps if step.invertible for w in each_wire(step.inputs)]
        seen = [w for step in steps for w in (*each_wire(step.inputs), *each_wire(step.condition))]
        networks = [w for step in steps if not step.invertible for w in each_wire(step.outputs)]
        inputs = [w for w in taken if w not in given]
        conditions = dict.fromkeys(w for w in seen if w not in given and w not in inputs)
        shapes = self._wiring.shapes
        return Graph(
            {w: shapes[w] for w in inputs},
            [node for node in self.nodes if node.name in names],
            [w for w in given if w not in taken and w not in networks],
            condition_shape={w: shapes[w] for w in conditions} or None,
        )

    def forward_with_intermediates(
        self, x: Any, condition: Any = None, *, key: jax.Array | None = None
    ) -> tuple[Any, Array, Intermediates]:
        """Map data to latent, with log|det df/dx|, every node's share of it, and every value.

        Args:
            x: Events `(*batch, *event_shape)`.
            condition: Conditions `(*condition_batch, *condition_shape)`, or None.
            key: A JAX key for a stochastic log-determinant; None is deterministic.

        Returns:
            Latent events, the log-determinant `(*batch,)`, and the `Intermediates`.

        Raises:
            ValueError: If a shape is wrong, or a condition is missing or unexpected.
        """
        x, condition = self._check(x, condition, self.event_shape, "x")
        return self._intermediates(x, condition, key, inverse=False)

    def inverse_with_intermediates(
        self, y: Any, condition: Any = None, *, key: jax.Array | None = None
    ) -> tuple[Any, Array, Intermediates]:
        """Map latent to data, with the log-determinant, every node's share of it, and every value.

        Args:
            y: Events `(*batch, *event_shape_out)`.
            condition: Conditions `(*condition_batch, *condition_shape)`, or None.
            key: A JAX key for a stochastic log-determinant; None is deterministic.

        Returns:
            Data events, the log-determinant `(*batch,)` of the inverse, and the `Intermediates`.

        Raises:
            ValueError: If a shape is wrong, or a condition is missing or unexpected.
        """
        y, condition = self._check(y, condition, self.event_shape_out, "y")
        return self._intermediates(y, condition, key, inverse=True)

    def _intermediates(
        self, x: Any, condition: Any, key: jax.Array | None, *, inverse: bool
    ) -> tuple[Any, Array, Intermediates]:
        values, log_dets, _ = self._evaluate(x, condition, key, with_log_det=True, inverse=inverse)
        y = gather(values, self._ends(inverse)[1])
        return y, reduce(add, log_dets.values()), Intermediates(values, log_dets)

    def draw(self, ax: Any = None) -> Any:
        """Draw the nodes as boxes and the wires as arrows, conditions dashed, with matplotlib.

        Args:
            ax: The matplotlib axes to draw in, or None for a figure of the size that it needs.

        Returns:
            The axes; `ax.figure` is the figure.

        Raises:
            ImportError: If matplotlib is not installed.
        """
        return draw(self._wiring, self._kinds(), ax)

    def __str__(self) -> str:
        """A table of the nodes in the order of `forward`."""
        sizes = {name: _count(self[name]) for name in (s.name for s in self._wiring.forward)}
        lines = [
            f"Graph of {len(sizes)} nodes, {sum(sizes.values()):,} parameters, fast direction: "
            f"{self.fast_direction}",
            table(self._wiring, self._kinds(), sizes),
        ]
        return "\n".join(lines)

    def _kinds(self) -> dict[str, str]:
        """What each node is, in a word or two."""
        kinds = {name: type(bijector).__name__ for name, bijector in self.bijectors.items()}
        for name, network in self.networks.items():
            function = network.function
            kinds[name] = f"network {getattr(function, '__name__', type(function).__name__)}"
        return kinds

    def _ends(self, inverse: bool) -> tuple[Wires, Wires]:
        """The wires where a direction starts, and those where it ends."""
        start, end = self._wiring.inputs, self._wiring.outputs
        return (end, start) if inverse else (start, end)

    def _run(
        self, x: Any, condition: Any, key: jax.Array | None, *, with_log_det: bool, inverse: bool
    ) -> tuple[Any, Array | None, Info]:
        values, log_dets, infos = self._evaluate(
            x, condition, key, with_log_det=with_log_det, inverse=inverse
        )
        total = reduce(add, log_dets.values()) if with_log_det else None
        return gather(values, self._ends(inverse)[1]), total, tuple(infos)

    def _evaluate(
        self, x: Any, condition: Any, key: jax.Array | None, *, with_log_det: bool, inverse: bool
    ) -> tuple[dict[str, Array], dict[str, Any], list[Any]]:
        """The values of all wires, the nodes' log-determinants, and what their solves report."""
        names = self._wiring.bijectors
        keys = dict(zip(names, split_key(key, len(names)), strict=True))
        log_dets, infos = {}, []

        def apply(name: str, x: Any, condition: Any) -> Any:
            y, log_dets[name], info = self.bijectors[name]._apply(
                x, condition, key=keys[name], with_log_det=with_log_det, inverse=inverse
            )
            infos.extend(as_tuple(info))
            return y

        return self._walk(x, condition, apply, inverse=inverse), log_dets, infos

    def _outputs(self, name: str, x: Any, condition: Any, *, inverse: bool) -> Outputs:
        found = []

        def apply(node: str, x: Any, condition: Any) -> Any:
            outputs = self.bijectors[node]._outputs(
                f"{name}[{node!r}]", x, condition, inverse=inverse
            )
            while True:
                try:
                    found.append(next(outputs))
                except StopIteration as stop:
                    return stop.value

        values = self._walk(x, condition, apply, inverse=inverse)
        yield from found
        return gather(values, self._ends(inverse)[1])

    def _initialize(self, x: Any, condition: Any, *, invert: bool) -> tuple[Bijector, Any]:
        members = {}

        def apply(name: str, x: Any, condition: Any) -> Any:
            members[name], y = self.bijectors[name]._initialize(x, condition, invert=invert)
            return y

        values = self._walk(x, condition, apply, inverse=invert)
        new = nnx.clone(self)
        new.bijectors = nnx.data(members)
        return new, gather(values, self._ends(invert)[1])

    def _walk(
        self, x: Any, condition: Any, apply: Callable[[str, Any, Any], Any], *, inverse: bool
    ) -> dict[str, Any]:
        """The values of all wires, where `apply` gives what a bijector makes of its event."""
        wiring = self._wiring
        values = scatter(x, self._ends(inverse)[0])
        if wiring.condition is not None:
            values |= scatter(condition, wiring.condition)
        for step in wiring.inverse if inverse else wiring.forward:
            try:
                if not step.invertible:
                    values |= scatter(self._embed(step, values), step.outputs)
                    continue
                start, end = (step.inputs, step.outputs)[:: -1 if inverse else 1]
                c = None if step.condition is None else gather(values, step.condition)
                values |= scatter(apply(step.name, gather(values, start), c), end)
            except Exception as error:
                error.add_note(f"This happened in node {step.name!r} of a Graph.")
                raise
        return values

    def _embed(self, step: Step, values: dict[str, Any]) -> Any:
        shapes = self._wiring.shapes
        return embed(
            self.networks[step.name].function,
            gather(values, step.inputs),
            shape_of(shapes, step.inputs),
            shape_of(shapes, step.outputs),
            f"Graph: what node {step.name!r} gives",
        )


class _Network(nnx.Module):
    """A network as a member of a dict, in which a plain function would be no array."""

    def __init__(self, function: Any) -> None:
        self.function = network_attribute(function, "Graph", "a network")


def _as_source(wires: Wires) -> Source:
    return wires if isinstance(wires, str) else dict(wires)


def _count(module: Any) -> int:
    params = jax.tree.leaves(module, is_leaf=lambda node: isinstance(node, nnx.Param))
    return sum(node[...].size for node in params if isinstance(node, nnx.Param))

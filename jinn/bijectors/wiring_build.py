"""Find the wires of a graph from the names in its nodes, and check that they make it invertible."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from jinn.bijectors.base import Bijector
from jinn.bijectors.shapes import DictShape, Shape
from jinn.bijectors.wiring import (
    Node,
    Source,
    Step,
    Wires,
    Wiring,
    each_wire,
    in_forward_order,
    in_inverse_order,
    shape_of,
)
from jinn.networks.condition import evaluate_on_condition


def wire(
    event_shape: Shape, nodes: Sequence[Node], outputs: Source, condition_shape: Shape | None
) -> Wiring:
    """Connect the nodes of a graph, and check that it is one and can be inverted.

    Args:
        event_shape: Shape of one input event.
        nodes: The nodes, in any order.
        outputs: What the graph gives.
        condition_shape: Shape of one condition, or None.

    Returns:
        The wires.

    Raises:
        ValueError: If names clash or are unknown, shapes do not meet, a value goes nowhere or to
            two places, or nodes form a cycle in either direction.
    """
    _check_nodes(nodes)
    names = _Names()
    inputs = names.add_argument("x", event_shape, "an input")
    condition = None
    if condition_shape is not None:
        condition = names.add_argument("condition", condition_shape, "a condition")
    names.events.update(each_wire(inputs))
    for node in nodes:
        if isinstance(node.function, Bijector):
            wires = names.add(node.name, node.function.event_shape_out, f"node {node.name!r}")
            names.events.update(each_wire(wires))
    _add_networks(names, [n for n in nodes if not isinstance(n.function, Bijector)])
    steps = [_step(names, node) for node in nodes]
    result = names.find(outputs, "outputs")
    forward = in_forward_order(steps)
    for step, node in zip(steps, nodes, strict=True):
        if step.invertible:
            _check_fit(names, step, node.function)
    _check_use(names, steps, inputs, condition, result)
    inverse = in_inverse_order(steps)
    bijectors = tuple(step.name for step in steps if step.invertible)
    shapes = DictShape(names.shapes)
    return Wiring(inputs, condition, result, shapes, forward, inverse, bijectors)


@dataclass
class _Names:
    """What names stand for.

    Attributes:
        found: The wires behind each name: a wire's own, or all that a node gives.
        givers: Whose name it is, in words.
        shapes: The shape of each wire.
        events: The wires that hold parts of the event.
    """

    found: dict[str, Wires] = field(default_factory=dict)
    givers: dict[str, str] = field(default_factory=dict)
    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)
    events: set[str] = field(default_factory=set)

    def add_argument(self, name: str, shape: Shape, giver: str) -> Wires:
        """Name the graph's own input or condition, a dict's entries by their keys."""
        if not isinstance(shape, dict):
            return self.add(name, shape, giver)
        for key, size in shape.items():
            self.add(key, size, giver)
        return tuple((key, key) for key in shape)

    def add(self, name: str, shape: Shape, giver: str) -> Wires:
        """Name what a node gives, the entries of a dict `name.key`."""
        wires: Wires = name
        if isinstance(shape, dict):
            wires = tuple((key, f"{name}.{key}") for key in shape)
            for (_, part), size in zip(wires, shape.values(), strict=True):
                self.add(part, size, giver)
        else:
            self.shapes[name] = shape
        if name in self.found:
            raise ValueError(
                f"Graph: the name {name!r} clashes, it is of {self.givers[name]} and of {giver}; "
                "rename one"
            )
        self.found[name], self.givers[name] = wires, giver
        return wires

    def find(self, source: Any, who: str) -> Wires:
        """The wires that a user names, for an argument of `who`."""
        if isinstance(source, str):
            return self._known(source, who)
        listed = isinstance(source, list | tuple) and all(isinstance(s, str) for s in source)
        twice = sorted({wire for wire in source if source.count(wire) > 1}) if listed else []
        if twice:
            raise ValueError(f"Graph: {who}: expected each name once, got {twice} twice")
        named: Any = {wire: wire for wire in source} if listed else source
        is_dict = isinstance(named, Mapping) and len(named) > 0
        if not is_dict or not all(isinstance(wire, str) for wire in named.values()):
            raise ValueError(
                f"Graph: {who}: expected a name, a list of names or a dict of them, got {source!r}"
            )
        pairs = []
        for key, wire in named.items():
            known = self._known(wire, who)
            if not isinstance(known, str):
                raise ValueError(
                    f"Graph: {who}: expected one array in {key!r}, but {wire!r} is a dict with the "
                    f"parts {each_wire(known)}"
                )
            pairs.append((key, known))
        return tuple(pairs)

    def _known(self, name: Any, who: str) -> Wires:
        if name not in self.found:
            raise ValueError(
                f"Graph: {who}: {name!r} is unknown, it is no input, no condition that "
                f"condition_shape declares, and given by no node; known are {sorted(self.found)}"
            )
        return self.found[name]


def _check_nodes(nodes: Sequence[Node]) -> None:
    names = set()
    for node in nodes:
        if not isinstance(node, Node) or not isinstance(node.name, str) or not node.name:
            raise ValueError(
                "Graph: expected nodes such as Node('mix', Permute((4,), rngs=0), 'x'), got "
                f"{node!r}"
            )
        who = f"node {node.name!r}"
        if node.name in names:
            raise ValueError(
                f"Graph: the name {node.name!r} clashes, two nodes have it; rename one"
            )
        names.add(node.name)
        if isinstance(node.function, Bijector):
            continue
        if not callable(node.function):
            raise ValueError(
                f"Graph: {who}: expected a Bijector or a network, any callable, got "
                f"{type(node.function).__name__}; of a flow, take flow.bijector"
            )
        if node.condition is not None:
            raise ValueError(
                f"Graph: {who} is a network and takes no condition; name all that it takes as its "
                "inputs"
            )
    if not any(isinstance(node.function, Bijector) for node in nodes):
        raise ValueError("Graph: expected at least one node that is a bijector, got none")


def _add_networks(names: _Names, networks: list[Node]) -> None:
    """Name what networks give, whose shapes are found by abstract evaluation."""
    while networks:
        waiting = []
        for node in networks:
            if any(_awaits(names, source, networks) for source in _mentioned(node.inputs)):
                waiting.append(node)
                continue
            wires = names.find(node.inputs, f"node {node.name!r}")
            shape = _network_shape(node, shape_of(names.shapes, wires))
            names.add(node.name, shape, f"node {node.name!r}")
        if len(waiting) == len(networks):
            cycle = ", ".join(repr(node.name) for node in waiting)
            raise ValueError(f"Graph: the networks {cycle} form a cycle, or wait for one")
        networks = waiting


def _mentioned(source: Any) -> list[Any]:
    if isinstance(source, Mapping):
        return list(source.values())
    return list(source) if isinstance(source, list | tuple) else [source]


def _awaits(names: _Names, source: Any, networks: list[Node]) -> bool:
    """Whether a name is of what one of the networks will give."""
    if not isinstance(source, str) or source in names.found:
        return False
    return any(source == node.name or source.startswith(f"{node.name}.") for node in networks)


def _network_shape(node: Node, shape: Shape) -> Shape:
    dtype = jnp.result_type(float)
    sample: Any = (
        {key: jax.ShapeDtypeStruct(size, dtype) for key, size in shape.items()}
        if isinstance(shape, dict)
        else jax.ShapeDtypeStruct(shape, dtype)
    )
    try:
        result: Any = jax.eval_shape(partial(evaluate_on_condition, node.function), sample)
    except Exception as error:
        raise ValueError(
            f"Graph: node {node.name!r}: the network fails on inputs of shape {shape}: {error}"
        ) from error
    parts: dict[str, Any] = result if isinstance(result, dict) and result else {"": result}
    for key, part in parts.items():
        if not isinstance(part, jax.ShapeDtypeStruct):
            raise ValueError(
                f"Graph: node {node.name!r}: expected the network to return an array or a dict of "
                f"arrays, got {type(part).__name__}{f' in {key!r}' if key else ''}"
            )
    if "" in parts:
        return parts[""].shape
    return DictShape({key: part.shape for key, part in parts.items()})


def _step(names: _Names, node: Node) -> Step:
    who = f"node {node.name!r}"
    inputs = names.find(node.inputs, who)
    condition = None
    if node.condition is not None:
        condition = names.find(node.condition, f"{who}: condition")
    invertible = isinstance(node.function, Bijector)
    return Step(node.name, inputs, condition, names.found[node.name], invertible)


def _check_fit(names: _Names, step: Step, bijector: Bijector) -> None:
    """Check that shapes meet, and that conditions stay conditions."""
    who = f"node {step.name!r} ({type(bijector).__name__})"
    for wire in each_wire(step.inputs):
        if wire not in names.events:
            raise ValueError(
                f"Graph: {who} takes {wire!r} of {names.givers[wire]}, which is no part of the "
                "event; a bijector may have it as its condition"
            )
    got = shape_of(names.shapes, step.inputs)
    if got != bijector.event_shape:
        raise ValueError(
            f"Graph: {who} expects events of shape {bijector.event_shape}, but "
            f"{_words(step.inputs)} has shape {got}"
        )
    if bijector.condition_shape is None:
        if step.condition is not None:
            raise ValueError(
                f"Graph: {who} takes no condition (condition_shape is None), but is given "
                f"{_words(step.condition)}"
            )
        return
    if step.condition is None:
        raise ValueError(
            f"Graph: {who} expects a condition of shape {bijector.condition_shape}; name it, as in "
            "Node(..., condition='condition')"
        )
    got = shape_of(names.shapes, step.condition)
    if got != bijector.condition_shape:
        raise ValueError(
            f"Graph: {who} expects a condition of shape {bijector.condition_shape}, but "
            f"{_words(step.condition)} has shape {got}"
        )


def _words(wires: Wires) -> str:
    return repr(wires) if isinstance(wires, str) else repr(dict(wires))


def _check_use(
    names: _Names, steps: list[Step], inputs: Wires, condition: Wires | None, outputs: Wires
) -> None:
    """Check that each part of the event goes to one place, and that conditions go to any."""
    takers: dict[str, str] = {}
    looked_at: set[str] = set()
    for step in steps:
        looked_at.update(each_wire(step.condition))
        if not step.invertible:
            looked_at.update(each_wire(step.inputs))
    taken = [(w, f"node {s.name!r}") for s in steps if s.invertible for w in each_wire(s.inputs)]
    taken += [(w, "outputs") for w in each_wire(outputs)]
    for wire, taker in taken:
        if wire not in names.events:
            raise ValueError(
                f"Graph: outputs: {wire!r} of {names.givers[wire]} is no part of the event"
            )
        if wire in takers:
            raise ValueError(
                f"Graph: {wire!r} is taken by {takers[wire]} and by {taker}, and a map that takes "
                "a value twice has no inverse; a node may have it as its condition as well"
            )
        takers[wire] = taker
    for wire in names.shapes:
        if wire in names.events and wire not in takers:
            raise ValueError(
                f"Graph: {wire!r} of {names.givers[wire]} is taken by no node and is no output, so "
                "the graph is not connected and has no inverse; connect it, or leave it out"
            )
    for wire in each_wire(condition):
        if wire not in looked_at:
            raise ValueError(
                f"Graph: the condition {wire!r} is used by no node; leave it out of condition_shape"
            )
    for step in steps:
        if not step.invertible and looked_at.isdisjoint(each_wire(step.outputs)):
            raise ValueError(f"Graph: what node {step.name!r} gives is used by no node")

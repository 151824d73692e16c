"""The wires of a graph: which node takes what from where, and in which order nodes can run."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from typing import Any, NamedTuple

from jinn.bijectors.shapes import DictShape, Shape

Source = str | Sequence[str] | Mapping[str, str]
"""What a user names: a wire, a list of them (a dict with their own names), or a dict of them."""

Wires = str | tuple[tuple[str, str], ...]
"""The same, found: one wire, or pairs of a dict's key and a wire."""


class Node(NamedTuple):
    """A bijector or a network in a `Graph`, and what goes into it.

    What comes out is called by the node's name, or, where it is a dict, by the node's name and the
    key: `"halves.low"`; `"halves"` is then the whole dict.

    Attributes:
        name: Its name, of which there is one in a graph.
        function: A `Bijector`; or a network, any other callable, whose result may be a condition of
            bijectors or go into other networks. A network gets what it takes with the batch axes of
            each, and returns an array or a dict of arrays with their joint batch axes.
        inputs: Name of what it takes: an input or condition of the graph, or what comes out of a
            node. A dict of names makes a dict of them, a list of names a dict with the same keys.
        condition: The same for the condition of a bijector, or None. A bijector may be conditioned
            on what other bijectors take and give too.
    """

    name: str
    function: Any
    inputs: Source
    condition: Source | None = None


@dataclass(frozen=True)
class Step:
    """A node with its wires.

    Attributes:
        name: The node's name.
        inputs: What it takes.
        condition: Its condition, or None.
        outputs: What it gives.
        invertible: Whether it is a bijector; a network runs the same way in both directions.
    """

    name: str
    inputs: Wires
    condition: Wires | None
    outputs: Wires
    invertible: bool


@dataclass(frozen=True)
class Wiring:
    """The wires of a graph.

    Attributes:
        inputs: The wires of the graph's input.
        condition: The wires of its condition, or None.
        outputs: The wires of its output.
        shapes: The shape of every wire.
        forward: The steps in an order in which forward can run.
        inverse: The steps in an order in which the inverse can.
        bijectors: Names of the bijectors in the order in which they were given.
    """

    inputs: Wires
    condition: Wires | None
    outputs: Wires
    shapes: DictShape
    forward: tuple[Step, ...]
    inverse: tuple[Step, ...]
    bijectors: tuple[str, ...]


def gather(values: Mapping[str, Any], wires: Wires) -> Any:
    """Read the value of a wire, or of several as a dict.

    Args:
        values: The values of all wires.
        wires: Which.

    Returns:
        A value or a dict of them.
    """
    return values[wires] if isinstance(wires, str) else {key: values[wire] for key, wire in wires}


def scatter(value: Any, wires: Wires) -> dict[str, Any]:
    """Name the wires that a value is on, the opposite of `gather`.

    Args:
        value: A value or a dict of them.
        wires: Their wires.

    Returns:
        Values by wire.
    """
    return {wires: value} if isinstance(wires, str) else {wire: value[key] for key, wire in wires}


def each_wire(wires: Wires | None) -> list[str]:
    """The names of all wires in `wires`.

    Args:
        wires: One wire, several, or None.

    Returns:
        A list.
    """
    if wires is None:
        return []
    return [wires] if isinstance(wires, str) else [wire for _, wire in wires]


def shape_of(shapes: Mapping[str, tuple[int, ...]], wires: Wires) -> Shape:
    """The shape of what one or several wires hold.

    Args:
        shapes: The shapes of all wires.
        wires: Which.

    Returns:
        A tuple, or a dict of tuples.
    """
    return shapes[wires] if isinstance(wires, str) else DictShape(gather(shapes, wires))


def in_forward_order(steps: Sequence[Step]) -> tuple[Step, ...]:
    """Sort steps so that each runs when what it takes is there.

    Args:
        steps: The steps of a graph.

    Returns:
        The steps in order.

    Raises:
        ValueError: If there is no such order.
    """
    givers = {wire: step.name for step in steps for wire in each_wire(step.outputs)}
    needs = {}
    for step in steps:
        wires = [*each_wire(step.inputs), *each_wire(step.condition)]
        needs[step.name] = [givers[wire] for wire in wires if wire in givers]
    return _in_order(steps, needs, "the nodes form a cycle")


def in_inverse_order(steps: Sequence[Step]) -> tuple[Step, ...]:
    """The same for the inverse, in which a wire comes from the bijector that takes it.

    Args:
        steps: The steps of a graph.

    Returns:
        The steps in order.

    Raises:
        ValueError: If there is no such order.
    """
    givers = {}
    for step in steps:
        for wire in each_wire(step.inputs if step.invertible else step.outputs):
            givers[wire] = step.name
    needs = {}
    for step in steps:
        ends = each_wire(step.outputs if step.invertible else step.inputs)
        wires = [*ends, *each_wire(step.condition)]
        needs[step.name] = [givers[wire] for wire in wires if wire in givers]
    return _in_order(
        steps,
        needs,
        "there is no inverse, because a condition can be had only from what it conditions, in the "
        "inverse a cycle",
    )


def _in_order(steps: Sequence[Step], needs: dict[str, list[str]], cyclic: str) -> tuple[Step, ...]:
    by_name = {step.name: step for step in steps}
    try:
        return tuple(by_name[name] for name in TopologicalSorter(needs).static_order())
    except CycleError as error:
        cycle = " -> ".join(map(repr, error.args[1]))
        raise ValueError(f"Graph: {cyclic}: {cycle}") from None

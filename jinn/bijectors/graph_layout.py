"""Where the boxes and arrows of a graph's picture go: columns by depth, few crossings."""

from collections import defaultdict
from collections.abc import Mapping
from itertools import combinations, pairwise
from typing import Any, NamedTuple

from jinn.bijectors.wiring import Wiring, each_wire

Box = tuple[str, Any]
"""A box by its kind ("input", "condition", "node", "output") and name; a "bend" leads a wire on."""


class Arrow(NamedTuple):
    """A wire from one box to another.

    Attributes:
        start: The box that gives it.
        end: The box that takes it.
        wire: Its name.
        is_condition: Whether it is taken as a condition, or by a network.
    """

    start: Box
    end: Box
    wire: str
    is_condition: bool


class Layout(NamedTuple):
    """A graph's picture without its sizes.

    Attributes:
        columns: The boxes and bends from the left to the right, each column from the top down.
        rows: Height of each box and bend; 1 is the distance of two neighbours at least.
        routes: For each arrow the box where it starts, its bends, and the box where it ends.
    """

    columns: list[list[Box]]
    rows: dict[Box, float]
    routes: dict[Arrow, list[Box]]


def outputs(wiring: Wiring) -> list[tuple[str, str]]:
    """Names of a graph's outputs and their wires; of one array, "z".

    Args:
        wiring: The graph.

    Returns:
        Pairs.
    """
    if isinstance(wiring.outputs, str):
        return [("z", wiring.outputs)]
    return list(wiring.outputs)


def lay_out(wiring: Wiring) -> Layout:
    """Lay a graph out from the left to the right.

    Args:
        wiring: The graph.

    Returns:
        The layout.
    """
    arrows = _arrows(wiring)
    columns, routes = _columns(arrows)
    pieces = {piece for route in routes.values() for piece in pairwise(route)}
    _uncross(columns, pieces)
    return Layout(columns, _rows(columns, pieces), routes)


def _arrows(wiring: Wiring) -> list[Arrow]:
    """All arrows, those that end in a box before those that start there."""
    givers: dict[str, Box] = {wire: ("input", wire) for wire in each_wire(wiring.inputs)}
    givers |= {wire: ("condition", wire) for wire in each_wire(wiring.condition)}
    arrows = []
    for step in wiring.forward:
        givers |= {wire: ("node", step.name) for wire in each_wire(step.outputs)}
        taken = [(wire, not step.invertible) for wire in each_wire(step.inputs)]
        taken += [(wire, True) for wire in each_wire(step.condition)]
        arrows += [Arrow(givers[wire], ("node", step.name), wire, looks) for wire, looks in taken]
    arrows += [Arrow(givers[wire], ("output", key), wire, False) for key, wire in outputs(wiring)]
    return list(dict.fromkeys(arrows))


def _columns(arrows: list[Arrow]) -> tuple[list[list[Box]], dict[Arrow, list[Box]]]:
    """Boxes in columns, each right of all that lead to it, and the way of each arrow."""
    depth: dict[Box, int] = {}
    for arrow in arrows:
        depth[arrow.end] = max(depth.get(arrow.end, 0), depth.setdefault(arrow.start, 0) + 1)
    last = max(depth.values())
    for box in depth:
        if box[0] == "output":
            depth[box] = last
        elif box[0] == "condition":
            depth[box] = min(depth[arrow.end] for arrow in arrows if arrow.start == box) - 1
    columns: list[list[Box]] = [[] for _ in range(last + 1)]
    for box, column in depth.items():
        columns[column].append(box)
    routes = {}
    for arrow in arrows:
        bends: list[Box] = []
        for column in range(depth[arrow.start] + 1, depth[arrow.end]):
            bends.append(("bend", (arrow.wire, column)))
            if bends[-1] not in columns[column]:
                columns[column].append(bends[-1])
        routes[arrow] = [arrow.start, *bends, arrow.end]
    return columns, routes


Pieces = set[tuple[Box, Box]]


def _neighbours(pieces: Pieces) -> tuple[Mapping[Box, list[Box]], Mapping[Box, list[Box]]]:
    """What is left of each box and bend, and what is right of it."""
    left, right = defaultdict(list), defaultdict(list)
    for start, end in sorted(pieces, key=repr):
        left[end].append(start)
        right[start].append(end)
    return left, right


def _uncross(columns: list[list[Box]], pieces: Pieces) -> None:
    """Sort each column by where its neighbours are, to and fro, and keep what crosses least."""
    left, right = _neighbours(pieces)
    best = [list(column) for column in columns]
    for sweep in range(8):
        neighbours = right if sweep % 2 else left
        for column in columns[::-1] if sweep % 2 else columns:
            places = {box: i for other in columns for i, box in enumerate(other)}
            wanted = {
                box: sum(places[near] for near in neighbours[box]) / len(neighbours[box])
                if neighbours[box]
                else places[box]
                for box in column
            }
            column.sort(key=wanted.__getitem__)
        if _crossings(columns, pieces) < _crossings(best, pieces):
            best = [list(column) for column in columns]
    columns[:] = best


def _crossings(columns: list[list[Box]], pieces: Pieces) -> int:
    places = {box: (c, i) for c, column in enumerate(columns) for i, box in enumerate(column)}
    by_column = defaultdict(list)
    for start, end in pieces:
        by_column[places[start][0]].append((places[start][1], places[end][1]))
    return sum(
        (a - c) * (b - d) < 0
        for ends in by_column.values()
        for (a, b), (c, d) in combinations(ends, 2)
    )


def _rows(columns: list[list[Box]], pieces: Pieces) -> dict[Box, float]:
    """Heights near those of the neighbours, at least 1 apart, in the order of each column."""
    left, right = _neighbours(pieces)
    rows = {b: (len(column) - 1) / 2 - i for column in columns for i, b in enumerate(column)}
    for sweep in range(8):
        for column in columns[::-1] if sweep % 2 else columns:
            near = [[rows[other] for other in (*left[box], *right[box])] for box in column]
            wanted = [sum(heights) / len(heights) for heights in near]
            down, up = list(wanted), list(wanted)
            for i in range(1, len(column)):
                down[i] = min(down[i], down[i - 1] - 1)
                up[-i - 1] = max(up[-i - 1], up[-i] + 1)
            rows |= {box: (a + b) / 2 for box, a, b in zip(column, down, up, strict=True)}
    lowest = min(rows.values())
    return {box: row - lowest for box, row in rows.items()}

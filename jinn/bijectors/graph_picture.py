"""A graph to look at: as a table, and as boxes and arrows."""

from collections import defaultdict
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

from jinn.bijectors.graph_layout import Arrow, Box, Layout, lay_out, outputs
from jinn.bijectors.wiring import Wires, Wiring, each_wire


def table(wiring: Wiring, kinds: Mapping[str, str], sizes: Mapping[str, int]) -> str:
    """Write a graph as a table: its inputs, conditions, nodes in the order of forward, outputs.

    Args:
        wiring: The graph.
        kinds: What each node is.
        sizes: The number of each node's parameters.

    Returns:
        The lines, joined.
    """

    def shaped(wires: Wires) -> str:
        return ", ".join(f"{wire} {wiring.shapes[wire]}" for wire in each_wire(wires))

    rows = [("name", "kind", "takes", "condition", "gives", "parameters")]
    rows += [(wire, "input", "", "", shaped(wire), "") for wire in each_wire(wiring.inputs)]
    rows += [(wire, "condition", "", "", shaped(wire), "") for wire in each_wire(wiring.condition)]
    for step in wiring.forward:
        condition = "" if step.condition is None else _keyed(step.condition)
        size = f"{sizes[step.name]:,}" if sizes[step.name] else ""
        gives = shaped(step.outputs)
        rows.append((step.name, kinds[step.name], _keyed(step.inputs), condition, gives, size))
    rows += [(name, "output", shaped(wire), "", "", "") for name, wire in outputs(wiring)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for *cells, size in rows:
        cells = [cell.ljust(width) for cell, width in zip(cells, widths[:-1], strict=True)]
        lines.append("  ".join([*cells, size.rjust(widths[-1])]).rstrip())
    return "\n".join(lines)


def _keyed(wires: Wires) -> str:
    """Wires with the keys of the dict that they go into, where a key says more."""
    if isinstance(wires, str):
        return wires
    return ", ".join(wire if key == wire else f"{key}: {wire}" for key, wire in wires)


# --- Boxes and arrows -----------------------------------------------------------------------------

_DATA, _LOOKED_AT, _MAP = ("#e8eef7", "#39597f"), ("#fdf1dc", "#a8690a"), ("#ffffff", "#333333")
"""Colours that fill and frame the boxes."""
_HEIGHT, _ROW, _GAP, _MARGIN, _CHARACTER = 0.46, 0.75, 1.0, 0.2, 0.088
"""Inches: a box, from row to row, between columns, around all, and a character of 9 points."""


def draw(wiring: Wiring, kinds: Mapping[str, str], ax: Any) -> Any:
    """Draw a graph with matplotlib, from the left to the right.

    Args:
        wiring: The graph.
        kinds: What each node is.
        ax: Axes to draw in, or None for a new figure; one unit is an inch.

    Returns:
        The axes.

    Raises:
        ImportError: If matplotlib is not installed.
    """
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise ImportError("Graph.draw needs matplotlib: pip install matplotlib") from error
    layout = lay_out(wiring)
    names = {
        box: (box[1], kinds[box[1]] if box[0] == "node" else box[0])
        for column in layout.columns
        for box in column
        if box[0] != "bend"
    }
    frames, (width, height) = _frames(layout, names)
    if ax is None:
        figure, ax = plt.subplots(figsize=(width, height))
        figure.subplots_adjust(0, 0, 1, 1)
    ax.set(xlim=(0, width), ylim=(0, height), aspect="equal")
    ax.set_axis_off()
    networks = {step.name for step in wiring.forward if not step.invertible}
    for box, lines in names.items():
        colors = _MAP if box[0] == "node" else _DATA
        if box[0] == "condition" or (box[0] == "node" and box[1] in networks):
            colors = _LOOKED_AT
        _draw_box(ax, frames[box], lines, colors)
    _draw_arrows(ax, wiring, layout, frames)
    return ax


Frame = tuple[float, float, float]
"""Left and right edge of a box or bend, and its height."""


def _frames(
    layout: Layout, names: Mapping[Box, tuple[str, str]]
) -> tuple[dict[Box, Frame], tuple[float, float]]:
    """Where boxes and bends are, and the size of the whole, in inches."""
    frames, left, middle = {}, _MARGIN, _MARGIN + _HEIGHT / 2
    for column in layout.columns:
        longest = max(len(line) for box in column for line in names.get(box, ("",)))
        right = left + _CHARACTER * longest + 0.2
        frames |= {box: (left, right, middle + _ROW * layout.rows[box]) for box in column}
        left = right + _GAP
    return frames, (left - _GAP + _MARGIN, 2 * middle + _ROW * max(layout.rows.values()))


def _draw_box(ax: Any, frame: Frame, lines: tuple[str, str], colors: tuple[str, str]) -> None:
    from matplotlib.patches import FancyBboxPatch

    left, right, y = frame
    style = "round,pad=0,rounding_size=0.07"
    corner, size = (left, y - _HEIGHT / 2), (right - left, _HEIGHT)
    ax.add_patch(FancyBboxPatch(corner, *size, boxstyle=style, fc=colors[0], ec=colors[1]))
    middle = (left + right) / 2
    ax.text(middle, y + 0.02, lines[0], ha="center", va="bottom", fontsize=9, weight="bold")
    ax.text(middle, y - 0.03, lines[1], ha="center", va="top", fontsize=7.5, color=colors[1])


def _draw_arrows(ax: Any, wiring: Wiring, layout: Layout, frames: Mapping[Box, Frame]) -> None:
    from matplotlib.patches import FancyArrowPatch
    from matplotlib.path import Path

    starts, ends = _ports(layout, frames)
    looked_at = {arrow.wire: arrow.is_condition for arrow in layout.routes}
    looked_at |= {arrow.wire: False for arrow in layout.routes if not arrow.is_condition}
    for arrow, route in layout.routes.items():
        start = (frames[arrow.start][1], starts[arrow.start, arrow.wire])
        passed = [frames[bend] for bend in route[1:-1]]
        bends = [(x, y) for left, right, y in passed for x in (left, right)]
        points = [start, *bends, (frames[arrow.end][0], ends[arrow.end, arrow])]
        vertices, codes = [start], [Path.MOVETO]
        for i, ((x0, y0), (x1, y1)) in enumerate(pairwise(points)):
            middle = (x0 + x1) / 2
            straight = i % 2 == 1
            vertices += [(x1, y1)] if straight else [(middle, y0), (middle, y1), (x1, y1)]
            codes += [Path.LINETO] if straight else [Path.CURVE4] * 3
        patch = FancyArrowPatch(
            path=Path(vertices, codes),
            arrowstyle="-|>",
            mutation_scale=9,
            linestyle="--" if arrow.is_condition else "-",
            color=(_LOOKED_AT if arrow.is_condition else _MAP)[1],
            zorder=0.5,
        )
        ax.add_patch(patch)
    for box, wire in starts:
        part = wire.removeprefix(f"{box[1]}.")
        text = f"{wiring.shapes[wire]}" if part == wire else f"{part} {wiring.shapes[wire]}"
        ax.text(
            frames[box][1] + 0.07,
            starts[box, wire],
            text,
            fontsize=7,
            color=(_LOOKED_AT if looked_at[wire] else _MAP)[1],
            va="center",
            bbox={"boxstyle": "square,pad=0.1", "fc": "white", "ec": "none"},
        )


def _ports(
    layout: Layout, frames: Mapping[Box, Frame]
) -> tuple[dict[tuple[Box, str], float], dict[tuple[Box, Arrow], float]]:
    """Heights where wires leave their boxes, and where arrows reach theirs."""
    leaving: dict[Box, dict[str, float]] = defaultdict(dict)
    reaching: dict[Box, dict[Arrow, float]] = defaultdict(dict)
    for arrow, route in layout.routes.items():
        leaving[arrow.start].setdefault(arrow.wire, layout.rows[route[1]])
        reaching[arrow.end][arrow] = layout.rows[route[-2]]

    def spread(ports: Mapping[Box, Mapping[Any, float]]) -> dict[tuple[Box, Any], float]:
        heights = {}
        for box, others in ports.items():
            step = _HEIGHT / (len(others) + 1)
            for i, port in enumerate(sorted(others, key=others.__getitem__)):
                heights[box, port] = frames[box][2] - _HEIGHT / 2 + step * (i + 1)
        return heights

    return spread(leaving), spread(reaching)

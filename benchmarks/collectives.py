"""Which collectives a compiled program executes, read from its text."""

import math
import re
from collections import Counter
from typing import NamedTuple

KINDS = ("all-reduce", "all-gather", "reduce-scatter", "all-to-all", "collective-permute")
_HEADER = re.compile(r"(ENTRY )?%?([\w.\-]+) \(.*\{$")
_OPERATION = re.compile(r"= (\(.*?\)|\S+) ([a-z][\w\-]*)\(")
_ARRAY = re.compile(r"([a-z]+)(\d*)\w*\[([\d,]*)\]")


class Collectives(NamedTuple):
    """What one call executes; a loop whose trip count is not known counts once.

    Attributes:
        counts: Times by kind.
        bytes: Bytes of all results.
    """

    counts: dict[str, int]
    bytes: int


def executed_collectives(text: str) -> Collectives:
    """Count collectives with the trip counts of the loops that they are in.

    Args:
        text: The text of a compiled program, ``compiled.as_text()``.

    Returns:
        The counts and the bytes.

    Raises:
        ValueError: If the text has no entry.
    """
    own: dict[str, Counter[str]] = {}
    inner: dict[str, list[tuple[str, int]]] = {}
    entry, name = "", ""
    for line in text.splitlines():
        header = _HEADER.match(line)
        if header is not None:
            name = header.group(2)
            own[name], inner[name] = Counter(), []
            entry = name if header.group(1) else entry
        operation = _OPERATION.search(line)
        if operation is None or not name:
            continue
        result, kind = operation.group(1), operation.group(2).removesuffix("-start")
        if kind in KINDS:
            own[name] += Counter({kind: 1, "bytes": _bytes(result)})
        for called, times in _called(kind, line):
            inner[name].append((called, times))
    if not entry:
        raise ValueError("executed_collectives: expected the text of a compiled program")

    def total(name: str) -> Counter[str]:
        found = Counter(own[name])
        for called, times in inner[name]:
            for key, value in total(called).items():
                found[key] += times * value
        return found

    found = total(entry)
    return Collectives({k: found[k] for k in KINDS if found[k]}, found["bytes"])


def _called(kind: str, line: str) -> list[tuple[str, int]]:
    """The computations that an operation runs, and how often."""
    if kind == "while":
        trips = re.search(r'"known_trip_count":\{"n":"(\d+)"', line)
        names, times = re.findall(r"body=%?([\w.\-]+)", line), int(trips.group(1)) if trips else 1
    elif kind == "conditional":
        branches = re.search(r"branch_computations=\{([^}]*)\}", line)
        names = re.findall(r"[\w.\-]+", branches.group(1)) if branches else []
        names += re.findall(r"(?:true|false)_computation=%?([\w.\-]+)", line)
        times = 1
    elif kind == "call":
        names, times = re.findall(r"to_apply=%?([\w.\-]+)", line), 1
    else:
        return []
    return [(name, times) for name in names]


def _bytes(result: str) -> int:
    """Bytes of a type such as ``f32[3,4]{1,0}`` or a tuple of such."""
    return sum(
        math.prod(int(n) for n in shape.split(",") if n) * max(1, int(bits or 8) // 8)
        for _, bits, shape in _ARRAY.findall(result)
    )

"""The README's table of bijectors: `python -m tests.registry_table` writes it anew."""

import ast
import inspect
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import jax.numpy as jnp

import jinn.functional
from jinn.bijectors import transformers
from tests.registry import CASES

README = Path(__file__).parents[1] / "README.md"
BEGIN, END = "<!-- bijectors: begin -->\n", "<!-- bijectors: end -->\n"
PASS = "a pass"
COSTS = {
    "MaskedAutoregressive": (PASS, "a loop of n short steps"),
    "Planar": (PASS, "root finding"),
    "Sylvester": (PASS, "root finding"),
    "InvertibleResidual": (PASS, "a fixed point"),
    "Continuous": ("a solve", "a solve"),
    "CubicSpline": (PASS, "root finding"),
    "Sigmoidal": (PASS, "root finding"),
}
"""Costs forward and inverse of the kinds in which one direction is not a pass over the event."""
MEMBERS = "its members'"
CONTAINERS = ("Chain", "Stack", "Graph", "Invert", "Conjugate", "EmbedCondition", "FactorOut")
LOG_DETS = {
    "InvertibleResidual": "yes, or by an estimate",
    "Continuous": "yes, or by an estimate",
    "InvAutoDense": "up to the orthogonality error",
    "InvAutoConv": "up to the orthogonality error",
    **dict.fromkeys(CONTAINERS, MEMBERS),
}
_REFERENCE = re.compile(r"([^;]*?)\(([^()]*?),? (\d{4})[^()]*\)[^;]*?(https?://[^\s;,]+)")


def make_table() -> str:
    """The table, one line a class: of all bijectors in the registry, then of all transformers."""
    lines = [
        "| class | functions | forward, inverse | log_det exact | source |",
        "|---|---|---|---|---|",
    ]
    kinds = {case.kind: case for case in CASES.values()}
    for kind, case in kinds.items():
        bijector = case.make(jnp.dtype("float32"))
        name, direction = kind.__name__, bijector.fast_direction
        costs = COSTS.get(name, (PASS, PASS))
        if name in CONTAINERS:
            costs = (MEMBERS,)
        elif (direction == "both") != (costs == (PASS, PASS)):
            raise ValueError(f"{name} is fast in {direction!r}: say in COSTS what each costs")
        lines.append(_line(kind, f"`{name}`", costs, LOG_DETS.get(name, "yes")))
    for kind in _transformers():
        name = kind.__name__
        lines.append(_line(kind, f"`transformers.{name}`", COSTS.get(name, (PASS, PASS)), "yes"))
    return "\n".join(lines) + "\n"


def _transformers() -> Iterator[type]:
    for name, kind in vars(transformers).items():
        if inspect.isclass(kind) and not inspect.isabstract(kind) and name != "Transformer":
            yield kind


def _line(kind: type, name: str, costs: Iterable[str], log_det: str) -> str:
    functions = _functions(kind)
    documented = [kind, *(getattr(jinn.functional, function) for function in functions)]
    sources: dict[str, str] = {}
    for thing in documented:
        # Functions are asked only where the class names no source.
        if not sources or thing is kind:
            sources |= _sources(inspect.getdoc(thing) or "")
    links = ", ".join(f"[{words}]({link})" for link, words in sources.items())
    cells = [name, ", ".join(_grouped(functions)), ", ".join(dict.fromkeys(costs)), log_det, links]
    return "|" + "".join(f" {cell} |" if cell else " |" for cell in cells)


def _functions(kind: type) -> list[str]:
    """Public functions of `jinn.functional` that a class uses, itself or through its module."""
    tree = ast.parse(Path(inspect.getfile(kind)).read_text())
    imported = {
        alias.asname or alias.name
        for node in tree.body
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("jinn.functional")
        for alias in node.names
    }
    defined = {name: node for node in tree.body for name in _defined(node)}
    found: set[str] = set()
    waiting = [kind.__name__]
    while waiting:
        for node in ast.walk(defined[waiting.pop()]):
            if isinstance(node, ast.Name) and node.id not in found:
                found.add(node.id)
                if node.id in defined:
                    waiting.append(node.id)
    names = sorted(found & imported & set(vars(jinn.functional)))
    return [name for name in names if not inspect.isclass(getattr(jinn.functional, name))]


def _defined(node: ast.stmt) -> list[str]:
    if isinstance(node, ast.ClassDef | ast.FunctionDef):
        return [node.name]
    if isinstance(node, ast.Assign):
        return [target.id for target in node.targets if isinstance(target, ast.Name)]
    return []


def _grouped(functions: list[str]) -> list[str]:
    """`x_forward` and `x_inverse` as `x_*`."""
    stems = (re.sub(r"_(forward|inverse)(_with_info)?$", "_*", name) for name in functions)
    return [f"`{stem}`" for stem in dict.fromkeys(stems)]


def _sources(docstring: str) -> dict[str, str]:
    """Authors and year by link, of a docstring's references."""
    section = re.search(r"References?:\n(.*?)(\n\n|\Z)", docstring, re.DOTALL)
    found: dict[str, str] = {}
    for match in _REFERENCE.finditer(" ".join(section[1].split()) if section else ""):
        _, authors, year, link = match.groups()
        names = [name.strip() for name in authors.replace(" et al.", ", ...").split(",")]
        et_al = " et al." if len(names) > 2 or "..." in names else ""
        words = names[0] + et_al if et_al else ", ".join(names)
        found[link.rstrip(".")] = f"{words} {year}"
    return found


def written() -> str:
    """The table as it stands in the README."""
    text = README.read_text()
    return text[text.index(BEGIN) + len(BEGIN) : text.index(END)]


def write() -> None:
    """Put the table into the README in place of the one there."""
    text = README.read_text()
    README.write_text(text.replace(BEGIN + written() + END, BEGIN + make_table() + END))


if __name__ == "__main__":
    write()

"""Every public name of jinn says what it does, what it takes, gives and raises.

The source is parsed, not imported, so that decorators and the type hook hide nothing.
"""

import ast
import inspect
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
Function = ast.FunctionDef | ast.AsyncFunctionDef
Definition = Function | ast.ClassDef | ast.Assign | ast.AnnAssign


@dataclass(frozen=True)
class Found:
    """Where a public name is defined."""

    module: str
    name: str
    node: Definition
    doc: str


# --- Finding the definitions ---------------------------------------------------------------------


def source_file(module: str) -> Path | None:
    path = ROOT.joinpath(*module.split("."))
    for file in (path.with_suffix(".py"), path / "__init__.py"):
        if file.exists():
            return file
    return None


@cache
def parse(file: Path) -> ast.Module:
    return ast.parse(file.read_text())


def bound_names(node: ast.stmt) -> list[str]:
    if isinstance(node, Function | ast.ClassDef):
        return [node.name]
    if isinstance(node, ast.Assign | ast.AnnAssign):
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        return [target.id for target in targets if isinstance(target, ast.Name)]
    return []


def find(module: str, name: str) -> Found | None:
    """Follows re-exports to the definition of `name`; None for a submodule or a foreign name."""
    file = source_file(module)
    if file is None:
        return None
    body = parse(file).body
    for i, node in reversed(list(enumerate(body))):
        if isinstance(node, Definition) and name in bound_names(node):
            below = body[i + 1] if i + 1 < len(body) else None
            return Found(module, name, node, docstring(node, below))
        # A package that imports from itself imports a submodule.
        if isinstance(node, ast.ImportFrom) and node.module and node.module != module:
            for alias in node.names:
                if name == (alias.asname or alias.name):
                    return find(node.module, alias.name)
    return None


def docstring(node: Definition, below: ast.stmt | None = None) -> str:
    """The docstring of a definition; a constant's is the string `below` it."""
    if isinstance(node, Function | ast.ClassDef):
        return ast.get_docstring(node) or ""
    match below:
        case ast.Expr(value=ast.Constant(value=str() as text)):
            return inspect.cleandoc(text)
    return ""


def public_definitions() -> dict[str, Found]:
    """The definitions behind every name that a package of jinn re-exports."""
    definitions = {}
    for file in sorted((ROOT / "jinn").rglob("__init__.py")):
        package = ".".join(file.parent.relative_to(ROOT).parts)
        names = [name for node in parse(file).body for name in bound_names(node)]
        for node in parse(file).body:
            if isinstance(node, ast.ImportFrom):
                names += [alias.asname or alias.name for alias in node.names]
        for name in names:
            if not name.startswith("_") and (found := find(package, name)):
                definitions[f"{found.module}.{found.name}"] = found
    return definitions


def base_classes(module: str, node: ast.ClassDef) -> list[tuple[str, ast.ClassDef]]:
    """The classes of jinn that `node` (of `module`) inherits from, nearest first."""
    bases = []
    for base in node.bases:
        name = base.value if isinstance(base, ast.Subscript) else base
        found = find(module, name.id) if isinstance(name, ast.Name) else None
        if found and isinstance(found.node, ast.ClassDef):
            bases += [(found.module, found.node), *base_classes(found.module, found.node)]
    return bases


# --- Judging a docstring -------------------------------------------------------------------------


def section(doc: str, title: str) -> str | None:
    """The dedented body of a section of a Google docstring, None if it has no such section."""
    match = re.search(rf"^{title}:\n((?:[ \t]+.*\n?|\n)+)", doc, re.MULTILINE)
    return inspect.cleandoc("\n" + match.group(1)) if match else None


def entries(*bodies: str | None) -> set[str]:
    """The names that sections of arguments describe, as in `name:`, `a, b:` or `name (type):`."""
    names: set[str] = set()
    for body in bodies:
        for line in re.findall(r"^([*\w][*\w, ]*?)(?: \(.*?\))?:", body or "", re.MULTILINE):
            names.update(name.strip("* ") for name in line.split(","))
    return names


def parameters(node: Function) -> list[str]:
    args = node.args
    named = [*args.posonlyargs, *args.args, *args.kwonlyargs]
    variadic = [arg for arg in (args.vararg, args.kwarg) if arg]
    return [arg.arg for arg in [*named, *variadic] if arg.arg not in ("self", "cls")]


def decorators(node: Function | ast.ClassDef) -> set[str]:
    """The last parts of the decorators' names: `property`, `dataclass`, `setter`."""
    calls = (item.func if isinstance(item, ast.Call) else item for item in node.decorator_list)
    return {ast.unparse(item).rpartition(".")[2] for item in calls}


def raises_value_error(node: ast.AST) -> bool:
    """Whether the body itself raises a ValueError; functions inside it answer for themselves."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, Function | ast.Lambda | ast.ClassDef):
            continue
        if isinstance(child, ast.Raise) and child.exc is not None:
            error = child.exc.func if isinstance(child.exc, ast.Call) else child.exc
            if isinstance(error, ast.Name) and error.id == "ValueError":
                return True
        if raises_value_error(child):
            return True
    return False


def missing_summary(doc: str) -> Iterator[str]:
    if not doc:
        yield "no docstring"
    elif not doc.partition("\n\n")[0].endswith((".", "?", "!")):
        yield "its first paragraph is not a sentence"


def missing_arguments(names: list[str], *docs: str) -> Iterator[str]:
    described = entries(*(section(doc, title) for doc in docs for title in ("Args", "Attributes")))
    for name in names:
        if name not in described:
            yield f"`Args:` does not describe {name}"


def missing_in_function(node: Function) -> Iterator[str]:
    doc = ast.get_docstring(node) or ""
    yield from missing_summary(doc)
    if {"property", "cached_property", "setter"} & decorators(node):
        return
    yield from missing_arguments(parameters(node), doc)
    returns = node.returns and ast.unparse(node.returns).strip("'\"")
    if returns not in (None, "None", "Never", "NoReturn"):
        titles = ("Returns", "Yields")
        if not any(section(doc, title) for title in titles):
            yield "no `Returns:`"
    if raises_value_error(node) and not section(doc, "Raises"):
        yield "no `Raises:`, but it raises ValueError"


def methods(node: ast.ClassDef) -> dict[str, Function]:
    """The public methods in a class's body; of overloads, the implementation."""
    return {
        child.name: child
        for child in node.body
        if isinstance(child, Function)
        and (child.name == "__call__" or not child.name.startswith("_"))
    }


def missing_in_constructor(classes: list[ast.ClassDef]) -> Iterator[str]:
    """What the class's own docstring, its bases' and `__init__`'s leave out together."""
    for i, node in enumerate(classes):
        init = next(
            (m for m in node.body if isinstance(m, Function) and m.name == "__init__"), None
        )
        docs = [ast.get_docstring(item) or "" for item in classes[: i + 1]]
        if init:
            docs.append(ast.get_docstring(init) or "")
            yield from missing_arguments(parameters(init), *docs)
            if raises_value_error(init) and not any(section(doc, "Raises") for doc in docs):
                yield "no `Raises:`, but its constructor raises ValueError"
            return
        is_record = "dataclass" in decorators(node) or any(
            ast.unparse(base).endswith("NamedTuple") for base in node.bases
        )
        if is_record:
            fields = [
                name
                for child in node.body
                if isinstance(child, ast.AnnAssign) and "ClassVar" not in ast.unparse(child)
                for name in bound_names(child)
            ]
            yield from missing_arguments(fields, *docs)
            return


def missing_in_class(module: str, node: ast.ClassDef) -> Iterator[str]:
    bases = [base for _, base in base_classes(module, node)]
    yield from missing_summary(ast.get_docstring(node) or "")
    yield from missing_in_constructor([node, *bases])
    described = {
        name
        for base in bases
        for name, method in methods(base).items()
        if ast.get_docstring(method)
    }
    for name, method in methods(node).items():
        if name in described:  # it says only how it differs
            parts = missing_summary(ast.get_docstring(method) or "")
        else:
            parts = missing_in_function(method)
        yield from (f"{name}: {part}" for part in parts)


def missing_parts(found: Found) -> list[str]:
    if isinstance(found.node, ast.ClassDef):
        return list(missing_in_class(found.module, found.node))
    if isinstance(found.node, Function):
        return list(missing_in_function(found.node))
    return list(missing_summary(found.doc))


# --- The tests -----------------------------------------------------------------------------------

DEFINITIONS = public_definitions()


@pytest.mark.parametrize("name", sorted(DEFINITIONS))
def test_docstring_has_its_parts(name: str):
    found = DEFINITIONS[name]
    missing = missing_parts(found)
    where = f"{source_file(found.module)}:{found.node.lineno}: {name}"
    assert not missing, "\n  ".join([where, *missing])


def test_the_public_names_are_found():
    assert {
        "jinn.functional.affine.affine_forward",
        "jinn.bijectors.base.Bijector",
        "jinn.flows.flow.Flow",
    } <= set(DEFINITIONS)


def judge(source: str) -> list[str]:
    node = ast.parse(inspect.cleandoc(source)).body[0]
    assert isinstance(node, Function | ast.ClassDef)
    return missing_parts(Found("somewhere", node.name, node, docstring(node)))


def test_a_bad_function_is_caught():
    assert judge(
        '''
        def scale(x, log_scale, *shifts) -> Array:
            """Scales

            Args:
                x: Values.
            """
            if not shifts:
                raise ValueError("scale: expected shifts")
            return x
        '''
    ) == [
        "its first paragraph is not a sentence",
        "`Args:` does not describe log_scale",
        "`Args:` does not describe shifts",
        "no `Returns:`",
        "no `Raises:`, but it raises ValueError",
    ]


def test_a_bad_class_is_caught():
    assert judge(
        '''
        class Scale:
            """Scales."""
            def __init__(self, log_scale):
                raise ValueError
            def forward(self, x) -> Array: ...
            def _private(self, x): ...
            @property
            def event_shape(self) -> tuple: ...
        '''
    ) == [
        "`Args:` does not describe log_scale",
        "no `Raises:`, but its constructor raises ValueError",
        "forward: no docstring",
        "forward: `Args:` does not describe x",
        "forward: no `Returns:`",
        "event_shape: no docstring",
    ]


def test_good_docstrings_pass():
    assert not judge(
        '''
        def scale(x: Array, log_scale: Array, *, low=0, high=1) -> Array:
            """Scales every element, `y = x exp(log_scale)`,
            in any shape.

            Args:
                x: Values,
                    any shape.
                log_scale (Array): As `x`: any shape.
                low, high: Bounds.

            Returns:
                The scaled values.

            Raises:
                ValueError: If there are none.
            """
            raise ValueError
        '''
    )
    assert not judge(
        '''
        @dataclasses.dataclass(frozen=True)
        class Result:
            """What a fit gives.

            Attributes:
                loss: Nats.
            """
            loss: float
        '''
    )

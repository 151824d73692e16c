"""The house rules that imports and names can show: layers go one way, and JAX is used plainly."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LAYERS = (
    "functional",
    "networks",
    "bijectors",
    "distributions",
    "flows",
    "losses",
    "training",
    "inference",
)
OUTSIDE = {"experiments", "benchmarks", "tests"}
# Flax's own versions of what plain `jax` and `optax` do on modules that are pytrees.
LIFTED = {
    *("jit", "pmap", "vmap", "shard_map", "scan", "remat", "checkpoint"),
    *("cond", "switch", "while_loop", "fori_loop"),
    *("grad", "value_and_grad", "custom_vjp", "Optimizer", "ModelAndOptimizer"),
}
NOT_A_CONCEPT = {"utils", "helpers", "misc"}
MAX_LINES = 400


def imports(tree: ast.AST) -> Iterator[tuple[int, str, str | None]]:
    """Yields (line, module, name) of each import; name is None for `import module`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name, None
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                yield node.lineno, "." * node.level + (node.module or ""), alias.name


def broken_import_rules(module: str, tree: ast.AST) -> Iterator[str]:
    """Says which imports of the jinn module `module` (its dotted name) break the layering."""
    layer = module.split(".")[1] if "." in module else ""
    if layer and layer not in LAYERS:
        yield f"{module} belongs to none of the layers {', '.join(LAYERS)}"
        return
    for line, target, name in imports(tree):
        where = f"{module}, line {line}: "
        root, _, inner = target.partition(".")
        if not root:
            yield where + f"relative import of {target}; write the module's full name"
        elif root in OUTSIDE:
            yield where + f"jinn must not import {root}"
        elif layer == "functional" and root == "flax":
            yield where + "jinn.functional must not import flax"
        elif layer and root == "jinn":
            target_layer = inner.partition(".")[0]
            if not inner or name is None:
                yield where + "import the name from its own layer, not through `jinn`"
            elif target_layer not in LAYERS:
                yield where + f"{target} belongs to no layer"
            elif LAYERS.index(target_layer) > LAYERS.index(layer):
                yield where + f"{layer} is to the left of {target_layer} and must not import it"


def lifted_transforms(module: str, tree: ast.AST) -> Iterator[str]:
    """Says where `module` uses a lifted transform or an optimizer of Flax NNX."""
    for line, target, name in imports(tree):
        if target == "flax.nnx" and name in LIFTED:
            yield f"{module}, line {line}: nnx.{name}; use plain jax and optax"
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Attribute)
            and node.attr in LIFTED
            and ast.unparse(node.value).rpartition(".")[2] == "nnx"
        ):
            yield f"{module}, line {node.lineno}: nnx.{node.attr}; use plain jax and optax"


def python_files(*folders: str) -> list[str]:
    return sorted(
        str(path.relative_to(ROOT)) for folder in folders for path in (ROOT / folder).rglob("*.py")
    )


def module_name(file: str) -> str:
    return ".".join(Path(file).with_suffix("").parts).removesuffix(".__init__")


@pytest.mark.parametrize("file", python_files("jinn"))
def test_jinn_imports_go_one_way(file: str):
    broken = list(broken_import_rules(module_name(file), ast.parse((ROOT / file).read_text())))
    assert not broken, "\n".join(broken)


@pytest.mark.parametrize("file", python_files("jinn", "experiments"))
def test_plain_jax_only(file: str):
    broken = list(lifted_transforms(module_name(file), ast.parse((ROOT / file).read_text())))
    assert not broken, "\n".join(broken)


@pytest.mark.parametrize("file", python_files("jinn"))
def test_one_concept_a_file(file: str):
    path = ROOT / file
    names = {part.strip("_") for part in Path(file).with_suffix("").parts}
    assert not names & NOT_A_CONCEPT, f"{file}: a function lives with its concept"
    lines = len(path.read_text().splitlines())
    assert lines <= MAX_LINES, f"{file}: {lines} lines are a catalogue; split it by topic"


def test_every_layer_is_there():
    folders = {path.parent.name for path in (ROOT / "jinn").glob("*/__init__.py")}
    assert folders == set(LAYERS)


@pytest.mark.parametrize(
    ("module", "source", "complaint"),
    [
        ("jinn.functional.affine", "from jinn.bijectors.base import Bijector", "to the left of"),
        ("jinn.bijectors.base", "def f():\n    from jinn.flows import Flow", "to the left of"),
        ("jinn.functional.affine", "from flax import nnx", "flax"),
        ("jinn.functional.affine", "import flax.nnx as nnx", "flax"),
        ("jinn.flows.flow", "import jinn", "through `jinn`"),
        ("jinn.flows.flow", "from jinn import functional", "through `jinn`"),
        ("jinn.flows.flow", "import jinn.functional", "through `jinn`"),
        ("jinn.flows.flow", "from jinn.extras import x", "no layer"),
        ("jinn.flows.flow", "from .base import x", "relative"),
        ("jinn.flows.flow", "from . import x", "relative"),
        ("jinn.flows.flow", "from experiments.kinematics import prior", "experiments"),
        ("jinn", "import benchmarks", "benchmarks"),
        ("jinn.extras", "", "none of the layers"),
    ],
)
def test_the_import_rules_bite(module: str, source: str, complaint: str):
    (broken,) = broken_import_rules(module, ast.parse(source))
    assert complaint in broken


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("jinn", "from jinn.inference import fit_posterior as fit_posterior"),
        ("jinn.flows", "from jinn.flows.flow import Flow as Flow"),
        ("jinn.flows.flow", "from jinn.functional import affine_forward"),
        ("jinn.bijectors.base", "from flax import nnx\nimport jax.numpy as jnp"),
    ],
)
def test_the_import_rules_let_good_code_pass(module: str, source: str):
    assert not list(broken_import_rules(module, ast.parse(source)))


def test_the_rule_of_plain_jax_bites():
    source = "from flax.nnx import grad\n@nnx.jit\ndef f(): return flax.nnx.Optimizer(nnx.Param(1))"
    broken = lifted_transforms("jinn.losses.x", ast.parse(source))
    assert [text.split("nnx.")[1].split(";")[0] for text in broken] == ["grad", "jit", "Optimizer"]

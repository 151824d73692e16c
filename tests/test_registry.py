"""The registry of cases holds every public bijector, transformer and named flow."""

import inspect
from types import ModuleType

import pytest

import jinn.bijectors
import jinn.flows
from jinn.bijectors import Bijector, transformers
from jinn.flows import Flow
from tests import registry_table
from tests.registry import CASES, TRANSFORMERS


def subclasses(cls: type) -> set[type]:
    return {cls}.union(*(subclasses(child) for child in cls.__subclasses__()))


def without_case(namespace: ModuleType) -> set[str]:
    """Names of the final bijectors that a module exports, but no case is of."""
    exported = {id(value) for value in vars(namespace).values()}
    public = {cls for cls in subclasses(Bijector) if id(cls) in exported}
    final = {cls for cls in public if not inspect.isabstract(cls)}
    return {cls.__name__ for cls in final - {case.kind for case in CASES.values()}}


def test_every_public_bijector_has_a_case() -> None:
    assert without_case(jinn.bijectors) == set()


def test_a_bijector_without_a_case_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    class Forgotten(Bijector):
        def _forward(self, x, condition, *, key, with_log_det):
            raise NotImplementedError

        def _inverse(self, y, condition, *, key, with_log_det):
            raise NotImplementedError

    assert without_case(jinn.bijectors) == set()  # not public yet
    monkeypatch.setattr(jinn.bijectors, "Forgotten", Forgotten, raising=False)
    assert without_case(jinn.bijectors) == {"Forgotten"}


def test_every_transformer_has_a_coupling() -> None:
    public = {
        value
        for value in vars(transformers).values()
        if inspect.isclass(value) and value.__module__.startswith(transformers.__name__)
    }
    assert public == {type(transformer) for transformer in TRANSFORMERS.values()}
    assert {f"coupling {name}" for name in TRANSFORMERS} <= set(CASES)


def test_every_named_flow_has_a_case() -> None:
    named = {
        name
        for name, function in vars(jinn.flows).items()
        if inspect.isfunction(function) and inspect.signature(function).return_annotation is Flow
    }
    assert named
    assert named <= {name.split()[0] for name in CASES}


def test_the_readme_lists_what_the_registry_holds() -> None:
    assert registry_table.written() == registry_table.make_table(), (
        "the README's table is out of date: python -m tests.registry_table"
    )

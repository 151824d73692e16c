"""The benchmark of image flows: its flows, ratios and tables; no times."""

import io

import jax
import pytest
from rich.console import Console

from benchmarks.images import jinn_flow, measure
from benchmarks.images.__main__ import make_tables
from benchmarks.images.cases import CASES, Wavelets, smoke


@pytest.mark.parametrize("name", sorted(CASES))
def test_the_flow_has_the_shapes_that_the_case_says(name):
    case = CASES[name]
    flow = jax.eval_shape(lambda: jinn_flow.build(case))
    shapes = flow.bijector.event_shape_out
    halves = [(size, size, channels // 2) for size, channels in case.stages[:-1]]
    size, channels = case.stages[-1]
    assert list(shapes.values()) == [*halves, (size, size, channels)]
    assert (flow.condition_shape is not None) == case.conditional


@pytest.mark.thorough
def test_absent_peers_are_skipped_and_jinn_is_measured(monkeypatch):
    monkeypatch.setattr(measure, "installed", lambda package: None)
    process = measure.torch_process()
    case = smoke(CASES["conditional"])
    results = [
        measure.compare(case, "step", 1, process),
        measure.compare(smoke(CASES["glow"]), "sample", 1, process),
        measure.transform(Wavelets(2, 4, 3), 1, process),
        measure.memory(case, (1,)),
    ]
    step, sample, haar, memory = results
    assert list(step["seconds"]) == ["jinn", "convolutions", "convolutions, JAX's"]
    assert step["met"] is None
    assert step["skipped"] == {"FrEIA": "torch and FrEIA not installed"}
    assert sample["skipped"] == {"normflows": "torch and normflows not installed"}
    assert set(haar["ratios"]) == {"forward / copy", "inverse / copy"}
    assert all(found[1] > 0 for found in memory["bytes"].values())
    text = io.StringIO()
    for table in make_tables(results):
        Console(file=text, width=160).print(table)
    assert "no peer" in text.getvalue() and "remat" in text.getvalue()

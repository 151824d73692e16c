"""The autoregressive benchmark's ratios, verdicts and tables; no times."""

import io
from dataclasses import replace

import pytest
from rich.console import Console

from benchmarks.autoregressive import measure
from benchmarks.autoregressive.__main__ import make_tables
from benchmarks.autoregressive.cases import COMPARISONS, smoke


def test_growth_is_of_the_time_of_an_element():
    result = measure.growth({"8": [1.0, 2.0], "16": [1.5, 3.0], "32": [4.5, 9.0]})
    ratios = result["an_element_to_smaller_event"]
    assert ratios["16"]["median"] == 0.75 and ratios["32"]["median"] == 1.5
    assert result["met"] is False
    assert measure.growth({"8": [1.0, 2.0], "16": [2.0, 4.0]})["met"] is True


@pytest.mark.thorough
def test_absent_peers_are_skipped_and_jinn_is_measured(monkeypatch):
    monkeypatch.setattr(measure, "installed", lambda package: None)
    comparison = COMPARISONS["sample-1000"]
    case = replace(smoke(comparison.case), event=3)
    libraries = ("jinn", *measure.PEERS)
    result = measure.compare(comparison, case, libraries, 2, measure.torch_process())
    assert list(result["seconds"]) == ["jinn"] and result["met"] is None
    assert result["skipped"]["flowjax"] == "flowjax not installed"
    assert result["skipped"]["zuko"] == "torch and zuko not installed"
    text = io.StringIO()
    [table] = make_tables([result], libraries)
    Console(file=text, width=120).print(table)
    assert "no peer" in text.getvalue()

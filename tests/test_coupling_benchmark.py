"""The coupling benchmark's ratios, verdicts and tables; no times."""

import io
from dataclasses import replace

import pytest
from rich.console import Console

from benchmarks.coupling import libraries, report
from benchmarks.coupling.cases import CASES, smoke
from benchmarks.coupling.timing import measure
from benchmarks.timing import skipped


@pytest.mark.parametrize(
    ("case", "program", "of_floor", "of_peer", "met"),
    [
        ("b", "step", 1.0, 0.6, True),
        ("b", "step", 1.0, 0.61, False),
        ("b", "step", 1.0, None, None),
        ("d-c", "sample", 1.0, 0.51, False),
        ("c", "sample", 1.25, 2.0, True),
        ("c", "log_prob", 1.26, 0.9, True),
        ("c", "log_prob", 1.26, 0.91, False),
        ("c", "log_prob", 1.26, None, None),
    ],
)
def test_verdicts(case, program, of_floor, of_peer, met):
    assert report.verdict(CASES[case], program, of_floor, of_peer) is met


def test_ratios_are_of_the_same_round_and_to_the_fastest_peer():
    seconds = {
        "floor": [1.0, 2.0, 4.0],
        "jinn": [2.0, 4.0, 8.0],
        "bijx": [4.0, 4.0, 32.0],
        "zuko": [2.5, 5.0, 10.0],
    }
    result = {"case": "b", "program": "step", "seconds": seconds, "skipped": {"nflows": "absent"}}
    result["summary"] = summary = report.summarise(result)
    assert summary["to_floor"]["jinn"] == {"median": 2.0, "p25": 2.0, "p75": 2.0}
    assert summary["jinn_to_peer"]["bijx"]["median"] == 0.5
    assert summary["fastest_peer"] == "zuko"
    assert summary["met"] is False
    text = io.StringIO()
    console = Console(file=text, width=120)
    for table in report.make_tables([result], ("jinn", "bijx", "zuko", "nflows")):
        console.print(table)
    times, ratios = [line.split() for line in text.getvalue().splitlines() if "b step" in line]
    assert times == ["b", "step", "2000", "4000", "4000", "5000", "-"]
    assert "0.80 (0.80-0.80) zuko" in " ".join(ratios)
    assert ratios[-1] == "missed"
    assert skipped([result, result]) == {"nflows": {"absent": ["b"]}}


def test_absent_peers_are_skipped_and_jinn_is_measured(monkeypatch):
    monkeypatch.setattr(libraries, "installed", lambda package: None)
    case = replace(smoke(CASES["c"]), bins=2)
    result = measure(case, "sample", ("jinn", *libraries.PEERS), 2, libraries.torch_process())
    assert [len(rounds) for rounds in result["seconds"].values()] == [2, 2]
    assert list(result["seconds"]) == ["floor", "jinn"]
    assert result["skipped"]["flowjax"] == "flowjax not installed"
    assert result["skipped"]["zuko"] == "torch and zuko not installed"
    assert report.summarise(result)["fastest_peer"] is None

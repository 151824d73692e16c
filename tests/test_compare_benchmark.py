"""The tables that the benchmarks of all workloads, of compiling and of accuracy make."""

import argparse
import json

import numpy as np
import pytest
from rich.console import Console

from benchmarks import accelerator, compile
from benchmarks.accuracy_over_time import __main__ as accuracy
from benchmarks.accuracy_over_time.worker import Answer, answer
from benchmarks.compare import report, workloads
from benchmarks.compare.workloads import WORKLOADS, smoke


def result(case="affine couplings", **seconds):
    return {
        "case": case, "program": "step", "batch": 64, "skipped": {}, **report.summarise(seconds)
    }  # fmt: skip


def test_ratios_and_figures():
    first = result(jinn=[2.0, 4.0], flowjax=[4.0, 8.0], zuko=[8.0, 16.0], floor=[1.0, 2.0])
    second = result("spline couplings", jinn=[3.0], flowjax=[2.0])
    alone = result("residual", **{"jinn": [1.0], "jinn series": [5.0]})
    assert first["fastest_peer"] == "flowjax"
    assert first["jinn_to_peer"]["zuko"]["median"] == 0.25
    assert alone["fastest_peer"] is None and list(alone["median_seconds"]) == ["jinn"]
    figures = report.figures([first, second, alone])
    assert figures == {"largest": 1.5, "median": 1.0, "rows won": 0.5, "floor": 2.0}
    assert report.figures([alone]) == {}


def test_the_table_as_markdown_and_as_a_picture(tmp_path):
    rows = [result(jinn=[2.0], flowjax=[4.0], floor=[1.0]), result("residual", jinn=[1.0])]
    report.write(tmp_path / "compare.png", rows)
    lines = (tmp_path / "compare.md").read_text().splitlines()
    assert len(lines) == 4 and len({line.count("|") for line in lines}) == 1
    assert "0.50 (0.50-0.50) flowjax" in lines[2] and "2.00 (2.00-2.00)" in lines[2]
    assert (tmp_path / "compare.png").stat().st_size > 1000
    console = Console(width=200, record=True)
    for table in report.make_tables(rows):
        console.print(table)
    assert "largest 0.50 (target 1)" in console.export_text()


@pytest.mark.parametrize("name", WORKLOADS)
def test_workloads_have_a_small_form(name):
    small = smoke(WORKLOADS[name])
    assert small.batches == (small.case.batch,) and len(small.programs) == 1
    assert small.family in workloads.PROCESSES


def test_compiling_grows_by_the_ratio_of_the_depths():
    def row(depth, seconds):
        stages = {"trace": seconds, "lower": 0.0, "compile": seconds}
        return {
            "case": "affine step",
            "depth": depth,
            "skipped": {},
            "median_seconds": {"jinn": stages},
        }

    assert compile.growth([row(4, 1.0), row(64, 3.0)]) == {"affine step": 3.0}


def test_operations_of_a_flow_are_those_of_its_products():
    settings = accelerator.Settings(event=4, condition=1, hidden=(5,), depth=3, batch=2, points=7)
    assert accelerator.products(settings) == 3 * (3 * 5 + 5 * 4)
    assert accelerator.operations(settings, "step") == 6 * 105 * 2
    assert accelerator.operations(settings, "sample") == 2 * 105 * 7


def test_time_to_a_quality_is_the_least_that_reaches_it():
    def row(library, seconds, mean, seed=0):
        record = {"case": "two_moons", "library": library, "seed": seed, "mean": mean}
        return record | {"training_seconds": seconds}

    rows = [row("jinn", 5.0, 0.7), row("jinn", 9.0, 0.59), row("jinn", 30.0, 0.55)]
    rows += [row("jinn", 8.0, 0.58, seed=1), row("sbi", 50.0, 0.7)]
    rows += [{"case": "two_moons", "skipped": {"bayesflow": "absent"}}]
    assert accuracy.times_to(rows, "two_moons", "jinn") == [9.0, 8.0]
    assert accuracy.times_to(rows, "two_moons", "sbi") == []


def test_a_worker_answers_and_a_library_that_is_absent_is_skipped(tmp_path):
    exam = accuracy.Exam(*(np.ones((3, 2), np.float32),) * 2, None, np.ones((1, 2)), np.ones(1))
    request = {"seed": 0, "budget": 1, "support": None, "samples": 2, "many": 2}
    assert "No module named" in accuracy.take("absent", "python", request, exam)["skipped"]
    (tmp_path / "request.json").write_text(json.dumps(request))
    np.savez(tmp_path / "data.npz", x=exam.x, y=exam.y, observed=exam.observed)
    answer(
        lambda *_: Answer(np.zeros((2, 1, 2)), 1.0, 2.0, 3.0, 4.0), [str(tmp_path)], ["no-package"]
    )
    found = json.loads((tmp_path / "answer.json").read_text())
    assert found["training_seconds"] == 1.0 and found["again_seconds"] == 4.0
    assert found["versions"] == {"no-package": "?"}
    assert np.load(tmp_path / "samples.npy").shape == (2, 1, 2)


def test_the_arm_has_an_exam():
    options = argparse.Namespace(smoke=True, samples=100)
    exam = accuracy.make_exam("kinematics", 0, options)
    assert exam.x.shape == (300, 4) and exam.exact.shape[1:] == (len(exam.observed), 4)
    same = accuracy.judge("kinematics", exam.exact, exam.exact)
    assert len(same) == len(exam.observed) and max(same) < 0.01

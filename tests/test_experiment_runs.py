"""Runs that experiments keep, what is shown of them, and the options of command lines."""

import argparse
import json
from dataclasses import dataclass

import numpy as np
import pytest
from rich.console import Console

from experiments.arguments import at_least_one, positive
from experiments.compare_architectures import __main__ as comparison
from experiments.compare_architectures.methods import METHODS
from experiments.runs import is_drawable, keep_runs, of_settings, panel_file, read_panels


@dataclass(frozen=True)
class Settings:
    """Of a run that takes no time."""

    steps: int = 5


def make(name, settings):
    """A run, and an array for its picture."""
    return {"settings": {"steps": settings.steps}}, {"samples": np.full(3, settings.steps)}


def keep(path, wanted, run=make):
    """Keeps the runs."""
    return keep_runs(path, wanted, run, command="test", console=Console())


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"runs": 3}', '{"runs": {"a": {}}}', "{"])
def test_a_file_of_another_kind_ends_the_program_before_any_run(tmp_path, text):
    path = tmp_path / "runs.json"
    path.write_text(text)
    with pytest.raises(SystemExit, match=r"runs\.json is damaged or no record of runs .*--out"):
        keep(path, {"a": Settings()}, run=None)
    assert path.read_text() == text


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(SystemExit, match="is no folder"):
        keep(tmp_path / "file" / "runs.json", {"a": Settings()})


def test_runs_of_other_settings_are_left_out(tmp_path, capsys):
    path = tmp_path / "runs.json"
    keep(path, {"a": Settings(), "b": Settings(7), "c": Settings()})
    runs, _ = keep(path, {"c": Settings()})
    now = {"a": Settings(), "b": Settings()}.get
    assert list(of_settings(runs, now, Console(width=200))) == ["a"]
    assert "2 of 3 runs in the file are of other settings" in capsys.readouterr().out


def test_damaged_and_missing_panels_are_left_out_and_pictures_kept(tmp_path, capsys):
    path, picture, console = tmp_path / "runs.json", tmp_path / "runs.png", Console(width=500)
    runs, _ = keep(path, {"a/x": Settings(), "b": Settings(7)})
    found = read_panels(path, runs, console)
    np.testing.assert_array_equal(found["b"]["samples"], [7, 7, 7])
    assert list(found) == ["a/x", "b"] and not list(path.parent.rglob("*.part"))
    for damage in (lambda kept: b"", lambda kept: b"PK\x03\x04junk", lambda kept: kept[:60]):
        panel_file(path, "b").write_bytes(damage(panel_file(path, "b").read_bytes()))
        assert list(read_panels(path, runs, console)) == ["a/x"]
        assert "b.npz is damaged" in capsys.readouterr().out
    panel_file(path, "b").unlink()
    assert list(read_panels(path, runs, console)) == ["a/x"]
    assert is_drawable(picture, ["a/x"], ["b"], console)
    assert not is_drawable(picture, [], [], console)
    picture.touch()
    assert is_drawable(picture, ["a/x", "b"], [], console)
    assert not is_drawable(picture, ["a/x"], ["b"], console)
    assert "samples of b are not in this folder" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("kind", "good", "bad"),
    [(at_least_one, "1", ["0", "-3", "1.5"]), (positive, "1e-3", ["0", "-1", "nan", "inf", "x"])],
)
def test_options_out_of_range(kind, good, bad, capsys):
    parser = argparse.ArgumentParser()
    parser.add_argument("--option", type=kind)
    assert parser.parse_args(["--option", good]).option == float(good)
    for text in bad:
        with pytest.raises(SystemExit):
            parser.parse_args([f"--option={text}"])
        assert "--option" in capsys.readouterr().err


# --- The comparison of architectures -------------------------------------------------------------


@pytest.fixture
def stand_in(monkeypatch):
    """Runs of the comparison that take no time; gives the names of what was made."""
    made = []

    def errors():
        return {
            name: {"mean": 0.1}
            for rounded in ("", ", rounded")
            for name in (f"Err_post{rounded}", f"Err_post biased{rounded}", "Err_resim")
        }

    class Truth:
        def __init__(self, task, protocol):
            made.append("truth")
            self.dim = task.problem.dim_x

        def reference(self, name):
            made.append(name)
            return {"errors": errors()}, np.zeros((4, self.dim))

    def run(method, truth, settings, seed, console):
        made.append(f"{settings.method}-seed{seed}")
        record = dict.fromkeys(
            ("calibration_error", "training_seconds", "milliseconds_per_1000_samples"), 0.1
        )
        return record | {"errors": errors(), "parameters": 3}, np.zeros((4, truth.dim))

    monkeypatch.setattr(comparison, "Truth", Truth)
    monkeypatch.setattr(comparison, "run", run)
    monkeypatch.setenv("COLUMNS", "80")
    return made


def test_a_comparison_shows_what_was_made_by_its_settings(stand_in, tmp_path, capsys):
    arguments = ["--out", str(tmp_path), "--problem", "kinematics", "--seeds", "0"]
    few = [*arguments, "--method", "inn", "cinn_affine"]
    comparison.main(few)
    assert stand_in == ["truth", "ABC", "prior", "inn-seed0", "cinn_affine-seed0"]
    comparison.main(few)
    assert len(stand_in) == 5
    shown = capsys.readouterr().out
    assert "INN (maximum likelihood)" in shown and "…" not in shown
    page, picture = tmp_path / "kinematics.md", tmp_path / "kinematics.png"
    full = picture.read_bytes()
    comparison.main([*arguments, "--method", "inn", "--steps", "7"])
    assert "cINN (affine)" not in page.read_text()
    for file in (tmp_path / "kinematics-panels").iterdir():
        file.unlink()
    before = picture.read_bytes()
    assert before != full
    comparison.main([*arguments, "--method", "inn", "--steps", "7"])
    assert picture.read_bytes() == before


def test_a_smoke_run_of_the_comparison_touches_no_real_result(stand_in, tmp_path):
    arguments = ["--out", str(tmp_path), "--problem", "ballistics"]
    comparison.main([*arguments, "--smoke"])
    assert stand_in[-2:] == ["inn_mmd-seed0", "cinn_spline-seed0"]
    comparison.main([*arguments, "--smoke", "--ablation"])
    ablation = [name for name, method in METHODS.items() if method.ablation]
    assert stand_in[-len(ablation) :] == [f"{name}-seed0" for name in ablation]
    assert {path.name.partition("-")[0] for path in tmp_path.iterdir()} == {"smoke"}
    assert json.loads((tmp_path / "smoke-ballistics.json").read_text())["runs"]


def test_a_ground_truth_that_fails_is_drawn_once(stand_in, tmp_path, monkeypatch, capsys):
    tries = []

    def fail(task, protocol):
        tries.append(task)
        raise MemoryError("too many")

    monkeypatch.setattr(comparison, "Truth", fail)
    with pytest.raises(SystemExit, match="kinematics failed: ABC, prior, inn-seed0"):
        comparison.main(
            ["--out", str(tmp_path), "--problem", "kinematics", "--method", "inn", "--seeds", "0"]
        )
    assert len(tries) == 1
    assert capsys.readouterr().out.count("MemoryError: too many") == 3

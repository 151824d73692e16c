"""Densities in the plane: samplers against exact densities, the integral, and the program."""

import json
import math
from dataclasses import replace

import jax
import numpy as np
import pytest
from rich.console import Console

from experiments.density2d import __main__ as program
from experiments.density2d.integral import integrate
from experiments.density2d.measure import chunked, run
from experiments.density2d.problems import PROBLEMS
from experiments.density2d.settings import FLOWS, smoke


@pytest.mark.thorough
@pytest.mark.parametrize("name", PROBLEMS)
def test_points_have_the_density_that_is_called_exact(name):
    problem = PROBLEMS[name]
    side, cells, n = 0.5, 24, 50_000
    fine = side * ((np.arange(6 * cells) + 0.5) / 6 - cells / 2)
    at = np.stack(np.meshgrid(fine, fine, indexing="ij"), axis=-1).reshape(-1, 2)
    density = np.exp(chunked(jax.jit(problem.log_prob), at.astype(np.float32)))
    mass = density.reshape(cells, 6, cells, 6).sum((1, 3)) * (side / 6) ** 2
    assert mass.sum() == pytest.approx(1, abs=1e-4)

    points = np.asarray(problem.sample(jax.random.key(0), n))
    edges = side * (np.arange(cells + 1) - cells / 2)
    counts = np.histogram2d(*points.T, bins=(edges, edges))[0]
    seen = mass * n > 5
    squares = (counts - mass * n)[seen] ** 2 / (mass * n)[seen]
    assert squares.sum() < len(squares) + 5 * math.sqrt(2 * len(squares))
    assert counts[~seen].sum() < mass[~seen].sum() * n + 5 * math.sqrt(mass[~seen].sum() * n) + 1
    np.testing.assert_allclose(points.std(axis=0), problem.deviation, rtol=0.02)


def gaussian(points, width):
    distances = ((points - 0.3) ** 2).sum(axis=1)
    return np.exp(-distances / (2 * width**2)) / (2 * math.pi * width**2)


def test_integrals_of_what_the_rule_has_exactly():
    """Kronrod's rule of 7 nodes is exact for polynomials up to degree 11."""
    for degree, expected in ((0, 2), (10, 2 / 11), (11, 0)):
        found = integrate(lambda x, d=degree: x[:, 0] ** d, bound=1.0, cells=1, max_points=1)
        assert found.value == pytest.approx(2 * expected, abs=1e-6)
        assert found.points == 49


@pytest.mark.parametrize("width", [1.0, 0.03])
def test_integrals_refine_where_a_density_is_sharp(width):
    found = integrate(lambda x: gaussian(x, width))
    assert found.value == pytest.approx(1, abs=1e-4)
    assert found.error <= 1e-3
    refined = found.points > 49 * 32**2
    assert refined == (width < 0.1)
    assert found.spacing == pytest.approx(0.5 / 7 / (2 if width < 0.1 else 1), rel=0.8)


def test_integrals_reach_out():
    def spots(points):  # another one far away
        return 0.9 * gaussian(points, 1.0) + 0.1 * gaussian(points - np.array([30.0, -9.0]), 0.3)

    near, far = integrate(spots), integrate(spots, reach=31.0)
    assert (near.bound, far.bound) == (8.0, 32.0)
    assert near.value == pytest.approx(0.9, abs=1e-4)
    assert far.value == pytest.approx(1, abs=1e-3)


def test_integrals_see_a_defect_and_count_what_is_not_finite():
    half = integrate(lambda x: np.where(x[:, 0] < 0.3, gaussian(x, 0.5), 0.0))
    assert half.value == pytest.approx(0.5, abs=1e-3)
    broken = integrate(lambda x: np.where(x[:, 0] < 0, np.nan, gaussian(x, 0.5)), max_points=1)
    assert broken.not_finite == broken.points / 2
    assert broken.value < 0.9


@pytest.mark.thorough
def test_a_short_run():
    settings = replace(smoke(FLOWS["flow_matching"]), steps=3)
    problem = PROBLEMS["two_moons"]
    outcome = run(problem, settings, 0, Console(quiet=True))
    assert outcome is not None
    record, panel = json.loads(json.dumps(outcome[0])), outcome[1]
    assert record["problem"] == "two_moons" and record["parameters"] > 0
    difference = record["negative_log_likelihood"] - record["entropy"]
    assert record["kl_divergence"] == pytest.approx(difference, abs=1e-5) and difference > 0
    assert record["integral"] == pytest.approx(1, abs=5e-3)
    assert record["integral_points_not_finite"] == record["samples_not_finite"] == 0
    assert panel["samples"].shape == (500, 2) and (panel["density"] >= 0).all()


# --- The program ---------------------------------------------------------------------------------


@pytest.fixture
def stand_in(monkeypatch):
    """Runs that take no time. Those named in `ends` do not end well."""
    calls, ends = [], {}

    def judge(problem, settings, seed, console):
        calls.append((problem.name, settings.builder))
        match ends.get(calls[-1]):
            case "interrupted":
                return None
            case "Ctrl-C":
                raise KeyboardInterrupt
            case "failed":
                raise RuntimeError("no luck")
        numbers = ("negative_log_likelihood", "entropy", "kl_divergence", "integral")
        record = dict.fromkeys((*numbers, "training_seconds"), 1.5) | {"parameters": 1234}
        record["settings"] = json.loads(json.dumps(vars(settings)))
        panel = {"samples": np.zeros((3, 2)), "density": np.ones((4, 4))}
        return record, panel

    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(program, "run", judge)
    return calls, ends


@pytest.mark.thorough
def test_runs_are_kept_and_shown(stand_in, tmp_path, capsys):
    calls, _ = stand_in
    arguments = ["--out", str(tmp_path), "--seed", "3", "--problem", "pinwheel", "--flow"]
    program.main([*arguments, "gin"])
    program.main([*arguments, "gin", "nice"])
    assert calls == [("pinwheel", "gin"), ("pinwheel", "nice")]
    program.main([*arguments, "gin", "--steps", "7"])
    assert len(calls) == 3
    runs = json.loads((tmp_path / "seed3.json").read_text())["runs"]
    assert runs["pinwheel/gin"]["settings"]["steps"] == 7
    assert runs["pinwheel/nice"]["command"].endswith("--flow gin nice")
    assert runs["pinwheel/nice"]["environment"]["jax"] == jax.__version__
    assert (tmp_path / "seed3.png").stat().st_size > 1000
    shown = capsys.readouterr().out
    assert "1,234" in shown and max(map(len, shown.splitlines())) <= 80 + len(str(tmp_path))


@pytest.mark.parametrize("how", ["interrupted", "Ctrl-C", "failed"])
def test_what_is_done_outlives_what_is_not(stand_in, tmp_path, capsys, how):
    calls, ends = stand_in
    ends["two_moons", "nice"] = how
    arguments = ["--out", str(tmp_path), "--smoke", "--flow", "gin", "nice", "real_nvp"]
    with pytest.raises(SystemExit, match="two_moons/nice" if how == "failed" else "interrupted"):
        program.main(arguments)
    kept = ["two_moons/gin", "two_moons/real_nvp"] if how == "failed" else ["two_moons/gin"]
    assert list(json.loads((tmp_path / "seed0-smoke.json").read_text())["runs"]) == kept
    shown = capsys.readouterr().out
    assert ("no luck" if how == "failed" else "goes on from here") in shown
    ends.clear()
    program.main(arguments)
    assert len(calls) == 4


def test_unknown_names_are_refused(capsys):
    with pytest.raises(SystemExit):
        program.main(["--flow", "glow"])
    assert "invalid choice: 'glow'" in capsys.readouterr().err

"""The eight modes and their labels, the measures of samples, and the program."""

import json

import jax
import numpy as np
import pytest

from experiments.gaussian_mixture import __main__ as program
from experiments.gaussian_mixture.measure import compare, picture, pooled, run
from experiments.gaussian_mixture.problem import (
    DEVIATION,
    LABELINGS,
    MODES,
    exact_samples,
    occurring,
    probabilities,
    simulate,
)
from experiments.gaussian_mixture.settings import METHODS, smoke


def nearest(x):
    return np.linalg.norm(np.asarray(x)[..., None, :] - MODES, axis=-1).argmin(-1)


@pytest.mark.parametrize("labeling", LABELINGS)
def test_points_lie_around_the_modes_of_their_labels(labeling):
    x, labels = simulate(jax.random.key(0), 8000, labeling)
    modes = nearest(x)
    np.testing.assert_array_equal(labels, np.array(LABELINGS[labeling])[modes])
    np.testing.assert_allclose(np.bincount(modes), 1000, atol=150)
    np.testing.assert_allclose((x - MODES[modes]).std(0), DEVIATION, rtol=0.03)
    np.testing.assert_allclose((x - MODES[modes]).mean(0), 0, atol=0.01)
    np.testing.assert_allclose(np.bincount(labels) / 8000, probabilities(labeling), atol=0.02)


def test_the_modes_are_a_regular_octagon():
    np.testing.assert_allclose(np.linalg.norm(MODES - np.roll(MODES, 1, 0), axis=1), 2, rtol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(MODES, axis=1), 2.6131, rtol=1e-4)


def test_exact_samples_have_their_label():
    x = exact_samples(jax.random.key(0), 4000, "some")
    assert x.shape == (4000, 4, 2)
    modes = nearest(x)
    for label, expected in zip(occurring("some"), ([0, 1, 2, 3], [4, 5], [6], [7]), strict=True):
        counts = np.bincount(modes[:, label], minlength=8)
        assert sorted(np.flatnonzero(counts)) == expected
        np.testing.assert_allclose(counts[expected], 4000 / len(expected), rtol=0.15)
    np.testing.assert_allclose(probabilities("some"), [0.5, 0.25, 0.125, 0.125])


def test_pooled_samples_are_as_likely_as_their_labels():
    x = exact_samples(jax.random.key(0), 800, "some")
    counts = np.bincount(np.array(LABELINGS["some"])[nearest(pooled(x, "some"))])
    np.testing.assert_array_equal(counts, [400, 200, 100, 100])
    drawn = picture(x, "some")
    np.testing.assert_array_equal(np.bincount(drawn["labels"]), counts)
    np.testing.assert_array_equal(
        np.array(LABELINGS["some"])[nearest(drawn["samples"])], drawn["labels"]
    )


def test_measures_of_samples():
    exact, again = (np.array(exact_samples(jax.random.key(i), 1000, "some")) for i in range(2))
    good = compare(again, exact, "some")
    assert abs(good["mmd"]) < 2e-3 and abs(good["marginal_mmd"]) < 2e-3
    assert good["outside"] == good["stray"] < 2e-3 and good["covered"] == 1

    turned = compare(again[:, [1, 0, 2, 3]], exact, "some")  # the labels 0 and 1 mistaken
    assert turned["outside"] == pytest.approx(0.75, abs=2e-3) and turned["stray"] < 2e-3
    assert turned["covered"] == 2 / 8 and turned["mmd"] > 0.1

    lost = again.copy()
    lost[:, 1] = MODES[4]  # of two modes one, and no spread
    lost[:400, 2] = 0.0
    lost[0, 3] = np.nan
    found = compare(lost, exact, "some")
    assert found["covered"] == 7 / 8
    assert found["outside"] == pytest.approx(0.125 * 0.4, abs=2e-3)


@pytest.mark.thorough
@pytest.mark.parametrize("method", ["inn", "cinn"])
def test_a_short_run(method):
    settings = smoke(METHODS[method])
    outcome = run("some", settings, 0)
    assert outcome is not None
    record, panel = json.loads(json.dumps(outcome[0])), outcome[1]
    assert record["mmd"] > 10 * abs(record["exact"]["mmd"]) and record["parameters"] > 0
    assert record["outside"] >= record["stray"]
    assert panel["samples"].shape == (200, 2) and set(panel["labels"]) == {0, 1, 2, 3}
    assert ("accuracy" in record) == ("latent" in record) == (method == "inn")
    if method == "inn":
        assert record["latent"]["mmd_threshold"] > 0


# --- The program ---------------------------------------------------------------------------------


@pytest.fixture
def stand_in(monkeypatch):
    """Runs that take no time."""
    calls = []

    def judge(labeling, settings, seed):
        calls.append((labeling, settings.builder, seed))
        record = dict.fromkeys(("mmd", "outside", "covered", "accuracy"), 0.01)
        record |= {"labeling": labeling, "seed": seed, "training_seconds": 5.0, "parameters": 1234}
        record["settings"] = json.loads(json.dumps(vars(settings)))
        record["exact"] = {"mmd": 1e-4}
        if settings.builder == "inn":
            record["latent"] = {"mmd": 2.0, "mmd_threshold": 1.0, "correlation": 0.1}
        return record, {"samples": np.zeros((3, 2)), "labels": np.arange(3)}

    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(program, "run", judge)
    return calls


def test_runs_are_kept_and_shown(stand_in, tmp_path, capsys):
    arguments = ["--out", str(tmp_path), "--labeling", "some", "--method", "inn_only_x", "cinn"]
    program.main(arguments)
    program.main([*arguments, "--seeds", "0", "7"])
    assert stand_in == [
        ("some", name, seed) for seed in (0, 7) for name in ("inn", "neural_spline_flow")
    ]
    program.main([*arguments, "--steps", "9"])
    assert len(stand_in) == 6
    runs = json.loads((tmp_path / "runs.json").read_text())["runs"]
    assert [runs[f"some/cinn/seed{seed}"]["settings"]["steps"] == 9 for seed in (0, 7)] == [
        True,
        False,
    ]
    assert sorted(path.name for path in tmp_path.glob("*.png")) == [
        "runs-seed0.png",
        "runs-seed7.png",
    ]
    shown = capsys.readouterr().out
    assert "1,234" in shown and max(map(len, shown.splitlines())) <= 80 + len(str(tmp_path))

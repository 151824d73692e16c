"""Two problems of sbibm: their simulators, the reading of references, and what is shown of runs."""

import bz2
import json
import zipfile

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.sbibm import __main__ as program
from experiments.sbibm.problems import PROBLEMS, slcp, two_moons
from experiments.sbibm.reference import Reference, find_wheel, read_reference

KEY = jax.random.key(0)


def test_two_moons_is_a_half_ring_around_a_fold_of_the_plane():
    x = jnp.array([0.3, -0.8])
    y = two_moons(KEY, jnp.tile(x, (20_000, 1)))
    centre = np.array([-abs(0.3 - 0.8) / np.sqrt(2) + 0.25, (-0.8 - 0.3) / np.sqrt(2)])
    offset = np.asarray(y) - centre
    radius = np.hypot(*offset.T)
    assert (offset[:, 0] > 0).all()
    np.testing.assert_allclose([radius.mean(), radius.std()], [0.1, 0.01], rtol=0.03)
    angle = np.arctan2(offset[:, 1], offset[:, 0])
    np.testing.assert_allclose([angle.mean(), angle.std()], [0.0, np.pi / 12**0.5], atol=0.03)


def test_slcp_is_four_draws_of_a_normal():
    x = jnp.array([0.7, -2.9, -1.0, -0.9, 0.6])
    y = np.asarray(slcp(KEY, jnp.tile(x, (50_000, 1)))).reshape(-1, 4, 2)
    np.testing.assert_allclose(y.mean(axis=(0, 1)), [0.7, -2.9], atol=0.02)
    covariance = np.tanh(0.6) * 0.81
    expected = [[1.0, covariance], [covariance, 0.81**2]]
    np.testing.assert_allclose(np.cov(y.reshape(-1, 2).T), expected, atol=0.02)
    assert abs(np.corrcoef(y[:, 0, 0], y[:, 1, 0])[0, 1]) < 0.02


def test_slcp_has_no_gradient_that_is_not_finite():
    gradient = jax.grad(lambda x: slcp(KEY, x).sum())(jnp.zeros((3, 5)).at[:, 4].set(50.0))
    assert bool(jnp.isfinite(gradient).all())


@pytest.mark.parametrize("name", PROBLEMS)
def test_pairs_are_of_the_prior(name):
    problem = PROBLEMS[name]
    x, y = problem.pairs(KEY, 2000)
    assert x.shape == (2000, problem.dim) and bool(jnp.isfinite(y).all())
    assert float(jnp.abs(x).max()) <= problem.bound
    np.testing.assert_allclose(x.std(axis=0), problem.bound / 3**0.5, rtol=0.05)


def test_references_are_read_from_a_wheel(tmp_path):
    wheel = tmp_path / "sbibm-1.0.0-py3-none-any.whl"
    samples = "parameter_1,parameter_2\n0.5,1.5\n-1.0,2.0\n"
    with zipfile.ZipFile(wheel, "w") as archive:
        folder = "sbibm/tasks/two_moons/files/num_observation_3"
        archive.writestr(f"{folder}/observation.csv", "data_1,data_2\n0.25,-0.5\n")
        name = f"{folder}/reference_posterior_samples.csv.bz2"
        archive.writestr(name, bz2.compress(samples.encode()))
    assert find_wheel(tmp_path) == wheel
    reference = read_reference(wheel, "two_moons", 3)
    np.testing.assert_array_equal(reference.y, [0.25, -0.5])
    np.testing.assert_array_equal(reference.samples, [[0.5, 1.5], [-1.0, 2.0]])


def test_runs_are_kept_and_shown(monkeypatch, tmp_path, capsys):
    calls = []

    def judge(problem, n, seed, references, method, **options):
        calls.append((problem.name, n, seed))
        accuracies = {str(i): 0.5 + 0.01 * i for i in references}
        published = problem.published.get(n)
        return {
            "problem": problem.name,
            "simulations": n,
            "seed": seed,
            "c2st": accuracies,
            "training_seconds": 3.0,
            "steps": 7,
            "published": published,
        }

    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(program, "run", judge)
    monkeypatch.setattr(program, "find_wheel", lambda: tmp_path)
    blank = Reference(np.zeros(2), np.zeros((3, 2)))
    monkeypatch.setattr(program, "read_reference", lambda *_: blank)
    arguments = ["--problems", "two_moons", "--simulations", "1000", "--out", str(tmp_path)]
    program.main([*arguments, "--seeds", "0"])
    program.main([*arguments, "--seeds", "0", "1"])
    assert calls == [("two_moons", 1000, 0), ("two_moons", 1000, 1)]
    record = json.loads((tmp_path / "two_moons-1000-seed0.json").read_text())
    assert record["c2st"]["5"] == 0.55 and "environment" in record and "command" in record
    shown = capsys.readouterr().out
    assert "0.530" in shown and "0.725" in shown
    assert (tmp_path / "c2st.png").stat().st_size > 1000


def test_smoke_without_the_wheel_says_what_is_left_out(monkeypatch, capsys):
    def missing():
        raise RuntimeError("no wheel")

    monkeypatch.setattr(program, "find_wheel", missing)
    program.main(["--smoke"])
    assert "Left out: no wheel" in capsys.readouterr().out
    with pytest.raises(SystemExit, match="no wheel"):
        program.main([])

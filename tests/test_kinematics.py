"""The arm, its ground truth and the experiment's program."""

import json
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from rich.console import Console

from experiments import comparison, program
from experiments.kinematics import reference
from experiments.kinematics.experiment import PRESETS, PROBLEM
from experiments.kinematics.problem import PRIOR_STD, forward, joints, reach, simulate
from experiments.settings import smoke
from jinn.functional.kernels import mmd_squared
from jinn.inference.abc import abc_rejection
from jinn.inference.metrics import calibration_error

Y = np.array([1.7, 0.4], np.float32)
TOLERANCE = 0.1


@cache
def exact(seed, n=1000):
    result = reference.sample_reference(
        jax.random.key(seed), Y[None], tolerance=TOLERANCE, n_samples=n
    )
    assert result.complete.all()
    return result.samples[0]


# --- The problem ---------------------------------------------------------------------------------


def test_known_poses():
    x = np.array(
        [[0, 0, 0, 0], [0.3, 0, 0, 0], [0, np.pi / 2, 0, 0], [0, 0, np.pi / 2, -np.pi / 2]],
        np.float32,
    )
    expected = [[2, 0], [2, 0.3], [0, 2], [1.5, 0.5]]
    np.testing.assert_allclose(forward(x), expected, atol=1e-6)
    np.testing.assert_allclose(joints(x)[3], [[0, 0], [0.5, 0], [0.5, 0.5], [1.5, 0.5]], atol=1e-6)


def test_the_arm_ends_where_the_forward_process_says():
    x, y = simulate(jax.random.key(0), 100)
    positions = joints(x)
    assert positions.shape == (100, 4, 2)
    np.testing.assert_allclose(positions[:, -1], y, atol=1e-6)
    np.testing.assert_allclose(positions[:, 0], np.stack([np.zeros(100), x[:, 0]], 1))
    lengths = np.linalg.norm(np.diff(positions, axis=1), axis=-1)
    np.testing.assert_allclose(lengths, np.tile([0.5, 0.5, 1.0], (100, 1)), rtol=1e-5)
    np.testing.assert_array_equal(forward(x[0]), forward(x[:1])[0])


def test_prior():
    x, _ = simulate(jax.random.key(0), 20_000)
    np.testing.assert_allclose(x.mean(0), np.zeros(4), atol=0.02)
    np.testing.assert_allclose(x.std(0), PRIOR_STD, rtol=0.02)


# --- The ground truth ----------------------------------------------------------------------------


def test_the_cells_bound_the_reach():
    low, high = reference._reach_bounds()
    z = np.random.default_rng(0).normal(scale=2.0, size=(20_000, 3)).astype(np.float32)
    cell = tuple(np.searchsorted(reference._EDGES, z).T - 1)
    position = np.asarray(reach(jnp.asarray(PRIOR_STD[1:] * z)))
    for entry in range(2):
        assert np.all(low[entry][cell] <= position[:, entry])
        assert np.all(position[:, entry] <= high[entry][cell])


def test_reference_agrees_with_plain_rejection():
    plain = abc_rejection(jax.random.key(1), simulate, Y, tolerance=TOLERANCE, n_samples=5000)
    assert plain.complete
    samples = exact(0, 5000)
    np.testing.assert_allclose(samples.mean(0), plain.samples.mean(0), atol=0.03)
    np.testing.assert_allclose(
        np.cov(samples, rowvar=False), np.cov(plain.samples, rowvar=False), atol=0.02
    )
    # For equal distributions the standard deviation of the estimate is about 2e-4 at this size.
    assert abs(mmd_squared(samples[:2000], plain.samples[:2000])) < 8e-4
    assert mmd_squared(samples[:2000] + 0.1, plain.samples[:2000]) > 8e-4


def test_reference_has_the_density_that_it_says():
    """Posterior means against sums over a grid of angles, the rail integrated out by hand."""
    grid = np.linspace(-2.25, 2.25, 46, dtype=np.float32)
    angles = np.stack(np.meshgrid(grid, grid, grid, indexing="ij"), axis=-1).reshape(-1, 3)
    position = np.asarray(reach(jnp.asarray(angles)), np.float64)
    variance = np.array([TOLERANCE**2, TOLERANCE**2 + 0.25**2])
    weight = np.exp(-0.5 * np.sum((angles / 0.5) ** 2, axis=1))
    weight *= np.exp(-0.5 * np.sum((position - Y) ** 2 / variance, axis=1))
    weight /= weight.sum()
    rail = (Y[1] - position[:, 1]) * 0.25**2 / variance[1]
    samples = np.asarray(exact(0, 5000))
    for values, expected in (
        (samples[:, 1:], weight @ angles),
        (samples[:, 1:] ** 2, weight @ angles**2),
        (samples[:, 0], weight @ rail),
        (samples[:, 0] ** 2, weight @ (rail**2 + TOLERANCE**2 * 0.25**2 / variance[1])),
        (samples[:, 1] * samples[:, 3], weight @ (angles[:, 0] * angles[:, 2])),
        (samples[:, 0] * samples[:, 1], weight @ (rail * angles[:, 0])),
    ):
        error = 5 * values.std(axis=0) / np.sqrt(len(values))
        assert np.all(np.abs(values.mean(axis=0) - expected) < error)


@pytest.mark.slow
def test_reference_is_calibrated():
    class Exact:
        def sample(self, key, shape, y):
            result = reference.sample_reference(key, y, tolerance=0.01, n_samples=shape[0])
            return jnp.moveaxis(result.samples, 1, 0)

    x, y = simulate(jax.random.key(2), 200)
    y += 0.01 * jax.random.normal(jax.random.key(3), y.shape)
    assert calibration_error(Exact(), x, y, samples=100) < 0.03


def test_reference_reports_what_fell_short():
    y = np.array([[1.5, 0.0], [40.0, 0.0]], np.float32)
    result = reference.sample_reference(
        jax.random.key(0), y, tolerance=0.01, n_samples=100, max_proposals=20_000
    )
    np.testing.assert_array_equal(result.complete, [True, False])
    assert np.isnan(result.samples[1, int(result.n_accepted[1]) :]).all()
    np.testing.assert_allclose(forward(result.samples[0]), np.tile(y[:1], (100, 1)), atol=0.06)


# --- The program ---------------------------------------------------------------------------------


class StandIn:
    """A posterior that needs no training."""

    def sample(self, key, shape, y):
        return 0.3 * jax.random.normal(key, (*shape, *y.shape[:-1], 4))


@pytest.mark.thorough
def test_the_program_with_a_stand_in(monkeypatch, tmp_path, capsys):
    network = {"parameters": 1234, "training_seconds": 5.0}
    monkeypatch.setattr(comparison, "train", lambda key, problem, settings: (StandIn(), network))
    program.main(
        PROBLEM,
        PRESETS,
        ["--smoke", "--diagnostics", "--seed", "3", "--steps", "7", "--out", str(tmp_path)],
    )
    printed = capsys.readouterr().out
    for text in ("Err_post", "second ABC run", "1,234", "cINN [1]", "arxiv.org/abs/2101.10763"):
        assert text in printed
    assert max(map(len, printed.splitlines())) <= 80
    pictures = sorted(path.name for path in tmp_path.glob("*.png"))
    assert pictures == [
        "neural_spline_flow-seed3-smoke-arms.png",
        "neural_spline_flow-seed3-smoke-marginals.png",
    ]
    record = json.loads((tmp_path / "neural_spline_flow-seed3-smoke.json").read_text())
    assert record["settings"]["seed"] == 3 and record["settings"]["steps"] == 7
    assert record["command"].startswith("python -m experiments.kinematics --smoke --diag")
    results = record["results"]
    errors = results["errors"]
    assert errors["prior"]["Err_post"]["mean"] > 10 * errors["ABC again"]["Err_post"]["mean"]
    assert not results["trust"]["SBC"]["passed"] and "SBC FAIL" in printed
    page = (tmp_path / "neural_spline_flow-seed3-smoke-diagnostics.html").read_text()
    assert "Posterior diagnostics: <span class='fail'>" in page
    assert results["observations_left_out"] == 0 and 0 <= results["calibration_error"] < 0.5
    assert len(record["per_observation"]["network"]["Err_post"]) == 5
    assert np.shape(record["per_observation"]["y"]) == (5, 2)
    assert record["environment"]["jax"] == jax.__version__


@pytest.mark.thorough
@pytest.mark.parametrize(
    "flow",  # without those of the smoke run, and of the iaf's teacher
    [flow for flow in PRESETS if flow not in ("neural_spline_flow", "maf")],
)
def test_a_short_run(flow):
    settings = smoke(PRESETS[flow])
    outcome = comparison.run(PROBLEM, settings, Console(quiet=True))
    assert outcome.network["parameters"] > 0
    for values in outcome.errors["network"].values():
        assert np.isfinite(values).all() and len(values) == settings.observations


def test_unknown_flows_are_refused(capsys):
    with pytest.raises(SystemExit):
        program.main(PROBLEM, PRESETS, ["--flow", "glow"])
    assert "invalid choice: 'glow'" in capsys.readouterr().err


def test_the_type_of_the_networks(monkeypatch, tmp_path, capsys):
    def run(problem, settings, console, page):
        raise SystemExit(settings.flow_options["dtype"])

    monkeypatch.setattr(program, "run", run)
    words = ["--smoke", "--out", str(tmp_path), "--dtype", "bfloat16"]
    with pytest.raises(SystemExit, match="bfloat16"):
        program.main(PROBLEM, PRESETS, words)
    with pytest.raises(SystemExit):
        program.main(PROBLEM, PRESETS, [*words, "--flow", "residual_flow"])
    assert "--dtype: residual_flow has no such option" in capsys.readouterr().err

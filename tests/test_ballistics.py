"""The throw, its ground truth and the experiment's program."""

import json
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from rich.console import Console
from scipy.integrate import solve_ivp

import jinn
from experiments import comparison, program
from experiments.ballistics import problem, reference
from experiments.ballistics.experiment import PRESETS, PROBLEM
from experiments.ballistics.plots import trajectories
from experiments.ballistics.problem import never_lands, position, simulate
from experiments.settings import smoke
from jinn.functional.kernels import mmd_squared
from jinn.inference.abc import abc_rejection
from jinn.inference.metrics import calibration_error

forward, impact_time = jax.jit(problem.forward), jax.jit(problem.impact_time)

Y = np.array([6.0], np.float32)
TOLERANCE = 0.1
RELAXATION = 0.2 / 0.25  # s, mass by drag
SINKING = 9.81 * RELAXATION  # m/s
# From the prior, downwards slowly and fast, backwards, and from below the ground.
THROWS = np.array(
    [
        [0.3, 1.5, 0.7, 15.0],
        [-0.5, 2.0, 1.3, 24.0],
        [0.0, 0.0, 0.2, 3.0],
        [0.1, 2.0, -0.6, 5.0],
        [0.0, 3.0, -1.2, 20.0],
        [0.0, 1.0, 2.5, 9.0],
        [0.2, -1.0, 1.0, 12.0],
    ]
)
STUCK = np.array([[0.3, -1.0, 0.7, 4.0], [0.3, -1e-3, 0.7, 0.0], [0.4, -0.5, -0.3, 6.0]])


# --- The flight ----------------------------------------------------------------------------------


def integrated(x):
    """Time and place of the last impact, by a solver of the equations of motion."""
    x0, y0, angle, v0 = x

    def motion(_, state):
        velocity = state[2:]
        return [*velocity, -velocity[0] / RELAXATION, -9.81 - velocity[1] / RELAXATION]

    def ground(_, state):
        return state[1]

    ground.direction = -1.0
    start = [x0, y0, v0 * np.cos(angle), v0 * np.sin(angle)]
    path = solve_ivp(motion, (0.0, 20.0), start, events=ground, rtol=1e-10, atol=1e-10)
    return path.t_events[0][-1], path.y_events[0][-1][0]


def test_impacts_are_those_of_the_integrated_motion(x64):
    times, places = np.transpose([integrated(x) for x in THROWS])
    np.testing.assert_allclose(impact_time(THROWS), times, rtol=1e-7)
    np.testing.assert_allclose(forward(THROWS)[:, 0], places, atol=1e-7)
    assert not never_lands(THROWS).any()


def test_known_throws():
    fall_time = np.array([0.1, 0.8, 3.0], np.float32)
    slowed = RELAXATION * (1 - np.exp(-fall_time / RELAXATION))
    height = SINKING * (fall_time - slowed)
    zero = np.zeros(3, np.float32)
    level = np.stack([zero + 0.4, height, zero, zero + 7.0], axis=1)
    np.testing.assert_allclose(impact_time(level), fall_time, rtol=1e-5)
    np.testing.assert_allclose(forward(level)[:, 0], 0.4 + 7.0 * slowed, rtol=1e-5)
    dropped = np.stack([zero + 0.4, height, zero + 0.7, zero], axis=1)
    np.testing.assert_allclose(forward(dropped)[:, 0], zero + 0.4, rtol=1e-6)
    upright = np.stack([zero + 0.4, height, zero + np.pi / 2, zero + 20.0], axis=1)
    np.testing.assert_allclose(forward(upright)[:, 0], zero + 0.4, atol=1e-5)
    np.testing.assert_array_equal(forward(level[0]), forward(level[:1])[0])


def test_impacts_of_the_prior_are_on_the_ground_after_the_apex():
    x, y = simulate(jax.random.key(0), 20_000)
    time = impact_time(x)
    np.testing.assert_allclose(position(x, time)[:, 1], np.zeros(len(x)), atol=2e-5)
    np.testing.assert_allclose(position(x, time)[:, :1], y, atol=1e-5)
    upward = x[:, 3] * jnp.sin(x[:, 2]) / SINKING
    assert np.all(time >= RELAXATION * jnp.log1p(upward))
    assert not never_lands(x).any()


def test_throws_that_never_land_count_their_apex():
    assert never_lands(STUCK).all()
    upward = np.maximum(STUCK[:, 3] * np.sin(STUCK[:, 2]), 0.0)
    apex = RELAXATION * np.log1p(upward / SINKING)
    np.testing.assert_allclose(impact_time(STUCK), apex, rtol=1e-6)
    assert apex[0] > 0 and apex[2] == 0
    around = np.array([-0.05, 0.0, 0.05])
    heights = position(STUCK[:1, None], apex[:1, None] + around[None])[0, :, 1]
    assert heights[1] < 0 and heights.argmax() == 1
    on_the_ground = np.array([0.3, 0.0, 0.7, 0.0])
    assert not never_lands(on_the_ground) and forward(on_the_ground)[0] == np.float32(0.3)


def test_gradients_are_those_of_finite_differences(x64):
    x = np.concatenate([THROWS, STUCK[:1]])
    gradient = jax.jit(jax.vmap(jax.grad(lambda x: forward(x)[0])))(x)
    steps = 1e-6 * np.eye(4)
    differences = (forward(x[:, None] + steps) - forward(x[:, None] - steps))[..., 0] / 2e-6
    np.testing.assert_allclose(gradient, differences, rtol=1e-6, atol=1e-7)


def test_gradients_are_finite_everywhere():
    on_the_ground = np.array([[0.3, 0.0, 0.7, 0.0], [0.3, 0.0, -0.7, 3.0]])
    fast = np.array([[0.0, 1.0, 1.0, 1e4], [0.0, 1.0, -1.5, 1e4], [1e4, 1e4, 1e4, 1e4]])
    x = np.concatenate([on_the_ground, STUCK, fast]).astype(np.float32)
    values, gradients = jax.jit(jax.vmap(jax.value_and_grad(lambda x: forward(x)[0])))(x)
    assert np.isfinite(values).all() and np.isfinite(gradients).all()


def test_prior():
    x, _ = simulate(jax.random.key(0), 40_000)
    low, high = 0.1 * np.pi / 2, 0.9 * np.pi / 2
    middle, spread = (low + high) / 2, (high - low) / 12**0.5
    np.testing.assert_allclose(x.mean(0), [0.0, 1.5, middle, 15.0], atol=0.06)
    np.testing.assert_allclose(x.std(0), [0.5, 0.5, spread, 15**0.5], rtol=0.02)
    assert x[:, 1].min() == 0 and 20 < np.sum(x[:, 1] == 0) < 90  # 54 are expected
    assert low <= x[:, 2].min() and x[:, 2].max() <= high
    np.testing.assert_array_equal(x[:, 3], np.round(x[:, 3]))


# --- The ground truth ----------------------------------------------------------------------------


def test_reference_agrees_with_plain_rejection():
    plain = abc_rejection(jax.random.key(1), simulate, Y, tolerance=TOLERANCE, n_samples=5000)
    assert plain.complete
    exact = reference.sample_reference(
        jax.random.key(0), Y[None], tolerance=TOLERANCE, n_samples=5000
    )
    assert exact.complete.all()
    missed, missed_by_plain = (
        float(jnp.mean((forward(x)[:, 0] - Y) ** 2)) for x in (exact.samples[0], plain.samples)
    )
    np.testing.assert_allclose([missed, missed_by_plain], 2 * [TOLERANCE**2], rtol=0.1)
    scale = np.array([0.5, 0.5, 0.36, 3.9], np.float32)
    samples, plain = np.asarray(exact.samples[0]) / scale, np.asarray(plain.samples) / scale
    np.testing.assert_allclose(samples.mean(0), plain.mean(0), atol=0.1)
    np.testing.assert_allclose(np.cov(samples, rowvar=False), np.cov(plain, rowvar=False), atol=0.1)
    # For equal distributions the standard deviation of the estimate is about 2e-4 at this size.
    assert abs(mmd_squared(samples[:2000], plain[:2000])) < 8e-4
    assert mmd_squared(samples[:2000] + 0.2, plain[:2000]) > 8e-4


@pytest.mark.slow
def test_reference_is_calibrated():
    class Exact:
        def sample(self, key, shape, y):
            result = reference.sample_reference(key, y, tolerance=0.02, n_samples=shape[0])
            return jnp.moveaxis(result.samples, 1, 0)

    x, y = simulate(jax.random.key(2), 200)
    y += 0.02 * jax.random.normal(jax.random.key(3), y.shape)
    assert calibration_error(Exact(), x, y, samples=100) < 0.03


def test_reference_reports_what_fell_short():
    y = np.array([[6.0], [60.0]], np.float32)
    result = reference.sample_reference(
        jax.random.key(0), y, tolerance=0.02, n_samples=100, max_proposals=20_000
    )
    np.testing.assert_array_equal(result.complete, [True, False])
    assert np.isnan(result.samples[1]).all() and result.n_accepted[1] == 0
    np.testing.assert_allclose(forward(result.samples[0]), np.tile(y[:1], (100, 1)), atol=0.12)


# --- The program ---------------------------------------------------------------------------------


class StandIn:
    """A posterior that needs no training: the prior, v0 smeared, and some throws that are stuck."""

    def sample(self, key, shape, y):
        n = int(np.prod(shape + y.shape[:-1]))
        x = problem.prior(key, n).reshape(*shape, *y.shape[:-1], 4)
        x = x.at[..., 3].add(0.3)
        return x if y.ndim == 1 else x.at[0].set(STUCK[0])


@pytest.mark.thorough
def test_the_program_with_a_stand_in(monkeypatch, tmp_path, capsys):
    network = {"parameters": 1234, "training_seconds": 5.0}
    monkeypatch.setattr(comparison, "train", lambda key, problem, settings: (StandIn(), network))
    words = ["--smoke", "--seed", "103", "--dequantization", "0.25", "--out", str(tmp_path)]
    program.main(PROBLEM, PRESETS, words)
    printed = capsys.readouterr().out
    for text in ("v0 rounded", "second ABC run", "cINN [1]", "5 of the network's 1,000 samples"):
        assert text in printed
    assert max(map(len, printed.splitlines())) <= 80
    stem = "neural_spline_flow-seed103-smoke"
    pictures = sorted(path.name for path in tmp_path.glob("*.png"))
    assert pictures == [f"{stem}-marginals.png", f"{stem}-throws.png"]
    record = json.loads((tmp_path / f"{stem}.json").read_text())
    assert record["settings"]["dequantization"] == 0.25
    (counts,) = record["results"]["counts"].values()
    assert counts == {"network": 5, "ABC": 0, "ABC again": 0, "prior": 0}
    errors = record["results"]["errors"]
    assert "Err_resim" not in errors["network, rounded"]
    assert errors["network, rounded"]["Err_post"]["mean"] < errors["network"]["Err_post"]["mean"]
    assert errors["prior"]["Err_post"]["mean"] > 10 * errors["ABC again"]["Err_post"]["mean"]


def test_the_picture_shows_flights_from_start_to_impact():
    x, y = simulate(jax.random.key(0), 50)
    flights = trajectories(np.asarray(x))
    np.testing.assert_allclose(flights[:, 0], x[:, :2], atol=1e-6)
    np.testing.assert_allclose(flights[:, -1, :1], y, atol=1e-5)


def test_training_pairs(monkeypatch):
    """Noise goes to y and to the whole-numbered v0, on pairs that the throw itself has made."""
    given = {}
    monkeypatch.setattr(jinn, "fit_posterior", lambda key, data, **rest: given.update(rest, f=data))
    settings = replace(smoke(PRESETS["neural_spline_flow"]), y_noise=0.1, dequantization=0.25)
    comparison.train(jax.random.key(0), PROBLEM, settings)
    x, y = given["f"](jax.random.key(1), 4000)
    whole = x.at[:, 3].set(jnp.round(x[:, 3]))
    smear = x[:, 3] - whole[:, 3]
    assert 0.24 < np.max(np.abs(smear)) <= 0.25
    np.testing.assert_allclose([smear.mean(), smear.std()], [0.0, 0.25 / 3**0.5], atol=0.01)
    error = (y - forward(whole))[:, 0]
    np.testing.assert_allclose([error.mean(), error.std()], [0.0, 0.1], atol=0.01)
    low, high = given["support"]
    assert low[2] == problem.ANGLES[0] and high[2] == problem.ANGLES[1]


@pytest.mark.thorough
def test_a_short_run():
    settings = replace(smoke(PRESETS["neural_spline_flow"]), steps=20)
    outcome = comparison.run(PROBLEM, settings, Console(quiet=True))
    for values in outcome.errors["network"].values():
        assert np.isfinite(values).all() and len(values) == settings.observations
    angles = outcome.example["network"][:, 2]
    assert problem.ANGLES[0] <= angles.min() and angles.max() <= problem.ANGLES[1]

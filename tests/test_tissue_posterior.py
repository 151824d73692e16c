"""The posterior of the tissue experiment: its parameters, its parts and its program."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from rich.console import Console

from experiments.tissue import __main__ as program
from experiments.tissue import measure, problem, simulations
from experiments.tissue.outside import dyed, under_film, under_pool
from experiments.tissue.parameters import (
    MEAN,
    MIE,
    STD,
    cut,
    from_normal,
    log_likelihood,
    noise_in,
    seen,
    to_normal,
    uncut,
)
from experiments.tissue.reference import Nearest, Weighted
from experiments.tissue.scene import arrange, judge_map, masks, oxygenation_map
from experiments.tissue.settings import METHODS, Data, smoke
from experiments.tissue.simulations import simulated
from experiments.tissue.transport import Light

KEY = jax.random.key(7)
SMALL = smoke(METHODS["cinn"]).data


def _quick(x):
    """A spectrum that is soon made, darker with blood and with less oxygen."""
    return jnp.linspace(0.5, 0.9, 8) * jnp.exp(-5 * x[1] * (2 - x[0]) * jnp.linspace(1, 2, 8))


@pytest.fixture
def quick(monkeypatch):
    """Simulations that take no time; gives the number of solves."""
    solves = []

    def solver(forward):
        return lambda x: solves.append(forward) or jax.vmap(_quick)(jnp.asarray(x))

    def light(key, tissue, *, photons):
        share = jnp.full(tissue.batch, 0.2)
        return Light(share, share, share, share[..., None], share / 100, share, share)

    monkeypatch.setattr(simulations, "_solver", solver)
    monkeypatch.setattr(measure, "simulate", light)
    return solves


# --- Parameters ----------------------------------------------------------------------------------


def test_parameters_before_the_cut_are_normal_and_give_the_same_tissue():
    x = problem.prior(KEY, 100_000)
    before = uncut(KEY, x)
    np.testing.assert_array_equal(cut(before), x)
    assert np.mean(np.asarray(before[:, MIE]) < 0) == pytest.approx(0.0320, abs=0.001)
    np.testing.assert_allclose(before.mean(axis=0), MEAN, atol=4 * STD.max() / 316)
    np.testing.assert_allclose(before.std(axis=0), STD, rtol=0.01)
    skewness = np.mean(((np.asarray(before) - MEAN) / STD) ** 3, axis=0)
    np.testing.assert_allclose(skewness, 0, atol=0.04)


def test_parameters_of_the_prior_become_standard_normal_and_come_back():
    x = uncut(KEY, problem.prior(KEY, 100_000))
    z = np.asarray(to_normal(x))
    np.testing.assert_allclose(z.mean(axis=0), 0, atol=0.015)
    np.testing.assert_allclose(
        np.quantile(z, [0.025, 0.975], axis=0), [[-1.96] * 13, [1.96] * 13], atol=0.04
    )
    np.testing.assert_allclose(from_normal(z), x, rtol=1e-4, atol=1e-6)


def test_the_noise_is_what_the_camera_adds():
    spectra = jnp.full((20_000, 8), 0.3)
    noise = noise_in(seen(KEY, spectra, 10.0), jnp.log(spectra), 10.0)
    np.testing.assert_allclose(noise.mean(axis=0), 0, atol=0.03)
    np.testing.assert_allclose(noise.std(axis=0), 1, atol=0.03)


def test_the_likelihood_is_that_of_the_camera():
    spectrum = jnp.full(8, 0.3)
    width = 1.2 / 2000
    y = jnp.log(jnp.arange(0.5 * width, 1.2, width))  # of one band, the others as expected
    rows = jnp.broadcast_to(jnp.log(spectrum), (len(y), 8)).at[:, 0].set(y)
    expected = jnp.broadcast_to(jnp.log(spectrum), rows.shape)
    density = np.exp(log_likelihood(rows, expected, 10.0))
    density /= density.sum() * width
    values = np.exp(y)
    found = seen(KEY, jnp.broadcast_to(spectrum, (20_000, 8)), 10.0)[:, 0]
    assert np.sum(values * density) * width == pytest.approx(float(jnp.exp(found).mean()), abs=1e-3)
    deviation = np.sqrt(np.sum((values - 0.3) ** 2 * density) * width)
    assert deviation == pytest.approx(float(jnp.exp(found).std()), rel=0.02)


# --- Simulated sets ------------------------------------------------------------------------------


def test_sets_are_kept_and_go_on_where_they_ended(quick, tmp_path):
    console = Console(quiet=True)
    data = Data(training=70, part=40)
    first = simulated(tmp_path, "training", data, console)
    assert first.x.shape == (70, 13) and first.spectra.shape == (70, 8)
    assert len(quick) == 4  # of 32 tissues each, two a file
    np.testing.assert_allclose(first.spectra, jax.vmap(_quick)(first.x), rtol=1e-6)
    next(tmp_path.glob("*-001.npz")).unlink()
    again = simulated(tmp_path, "training", data, console)
    assert len(quick) == 6
    np.testing.assert_array_equal(again.x, first.x)
    assert len(np.unique(first.x[:, 0])) == 70


def test_sets_to_tune_on_are_others_but_for_the_training(quick, tmp_path):
    console = Console(quiet=True)
    for name, same in (("training", True), ("unseen", False), ("scene", False)):
        reported, tuned = (
            simulated(
                tmp_path, name, Data(training=30, unseen=30, side=5, validation=flag), console
            )
            for flag in (False, True)
        )
        assert np.array_equal(reported.x, tuned.x) == same


@pytest.mark.thorough
def test_tissues_from_outside_are_darker_where_they_should_be():
    x = problem.prior(KEY, 4)
    known, film, pool, dye = (
        simulations.spectra_of(x, forward)
        for forward in (problem.forward, under_film, under_pool, dyed)
    )
    assert np.all(film < known) and np.all(pool < film)
    ratio = dye / known
    assert np.all(ratio <= 1 + 1e-5) and np.all(ratio.argmin(axis=1) == 6)  # at 660 nm
    np.testing.assert_allclose(ratio[:, 0], 1, atol=1e-4)


# --- Posteriors by simulations -------------------------------------------------------------------


def test_weights_and_the_nearest_give_the_posterior_of_a_known_problem():
    # With one parameter that matters and a spectrum exp(x), the posterior is nearly normal.
    x = jnp.zeros((200_000, 13)).at[:, 0].set(jax.random.uniform(KEY, (200_000,), minval=-2))
    log_spectra = jnp.broadcast_to(x[:, :1], (len(x), 8))
    y = jnp.full((1, 8), -0.7)
    weighted = Weighted(x, log_spectra, 20.0)
    draws = weighted.sample(KEY, (4000,), y)
    assert draws.shape == (4000, 1, 13)
    assert draws[:, 0, 0].std() == pytest.approx(0.05 / np.sqrt(8), rel=0.06)
    assert draws[:, 0, 0].mean() == pytest.approx(-0.7, abs=0.005)
    share = np.sqrt(4 * np.pi) * 0.05 / np.sqrt(8) / 3  # of a prior as wide as 3
    assert weighted.effective[0] == pytest.approx(200_000 * share, rel=0.05)
    noisy = seen(KEY, jnp.exp(log_spectra), 20.0)
    nearest = Nearest(x, noisy, 100).sample(KEY, (400,), y)
    assert nearest[:, 0, 0].mean() == pytest.approx(-0.7, abs=0.03)
    assert len(np.unique(nearest[:, 0, 0])) <= 100


# --- The scene -----------------------------------------------------------------------------------


def test_the_scene_is_an_arrangement_of_the_prior():
    side = 24
    x = np.asarray(problem.prior(KEY, side**2))
    rows = arrange(x, side)
    assert sorted(rows.reshape(-1)) == list(range(side**2))
    vessel, clamped, _ = masks(side)
    assert 0.05 < vessel.mean() < 0.2 and 0.15 < clamped.mean() < 0.35
    blood, oxygenation = x[rows, 1], x[rows, 0]
    assert blood[vessel].min() >= blood[~vessel].max()
    for part in (vessel, ~vessel):
        assert oxygenation[part & clamped].max() <= oxygenation[part & ~clamped].min()


class _Known:
    """The posterior that is normal around the first band, with deviation 0.1."""

    def sample(self, key, shape, y):
        noise = 0.1 * jax.random.normal(key, (*shape, *y.shape[:-1], 13))
        return jnp.broadcast_to(y[..., :1], noise.shape) + noise


def test_maps_of_a_known_posterior():
    truth = jax.random.normal(KEY, (20, 20))
    y = jnp.broadcast_to(
        (truth + 0.1 * jax.random.normal(jax.random.key(1), truth.shape))[..., None], (20, 20, 8)
    )
    found = oxygenation_map(_Known(), KEY, y, 400)
    np.testing.assert_allclose(found["deviation"], 0.1, rtol=0.2)
    judged = judge_map(found, np.asarray(truth))
    assert judged["coverage 68"] == pytest.approx(0.68, abs=0.08)
    assert judged["coverage 95"] == pytest.approx(0.95, abs=0.04)
    assert judged["error"] == pytest.approx(0.08, rel=0.2)


# --- The program ---------------------------------------------------------------------------------


@pytest.mark.exhaustive
def test_the_program(quick, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "80")
    arguments = ["--smoke", "--out", str(tmp_path)]
    program.main(arguments)
    count = len(quick)
    program.main(arguments)
    assert len(quick) == count  # nothing is made again
    runs = json.loads((tmp_path / "smoke.json").read_text())["runs"]
    assert sorted(runs) == ["abc", "cinn/seed0", "data", "inn/seed0"]
    cinn = runs["cinn/seed0"]
    assert set(cinn["trust"]) == {"SBC", "TARP", "central", "highest density"}
    assert 0 < cinn["calibration_error"] < 0.5 and 0 < cinn["scene"]["error"] < 1
    assert runs["data"]["camera_noise"] == pytest.approx(0.1, rel=0.3)
    assert runs["data"]["monte_carlo"]["noise"] == pytest.approx(0.01)
    kinds = ("correlations", "scene")
    assert sorted(path.name for path in tmp_path.glob("*.png")) == sorted(
        [
            "smoke-marginals-seed0.png",
            *(f"smoke-{method}-seed0-{kind}.png" for method in ("cinn", "inn") for kind in kinds),
        ]
    )
    assert len(list(tmp_path.glob("*-diagnostics.html"))) == 2
    shown = capsys.readouterr().out
    assert "ABC, weights" in shown and "FAIL" in shown
    assert max(map(len, shown.splitlines())) <= 80 + len(str(tmp_path)) + 50

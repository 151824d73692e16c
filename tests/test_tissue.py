"""Light in layered tissue: Monte Carlo, adding-doubling, optics and prior of the experiment."""

import json
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks.timing import Skipped
from benchmarks.tissue.measure import ask_peer
from experiments.tissue import optics, problem
from experiments.tissue.adding_doubling import add_and_double
from experiments.tissue.fresnel import fresnel
from experiments.tissue.photons import henyey_greenstein
from experiments.tissue.published import PUBLISHED
from experiments.tissue.quadrature import directions
from experiments.tissue.random_words import next_word, start_words, uniform
from experiments.tissue.tissue import Tissue
from experiments.tissue.transport import simulate
from experiments.tissue.validate import energy_missing, random_slabs

HULST, GIOVANELLI = PUBLISHED["van_de_hulst"].tissue, PUBLISHED["giovanelli"].tissue
THREE = PUBLISHED["mcml_2_three_layers"]
PHOTONS, LANES = 10_000, 1024
KEY = jax.random.key(0)


def follow(tissue, key=KEY, photons=PHOTONS, **options):
    return simulate(key, tissue, photons=photons, lanes=LANES, **options)


def assert_within(found, known, error, bound=3.5):
    """Comparisons of a fixed key: 3.5 standard errors are missed once in two thousand."""
    assert np.all(np.abs(np.subtract(found, known)) < bound * np.asarray(error))


# --- Monte Carlo ---------------------------------------------------------------------------------


def test_van_de_hulsts_slab():
    light = follow(HULST)
    assert light.specular == 0
    assert_within(light.reflectance, 0.09739, light.reflectance_error)
    assert_within(light.transmittance, 0.66096, light.transmittance_error)
    assert energy_missing(light) < 1e-4


def test_giovanellis_half_space():
    light = follow(GIOVANELLI)
    assert_within(light.specular + light.reflectance, 0.2600, light.reflectance_error)
    assert light.transmittance == 0
    assert energy_missing(light) < 1e-4


def test_three_layers_twice():
    rows = (np.stack([np.asarray(row)] * 2) for row in vars(THREE.tissue).values() if len(row) == 3)
    light = follow(Tissue(*rows, THREE.tissue.refractive_index))
    np.testing.assert_allclose(light.specular, 0.0243729, rtol=1e-5)
    for field, known in THREE.values.items():
        if field != "specular":
            found, error = getattr(light, field), getattr(light, f"{field}_error")
            assert_within(found, np.broadcast_to(known, found.shape), error)
    assert light.reflectance[0] != light.reflectance[1]
    assert light.absorption.shape == (2, 3)
    assert energy_missing(light) < 1e-4


def test_standard_errors_are_those_of_repeated_runs():
    runs = [follow(HULST, key, 1000) for key in jax.random.split(jax.random.key(7), 40)]
    for field in ("reflectance", "transmittance", "absorption"):
        values = np.array([getattr(run, field) for run in runs]).reshape(-1)
        stated = np.mean([getattr(run, f"{field}_error") for run in runs])
        assert 0.7 < values.std(ddof=1) / stated < 1.4
        assert_within(values.mean(), getattr(follow(HULST), field), 1.5 * stated / 40**0.5)


def test_every_photon_is_counted():
    nothing = Tissue([0.0], [0.0], [0.0], [1.0], (1.0, 1.0, 1.0))
    for photons in (1, 1003, 3001):
        light = follow(nothing, photons=photons)
        assert light.transmittance == 1 and light.transmittance_error == 0
    # A mirror with a black room behind it: absorption follows Lambert's and Fresnel's laws.
    black = Tissue([1.0], [0.0], [0.0], [2.0], (1.0, 1.5, 1.0))
    light = follow(black)
    once = 0.96 * np.exp(-2.0) * 0.96 / (1 - 0.04**2 * np.exp(-4.0))
    assert_within(light.transmittance, once, light.transmittance_error)


def test_photons_are_the_same_in_float64():
    with jax.enable_x64(True):
        wide = follow(HULST)
        drawn = problem.simulate(KEY, 2, signal_to_noise=10.0)[1]
    np.testing.assert_array_equal(wide.reflectance, follow(HULST).reflectance)
    assert wide.reflectance.dtype == np.float32 and drawn.dtype == np.float64


def test_few_lanes_round_no_light_away():
    clear = Tissue([0.0], [0.0], [0.0], [1.0], (1.0, 1.4, 1.0))
    light = simulate(KEY, clear, photons=200_000, lanes=8)
    assert energy_missing(light) < 1e-5


def test_devices_give_the_same_photons():
    mesh = jax.sharding.Mesh(np.array(jax.devices()[:2]), ("devices",))
    assert mesh.size == 2
    shared, alone = follow(HULST, mesh=mesh), follow(HULST)
    for a, b in zip(shared, alone, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)
    assert follow(HULST, jax.random.key(1)).reflectance != alone.reflectance


@pytest.mark.parametrize("index", range(0, 20, 5))
def test_slabs_of_iadpython(index):
    iadpython = pytest.importorskip("iadpython")
    tissue = random_slabs(0)[index]
    depth = float(tissue.thickness[0] * (tissue.absorption[0] + tissue.scattering[0]))
    slab = iadpython.Sample(
        a=float(tissue.scattering[0] * tissue.thickness[0]) / depth,
        b=depth,
        g=float(tissue.anisotropy[0]),
        n=tissue.refractive_index[1],
        quad_pts=16,
    )
    reflected, transmitted = (float(value) for value in slab.rt()[:2])
    light = follow(tissue)
    assert_within(light.specular + light.reflectance, reflected, light.reflectance_error)
    assert_within(light.transmittance, transmitted, light.transmittance_error)


def test_scattering_angles_have_the_moments_of_the_phase_function():
    u = jnp.asarray((np.arange(100_000) + 0.5) / 100_000, jnp.float32)
    for g in (0.0, 0.3, -0.6, 0.9):
        cosine = np.asarray(henyey_greenstein(jnp.ones_like(u), jnp.float32(g), u, u), float)
        np.testing.assert_allclose(cosine.mean(), g, atol=1e-4)
        np.testing.assert_allclose(np.mean(1.5 * cosine**2 - 0.5), g**2, atol=1e-4)
    # The azimuth leaves the mean direction, and every direction stays one.
    azimuth = jax.random.uniform(KEY, u.shape)
    turned = np.asarray(henyey_greenstein(jnp.full_like(u, 0.4), jnp.float32(0.5), u, azimuth))
    np.testing.assert_allclose(turned.mean(), 0.4 * 0.5, atol=5e-3)
    assert np.abs(turned).max() <= 1


def test_fresnel():
    cosine = jnp.asarray([1.0, 0.8, 0.3, 1e-6])
    refracted, reflectance = fresnel(cosine, 1.0)
    np.testing.assert_array_equal(refracted, cosine)
    np.testing.assert_array_equal(reflectance, 0)
    _, normal = fresnel(jnp.asarray([1.0]), 1 / 1.5)
    np.testing.assert_allclose(normal, 0.04, rtol=1e-6)
    brewster = np.cos(np.arctan(1.5))
    refracted, polarised = fresnel(jnp.asarray([brewster], jnp.float32), 1 / 1.5)
    np.testing.assert_allclose(polarised, 0.5 * ((1 - 1.5**2) / (1 + 1.5**2)) ** 2, rtol=1e-5)
    np.testing.assert_allclose(refracted, np.sin(np.arctan(1.5)), rtol=1e-6)
    refracted, total = fresnel(jnp.asarray([0.5, 0.01]), 1.5)
    np.testing.assert_array_equal(refracted, 0)
    np.testing.assert_array_equal(total, 1)


def test_random_words_are_those_of_sfc32():
    seeds = np.array([[[1], [2**31], [123456789]]], np.uint32)
    a, b, c, counter = *(int(word) for word in seeds[0, :, 0]), 1
    words, mask = start_words(jnp.asarray(seeds)), 2**32 - 1
    for index in range(20):
        expected = (a + b + counter) & mask
        counter = (counter + 1) & mask
        a, b = b ^ (b >> 9), (c + (c << 3)) & mask
        c = (((c << 21) | (c >> 11)) + expected) & mask
        if index >= 12:
            word, words = next_word(words)
            assert int(word[0, 0]) == expected
    extremes = uniform(jnp.asarray([0, 2**32 - 1], jnp.uint32))
    assert 0 < extremes[0] < 1e-7 and 1 - 1e-6 < extremes[1] <= 1


# --- Adding and doubling -------------------------------------------------------------------------


def test_surrogate_of_the_published_tissues():
    hulst = add_and_double(HULST, points=12)
    np.testing.assert_allclose(hulst.reflectance, 0.09739, atol=1e-4)
    np.testing.assert_allclose(hulst.transmittance, 0.66096, atol=1e-4)
    layers = add_and_double(THREE.tissue)
    for field, known in THREE.values.items():
        assert_within(getattr(layers, field), known, THREE.errors.get(field, 1e-6))
    assert energy_missing(layers) < 1e-5


def test_surrogate_keeps_the_light_that_is_not_absorbed():
    white = Tissue([0.0], [50.0], [0.9], [1.0], (1.0, 1.4, 1.0))
    light = add_and_double(white)
    assert energy_missing(light) < 1e-4 and abs(light.absorption[0]) < 1e-3

    def reflectance(scattering):
        tissue = Tissue(jnp.zeros(1), scattering, jnp.zeros(1), jnp.ones(1), (1.0, 1.4, 1.0))
        return add_and_double(tissue).reflectance

    slope = jax.grad(reflectance)(jnp.asarray([2.0]))
    step = (reflectance(jnp.asarray([2.1])) - reflectance(jnp.asarray([1.9]))) / 0.2
    np.testing.assert_allclose(slope[0], step, rtol=1e-2)


@pytest.mark.parametrize("anisotropy", [-1 + 1e-12, -0.99, -0.9, -0.5, 0.999, 1 - 1e-12])
def test_surrogate_of_peaked_phase_functions(anisotropy):
    tissue = Tissue([0.1], [10.0], [anisotropy], [1.0], (1.0, 1.4, 1.0))
    light, photons = add_and_double(tissue, points=12), follow(tissue)
    for field in ("reflectance", "transmittance"):
        stated = getattr(photons, f"{field}_error")
        assert_within(getattr(light, field), getattr(photons, field), stated)
    assert energy_missing(light) < 1e-5


def test_surrogate_of_deep_layers():
    for thickness in (1e2, 1e3, 1e5):
        light = add_and_double(Tissue([0.01], [10.0], [0.9], [thickness], (1.0, 1.4, 1.0)))
        np.testing.assert_allclose(light.reflectance, 0.604276, atol=2e-5)
        assert abs(light.transmittance) < 1e-6
    black = Tissue([1e6], [0.0], [0.0], [1.0], (1.0, 1.0, 1.0))
    assert add_and_double(black).transmittance < 1e-6
    slope = jax.grad(lambda g: add_and_double(Tissue([1.0], [9.0], g[None], [1.0], (1.0,) * 3))[1])
    assert np.isfinite(slope(jnp.zeros(())))


def test_directions_keep_to_snells_law():
    grid = directions((1.0, 1.36, 1.36, 1.38, 1.0), 6)
    np.testing.assert_allclose(grid.cosines[:, 0], 1)
    for index, cosines, weights in zip(
        (1.0, 1.36, 1.36, 1.38, 1.0), grid.cosines, grid.weights, strict=True
    ):
        there = weights > 0
        invariant = (1.36**2 * (1 - grid.cosines[1] ** 2))[there & (grid.weights[1] > 0)]
        own = (index**2 * (1 - cosines**2))[there & (grid.weights[1] > 0)]
        np.testing.assert_allclose(own, invariant, atol=1e-12)
        np.testing.assert_allclose(weights @ cosines, 0.5, rtol=2e-3 if index > 1.36 else 1e-9)
    assert (grid.weights > 0).sum(axis=1).tolist() == [6, 12, 12, 18, 6]


# --- Physiology and prior ------------------------------------------------------------------------


def test_absorption_is_that_of_blood():
    whole = np.log(10) * 120 / 64500 / 10  # g/l, g/mol, from 1/cm to 1/mm
    found = optics.haemoglobin_absorption([560.0, 511.0])
    np.testing.assert_allclose(found[:, 0], whole * np.array([32613.2, 53788.0]), rtol=1e-4)
    np.testing.assert_allclose(found[:, 1], whole * np.array([20093.0, 26355.0]), rtol=1e-3)
    mixed = optics.absorption(0.7, 0.05, (560.0,))
    np.testing.assert_allclose(mixed, 0.05 * (0.7 * found[0, :1] + 0.3 * found[1, :1]), rtol=1e-6)


def test_scattering_follows_its_power_laws():
    mie = optics.scattering(2.0, 0.9, (500.0, 1000.0), power=1.3)
    np.testing.assert_allclose(mie, [20.0, 20.0 / 2**1.3], rtol=1e-5)
    both = optics.scattering(jnp.asarray([2.0]), jnp.asarray([0.5]), (1000.0,), rayleigh=1.6)
    np.testing.assert_allclose(both, [[2 * (2 / 2**1.286 + 0.1)]], rtol=1e-5)


def test_prior():
    low, high = problem.SUPPORT
    x = problem.prior(KEY, 2000)
    assert x.shape == (2000, problem.DIM_X) and len(problem.NAMES) == problem.DIM_X
    assert np.all((x >= low[None]) & (x <= high[None]))
    np.testing.assert_allclose(np.median(x[:, [2, 6, 10]]), 1.89, atol=0.1)
    np.testing.assert_allclose(np.median(x[:, 0]), 0.5, atol=0.05)


def test_simulated_spectra_are_those_of_the_monte_carlo():
    x, y = problem.simulate(KEY, 2)
    assert x.shape == (2, problem.DIM_X) and y.shape == (2, problem.DIM_Y)
    light = follow(problem.to_tissue(x[1], (560.0, 700.0)))
    assert_within(light.reflectance, y[1][jnp.asarray([3, 7])], light.reflectance_error)
    noisy = problem.add_camera_noise(KEY, jnp.tile(y, (500, 1)), 20.0)
    scatter = np.asarray(noisy).reshape(500, 2, -1).std(axis=0) / np.asarray(y)
    np.testing.assert_allclose(scatter, 0.05, rtol=0.2)


# --- Errors and the benchmark --------------------------------------------------------------------


def slab(absorption=1.0, scattering=9.0, anisotropy=0.5, thickness=1.0, index=(1.0, 1.4, 1.0)):
    return Tissue([absorption], [scattering], [anisotropy], [thickness], index)


@pytest.mark.parametrize(
    ("run", "words"),
    [
        (lambda: follow(slab(absorption=-0.1)), "absorption coefficients .* got -0.1; give 0"),
        (lambda: follow(slab(scattering=-2.0)), "scattering coefficients .* got -2.0; give 0"),
        (lambda: follow(slab(scattering=np.nan)), "scattering coefficients .* got nan"),
        (lambda: follow(slab(absorption=np.inf)), "absorption coefficients .* got inf"),
        (lambda: follow(slab(anisotropy=1.0)), "anisotropy between -1 and 1, .* got 1.0; light"),
        (lambda: follow(slab(anisotropy=-1.5)), "anisotropy between -1 and 1, .* got -1.5"),
        (lambda: follow(slab(thickness=-1.0)), "positive thicknesses in mm, got -1.0; leave"),
        (lambda: follow(slab(thickness=0.0)), "positive thicknesses in mm, got 0.0; leave"),
        (lambda: follow(slab(0.0, thickness=np.inf)), "infinitely thick layer to absorb"),
        (lambda: add_and_double(slab(thickness=np.inf)), "infinite thickness of no layer here"),
        (lambda: follow(slab(index=(1.0, 0.5, 1.0))), "refractive_index .* numbers from 1"),
        (lambda: follow(slab(index=(1.0, 1.0))), "refractive_index .* at least three"),
        (lambda: follow(slab(index=(1.0, 1.4, 1.4, 1.0))), r"absorption of shape \(..., 2\)"),
        (
            lambda: follow(Tissue(np.ones((2, 1)), np.ones((3, 1)), [0.0], [1.0], (1, 1, 1))),
            "leading dimensions that broadcast",
        ),
        (lambda: follow(slab(), photons=0), "at least 1 photon, got 0; 10,000"),
        (lambda: follow(slab(), photons=1e4), "whole number of at least 1 photon, got 10000.0"),
        (lambda: follow((1, 2)), "expected a Tissue, got tuple"),
        (
            lambda: follow(slab(absorption=1e39)),
            "absorption .* below 1e[+]30, in 1/mm, got 1e[+]39",
        ),
        (lambda: simulate(KEY, slab(), photons=1, lanes=12), "multiple of 8 lanes, got 12"),
        (lambda: add_and_double(slab(), points=1), r"whole number of points, at least 2, got 1"),
        (lambda: optics.haemoglobin_absorption([240.0]), r"250 to 1000 nm, got \[240.0\]; leave"),
        (lambda: problem.to_tissue(np.ones(13), (500.0, 1100.0)), "wavelengths from 250 to 1000"),
        (lambda: problem.to_tissue(np.ones(12)), r"parameters of shape \(..., 13\), got \(12,\)"),
        (lambda: problem.add_camera_noise(KEY, np.ones((4, 7))), r"shape \(..., 8\), .* \(4, 7\)"),
        (lambda: problem.add_camera_noise(KEY, np.ones(8), 0.0), "positive signal-to-noise ratio"),
        (lambda: problem.simulate(KEY, -1), "whole number of at least 1 tissue, got -1"),
        (
            lambda: problem.forward(np.full(13, 98.0)),
            "oxygenation to be a share from 0 to 1, got 98",
        ),
        (
            lambda: problem.to_tissue(np.full(13, 0.5), 500.0),
            "wavelengths in one dimension, .* 500.0",
        ),
        (lambda: optics.absorption(0.5, -0.1), "blood to be a share from 0 to 1, got -0.1"),
        (lambda: optics.scattering(-1.0, 0.9), "amplitude to be finite and not negative, got -1"),
        (lambda: optics.scattering(1.0, 1.0), "anisotropy to be between -1 and 1, .* got 1"),
        (lambda: optics.scattering(1.0, 0.9, [np.nan]), "wavelengths .* positive, in nm, got .nan"),
    ],
)
def test_errors_say_what_to_do(run, words):
    with pytest.raises(ValueError, match=words):
        run()


def test_an_absent_peer_is_skipped():
    with pytest.raises(Skipped, match=r"ModuleNotFoundError|OpenCL"):
        ask_peer(sys.executable, "pmcxcl", 1)


def test_kept_results_are_those_that_the_readme_states():
    folder = Path(problem.__file__).with_name("results")
    slabs, surrogate = (
        json.loads((folder / f"{name}.json").read_text())["results"]
        for name in ("slabs", "surrogate")
    )
    assert slabs["largest_standard_errors_off"] < 3 and slabs["energy_missing"] < 1e-4
    default = next(row for row in surrogate["surrogate"] if row["points"] == 6)
    assert default["median"] < 0.01 and default["quantile_95"] < 0.03

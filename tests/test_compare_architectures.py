"""The comparison of architectures: sizes, tables, kept runs, and that its baselines learn."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jinn
from experiments.compare_architectures.baselines import (
    Autoencoder,
    ConditionalVAE,
    Scales,
    autoencoder_loss,
    conditional_vae_loss,
)
from experiments.compare_architectures.methods import METHODS, Data, width_for
from experiments.compare_architectures.protocol import TASKS, RunSettings
from experiments.compare_architectures.report import markdown, number, over_seeds, rows
from experiments.compare_architectures.settings import SMOKE

KEY = jax.random.key(0)


def circle(key, n):
    """y is the length of a normal vector x of the plane; given y, x is uniform on a circle."""
    x = jax.random.normal(key, (n, 2))
    return x, jnp.linalg.norm(x, axis=-1, keepdims=True)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "loss", "z_dim", "steps"),
    [(Autoencoder, autoencoder_loss, 1, 1500), (ConditionalVAE, conditional_vae_loss, 2, 4000)],
)
def test_a_baseline_learns_a_known_posterior(kind, loss, z_dim, steps):
    model = kind(Scales(*circle(KEY, 4096)), hidden=(64, 64), z_dim=z_dim, rngs=KEY)
    options = {"steps": steps, "batch_size": 256, "learning_rate": 5e-3, "validation": 0}
    trained = jinn.fit(KEY, model, circle, loss=loss, progress=False, **options).flow
    y = jnp.array([[0.5], [1.0], [2.0]])
    x = trained.sample(KEY, (4000,), y)
    assert x.shape == (4000, 3, 2)
    radii = jnp.linalg.norm(x, axis=-1)
    assert jnp.all(jnp.abs(jnp.median(radii, 0) - y[:, 0]) < 0.2)
    angles = jnp.arctan2(x[..., 1], x[..., 0])
    shares = jax.vmap(lambda a: jnp.histogram(a, 4, (-np.pi, np.pi))[0], 1)(angles) / 4000
    assert shares.min() > 0.12
    assert shares.max() < 0.4


@pytest.mark.parametrize("name", METHODS)
def test_every_method_has_about_the_parameters_asked_for(name):
    task = TASKS["ballistics"]
    data = Data(*task.problem.simulate(KEY, 4))
    width, count = width_for(METHODS[name], task, data, 20_000)
    assert abs(count - 20_000) < 1500
    model = jax.eval_shape(lambda key: METHODS[name].build(task, data, width, key), KEY)
    leaves = zip(jax.tree.leaves(model), jax.tree.leaves(jinn.trainable(model)), strict=True)
    assert count == sum(leaf.size for leaf, trained in leaves if trained)


def fake(post, resim):
    summaries = {
        name: {"mean": value} for name, value in (("Err_post", post), ("Err_post biased", 2 * post))
    }
    return {
        "errors": {**summaries, "Err_resim": {"mean": resim}},
        "calibration_error": 0.01,
        "parameters": 1000,
        "training_seconds": 10.0,
        "milliseconds_per_1000_samples": 2.0,
    }


def test_rows_are_means_over_seeds_beside_what_was_published():
    runs = {
        "flow_matching-seed0": fake(0.5, 1.0),
        "cinn_affine-seed1": fake(0.02, 0.3),
        "cinn_affine-seed0": fake(0.01, 0.1),
        "inn_only_x-seed0": fake(0.1, 0.1),
        "prior": {"errors": fake(0.25, 2.5)["errors"]},
    }
    found = rows(TASKS["kinematics"].problem, runs)
    assert [row[0] for row in found] == ["cINN (affine)", "flow matching", "prior, ignores y"]
    assert found[0][1:4] == ["0.015 ± 0.00707", "0.03 ± 0.0141", "0.2 ± 0.141"]
    assert found[0][-2:] == ["0.015", "0.008"]
    assert found[1][1:5] == ["0.5", "1", "1", "1 %"]
    assert found[1][-2:] == ["", ""]
    assert found[2][1:5] == ["0.25", "0.5", "2.5", ""]
    page = markdown(TASKS["kinematics"].problem, runs)
    assert "| cINN (affine) | 0.015 ± 0.00707 |" in page


@pytest.mark.parametrize(("value", "text"), [(0.0, "0"), (4.3e-5, "4.3e-05"), (0.01234, "0.0123")])
def test_numbers_keep_what_matters(value, text):
    assert number(value) == over_seeds([value]) == text


def test_settings_hold_what_a_method_chooses_for_itself():
    settings = RunSettings.of("iresnet", SMOKE)
    assert settings.protocol.steps == SMOKE.steps
    assert settings.protocol.learning_rate == METHODS["iresnet"].learning_rate
    assert RunSettings.of("iresnet", SMOKE) != RunSettings.of("inn", SMOKE)

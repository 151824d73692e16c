"""The colourisation's networks and their files, whole photographs, and the program."""

import io
import json
from dataclasses import replace

import jax
import numpy as np
import pytest
from PIL import Image
from rich.console import Console

import jinn
from experiments.colorize.__main__ import _parser, chosen, main
from experiments.colorize.colours import to_networks
from experiments.colorize.draw import verdict
from experiments.colorize.measure import Patches, best_noise
from experiments.colorize.networks import build, is_of, load, save
from experiments.colorize.photographs import shipped
from experiments.colorize.settings import PRESETS, SMOKE
from experiments.colorize.whole import (
    colorize,
    decode,
    draw_latents,
    latent_of,
    network_input,
)
from experiments.record import parameter_count

KEY = jax.random.key(0)


def perturbed(model):
    """The model with other parameters, since couplings start as the identity."""
    leaves, treedef = jax.tree.flatten(model)
    generator = np.random.default_rng(9)
    return jax.tree.unflatten(
        treedef,
        [
            leaf + 0.1 * generator.normal(size=leaf.shape).astype(leaf.dtype) if learns else leaf
            for leaf, learns in zip(leaves, jax.tree.leaves(jinn.trainable(model)), strict=True)
        ],
    )


@pytest.fixture(scope="module")
def flow():
    return perturbed(build("cinn", SMOKE, KEY))


# --- Networks ------------------------------------------------------------------------------------


@pytest.mark.parametrize("preset", ["default", "paper"])
def test_the_unconditional_flow_is_as_large(preset):
    settings = PRESETS[preset]
    sizes = [
        parameter_count(jax.eval_shape(lambda model=model: build(model, settings, KEY)))
        for model in ("cinn", "unconditional")
    ]
    assert sizes[1] == pytest.approx(sizes[0], rel=0.03)


@pytest.mark.thorough
def test_the_regression_has_the_flows_feature_network(flow):
    regression = build("regression", SMOKE, KEY)
    sizes = [parameter_count(model) for model in (regression.extractor, flow.bijector.network)]
    assert sizes[0] == sizes[1]
    lightness = jax.random.normal(KEY, (3, 32, 32, 1))
    colours = perturbed(regression)(lightness)
    assert colours.shape == (3, 16, 16, 2)
    assert np.abs(colours - perturbed(regression)(lightness[::-1])).max() > 1e-2


def test_models_are_kept_and_read(tmp_path, flow):
    file = tmp_path / "models" / "cinn.npz"
    save(file, flow, "cinn", SMOKE, seed=5)
    loaded = load(file, "cinn", replace(SMOKE, steps=77))
    jax.tree.map(np.testing.assert_array_equal, jax.tree.leaves(loaded), jax.tree.leaves(flow))
    (tmp_path / "other.npz").write_text("nothing")
    np.savez(tmp_path / "alien.npz", x=np.zeros(3))
    wider = replace(SMOKE, network={**SMOKE.network, "hidden": 5})
    for path, model, settings, words in (
        (file, "cinn", PRESETS["default"], "expected a cinn of the preset 'default', got .*smoke"),
        (file, "regression", SMOKE, "expected a regression of .*, got a cinn"),
        (file, "cinn", wider, "has another network by now; train it again"),
        (tmp_path / "other.npz", "cinn", SMOKE, "no file saved by jinn"),
        (tmp_path / "alien.npz", "cinn", SMOKE, "no file saved by jinn"),
        (tmp_path / "none.npz", "cinn", SMOKE, "no trained model there .*; train one first"),
    ):
        with pytest.raises(ValueError, match=words):
            load(path, model, settings)


# --- Measures and whole photographs --------------------------------------------------------------


def test_the_best_noise_is_found():
    """None on the truth; near the size of the errors, where these are normal."""
    settings = replace(SMOKE, test_patches=8)
    seen = Patches(list(shipped().training.values())[:2], settings, seed=0)
    errors = np.random.default_rng(0).standard_normal(seen.colours.shape, np.float32)
    assert best_noise(seen.colours, seen, 8, 0) == 0.0
    assert 0.2 <= best_noise(seen.colours + 0.5 * errors, seen, 8, 0) <= 0.5


@pytest.mark.parametrize("shape", [(37, 53), (8, 8)])
def test_whole_photographs_of_odd_sizes_keep_their_lightness(flow, shape):
    photograph = np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)
    made = np.stack(list(colorize(flow, SMOKE, photograph, KEY, samples=2)))
    assert made.shape == (2, *shape, 3) and made.min() >= 0 and made.max() <= 1
    lightness, _ = to_networks(photograph)
    kept, _ = to_networks(255 * made)
    np.testing.assert_allclose(25.6 * kept, np.broadcast_to(25.6 * lightness, kept.shape), atol=0.4)
    assert np.abs(made[0] - made[1]).max() > 0.02
    again = list(colorize(flow, SMOKE, photograph, KEY, samples=2, temperature=0.0))
    np.testing.assert_allclose(again[0], again[1], atol=1e-5)


def test_a_photograph_is_squeezed_into_a_patch():
    ramp = np.broadcast_to(np.arange(200, dtype=np.uint8)[None, :, None], (90, 200, 3))
    lightness, colours = network_input(ramp, SMOKE)
    assert lightness.shape == (32, 32, 1) and colours.shape == (16, 16, 2)
    assert np.all(np.diff(lightness[..., 0], axis=1) > 0)


def test_a_pictures_latent_gives_it_back(flow):
    lightness, colours = network_input(
        np.random.default_rng(1).integers(0, 256, (40, 40, 3), np.uint8), SMOKE
    )
    z = latent_of(flow, colours[None], lightness)
    np.testing.assert_allclose(decode(flow, z, lightness)[0], colours, atol=1e-3)
    assert np.abs(decode(flow, z, lightness[::-1])[0] - colours).max() > 1e-2
    zero = draw_latents(flow, KEY, 3, temperature=0.0)
    assert all(not part.any() and len(part) == 3 for part in jax.tree.leaves(zero))


# --- The program ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def smoke_run(tmp_path_factory):
    out = tmp_path_factory.mktemp("colorize")
    main(["--smoke", "--out", str(out)])
    return out


@pytest.mark.thorough
def test_a_smoke_run(smoke_run, capsys):
    runs = json.loads((smoke_run / "smoke.json").read_text())["runs"]
    assert sorted(runs) == [f"smoke/{m}/seed0" for m in ("cinn", "regression", "unconditional")]
    cinn, regression = runs["smoke/cinn/seed0"], runs["smoke/regression/seed0"]
    assert cinn["test"] == ["chelsea", "china"] and len(cinn["training"]) == 8
    assert set(cinn["measured"]) > {"bits", "best_of_n", "energy_score", "variance"}
    assert cinn["measured"]["best_of_n"] < cinn["measured"]["best_of_1"]
    assert regression["measured"]["energy_score"] <= 1.5 * regression["mean"]["energy_score"]
    assert regression["measured"]["best_of_n"] == regression["measured"]["best_of_1"]
    assert sorted(path.name for path in smoke_run.glob("*.jpg")) == [
        f"smoke-{name}-seed0.jpg" for name in ("samples", "temperatures", "transfers")
    ]
    assert verdict(runs, "smoke", 0, 2).count("%") == 4
    assert verdict({"smoke/cinn/seed0": cinn}, "smoke", 0, 2) is None


@pytest.mark.thorough
def test_photographs_are_coloured_from_the_kept_model(smoke_run, tmp_path):
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (33, 47), np.uint8)).save(
        tmp_path / "old.png"
    )
    model = smoke_run / "smoke-models" / "smoke-cinn-seed0.npz"
    words = ["--out", str(tmp_path), "--checkpoint", str(model), "--colorize"]
    with pytest.raises(SystemExit, match=r"none\.png: cannot be read as a picture"):
        main(["--smoke", *words, str(tmp_path / "none.png"), str(tmp_path / "old.png")])
    with Image.open(tmp_path / "old-colour2.png") as made:
        assert made.size == (47, 33)
        assert np.ptp(np.asarray(made).astype(int), axis=-1).max() > 20
    with pytest.raises(SystemExit, match="expected a cinn of the preset 'default', got"):
        main([*words, str(tmp_path / "old.png")])


def test_words_that_do_not_fit(tmp_path):
    with pytest.raises(SystemExit, match="cannot read the folder"):
        main(["--smoke", "--out", str(tmp_path), "--images", str(tmp_path / "none")])
    with pytest.raises(SystemExit, match="--validate names shipped photographs"):
        main(["--images", str(tmp_path), "--validate", "coffee", "--out", str(tmp_path)])
    for size in ("8", "20"):
        with pytest.raises(SystemExit, match=r"--batch-size: expected a multiple of 8 patches"):
            main(["--batch-size", size, "--out", str(tmp_path)])
    with pytest.raises(SystemExit, match=r"several photographs are called x, and their pictures"):
        main(["--colorize", "a/x.png", "b/x.jpg", "--out", str(tmp_path)])


def test_a_folder_with_other_photographs_is_another_setting(tmp_path):
    def settings_now():
        options = _parser().parse_args(["--smoke", "--images", str(tmp_path)])
        return chosen(options, Console(file=io.StringIO()))[0]

    for i in range(3):
        pixels = np.random.default_rng(i).integers(0, 256, (9, 9, 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{i}.png")
    first = settings_now()
    assert settings_now() == first and len(first.held_out) == 1
    (tmp_path / "0.png").unlink()
    assert settings_now() != first


def test_a_model_of_other_settings_is_told(tmp_path, flow):
    file = tmp_path / "cinn.npz"
    save(file, flow, "cinn", SMOKE, seed=5)
    assert is_of(file, SMOKE) and not is_of(file, replace(SMOKE, steps=77))

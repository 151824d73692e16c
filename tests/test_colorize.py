"""Photographs, their colours, patches and the measures of the colourisation."""

import io
import struct
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from experiments.colorize import colours, metrics, photographs
from experiments.colorize.colours import (
    OFFSET,
    SCALE,
    develop,
    enlarge,
    saturate,
    shrink,
    to_networks,
    to_rgb,
    to_rgb_of_lightness,
)
from experiments.colorize.patches import fixed, noisy, random_patch, stream
from experiments.colorize.photographs import HELD_OUT, SHIPPED, in_folder, read_photograph, shipped
from experiments.colorize.settings import SMOKE

RNG = np.random.default_rng(0)


def noise(height, width, channels=3):
    return RNG.integers(0, 256, (height, width, channels), np.uint8)


# --- Reading -------------------------------------------------------------------------------------


def test_pictures_of_every_kind(tmp_path):
    rgb = noise(5, 7)
    gray = np.linspace(0, 65535, 35).astype(np.uint16).reshape(5, 7)
    palette = Image.fromarray(np.repeat(rgb // 128 * 255, 1, 0)).convert("P")
    clear = np.dstack([rgb, np.full((5, 7), 255, np.uint8)])
    clear[2, 3, 3] = 0
    for name, picture, expected in (
        ("rgb.png", Image.fromarray(rgb), rgb),
        ("l.png", Image.fromarray(rgb[..., 0]), np.repeat(rgb[..., :1], 3, -1)),
        ("rgba.png", Image.fromarray(clear), np.where(clear[..., 3:] == 0, 255, rgb)),
        ("p.png", palette, np.asarray(palette.convert("RGB"))),
        ("deep.png", Image.fromarray(gray), np.repeat(np.rint(gray / 257)[..., None], 3, -1)),
        ("bits.png", Image.fromarray(rgb[..., 0] > 99), 255 * (rgb[..., :1] > 99) * [1, 1, 1]),
        ("shallow.png", Image.fromarray(np.uint16(rgb[..., 2])), np.repeat(rgb[..., 2:], 3, -1)),
        (
            "share.tif",
            Image.fromarray(np.float32(rgb[..., 1] / 255)),
            np.repeat(rgb[..., 1:2], 3, -1),
        ),
        ("real.tif", Image.fromarray(np.float32(rgb[..., 1])), np.repeat(rgb[..., 1:2], 3, -1)),
    ):
        picture.save(tmp_path / name)
        found = read_photograph(tmp_path / name)
        assert found.dtype == np.uint8
        np.testing.assert_array_equal(found, expected, err_msg=name)
    Image.fromarray(rgb).convert("CMYK").save(tmp_path / "cmyk.tif")
    assert read_photograph(tmp_path / "cmyk.tif").shape == (5, 7, 3)


def test_a_picture_is_turned_as_its_camera_says(tmp_path):
    rgb = noise(4, 6)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees, clockwise
    Image.fromarray(rgb).save(tmp_path / "turned.png", exif=exif)
    np.testing.assert_array_equal(read_photograph(tmp_path / "turned.png"), np.rot90(rgb, -1))


def test_the_shorter_side_is_as_asked_also_of_small_pictures(tmp_path):
    for size, expected in (((90, 40), (45, 20)), ((11, 5), (44, 20)), ((20, 20), (20, 20))):
        Image.fromarray(noise(*size)).save(tmp_path / "picture.png")
        assert read_photograph(tmp_path / "picture.png", 20).shape == (*expected, 3)


def test_bad_pictures(tmp_path):
    (tmp_path / "text.png").write_text("no picture")
    buffer = io.BytesIO()
    Image.fromarray(noise(64, 64)).save(buffer, "png")
    (tmp_path / "half.png").write_bytes(buffer.getvalue()[:3000])
    Image.fromarray(np.full((4, 4), 300.5, np.float32)).save(tmp_path / "bright.tif")
    Image.fromarray(np.full((4, 4), np.nan, np.float32)).save(tmp_path / "nan.tif")
    for name, words in (
        ("text.png", "text.png: cannot be read as a picture: cannot identify"),
        ("half.png", "half.png: cannot be read as a picture: "),
        ("none.png", "none.png: cannot be read as a picture: .*No such file"),
        ("bright.tif", r"bright.tif: expected values in \[0, 255\], got 300.5 to 300.5; scale"),
        ("nan.tif", r"nan.tif: expected values in \[0, 255\], got nan to nan"),
    ):
        with pytest.raises(ValueError, match=words):
            read_photograph(tmp_path / name)


def test_strips_are_left_out_before_they_are_enlarged(tmp_path):
    Image.fromarray(noise(2, 70)).save(tmp_path / "strip.png")
    assert read_photograph(tmp_path / "strip.png").shape == (2, 70, 3)
    with pytest.raises(ValueError, match=r"at most 32 times as long as wide, got 70 x 2 pixels"):
        read_photograph(tmp_path / "strip.png", 20)


def test_decoders_that_fail_and_names_that_cannot_be_printed(tmp_path, monkeypatch):
    def fail(*args):
        raise RuntimeError("Failed to decode image")

    monkeypatch.setattr(photographs, "_as_rgb", fail)
    with pytest.raises(ValueError, match=r"cannot be read as a picture: Failed to decode image"):
        read_photograph(folder_of(tmp_path, one=noise(4, 4)) / "one.png")
    assert photographs.printable("a\udcffb") == "a?b"


def folder_of(tmp_path, **pictures):
    for name, pixels in pictures.items():
        Image.fromarray(pixels).save(tmp_path / f"{name}.png")
    (tmp_path / "notes.txt").write_text("no picture")
    return tmp_path


def test_a_folder_is_split_and_what_is_of_no_use_is_reported(tmp_path):
    pictures = {f"good{i}": noise(8, 9) for i in range(12)}
    folder = folder_of(tmp_path, gray=np.full((9, 9), 7, np.uint8), **pictures)
    (folder / "deeper").mkdir()
    (folder / "deeper" / "broken.JPG").write_bytes(b"\xff\xd8\xff" + struct.pack("9x"))
    console = Console(file=io.StringIO(), width=400)
    found = in_folder(folder, console, side=8)
    said = console.file.getvalue()
    assert "broken.JPG is left out: cannot be read as a picture" in said
    assert "gray.png is left out: it has no colour" in said
    assert "good" not in said and "notes" not in said
    assert len(found.test) == 1 and len(found.training) == 11
    assert set(found.test) | set(found.training) == {f"{name}.png" for name in pictures}
    assert in_folder(folder, console, side=8) == found


def test_folders_of_no_use(tmp_path):
    console = Console(file=io.StringIO())
    for make, words in (
        (lambda: tmp_path / "missing", "cannot read the folder: .*No such file"),
        (lambda: folder_of(tmp_path), "no pictures in it; expected files such as"),
        (lambda: folder_of(tmp_path, one=noise(4, 4)), "1 of its 1 pictures .* at least 2"),
        (lambda: tmp_path / "one.png", "cannot read the folder: .*Not a directory"),
    ):
        folder = make()
        with pytest.raises(ValueError, match=words):
            in_folder(folder, console, side=8)


def test_the_shipped_photographs_are_there_and_their_test_stays_out():
    both = shipped()
    assert sorted(both.test) == sorted(HELD_OUT)
    assert sorted({**both.training, **both.test}) == sorted(SHIPPED) and len(both.training) == 8
    assert all(path.exists() for path in [*both.training.values(), *both.test.values()])
    assert photographs._fault(both.test["chelsea"], 32) is None
    tuning = shipped(["coffee"])
    assert list(tuning.test) == ["coffee"]
    assert not {"coffee", *HELD_OUT} & set(tuning.training) and len(tuning.training) == 7
    with pytest.raises(ValueError, match=r"no photographs \['dog'\]; there are \['astronaut'"):
        shipped(["dog"])


# --- Colours -------------------------------------------------------------------------------------


def test_lab_and_back():
    rgb = noise(9, 8)
    lightness, ab = to_networks(rgb)
    assert lightness.shape == (9, 8, 1) and ab.shape == (9, 8, 2)
    np.testing.assert_allclose(to_rgb(lightness, ab), rgb / 255, atol=1e-4)
    red = to_networks(np.array([[[255, 0, 0]]], np.uint8))
    np.testing.assert_allclose(red[0].ravel() * 25.6 + 47.5, 53.24, atol=0.01)
    np.testing.assert_allclose(red[1].ravel() * [11.2, 16.8] + [2.4, 7.4], [80.09, 67.2], atol=0.02)


@pytest.mark.parametrize("wrong", [-1.0, 256.0, np.nan])
def test_values_outside_of_the_range(wrong):
    with pytest.raises(ValueError, match=r"expected values in \[0, 255\], got .*; scale"):
        to_networks(np.full((2, 2, 3), wrong))


def test_lightness_is_kept_where_srgb_lacks_the_colour():
    lightness = np.linspace(-1.8, 2.0, 30, dtype=np.float32).reshape(5, 6, 1)
    ab = (8 * RNG.standard_normal((3, 5, 6, 2))).astype(np.float32)
    clipped = to_networks(255 * to_rgb(lightness, ab))[0]
    assert np.abs(clipped - lightness).max() > 0.5
    rgb = to_rgb_of_lightness(lightness, ab)
    assert rgb.min() >= 0 and rgb.max() <= 1
    kept, paler = to_networks(255 * rgb)
    np.testing.assert_allclose(25.6 * kept, np.broadcast_to(25.6 * lightness, kept.shape), atol=0.4)
    small = (0.05 * ab)[:, 2:4]
    np.testing.assert_allclose(
        to_rgb_of_lightness(lightness[2:4], small), to_rgb(lightness[2:4], small), atol=0.02
    )
    # The hue is kept, too.
    wanted, got = (x * colours.SCALE[1:] + colours.OFFSET[1:] for x in (ab, paler))
    cosine = (wanted * got).sum(-1) / np.linalg.norm(wanted, axis=-1) / np.linalg.norm(got, axis=-1)
    assert np.median(cosine) > 0.999


def test_sizes_of_colours():
    ab = RNG.standard_normal((2, 4, 6, 2)).astype(np.float32)
    small = shrink(ab, 2)
    np.testing.assert_allclose(small[1, 1, 2], ab[1, 2:4, 4:6].mean((0, 1)), rtol=1e-5)
    ramp = np.broadcast_to(np.arange(5.0, dtype=np.float32)[:, None, None], (5, 3, 2))
    large = enlarge(ramp, 20, 7)
    assert large.shape == (20, 7, 2)
    expected = np.clip((np.arange(20) + 0.5) / 4 - 0.5, 0, 4)
    np.testing.assert_allclose(large[..., 1], np.repeat(expected[:, None], 7, 1), atol=1e-6)
    np.testing.assert_allclose(enlarge(ab, 4, 6), ab, atol=1e-6)


# --- Measures ------------------------------------------------------------------------------------


def test_measures_of_known_samples():
    truth = np.zeros((1, 1, 2, 3))
    samples = np.zeros((2, 1, 1, 2, 3))
    samples[0, 0, 0, 0], samples[1, 0, 0, 0] = 1.0, (0.0, 0.0, 3.0)  # errors 1 and 3
    samples[0, 0, 0, 1], samples[1, 0, 0, 1] = 2.0, 0.5  # errors 4 and 0.25
    assert metrics.best_of(samples, truth) == pytest.approx(np.sqrt((1 + 0.25) / 2))
    assert metrics.best_of(samples[:1], truth) == pytest.approx(np.sqrt((1 + 4) / 2))
    # Half the squared differences: (1, 1, 4) / 2 and three of 1.5^2 / 2.
    assert metrics.variance(samples) == pytest.approx((0.5 + 0.5 + 2 + 3 * 1.125) / 6)
    distances = [np.sqrt((3 * 1 + 3 * 4) / 6), np.sqrt((9 + 3 * 0.25) / 6)]
    apart = np.sqrt((1 + 1 + 4 + 3 * 2.25) / 6)
    expected = np.mean(distances) - 0.5 * apart
    assert metrics.energy_score(samples, truth) == pytest.approx(expected)
    assert metrics.energy_score(samples[:1], truth) == pytest.approx(distances[0])
    one = metrics.judge(samples[:1], truth)
    assert one["best_of_n"] == one["best_of_1"] and one["variance"] == 0


def test_the_energy_score_is_least_for_the_true_density():
    """Best-of-n is not: samples that vary too little get the better of it."""
    rng = np.random.default_rng(1)
    truth = rng.normal(size=(3000, 1, 2, 3))

    def drawn(size):
        return size * np.random.default_rng(2).normal(size=(8, *truth.shape))

    scores = [metrics.energy_score(drawn(size), truth) for size in (0.01, 0.7, 1.0, 1.4)]
    assert np.argmin(scores) == 2
    assert metrics.best_of(drawn(0.7), truth) < 0.98 * metrics.best_of(drawn(1.0), truth)


# --- Patches -------------------------------------------------------------------------------------


def test_patches_are_squares_of_the_photograph():
    rows = np.broadcast_to(np.arange(200, dtype=np.uint8)[:, None, None], (200, 50, 3))
    rng = np.random.default_rng(0)
    patches = [random_patch(rows, 8, rng).astype(float) for _ in range(200)]
    steps = [np.ptp(patch[:, 0, 0]) / 7 for patch in patches]
    assert all(patch.shape == (8, 8, 3) for patch in patches)
    assert 0.8 < min(steps) < 1.2 and 5.5 < max(steps) < 6.6  # squares of 8 to 50 pixels
    assert random_patch(rows[:5, :4], 8, rng).shape == (8, 8, 3)


def test_the_stream_is_endless_repeatable_and_of_all_photographs(tmp_path):
    paths = []
    for i, color in enumerate([(250, 20, 20), (20, 250, 20), (20, 20, 250)]):
        paths.append(tmp_path / f"{i}.png")
        Image.new("RGB", (60, 50), color).save(paths[-1])
    plain = replace(SMOKE, exposure=0.0, tint=0.0, saturation=0.0)
    first = stream(paths, plain, seed=3)
    batches = [next(first) for _ in range(4)]
    for ab, lightness in batches:
        assert ab.shape == (16, 16, 16, 2) and lightness.shape == (16, 32, 32, 1)
        assert ab.dtype == lightness.dtype == np.float32
    again = stream(paths, plain, seed=3)
    np.testing.assert_array_equal(next(again)[0], batches[0][0])
    assert np.abs(next(stream(paths, plain, seed=4))[0] - batches[0][0]).max() > 1e-3
    seen = np.concatenate([ab for ab, _ in batches])
    np.testing.assert_allclose(seen.std((1, 2)), SMOKE.noise, rtol=0.25)
    hues = {tuple(np.rint(ab).astype(int)) for ab in seen.mean((1, 2))}
    assert len(hues) == 3


def test_patches_are_developed_and_saturated():
    rgb = np.array([[[[0, 51, 255]]], [[[102, 102, 102]]]], np.uint8)
    found = develop(rgb, np.array([[1.0, 2.0, 3.0], [0.5, 0.5, 0.5]], np.float32))
    np.testing.assert_allclose(found[0, 0, 0], [0, 255 * 0.04, 255], rtol=1e-5)
    np.testing.assert_allclose(found[1], 255 * np.sqrt(0.4), rtol=1e-5)
    _, ab = to_networks(rgb)
    factors = np.array([0.5, 2.0], np.float32)
    raw, changed = (OFFSET[1:] + SCALE[1:] * part for part in (ab, saturate(ab, factors)))
    np.testing.assert_allclose(changed, factors[:, None, None, None] * raw, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("varied", ["exposure", "tint", "saturation"])
def test_patches_vary_as_the_settings_say(varied):
    color = (200, 100, 50)
    patches = np.full((4000, 8, 8, 3), color, np.uint8)
    settings = replace(SMOKE, exposure=0.0, tint=0.0, saturation=0.0, noise=0.0)
    settings = replace(settings, **{varied: 0.2})
    ab, lightness = noisy(patches, settings, np.random.default_rng(0), varied=True)
    (level,), (truth,) = to_networks(patches[:1])
    if varied == "saturation":
        np.testing.assert_allclose(lightness, level[0, 0, 0], rtol=1e-5)
        factors = (11.2 * ab[:, 0, 0, 0] + 2.4) / (11.2 * truth[0, 0, 0] + 2.4)
        assert np.log(factors).std() == pytest.approx(0.2, rel=0.1)
        return
    rgb = 255 * to_rgb(lightness, ab)[:, 0, 0]
    exponents = np.log(np.log(rgb / 255) / np.log(np.array(color) / 255))
    np.testing.assert_allclose(exponents.std(0), 0.2, rtol=0.1)
    correlations = np.corrcoef(exponents.T)[np.triu_indices(3, 1)]
    np.testing.assert_allclose(correlations, 1.0 if varied == "exposure" else 0.0, atol=0.06)


def test_fixed_patches_do_not_change():
    paths = list(shipped().test.values())
    patches = fixed(paths, SMOKE, 5, seed=1)
    assert patches.shape == (5, 32, 32, 3)
    np.testing.assert_array_equal(fixed(paths, SMOKE, 5, seed=1), patches)
    assert np.any(fixed(paths, SMOKE, 5, seed=2) != patches)

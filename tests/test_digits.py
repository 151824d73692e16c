"""The readers of digits, the bijectors fitted to them, style transfer, the judge, the program."""

import gzip
import json
import struct
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

import jinn
from experiments.digits import __main__ as program
from experiments.digits.bijectors import ClassWhitening, NormalQuantile
from experiments.digits.data import digest, mnist, small_digits, validation_split
from experiments.digits.measure import Judge
from experiments.digits.model import class_moments, draw, make_model, one_hot, transfer
from experiments.digits.peer import missing
from experiments.digits.settings import DIGITS, MNIST, peer_of, smoke

RNG = np.random.default_rng(0)
KEY = jax.random.key(0)
SMOKE = smoke(DIGITS)


# --- Readers -------------------------------------------------------------------------------------


def arrays(n=6, m=4):
    return {
        "x_train": RNG.integers(0, 256, (n, 28, 28), np.uint8),
        "y_train": RNG.integers(0, 10, n).astype(np.uint8),
        "x_test": RNG.integers(0, 256, (m, 28, 28), np.uint8),
        "y_test": RNG.integers(0, 10, m).astype(np.uint8),
    }


def idx(array, kind=8):
    head = bytes((0, 0, kind, array.ndim)) + struct.pack(f">{array.ndim}I", *array.shape)
    return head + array.tobytes()


FILES = {
    "x_train": "train-images-idx3-ubyte",
    "y_train": "train-labels-idx1-ubyte",
    "x_test": "t10k-images-idx3-ubyte",
    "y_test": "t10k-labels-idx1-ubyte",
}


def write_idx(folder, given, *, zipped=(), dotted=()):
    for name, file in FILES.items():
        file = file.replace("-idx", ".idx") if name in dotted else file
        content = idx(given[name])
        if name in zipped:
            (folder / f"{file}.gz").write_bytes(gzip.compress(content))
        else:
            (folder / file).write_bytes(content)


def assert_same(digits, given):
    assert digits.levels == 256
    for got, name in zip(digits[:4], ("x_train", "y_train", "x_test", "y_test"), strict=True):
        np.testing.assert_array_equal(got, given[name])


def test_npz_and_idx_files_are_read(tmp_path):
    given = arrays()
    np.savez(tmp_path / "mnist.npz", **given)
    assert_same(mnist(tmp_path / "mnist.npz"), given)
    folder = tmp_path / "idx"
    folder.mkdir()
    write_idx(folder, given, zipped=("x_train", "y_test"), dotted=("y_train", "y_test"))
    assert_same(mnist(folder), given)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (
            {"x_train": None},
            r"mnist.npz: expected an .npz file with x_train, .*, got y_train, x_test",
        ),
        ({"x_test": np.zeros((4, 28, 28))}, r"x_test: expected pictures, .*, got float64"),
        ({"x_test": np.zeros((4, 784), np.uint8)}, r"x_test: expected .* of shape \(4, 784\)"),
        ({"y_train": np.zeros(5, np.uint8)}, r"y_train: expected 6 labels, .*, got 5"),
        ({"y_test": np.full(4, 10)}, r"y_test: expected labels from 0 to 9, got 10 to 10"),
        ({"y_test": np.zeros((4, 10))}, r"y_test: expected labels, .*, got float64 of shape"),
        ({"y_test": np.array([None] * 4)}, r"mnist.npz: expected .*, got Object"),
    ],
)
def test_a_bad_npz_is_named_with_what_it_should_hold(tmp_path, change, text):
    given = {name: value for name, value in (arrays() | change).items() if value is not None}
    np.savez(tmp_path / "mnist.npz", **given)
    with pytest.raises(ValueError, match=text):
        mnist(tmp_path / "mnist.npz")


def test_files_of_another_kind_and_of_one_class(tmp_path):
    path = tmp_path / "mnist.npz"
    for content in (gzip.compress(b"nothing"), b"some words"):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"expected an .npz file with .*, got a file of"):
            mnist(path)
    given = arrays() | {"y_train": np.zeros(6, np.uint8)}
    np.savez(path, **given)
    with pytest.raises(ValueError, match=r"expected pictures of two classes or more, got 6 of 1"):
        mnist(path)


def test_what_is_no_npz_is_named(tmp_path):
    path = tmp_path / "mnist.npz"
    with pytest.raises(ValueError, match=r"mnist.npz: expected .* got no such file"):
        mnist(path)
    for content in (b"", b"no archive", b"PK\x03\x04 broken"):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"mnist.npz: expected an .npz file with x_train"):
            mnist(path)
    np.save(tmp_path / "one.npy", np.zeros(3))
    with pytest.raises(ValueError, match=r"one.npy: expected .* got a single array"):
        mnist(tmp_path / "one.npy")


@pytest.mark.parametrize(
    ("spoil", "text"),
    [
        (lambda whole: b"", "got an empty file"),
        (lambda whole: b"\x00\x00\x0d" + whole[3:], "begins with 00 00 08, got 00 00 0d 03"),
        (lambda whole: whole[:-7], "expected 4704 bytes of data .* got 4697"),
        (lambda whole: whole + b"\x00", "expected 4704 bytes of data .* got 4705"),
        (lambda whole: whole[:9], "expected the lengths of 3 axes, got a file of 9 bytes"),
    ],
)
def test_a_bad_idx_file_is_named_with_what_it_should_hold(tmp_path, spoil, text):
    given = arrays()
    write_idx(tmp_path, given)
    (tmp_path / FILES["x_train"]).write_bytes(spoil(idx(given["x_train"])))
    with pytest.raises(ValueError, match=rf"train-images-idx3-ubyte: .*{text}"):
        mnist(tmp_path)


def test_a_folder_without_a_file_and_a_broken_gzip_are_named(tmp_path):
    write_idx(tmp_path, arrays(), zipped=("y_train",))
    (tmp_path / FILES["x_test"]).unlink()
    with pytest.raises(ValueError, match=r"expected t10k-images-idx3-ubyte or .* got t10k-labels"):
        mnist(tmp_path)
    (tmp_path / f"{FILES['y_train']}.gz").write_bytes(b"no gzip")
    write_idx(tmp_path, arrays(), zipped=("x_train",))
    (tmp_path / FILES["y_train"]).unlink()
    with pytest.raises(ValueError, match=r"train-labels-idx1-ubyte.gz: expected a gzipped IDX"):
        mnist(tmp_path)


def test_the_split_is_the_same_for_all_and_tuning_sees_no_test_digit():
    digits = small_digits()
    assert digits.x.shape == (1437, 8, 8) and digits.x_test.shape == (360, 8, 8)
    assert digits.x.dtype == np.uint8 and digits.x.max() == digits.levels - 1 == 16
    assert min(np.bincount(digits.y_test)) >= 34
    np.testing.assert_array_equal(digits.x, small_digits().x)
    tuning = validation_split(digits)
    assert len(tuning.x) + len(tuning.x_test) == len(digits.x)
    held_out = {picture.tobytes() for picture in digits.x_test}
    seen = {picture.tobytes() for part in (tuning.x, tuning.x_test) for picture in part}
    assert not held_out & seen


# --- The model -----------------------------------------------------------------------------------


@pytest.mark.thorough
def test_bijectors_fitted_to_data_obey_the_laws():
    uniform = jnp.asarray(RNG.uniform(0.02, 0.98, (5, 3)), jnp.float32)
    jinn.check_bijector(NormalQuantile((3,)), uniform)
    np.testing.assert_allclose(
        NormalQuantile((3,)).forward(uniform), scipy.stats.norm.ppf(uniform), atol=2e-3
    )
    means, roots = RNG.normal(size=(2, 4)), RNG.normal(size=(2, 4, 4))
    covariances = roots @ roots.transpose(0, 2, 1) + np.eye(4)
    whitening = ClassWhitening((2, 2), means, covariances)
    x, label = RNG.normal(size=(5, 2, 2)).astype(np.float32), np.array([0, 1, 1, 0, 1])
    jinn.check_bijector(whitening, x, jax.nn.one_hot(label, 2))
    z, log_det = whitening.forward_and_log_det(x, jax.nn.one_hot(label, 2))
    density = scipy.stats.norm.logpdf(np.asarray(z, float)).sum((1, 2)) + log_det
    exact = [
        scipy.stats.multivariate_normal(means[c], covariances[c]).logpdf(row.ravel())
        for row, c in zip(x, label, strict=True)
    ]
    np.testing.assert_allclose(density, exact, rtol=1e-4)


def test_moments_are_drawn_to_those_of_all_classes():
    y = np.repeat(np.arange(10), 50)
    z = RNG.normal(size=(500, 3)) * (1 + y[:, None]) + y[:, None]
    means, own = class_moments(z, y, 0.0)
    np.testing.assert_allclose(own[3], np.cov(z[150:200].T))
    np.testing.assert_allclose(means[3], z[150:200].mean(0))
    np.testing.assert_allclose(class_moments(z, y, 0.25)[1], 0.75 * own + 0.25 * own.mean(0))


@pytest.fixture(scope="module")
def digits():
    whole = small_digits()
    return whole._replace(
        x=whole.x[:400], y=whole.y[:400], x_test=whole.x_test[:40], y_test=whole.y_test[:40]
    )


@pytest.fixture(scope="module")
def model(digits):
    return make_model(SMOKE, digits, KEY)


@pytest.mark.thorough
def test_before_training_pixels_are_nearly_uncorrelated_already(digits, model):
    """What is fitted in closed form takes out what pixels have in common."""
    noise = RNG.uniform(size=digits.x.shape)
    pixels = jnp.asarray((digits.x + noise) / digits.levels, jnp.float32)[..., None]
    front = jinn.bijectors.Chain(model.flow.bijector.bijectors[:-1])
    z = np.asarray(front.forward(pixels, one_hot(digits.y))).reshape(len(pixels), -1)
    np.testing.assert_allclose(z.mean(0), 0, atol=0.2)
    correlations = np.corrcoef(z.T) - np.eye(64)
    assert np.abs(correlations).mean() < 0.06  # 0.10 with the classes' moments left in


@pytest.mark.thorough
def test_the_own_class_gives_the_digit_back_and_others_give_others(digits, model):
    x, y = digits.x_test, digits.y_test
    styles = np.asarray(transfer(model, x, y))
    assert styles.shape == (len(x), 10, 8, 8)
    rows = np.arange(len(x))
    np.testing.assert_array_equal(styles[rows, y], x)
    assert (styles[rows, (y + 1) % 10] != x).mean() > 0.1
    as_others = np.asarray(transfer(model, x, (y + 1) % 10))  # given a wrong class for the latent
    assert (as_others[rows, y] != x).mean() > 0.1


def test_cold_draws_are_alike(model):
    warm, cold = (draw(model, KEY, 12, temperature) for temperature in (1.0, 1e-3))
    assert warm.shape == (12, 10, 8, 8) and warm.dtype == np.uint8 and warm.max() <= 16
    assert cold.std(0).mean() < 0.2 < warm.std(0).mean()


def test_the_judge(digits):
    judge = Judge(digits)
    assert judge.accuracy >= 0.85
    by_class = np.stack([digits.x[digits.y == label][:20] for label in range(10)], axis=1)
    found = judge.drawn(by_class)
    assert found["accuracy"] > 0.98 and found["neighbour"] == 0
    turned = judge.drawn(by_class[:, [1, 0, *range(2, 10)]])
    assert turned["accuracy"] == pytest.approx(0.8, abs=0.02) and turned["by_class"][0] < 0.1
    assert 0 < judge.neighbour < judge.drawn(RNG.integers(0, 17, (4, 10, 8, 8)))["neighbour"]
    moved = by_class.astype(int)
    moved[..., 0, 0] += 4  # one of 64 pixels by 4 levels: a root mean square of 0.5
    assert judge.drawn(moved)["neighbour"] == pytest.approx(0.5)


# --- The program ---------------------------------------------------------------------------------


@pytest.mark.exhaustive
def test_a_smoke_run_of_digits(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "80")
    arguments = ["--smoke", "--out", str(tmp_path), "--method", "jinn"]
    program.main(arguments)
    path = tmp_path / "digits-smoke.json"
    first = path.read_text()
    record = json.loads(first)["runs"]["jinn/seed0"]
    assert record["seed"] == 0 and record["digits"] == [1437, 360]
    assert record["command"].startswith("python -m experiments.digits --smoke")
    assert {"jinn", "jax", "device", "commit"} <= set(record["environment"])
    assert 1 < record["bits"]["mean"] < 4 and record["bits"]["standard_error"] > 0
    assert record["untrained"]["bits"]["mean"] < 2.1
    assert record["real"]["accuracy"] >= 0.97
    assert record["transferred"]["returned"] > 0.999
    assert record["drawn"]["accuracy"] == pytest.approx(np.mean(record["drawn"]["by_class"]))
    pictures = ["digits-smoke-jinn-seed0-samples.png", "digits-smoke-jinn-seed0-styles.png"]
    assert sorted(file.name for file in tmp_path.glob("*.png")) == pictures
    program.main(arguments)
    assert path.read_text() == first  # kept, and not made again
    shown = capsys.readouterr().out
    assert max(map(len, shown.splitlines())) <= 80 + len(str(tmp_path))


@pytest.mark.thorough
def test_a_smoke_run_of_mnist_from_a_file(tmp_path, capsys):
    given = arrays(60, 20)
    given["y_train"], given["y_test"] = np.arange(60) % 10, np.arange(20) % 10
    np.savez(tmp_path / "mnist.npz", **given)
    out = ["--smoke", "--method", "jinn", "--out", str(tmp_path)]
    program.main(["--mnist", str(tmp_path / "mnist.npz"), *out])
    (path,) = tmp_path.glob("mnist-*-smoke.json")
    record = json.loads(path.read_text())["runs"]["jinn/seed0"]
    assert record["digits"] == [60, 20] and record["settings"]["steps"] == 4
    digits = mnist(tmp_path / "mnist.npz")
    assert (
        digest(digits) in path.name and digest(digits._replace(y=digits.y[::-1])) not in path.name
    )
    assert not list(tmp_path.glob("*-checkpoints/*"))
    with pytest.raises(SystemExit):
        program.main(["--mnist", str(tmp_path / "nothing"), *out])
    assert "nothing: expected an .npz file or a folder" in capsys.readouterr().err


@pytest.mark.thorough
def test_without_flowjax_its_runs_are_left_out_and_said_so(tmp_path, monkeypatch, capsys):
    absent = str(tmp_path / "python")
    assert missing(absent) == f"{absent} cannot be run: No such file or directory"
    monkeypatch.setattr("experiments.digits.peer.NEEDED", ("numpy", "no_such_library"))
    assert missing(sys.executable) == f"{sys.executable} lacks ['no_such_library']"
    monkeypatch.setattr("experiments.digits.peer.NEEDED", ("numpy",))
    assert missing(sys.executable) is None
    program.main(["--method", "flowjax", "--out", str(tmp_path), "--peer-python", absent])
    assert "Without flowjax's Real NVP" in capsys.readouterr().out
    assert not (tmp_path / "digits.json").exists()


def test_the_peer_is_as_large_and_judged_alike():
    peer = peer_of(DIGITS, 12_345)
    assert peer.parameters == 12_345
    assert (peer.draws, peer.samples) == (DIGITS.draws, DIGITS.samples)
    assert peer_of(MNIST, 5).draws == MNIST.draws

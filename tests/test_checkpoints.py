"""Trainings that go on from a checkpoint as if they had never ended."""

import errno
import json
import os
import random
import signal
import subprocess
import sys
import time
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jinn
from jinn.training.checkpoint import (
    Checkpoints,
    Snapshot,
    _decoded,
    _encoded,
    check_position,
)

KEY = jax.random.key(3)
MODEL = {"kernel": jnp.ones((4, 3)), "bias": jnp.zeros(3)}
X = np.asarray(jax.random.normal(KEY, (60, 4)))


def loss(model, batch, key):
    noise = 0.1 * jax.random.normal(key, (len(batch), 3))
    error = jnp.mean(
        (jnp.tanh(batch @ model["kernel"]) + model["bias"][None] - batch[:, :3] + noise) ** 2
    )
    return error, {"error": error}


def simulate(key, n):
    return jax.random.normal(key, (n, 4))


def batches(stop=None, action=None, pause=0.0):
    """Batches, of which one does something."""
    for i in range(40):
        if i == stop:
            action()
        time.sleep(pause)
        yield X[(8 * i) % 48 :][:8]


def train(data=X, folder=None, **options):
    if isinstance(data, type(batches())):
        options = {"validation": X[:10]} | options
    common = {"steps": 30, "batch_size": 8, "validate_every": 7, "ema_decay": 0.9}
    common |= {"learning_rate": 0.05, "validation": 10, "progress": False}
    return jinn.fit(KEY, MODEL, data, loss=loss, checkpoint_dir=folder, **(common | options))


def same(one, other):
    for a, b in zip(*map(jax.tree.leaves, (one.flow, other.flow)), strict=True):
        np.testing.assert_array_equal(a, b)
    for name, values in one.history.items():
        np.testing.assert_array_equal(other.history[name], values, err_msg=name)
    assert one.skipped_steps == other.skipped_steps


def stop_after(monkeypatch, calls):
    """A Ctrl-C in the training, after so many calls of the compiled loop."""
    counted = []

    def stop():
        counted.append(None)
        if len(counted) > calls:
            raise KeyboardInterrupt

    monkeypatch.setattr(sys.modules["jinn.training.fit"], "raise_if_stopped", stop)


@pytest.mark.parametrize("data", [X, simulate])
def test_a_training_goes_on_after_ctrl_c_to_the_same_bits(data, tmp_path, monkeypatch):
    whole = train(data)
    for calls in (1, 3):
        with monkeypatch.context() as patch:
            stop_after(patch, calls)
            assert train(data, tmp_path).interrupted
    same(whole, train(data, tmp_path))
    again = train(data, tmp_path)  # at once
    same(whole, again)
    assert len([path for path in tmp_path.iterdir() if path.name.isdigit()]) <= 3


def test_early_stopping_and_the_best_weights_are_kept(tmp_path, monkeypatch):
    options = {"patience": 2, "validate_every": 1, "learning_rate": 0.9, "steps": 40}
    whole = train(X, **options)
    assert len(whole.history["step"]) < 40
    with monkeypatch.context() as patch:
        stop_after(patch, 4)
        train(X, tmp_path, **options)
    same(whole, train(X, tmp_path, checkpoint_keep=1, **options))
    last = [path.name for path in tmp_path.iterdir() if path.name.isdigit()]
    assert last == [str(whole.history["step"][-1])]


def interrupt():
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("action", "ends"), [(interrupt, False), (lambda: signal.raise_signal(signal.SIGTERM), True)]
)
def test_an_iterator_begins_anew_and_its_used_batches_are_left_out(action, ends, tmp_path):
    whole = train(batches())
    if ends:
        with pytest.raises(SystemExit, match=r"ended by SIGTERM at step 1[0-9] of 30; .*goes on"):
            train(batches(13, action), tmp_path)
    else:
        assert train(batches(13, action), tmp_path).interrupted
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    same(whole, train(batches(), tmp_path))


class Positioned:
    """An iterator that can be set back, as grain's."""

    def __init__(self):
        self.i, self.taken = 0, []

    def __iter__(self):
        return self

    def __next__(self):
        self.taken.append(self.i)
        self.i += 1
        return X[(8 * (self.i - 1)) % 48 :][:8]

    def get_state(self):
        return {"next": self.i}

    def set_state(self, state):
        self.i = state["next"]


def test_an_iterator_with_a_state_is_set_back(tmp_path, monkeypatch):
    whole = train(Positioned(), validation=X[:10])
    with monkeypatch.context() as patch:
        stop_after(patch, 3)
        train(Positioned(), tmp_path, validation=X[:10])
    data = Positioned()
    same(whole, train(data, tmp_path, validation=X[:10]))
    assert data.taken[0] == 0 and data.taken[1] > 2  # the first tells the shapes


def test_ctrl_c_between_the_batches_of_an_iterator_writes_a_checkpoint(tmp_path):
    whole = train(batches(), validate_every=30)
    assert train(batches(13, interrupt), tmp_path, validate_every=30).interrupted
    assert [path.name for path in tmp_path.iterdir()] == ["13"]
    same(whole, train(batches(), tmp_path, validate_every=30))


@pytest.mark.parametrize("fault", ["raises", "another form"])
def test_the_steps_before_an_iterator_fails_are_kept(fault, tmp_path):
    def failing():
        for number, batch in enumerate(batches()):
            if number == 13 and fault == "raises":
                raise OSError("network")
            yield batch[:, :3] if number == 13 else batch

    whole = train(batches(), validate_every=30)
    with pytest.raises((OSError, ValueError), match=r"network|batch 14 have the shapes") as raised:
        train(failing(), tmp_path, validate_every=30)
    assert raised.value.__notes__ == ["fit: it came after step 13 of 30"]
    same(whole, train(batches(), tmp_path, validate_every=30))


def test_states_of_iterators_may_hold_numbers_bytes_and_arrays():
    state = {"i": np.int64(3), "b": b"\x00", "a": [np.arange(3), (1, None)], "dict": {"array": 1}}
    check_position(state)
    found = _decoded(json.loads(json.dumps(_encoded(state))))
    np.testing.assert_array_equal(found["a"][0], np.arange(3))
    assert found["a"][1] == (1, None) and found["i"] == 3 and found["b"] == b"\x00"
    assert found["dict"] == {"array": 1}
    for wrong in (object(), {1: 2}, {"rng": np.random.default_rng(0)}):
        with pytest.raises(ValueError, match=r"expected get_state\(\) of the iterator to give"):
            check_position(wrong)


def test_a_checkpoint_holds_what_was_there_when_it_was_begun(tmp_path):
    state, steps = {"count": jnp.zeros(2)}, list(range(1000))
    numbers = {"history": {"step": list(steps)}}
    checkpoints = Checkpoints(tmp_path, {}, keep=3)
    checkpoints.save(9, Snapshot(state, None, numbers))
    numbers["history"]["step"].append(-1)
    checkpoints.wait()
    found = checkpoints.restore(state, lambda state: state, lambda numbers: None)
    checkpoints.close()
    assert found is not None and found[0] == 9
    assert found[1].numbers["history"]["step"] == steps


def damage(folder):
    for path in folder.rglob("*"):
        if path.is_file():
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def test_a_damaged_checkpoint_falls_back_to_the_one_before(tmp_path):
    whole = train(X)
    train(X, tmp_path)
    steps = sorted(int(path.name) for path in tmp_path.iterdir() if path.name.isdigit())
    assert steps == [21, 28, 30]
    damage(tmp_path / "30")
    with pytest.warns(UserWarning, match=r"checkpoint of step 30 in .* the one before it"):
        same(whole, train(X, tmp_path))


def test_a_newer_format_is_told(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr("jinn.training.checkpoint.FORMAT", 99)
        train(X, tmp_path)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        train(X, tmp_path)
    told = [str(warning.message) for warning in caught]
    assert any("format is 99, newer than this jinn's" in text for text in told)
    assert any("the training begins anew" in text for text in told)


def test_a_full_disk_leaves_the_checkpoints_before_it(tmp_path, monkeypatch):
    whole = train(X)
    with monkeypatch.context() as patch:
        stop_after(patch, 3)
        train(X, tmp_path)
    written = Checkpoints.save

    def full(self, step, snapshot):
        def save(*args, **kwargs):
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(self._manager, "save", save)
        written(self, step, snapshot)

    with (
        monkeypatch.context() as patch,
        pytest.warns(UserWarning, match="older ones are kept"),
    ):
        patch.setattr(Checkpoints, "save", full)
        same(whole, train(X, tmp_path))
    same(whole, train(X, tmp_path))


SCRIPT = """
import sys, pathlib
import numpy as np
import test_checkpoints as here
result = here.train(here.batches(pause=0.05), sys.argv[1], validate_every=4)
np.savez(sys.argv[2], **result.flow, **result.history)
"""


@pytest.mark.thorough
def test_a_killed_training_ends_where_an_uninterrupted_one_does(tmp_path):
    environment = os.environ | {
        "JAX_PLATFORMS": "cpu",
        "PYTHONPATH": os.pathsep.join([os.path.dirname(__file__), *sys.path]),
    }

    def command(name):
        return [sys.executable, "-c", SCRIPT, str(tmp_path / name), str(tmp_path / f"{name}.npz")]

    # In a process like the others, since these tests compile with flags of their own.
    subprocess.run(command("whole"), env=environment, check=True)
    folder = tmp_path / "killed"
    draw = random.Random(0)
    for kill in range(3):
        process = subprocess.Popen(command("killed"), env=environment)
        least = 8 * kill + draw.randint(1, 8)
        while process.poll() is None:
            if folder.exists() and any(
                path.name.isdigit() and int(path.name) >= least for path in folder.iterdir()
            ):
                time.sleep(0.1 * draw.random())
                process.kill()
                break
            time.sleep(0.01)
        assert process.wait() == -signal.SIGKILL
    subprocess.run(command("killed"), env=environment, check=True)
    whole, killed = (np.load(tmp_path / f"{name}.npz") for name in ("whole", "killed"))
    assert set(whole.files) == {*MODEL, "step", "loss", "validation_loss", "error"}
    for name in whole.files:
        np.testing.assert_array_equal(killed[name], whole[name], err_msg=name)

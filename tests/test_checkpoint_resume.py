"""Breaks at awkward moments: in a validation, between batches, beside folders that are damaged."""

import errno
import logging
import os
import signal
import subprocess
import sys
import warnings

import numpy as np
import orbax.checkpoint as ocp
import pytest

from tests.test_checkpoint_errors import train as train_small
from tests.test_checkpoints import Positioned, X, batches, damage, same, train

FIT = sys.modules["jinn.training.fit"]


@pytest.fixture(autouse=True)
def _ctrl_c_is_heeded():
    """Also in jobs in the background, which are begun with a SIGINT that is ignored."""
    previous = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, previous)


def steps(folder):
    return sorted(int(path.name) for path in folder.iterdir() if path.name.isdigit())


def breaking(monkeypatch, name, call, before=True):
    """Ctrl-C at one call of what a function of `fit` makes."""
    made, counted = getattr(FIT, name), []

    def make(*args, **kwargs):
        function = made(*args, **kwargs)

        def called(*args, **kwargs):
            counted.append(None)
            if len(counted) == call and before:
                raise KeyboardInterrupt
            result = function(*args, **kwargs)
            if len(counted) == call:
                signal.raise_signal(signal.SIGINT)
            return result

        return called

    monkeypatch.setattr(FIT, name, make)


@pytest.mark.parametrize("call", [2, 5])
def test_ctrl_c_in_a_validation_leaves_none_out(call, tmp_path, monkeypatch):
    whole = train(X)
    with monkeypatch.context() as patch:
        breaking(patch, "make_evaluate", call)
        assert train(X, tmp_path).interrupted
    same(whole, train(X, tmp_path))


@pytest.mark.parametrize("make", [batches, Positioned])
@pytest.mark.parametrize("call", [3, 5, 12])
def test_ctrl_c_between_batches_uses_none_twice(make, call, tmp_path, monkeypatch):
    whole = train(make(), validation=X[:10])
    with monkeypatch.context() as patch:
        breaking(patch, "make_run", call, before=False)
        assert train(make(), tmp_path, validation=X[:10]).interrupted
    same(whole, train(make(), tmp_path, validation=X[:10]))


def test_what_is_written_later_is_what_was_when_it_was_saved(tmp_path, monkeypatch):
    save, written = ocp.CheckpointManager.save, {}

    def saving(self, step, args, **kwargs):
        written[step] = args["about"].item["numbers"]["history"]["step"]
        return save(self, step, args=args, **kwargs)

    monkeypatch.setattr(ocp.CheckpointManager, "save", saving)
    train(X, tmp_path)
    assert {step: max(entries) for step, entries in written.items()} == {
        step: step for step in (7, 14, 21, 28, 30)
    }


@pytest.mark.parametrize("damaged", [[30], [21, 28, 30]])
def test_what_cannot_be_read_is_written_anew(damaged, tmp_path, capfd):
    whole = train(X)
    train(X, tmp_path)
    for step in damaged:
        damage(tmp_path / str(step))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        same(whole, train(X, tmp_path))
    told = " ".join(str(warning.message) for warning in caught)
    assert all(f"renamed to unreadable-{step}" in told for step in damaged)
    assert steps(tmp_path) == [21, 28, 30]
    same(whole, train(X, tmp_path))  # without a warning
    assert "absl" not in capfd.readouterr().err


def test_a_write_that_fails_is_named_and_the_next_is_tried(tmp_path, monkeypatch):
    wait, save, failing = ocp.CheckpointManager.wait_until_finished, ocp.CheckpointManager.save, []
    tried = []

    def saving(self, step, *args, **kwargs):
        tried.append(step)
        if step == 14:
            failing.append(step)
        return save(self, step, *args, **kwargs)

    def waiting(self):
        wait(self)
        if failing:
            failing.pop()
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(ocp.CheckpointManager, "save", saving)
    monkeypatch.setattr(ocp.CheckpointManager, "wait_until_finished", waiting)
    with pytest.warns(UserWarning, match="older ones are kept"):
        train(X, tmp_path)
    assert tried == [7, 14, 21, 28, 30]


def test_sigterm_claims_no_checkpoint_that_is_not_there(tmp_path, monkeypatch):
    def full(*args, **kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(ocp.CheckpointManager, "save", full)
    with (
        pytest.warns(UserWarning, match="No space"),
        pytest.raises(SystemExit, match=r"no checkpoint of it is in"),
    ):
        train(batches(13, lambda: signal.raise_signal(signal.SIGTERM)), tmp_path)


def test_only_what_differs_is_told_and_other_rows_are_no_damage(tmp_path):
    train_small(tmp_path)
    with pytest.raises(ValueError, match=r"differs in arrays \['mean'\]: float32\[2\] there, f"):
        train_small(tmp_path, size=3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ValueError, match=r"differs in rows order: int32\[20\] there, i"):
            train_small(tmp_path, validation=5)
    assert steps(tmp_path) == [1, 2, 3]


def test_logs_of_others_by_absl_are_left(tmp_path, caplog):
    train_small(tmp_path)
    logging.getLogger("absl").warning("of a user")
    assert "of a user" in caplog.text


LIMITED = """
import pathlib, resource, sys, time, warnings
import test_checkpoints as here
fit, calls = sys.modules["jinn.training.fit"], []
def limit():
    calls.append(None)
    if len(calls) == 5:
        while not (pathlib.Path(sys.argv[1]) / "7").exists():
            time.sleep(0.01)
        resource.setrlimit(resource.RLIMIT_FSIZE, (200, resource.RLIM_INFINITY))
fit.raise_if_stopped = limit
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    here.train(here.X, sys.argv[1])
print(*(f"{w.category.__name__}: {w.message}" for w in caught), sep=chr(10))
"""


@pytest.mark.thorough
@pytest.mark.skipif(sys.platform == "win32", reason="no limits of file sizes")
def test_a_disk_that_is_really_full_leaves_what_is_there(tmp_path):
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join([os.path.dirname(__file__), *sys.path])
    }
    command = [sys.executable, "-c", LIMITED, str(tmp_path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("could not be written") == 4
    assert steps(tmp_path) == [7]
    whole, gone_on = train(X), train(X, tmp_path)
    for name, leaf in whole.flow.items():  # which those processes compile with other flags
        np.testing.assert_allclose(gone_on.flow[name], leaf, rtol=1e-5)

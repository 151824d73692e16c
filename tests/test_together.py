"""Several trainings at a time: their order, Ctrl-C, errors, and settings of one thread."""

import signal
import threading
import time

import jax
import jax.numpy as jnp
import optax
import pytest

import jinn
from jinn.training import together
from jinn.training.together import raise_if_stopped, train_together

KEY = jax.random.key(0)


@pytest.fixture(autouse=True)
def three_cores(monkeypatch):
    monkeypatch.setattr(together.os, "sched_getaffinity", lambda pid: {0, 1, 2}, raising=False)


def until_stopped(seconds: float = 30.0) -> str:
    """What a training does: it asks at every turn whether to stop."""
    for _ in range(int(100 * seconds)):
        try:
            raise_if_stopped()
        except KeyboardInterrupt:
            return "stopped"
        time.sleep(0.01)
    return "ended"


def is_stopped(result: str) -> bool:
    return result == "stopped"


def test_results_come_in_order_whichever_is_done_first():
    meeting = threading.Barrier(3)

    def training(number):
        meeting.wait(10)
        time.sleep(0.1 * (3 - number))
        return str(number)

    trainings = [lambda number=number: training(number) for number in range(3)]
    assert train_together(trainings, is_stopped) == (["0", "1", "2"], False)


def test_ctrl_c_ends_all_that_run_and_begins_no_other(ctrl_c):
    begun = []

    def interrupt():
        begun.append("interrupt")
        time.sleep(0.5)
        signal.raise_signal(signal.SIGINT)
        return until_stopped()

    def wait():
        begun.append("wait")
        return until_stopped()

    results, interrupted = train_together([wait, interrupt, wait, wait, wait], is_stopped)
    assert interrupted and results == ["stopped"] * 3 and len(begun) == 3


def test_an_error_ends_the_others_and_is_raised():
    ended = []

    def wait():
        ended.append(until_stopped())
        return ended[-1]

    def fail():
        raise ValueError("too bad")

    with pytest.raises(ValueError, match="too bad"):
        train_together([wait, fail], is_stopped)
    assert ended == ["stopped"]


@pytest.mark.parametrize("cores", [1, 3])
def test_ctrl_c_between_trainings_keeps_those_that_ended(cores, monkeypatch):
    monkeypatch.setattr(together, "_free_cores", lambda: cores)

    def press():
        time.sleep(0.2)
        raise KeyboardInterrupt

    trainings = [lambda: "one", lambda: "two", press]
    assert train_together(trainings, is_stopped) == (["one", "two"], True)


def test_ctrl_c_reaches_trainings_within_trainings():
    begun, stop = [], threading.Event()

    def inner():
        begun.append(1)
        stop.wait(10)
        return until_stopped()

    def outer():
        return train_together([inner, inner, inner], is_stopped)

    def interrupt():
        while len(begun) < 3:
            time.sleep(0.01)
        stop.set()
        raise KeyboardInterrupt

    results, interrupted = train_together([outer, interrupt], lambda _: False)
    assert interrupted and results == [(["stopped"] * 3, True)]


@pytest.mark.parametrize(
    "setting",
    [
        lambda: jax.debug_nans(True),
        lambda: jax.debug_infs(True),
        lambda: jax.threefry_partitionable(False),
    ],
)
def test_numeric_settings_keep_trainings_in_their_thread(setting):
    with setting():
        assert together._free_cores() == 1
    assert together._free_cores() == 3


def test_settings_of_one_thread_keep_trainings_in_it():
    here = threading.get_ident()
    with jax.numpy_dtype_promotion("strict"):
        assert train_together([threading.get_ident] * 2, lambda _: False)[0] == [here] * 2
    assert here not in train_together([threading.get_ident] * 2, lambda _: False)[0]


@pytest.mark.thorough
def test_trainings_side_by_side_give_what_each_gives_alone(capsys):
    def loss(model, batch, key):
        return jnp.mean((model["p"] - batch) ** 2), {}

    def train(number, *, progress=False):
        data = jnp.linspace(0.0, number, 50)[:, None]
        model = {"p": jnp.zeros(())}
        options = {"steps": 30, "batch_size": 10, "optimizer": optax.sgd(0.1)}
        return jinn.fit(KEY, model, data, loss=loss, progress=progress, **options)

    alone = [float(train(number).flow["p"]) for number in range(4)]
    side_by_side, interrupted = train_together(
        [lambda number=number: train(number) for number in range(4)], lambda r: r.interrupted
    )
    assert not interrupted
    assert [float(result.flow["p"]) for result in side_by_side] == alone
    assert capsys.readouterr().out == ""
    train_together([lambda: train(1, progress=True)] * 2, lambda r: r.interrupted)
    assert capsys.readouterr().out.count("30/30") == 2

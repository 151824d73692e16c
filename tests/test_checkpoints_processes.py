"""Checkpoints of several processes, and of several trainings in one call."""

import os
import shutil
import subprocess
import sys

import jax
import numpy as np
import pytest

import jinn
from jinn.flows import real_nvp
from tests.test_checkpoints import stop_after
from tests.test_mesh import DATA, KEY, batches, environment, trained

OF_TWO = """
import signal, sys
import jax
jax.distributed.initialize(f"127.0.0.1:{sys.argv[1]}", 2, int(sys.argv[2]))
import numpy as np
import test_mesh
from jinn.training.processes import of_all_processes

folder, index = sys.argv[3], jax.process_index()
mesh = jax.make_mesh((jax.device_count(),), ("data",))
assert of_all_processes("é" * (1 + index)) == ["é", "éé"]

def own():
    for i, batch in enumerate(test_mesh.batches()):
        if i == 13 and index == 1 and "stopped" in sys.argv:
            signal.raise_signal(signal.SIGTERM)
        yield tuple(leaf[4 * index : 4 * index + 4] for leaf in batch)

class Positioned:
    def __init__(self):
        self.batches, self.next = list(own()), 0
    def __iter__(self):
        return self
    def __next__(self):
        self.next += 1
        return self.batches[self.next - 1]
    def get_state(self):
        return {"next": self.next, "of": index}
    def set_state(self, state):
        assert state["of"] == index
        self.next = state["next"]

for name, data in (("arrays", test_mesh.DATA), ("iterator", own()), ("positioned", Positioned())):
    if "stopped" in sys.argv and name != "iterator":
        continue
    options = {"validation": None, "validate_every": 5, "mesh": mesh}
    try:
        result = test_mesh.trained(
            data, **options, shard_parameters=name == "arrays", checkpoint_dir=f"{folder}/{name}"
        )
        print(name, *result.history["loss"])
    except SystemExit as ended:
        print(ended)
jax.distributed.shutdown()
"""


def run_two(folder, *words):
    port = str(20_000 + (os.getpid() + len(words)) % 20_000)
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", OF_TWO, port, str(number), str(folder), *words],
            env=environment(2), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for number in range(2)
    ]  # fmt: skip
    outputs = [process.communicate(timeout=300) for process in processes]
    assert all(process.returncode == 0 for process in processes), outputs
    return [output for output, _ in outputs]


@pytest.mark.thorough
def test_two_processes_write_and_go_on_and_so_does_one_on_one_device(tmp_path):
    stopped = run_two(tmp_path, "stopped")  # by a SIGTERM to one of them
    assert all("ended by SIGTERM at step 15 of 30; the checkpoint of it" in out for out in stopped)
    assert (tmp_path / "iterator" / "15").exists()
    options = {"validation": None, "validate_every": 5}
    makers = {"arrays": lambda: DATA, "iterator": batches, "positioned": batches}
    expected = {name: trained(make(), **options) for name, make in makers.items()}

    def check(outputs):
        for output in outputs:
            found = [line.split() for line in output.splitlines() if line.split()[0] in makers]
            assert [name for name, *_ in found] == list(makers)
            for name, *losses in found:
                own = np.array(losses, float)
                np.testing.assert_allclose(own, expected[name].history["loss"], rtol=1e-4)

    check(run_two(tmp_path))
    for name, make in makers.items():
        for step in (25, 30):
            shutil.rmtree(tmp_path / name / str(step))
        if name == "positioned":
            continue
        alone = trained(make(), **options, checkpoint_dir=tmp_path / name)
        for column, values in expected[name].history.items():
            np.testing.assert_allclose(alone.history[column], values, rtol=1e-4, err_msg=column)
        for leaf, other in zip(alone.flow.values(), expected[name].flow.values(), strict=True):
            np.testing.assert_allclose(leaf, other, rtol=1e-3, atol=1e-5)
    check(run_two(tmp_path))  # of which "positioned" goes on at step 20


@pytest.mark.thorough
def test_an_ensemble_goes_on_where_it_was(tmp_path, monkeypatch):
    x = jax.random.normal(KEY, (200, 2))

    def fit(folder=None):
        flow = real_nvp(2, condition_dim=1, depth=1, hidden=4, rngs=0)
        options = {"steps": 12, "batch_size": 8, "validate_every": 3, "progress": False}
        return jinn.fit_posterior(
            KEY, (x, x[:, :1]), flow=flow, ensemble=2, checkpoint_dir=folder, **options
        )

    whole = fit()
    with monkeypatch.context() as patch:
        stop_after(patch, 5)
        assert fit(tmp_path).training.interrupted
    assert {path.name for path in tmp_path.iterdir()} <= {"member-0", "member-1"}
    again = fit(tmp_path)
    for one, other in zip(*map(jax.tree.leaves, (whole, again)), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.thorough
def test_kinds_of_flows_that_are_compared_have_folders_of_their_own(tmp_path):
    x = np.asarray(jax.random.normal(KEY, (300, 2)))
    for _ in range(2):
        jinn.fit_posterior(
            KEY, (x, x[:, :1]), ensemble=1, steps=2, progress=False, checkpoint_dir=tmp_path
        )
    assert {path.name for path in tmp_path.iterdir()} == {"trial-0", "trial-1", "member-0"}

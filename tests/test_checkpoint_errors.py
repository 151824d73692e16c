"""What `fit` says of folders and checkpoints that do not fit."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jinn

X = np.ones((20, 2), np.float32)


def train(folder, size=2, **options):
    def loss(model, batch, key):
        return jnp.mean((batch.sum() - model["mean"]) ** 2), {}

    common = {"steps": 3, "batch_size": 4, "validation": None, "progress": False}
    key, model = jax.random.key(options.pop("seed", 0)), {"mean": jnp.zeros(size)}
    return jinn.fit(key, model, X, loss=loss, checkpoint_dir=folder, **(common | options))


def test_checkpoints_of_another_training(tmp_path):
    train(tmp_path)
    for options, words in (
        ({"size": 3}, r"another training; .*another checkpoint_dir.*float32\[2\].*float32\[3\]"),
        ({"batch_size": 5}, r"It differs in batch_size: 4 there, 5 now"),
        ({"steps": 9}, r"It differs in steps: 3 there, 9 now"),
        ({"seed": 1}, r"It differs in key"),
    ):
        with pytest.raises(ValueError, match=words):
            train(tmp_path, **options)


def test_folders_and_intervals_that_are_none(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match=r"checkpoint_dir to be a folder, got the file"):
        train(tmp_path / "file")
    for nothing in ("", 5):
        with pytest.raises(ValueError, match=r"expected checkpoint_dir to be a folder, got"):
            train(nothing)
    with pytest.raises(ValueError, match=r"checkpoint_every must be a whole number .*got 0"):
        train(tmp_path, checkpoint_every=0)
    with pytest.raises(ValueError, match=r"checkpoint_keep must be a whole number .*got 0"):
        train(tmp_path, checkpoint_keep=0)

"""What `fit` says of meshes and batches that do not fit each other."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jinn

KEY = jax.random.key(0)
X = np.zeros((20, 2), np.float32)

pytestmark = pytest.mark.skipif(jax.device_count() < 2, reason="needs two devices")


def fit(data=X, **options):
    """A training of one number."""

    def loss(model, batch, key):
        return jnp.mean((batch - model) ** 2), {}

    common = {"steps": 2, "batch_size": 8, "validation": None, "progress": False}
    return jinn.fit(KEY, jnp.zeros(()), data, loss=loss, **(common | options))


def test_meshes_that_are_none_or_do_not_divide_the_batch():
    mesh = jax.make_mesh((2,), ("data",))
    for options, words in (
        ({"mesh": 2}, r"a jax\.sharding\.Mesh such as jax\.make_mesh.*got int"),
        ({"mesh": mesh, "batch_size": 9}, r"batch_size=9 .* mesh's 2 devices.* a multiple of 2"),
        ({"shard_parameters": True}, r"needs a mesh; pass mesh="),
        ({"mesh": mesh, "shard_parameters": 1}, r"shard_parameters to be a boolean, got 1"),
    ):
        with pytest.raises(ValueError, match=words):
            fit(**options)
    odd = iter([X[:8], X[:7]])
    with pytest.raises(ValueError, match=r"a batch of 7 rows, .* the mesh's 2 devices of this"):
        fit(odd, mesh=mesh)

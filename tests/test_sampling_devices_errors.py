"""What sampling on devices and to disk says of input that does not fit."""

import jax
import jax.numpy as jnp
import pytest

from jinn.inference import sample_to_disk
from tests.test_sampling_devices import KEY, Y, make_posterior, mesh


def test_bad_input(tmp_path):
    posterior = make_posterior()
    path = tmp_path / "samples.zarr"
    with pytest.raises(ValueError, match=r"expected mesh to be a jax.sharding.Mesh .* got list"):
        posterior.sample(KEY, 2, Y, mesh=[1])
    with pytest.raises(ValueError, match=r"expected mesh"):
        posterior.log_prob(jnp.ones(3), Y, mesh="data")
    with pytest.raises(ValueError, match=r"pass no key with a mesh"):
        posterior.flow.log_prob(jnp.ones(3), Y, key=KEY, mesh=mesh(1))
    for y, n, words in ((Y[0], 3, "rows"), (Y, 0, "n=0"), (Y[:0], 3, "rows"), (Y[:, :1], 3, "y")):
        with pytest.raises(ValueError, match=words):
            sample_to_disk(path, posterior, KEY, n, y, progress=False)
    with pytest.raises(ValueError, match="max_bytes to be a whole number"):
        sample_to_disk(path, posterior, KEY, 3, Y, max_bytes=0.5, progress=False)
    with pytest.raises(ValueError, match=r"expected a jinn.Posterior, got .*Flow"):
        sample_to_disk(path, posterior.flow, KEY, 3, Y, progress=False)
    assert not path.exists()
    sample_to_disk(path, posterior, KEY, 3, Y, progress=False)
    with pytest.raises(ValueError, match=r"samples of another call, which differs in key"):
        sample_to_disk(path, posterior, jax.random.key(5), 3, Y, progress=False)
    with pytest.raises(ValueError, match=r"differs in observations"):
        sample_to_disk(path, posterior, KEY, 3, Y + 1, progress=False)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "file").touch()
    with pytest.raises(ValueError, match=r"holds something other"):
        sample_to_disk(tmp_path / "other", posterior, KEY, 3, Y, progress=False)

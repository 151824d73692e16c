"""What dequantised flows say to wrong arguments."""

import jax
import jax.numpy as jnp
import numpy as np

import jinn
from jinn.bijectors import Affine, Split
from jinn.distributions import StandardNormal
from jinn.flows import Dequantized, real_nvp
from tests.errors import raises

KEY = jax.random.key(0)
FLOW = real_nvp(2, depth=1, hidden=(4,), rngs=0)


def test_parts() -> None:
    with raises("Dequantized", "flow to be a Flow", "Affine"):
        Dequantized(Affine((2,)))  # type: ignore[arg-type]
    with raises("Dequantized", "noise to be a Flow", "float"):
        Dequantized(FLOW, noise=0.5)  # type: ignore[arg-type]
    for levels in (1, 2.5, True, 65537):
        with raises("Dequantized", "levels", "2 to 65536", repr(levels)):
            Dequantized(FLOW, levels=levels)  # type: ignore[arg-type]
    wider = real_nvp(2, condition_dim=3, depth=1, hidden=(4,), rngs=0)
    for noise in (FLOW, wider):
        shape = str(noise.condition_shape)
        with raises("Dequantized", "noise", "(2,)", "condition_shape", shape):
            Dequantized(FLOW, noise=noise)
    dicts = jinn.Flow(jinn.bijectors.Invert(Split((2,), {"a": 1, "b": 1})), StandardNormal((2,)))
    with raises("Dequantized", "event_shape", "one array"):
        Dequantized(dicts)


def test_values() -> None:
    model = Dequantized(FLOW, levels=16)
    for x in ([0, 16], [-1, 3], [0.5, 1.0], [float("nan"), 1.0]):
        with raises("Dequantized", "whole numbers from 0 to 15"):
            model.log_prob(jnp.array(x), key=KEY)
    with raises("Dequantized", "(*batch, 2)"):
        model.log_prob(jnp.zeros(3, jnp.uint8), key=KEY)
    with raises("Dequantized", "takes none"):
        model.log_prob(jnp.zeros(2, jnp.uint8), jnp.zeros(1), key=KEY)


def test_key_and_samples() -> None:
    model = Dequantized(FLOW)
    with raises("Dequantized", "needs a key"):
        model.log_prob(jnp.zeros(2, jnp.uint8))
    for samples in (0, 1.5, True):
        with raises("Dequantized", "samples", "positive integer", repr(samples)):
            model.log_prob(jnp.zeros(2, jnp.uint8), key=KEY, samples=samples)  # type: ignore


def test_fit_names_values_beyond_the_levels() -> None:
    data = np.full((64, 2), 200, np.uint8)
    with raises("fit", "Dequantized", "from 0 to 15", "200"):
        jinn.fit(KEY, Dequantized(FLOW, levels=16), data, steps=1, batch_size=8, progress=False)

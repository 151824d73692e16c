"""`jinn.fit` on an iterator of host batches, and where divergence is found in a flow."""

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jinn.bijectors import Chain, Coupling, Permute, Stack
from jinn.bijectors.module import first_not_finite
from jinn.distributions import StandardNormal
from jinn.flows import Flow, real_nvp
from jinn.training import TrainingDiverged, fit

pytestmark = pytest.mark.no_type_hook

KEY = jax.random.key(0)


def pull(model: Any, batch: Any, key: Any) -> tuple[jax.Array, dict[str, Any]]:
    """Under `sgd(1.0)` each step adds the mean of its batch to p."""
    return -model["p"] * batch.mean(), {"rows": jnp.float32(batch.shape[0])}


PULL = {"loss": pull, "optimizer": optax.sgd(1.0), "progress": False}
START = {"p": jnp.zeros(())}


def counted(n: int, taken: list[int] | None = None) -> Iterator[np.ndarray]:
    for i in range(n):
        if taken is not None:
            taken.append(i)
        yield np.full((3 if i % 4 else 2, 1), float(i))


def test_every_batch_is_used_once_in_order() -> None:
    taken: list[int] = []
    result = fit(KEY, START, counted(1000, taken), steps=50, validation=None, **PULL)
    assert float(result.flow["p"]) == sum(range(50))
    assert taken[:50] == list(range(50)) and len(taken) <= 51
    assert not result.interrupted and result.history["step"][-1] == 50


def test_a_flow_learns_from_host_batches_with_a_given_validation_set() -> None:
    generator = np.random.default_rng(0)

    def pairs(n: int) -> tuple[np.ndarray, np.ndarray]:
        c = generator.normal(size=(n, 1)).astype(np.float32)
        return 2 * c + 0.5 * generator.normal(size=(n, 1)).astype(np.float32), c

    loader = (pairs(128) for _ in range(10_000))
    flow = real_nvp(1, condition_dim=1, depth=2, hidden=(16,), rngs=0)
    result = fit(
        KEY, flow, loader, validation=pairs(2000), steps=400, learning_rate=1e-2, progress=False
    )
    entropy = 0.5 * np.log(2 * np.pi * np.e * 0.25)
    assert result.history["validation_loss"].min() == pytest.approx(entropy, abs=0.06)


def test_an_iterator_that_ends_ends_the_training() -> None:
    with pytest.warns(UserWarning, match="the iterator ended after 7 of 100 batches"):
        result = fit(KEY, START, counted(7), steps=100, validation=np.ones((4, 1)), **PULL)
    assert float(result.flow["p"]) == sum(range(7))
    assert result.history["step"][-1] == 7
    assert result.history["validation_loss"][-1] == -sum(range(7))


def test_ctrl_c_in_the_iterator_keeps_what_was_learned() -> None:
    def batches() -> Iterator[np.ndarray]:
        yield from counted(20)
        raise KeyboardInterrupt

    result = fit(KEY, START, batches(), steps=100, validation=None, **PULL)
    assert result.interrupted
    assert float(result.flow["p"]) == sum(range(20))


def test_iterators_that_cannot_be_used() -> None:
    def check(text: str, data: Any, **options: Any) -> None:
        with pytest.raises(ValueError, match=text):
            fit(KEY, START, data, **({"steps": 5} | PULL | options))

    check("the iterator of batches is empty", iter([]))
    check("got str for x", iter(["a"]))
    check(r"x of the iterator's first batch has NaN", iter([np.full((2, 1), np.nan)]))
    other = [np.ones((2, 1)), np.ones((2, 1)), np.ones((2, 3))]
    check(r"rows of iterator's batch 3 have the shapes \(3,\), those of the training", iter(other))
    check("validation=3 rows cannot be held out of an iterator", counted(9), validation=3)
    check("patience=2 needs a validation loss", counted(9), patience=2)
    with pytest.raises(ValueError, match=r"x has rows of shape .3,., but the flow has event_shape"):
        fit(KEY, real_nvp(2, depth=1, hidden=(4,), rngs=0), iter([np.ones((4, 3))]), steps=1)


# --- Where it diverged ----------------------------------------------------------------------------


class Breaks:
    """A conditioner whose log-scales are NaN where its input is larger than 5."""

    def __call__(self, x: Any, condition: Any) -> jax.Array:
        return jnp.concatenate([0.0 * x, jnp.where(x > 5, jnp.nan, 0.0)], axis=-1)


def breaking_flow() -> Flow:
    broken = Coupling((2,), mask=(False, True), conditioner=Breaks())

    def block(key: jax.Array) -> Chain:
        coupling = Coupling((2,), mask=(False, True), hidden=(4,), rngs=key)
        return Chain([Permute((2,), "reverse"), coupling])

    return Flow(Chain([Stack(block, 2, rngs=0), broken]), StandardNormal((2,)))


def test_the_first_bijector_that_is_not_finite_is_named() -> None:
    flow = breaking_flow()
    assert first_not_finite(flow.bijector, jnp.ones((3, 2))) is None
    assert first_not_finite(flow.bijector, 9 * jnp.ones((3, 2))) == "bijector[1] (Coupling)"
    bad = np.full((3, 2), np.inf, np.float32)
    assert first_not_finite(flow.bijector, bad) == "bijector[0][0][0] (Permute)"


@pytest.mark.parametrize("endless", [True, False], ids=["simulator", "arrays"])
def test_divergence_names_the_bijector(endless: bool) -> None:
    def simulate(key: jax.Array, n: int) -> jax.Array:
        return 9.0 + jax.random.normal(key, (n, 2))

    data = simulate if endless else simulate(KEY, 100)
    with pytest.raises(TrainingDiverged, match=r"not finite is that of flow.bijector\[1\] \(Coup"):
        fit(KEY, breaking_flow(), data, batch_size=8, max_bad_steps=3, progress=False)


def test_divergence_names_a_batch_that_is_not_finite() -> None:
    def simulate(key: jax.Array, n: int) -> jax.Array:
        return jnp.inf * jax.random.normal(key, (n, 2))

    with pytest.raises(TrainingDiverged, match="In the last batch, x itself is not finite"):
        fit(KEY, breaking_flow(), simulate, validation=None, max_bad_steps=3, progress=False)


def test_divergence_of_the_gradient_alone() -> None:
    def loss(flow: Any, batch: Any, key: Any) -> tuple[jax.Array, dict]:
        value = jnp.mean(flow.log_prob(batch))
        return value + jnp.sqrt(0.0 * value), {}

    data = np.ones((50, 2), np.float32)
    with pytest.raises(TrainingDiverged, match="outputs are finite for the last batch: look at"):
        fit(
            KEY,
            breaking_flow(),
            data,
            loss=loss,
            batch_size=8,
            max_bad_steps=3,
            validation=None,
            progress=False,
        )

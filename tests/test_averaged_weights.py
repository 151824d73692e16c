"""`jinn.fit(ema_decay=)`: the moving average of the weights."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jinn.training import fit
from tests.counting import COUNTER, COUNTING, zeros

KEY = jax.random.key(0)


def test_the_average_of_the_weights_is_validated_and_returned() -> None:
    average, p = 0.0, 0.0
    for step in range(40):
        p -= 1.0
        decay = min(0.6, (1 + step) / (10 + step))
        average = decay * average + (1 - decay) * p
    options = COUNTING | {"validation": jnp.ones((6, 1)), "validate_every": 40}
    result = fit(KEY, COUNTER, zeros, steps=40, ema_decay=0.6, **options)
    assert float(result.flow["p"]) == pytest.approx(average, rel=1e-5)
    assert result.history["validation_loss"][-1] == pytest.approx(abs(average + 10), rel=1e-5)


def test_the_average_of_bfloat16_weights_reaches_them() -> None:
    def ramp(model: Any, batch: jax.Array, key: jax.Array) -> tuple[jax.Array, dict[str, Any]]:
        return jax.nn.relu(2.0 - model["p"]), {}  # p climbs from 1 to 2, and stays

    model = {"p": jnp.ones((), jnp.bfloat16)}
    options = COUNTING | {"loss": ramp, "optimizer": optax.sgd(1 / 64), "validation": None}
    result = fit(KEY, model, zeros, steps=2000, ema_decay=0.99, **options)
    assert result.flow["p"].dtype == jnp.bfloat16
    assert float(result.flow["p"]) == 2.0


def test_skipped_steps_leave_the_average_of_the_weights_alone() -> None:
    def averages(rows: list[float]) -> float:
        def loss(model: Any, batch: jax.Array, key: jax.Array) -> tuple[jax.Array, dict[str, Any]]:
            return model["p"] * batch[0, 0], {}

        options = COUNTING | {"loss": loss, "validation": None}
        batches = iter([np.full((4, 1), row, np.float32) for row in rows])
        result = fit(KEY, COUNTER, batches, steps=len(rows), ema_decay=0.9, **options)
        return float(result.flow["p"])

    bad = float("inf")  # the loss is 0 inf = NaN or infinite, whatever p is
    expected, p, average = [], 0.0, 0.0
    for step in range(3):
        p -= 1.0
        decay = (1 + step) / (10 + step)
        average = decay * average + (1 - decay) * p
        expected.append(average)
    assert averages([1.0] * 3) == pytest.approx(expected[-1], rel=1e-5)
    assert averages([1.0] * 3 + [bad]) == pytest.approx(expected[-2], rel=1e-5)
    assert averages([1.0, 1.0, bad, bad, 0.0]) == pytest.approx(
        expected[1] + (1 - 5 / 14) * (-2.0 - expected[1]), rel=1e-5
    )

"""`jinn.fit`: it learns densities, and keeps the promises of its docstring."""

import signal
import sys
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from jinn.bijectors.base import Buffer
from jinn.bijectors.module import needs_initialization
from jinn.flows import neural_spline_flow
from jinn.training import TrainingDiverged, fit
from jinn.training.data import make_source
from tests.counting import COUNTER, COUNTING, descend, zeros

KEY = jax.random.key(0)


class LinearGaussian(nnx.Module):
    """p(x | c) = N(x; W c + b, diag(exp(2 s))), with an offset that is not trained."""

    def __init__(self, event_dim: int, condition_dim: int, dtype: Any = jnp.float32) -> None:
        self.event_shape, self.condition_shape = (event_dim,), (condition_dim,)
        self.weight = nnx.Param(jnp.zeros((condition_dim, event_dim), dtype))
        self.bias = nnx.Param(jnp.zeros(event_dim, dtype))
        self.log_scale = nnx.Param(jnp.zeros(event_dim, dtype))
        self.offset = Buffer(jnp.full(event_dim, 0.25, dtype))

    def log_prob(self, x: Any, condition: Any, *, key: Any = None) -> Any:
        log_scale = self.log_scale[...][None]
        shift = self.bias[...] + jax.lax.stop_gradient(self.offset[...])
        mean = condition @ self.weight[...] + shift[None]
        return jax.scipy.stats.norm.logpdf(x, mean, jnp.exp(log_scale)).sum(-1)


def simulate(key: jax.Array, n: int) -> tuple[jax.Array, jax.Array]:
    """x = A c + 0.5 + 0.3 noise."""
    condition_key, noise_key = jax.random.split(key)
    condition = jax.random.normal(condition_key, (n, 2))
    mean = condition @ jnp.array([[1.0, -0.5], [0.2, 0.7]]) + 0.5
    return mean + 0.3 * jax.random.normal(noise_key, (n, 2)), condition


def divergence_from_truth(flow: Any) -> float:
    """KL(truth || flow), averaged over conditions, from 10 000 fresh pairs."""
    x, condition = simulate(jax.random.key(99), 10_000)
    mean = condition @ jnp.array([[1.0, -0.5], [0.2, 0.7]]) + 0.5
    truth = jax.scipy.stats.norm.logpdf(x, mean, 0.3).sum(-1)
    return float(jnp.mean(truth - flow.log_prob(x, condition)))


@pytest.mark.parametrize("endless", [True, False], ids=["simulator", "arrays"])
def test_learns_a_conditional_gaussian(endless: bool) -> None:
    data = simulate if endless else jax.device_get(simulate(jax.random.key(1), 20_000))
    result = fit(KEY, LinearGaussian(2, 2), data, steps=600, learning_rate=2e-2, progress=False)
    assert divergence_from_truth(LinearGaussian(2, 2)) > 1.0
    assert abs(divergence_from_truth(result.flow)) < 5e-3
    lengths = {len(column) for column in result.history.values()}
    assert set(result.history) == {"step", "loss", "validation_loss"}
    assert len(lengths) == 1 and result.history["step"][-1] == 600
    assert result.history["validation_loss"].min() == pytest.approx(0.435, abs=0.1)
    assert not result.interrupted and result.skipped_steps == 0
    np.testing.assert_array_equal(result.flow.offset[...], 0.25)


def test_a_spline_flow_learns_a_curved_density_and_is_initialised() -> None:
    def banana(key: jax.Array, n: int) -> jax.Array:
        a, b = jax.random.normal(key, (2, n))
        return jnp.stack([10.0 + 3.0 * a, a**2 + 0.4 * b], axis=-1)

    flow = neural_spline_flow(2, depth=2, hidden=(32, 32), rngs=0)
    assert needs_initialization(flow)
    result = fit(KEY, flow, banana, steps=500, batch_size=256, learning_rate=1e-2, progress=False)
    x = banana(jax.random.key(5), 4000)
    a = (x[:, 0] - 10.0) / 3.0
    norm = jax.scipy.stats.norm.logpdf
    truth = norm(a) - jnp.log(3.0) + norm(x[:, 1], a**2, 0.4)
    assert abs(float(jnp.mean(truth - result.flow.log_prob(x)))) < 0.08
    assert needs_initialization(flow) and not needs_initialization(result.flow)


def test_is_deterministic_whatever_the_length_of_a_call(monkeypatch: pytest.MonkeyPatch) -> None:
    def square(model: Any, batch: Any, key: Any) -> tuple[jax.Array, dict[str, Any]]:
        return jnp.mean((model["p"] - batch - jax.random.normal(key)) ** 2), {}

    def train(seed: int) -> list[Any]:
        key, options = (
            jax.random.key(seed),
            COUNTING | {"loss": square, "optimizer": optax.sgd(0.1)},
        )
        result = fit(key, COUNTER, np.arange(50.0), steps=60, **options)
        return jax.tree.leaves((result.flow, result.history))

    first, other = train(0), train(1)
    monkeypatch.setattr(sys.modules["jinn.training.loop"], "SECONDS_PER_CALL", 0.0)
    for one, same in zip(first, train(0), strict=True):
        np.testing.assert_array_equal(one, same)
    assert any((a != b).any() for a, b in zip(first, other, strict=True))


def test_raw_keys_are_accepted() -> None:
    results = [
        fit(key, COUNTER, zeros, steps=3, **COUNTING) for key in (KEY, jax.random.PRNGKey(0))
    ]
    assert [float(result.flow["p"]) for result in results] == [-3.0, -3.0]


def test_a_bad_step_changes_neither_weights_nor_optimiser() -> None:
    def spoiled(model: Any, batch: jax.Array, key: jax.Array) -> tuple[jax.Array, dict[str, Any]]:
        # The loss of a third of the batches is not finite, the gradient of another third.
        kind = batch[0, 0]
        p = model["p"]
        root = jnp.sqrt(jnp.where(kind < 2 / 3, 0.0, 1.0) * (p - 1.0) ** 2)
        return jnp.where(kind < 1 / 3, jnp.nan, p) + 0.0 * root, {}

    def uniform(key: jax.Array, n: int) -> jax.Array:
        return jax.random.uniform(key, (n, 1))

    growing = optax.sgd(lambda count: 1.0 + count)  # the count is part of the optimiser's state
    result = fit(
        KEY,
        COUNTER,
        uniform,
        loss=spoiled,
        optimizer=growing,
        steps=200,
        batch_size=1,
        validation=None,
        max_bad_steps=100,
        progress=False,
    )
    good = 200 - result.skipped_steps
    assert 100 < result.skipped_steps < 165
    assert float(result.flow["p"]) == -good * (good + 1) / 2
    assert np.isfinite(result.history["loss"]).sum() > 30


def test_divergence_inside_a_call_stops_at_once_and_hands_over_the_last_good_flow() -> None:
    def wall(model: Any, batch: jax.Array, key: jax.Array) -> tuple[jax.Array, dict[str, Any]]:
        p = model["p"]
        return jnp.where(p < -5.0, jnp.nan, p), {}

    options = COUNTING | {"loss": wall, "max_bad_steps": 7, "validate_every": 1000}
    with pytest.raises(
        TrainingDiverged, match=r"7 steps in a row, up to step 13 of 1000"
    ) as caught:
        fit(KEY, COUNTER, zeros, steps=1000, validation=None, **options)
    result = caught.value.result
    assert float(result.flow["p"]) == -5.0
    assert result.skipped_steps == 7
    np.testing.assert_array_equal(result.history["step"], [13])
    np.testing.assert_array_equal(result.history["loss"], [-2.5])


def test_the_best_weights_are_kept_and_patience_stops() -> None:
    validation = jnp.ones((6, 1))
    options = COUNTING | {"validation": validation, "validate_every": 5}
    result = fit(KEY, COUNTER, zeros, steps=40, **options)
    assert float(result.flow["p"]) == -10.0
    np.testing.assert_array_equal(result.history["step"], np.arange(5, 45, 5))
    np.testing.assert_array_equal(result.history["validation_loss"], [5, 0, 5, 10, 15, 20, 25, 30])
    np.testing.assert_array_equal(result.history["loss"], -np.arange(2.0, 42.0, 5.0))
    np.testing.assert_array_equal(result.history["p"], result.history["loss"])

    stopped = fit(KEY, COUNTER, zeros, steps=40, patience=3, **options)
    assert float(stopped.flow["p"]) == -10.0
    assert stopped.history["step"][-1] == 25


def test_without_validation_the_last_weights_are_returned() -> None:
    result = fit(KEY, COUNTER, zeros, steps=17, validation=0, validate_every=5, **COUNTING)
    assert float(result.flow["p"]) == -17.0
    np.testing.assert_array_equal(result.history["step"], [5, 10, 15, 17])
    assert np.isnan(result.history["validation_loss"]).all()


def test_the_validation_loss_is_the_mean_over_all_rows() -> None:
    def mean(model: Any, batch: jax.Array, key: jax.Array) -> tuple[jax.Array, dict[str, Any]]:
        assert batch.shape[0] <= 4
        return model["p"] * 0.0 + batch.mean(), {}

    rows = np.arange(11.0)[:, None] ** 2
    options = COUNTING | {"loss": mean}
    result = fit(KEY, COUNTER, zeros, steps=2, validation=rows, validate_every=2, **options)
    np.testing.assert_allclose(result.history["validation_loss"], rows.mean(), rtol=1e-6)


@pytest.mark.parametrize(("validation", "rows"), [(0.25, 25), (7, 7), (0, 0), (None, 0)])
def test_held_out_rows_are_not_trained_on(validation: Any, rows: int) -> None:
    data = {"a": np.arange(100.0), "b": np.arange(200.0).reshape(100, 2)}
    source, held_out = make_source(KEY, data, batch_size=10, steps=1, validation=validation)
    trained = source.sample(KEY, 100)
    assert len(trained["a"]) == 100 - rows
    kept = [] if held_out is None else list(np.asarray(held_out["a"]))
    assert len(kept) == rows
    assert sorted([*np.asarray(trained["a"]), *kept]) == list(range(100))
    np.testing.assert_array_equal(trained["b"][:, 0], 2 * trained["a"])


def test_a_simulated_validation_set_has_the_rows_asked_for() -> None:
    def rows(validation: Any) -> int:
        return len(make_source(KEY, zeros, batch_size=10, steps=100, validation=validation)[1])

    assert rows(0.05) == 50
    assert rows(123) == 123
    _, held_out = make_source(KEY, zeros, batch_size=10, steps=10**6, validation=0.5)
    assert len(held_out) == 10_000


def test_every_epoch_visits_each_row_once_in_a_new_order() -> None:
    source, _ = make_source(KEY, np.arange(12), batch_size=4, steps=6, validation=None)
    draw = jax.jit(lambda order, step: source.draw(order, KEY, step))
    order, epochs = source.start(), []
    for step in range(6):
        batch, order = draw(order, step)
        epochs.append(np.asarray(batch))
    first, second = np.concatenate(epochs[:3]), np.concatenate(epochs[3:])
    assert sorted(first) == sorted(second) == list(range(12))
    assert list(first) != list(second)


def test_weight_decay_reaches_parameters_and_no_buffer() -> None:
    flow = LinearGaussian(2, 2)
    flow.bias[...] = jnp.ones(2)
    heavy = optax.adamw(1e-2, weight_decay=10.0)
    result = fit(KEY, flow, simulate, optimizer=heavy, steps=30, batch_size=50, progress=False)
    np.testing.assert_array_equal(result.flow.offset[...], flow.offset[...])
    assert (np.abs(result.flow.bias[...]) < 0.5).all()


def test_the_loss_is_traced_no_more_often_in_a_longer_training() -> None:
    def traces(steps: int) -> int:
        count = 0

        def counted(model: Any, batch: Any, key: jax.Array) -> tuple[jax.Array, dict[str, Any]]:
            nonlocal count
            count += 1
            return descend(model, batch, key)

        options = COUNTING | {"loss": counted, "validation": 8, "validate_every": 10}
        fit(KEY, COUNTER, zeros, steps=steps, **options)
        return count

    assert traces(10) == traces(103)


def test_a_simulator_is_compiled_once_for_all_trainings() -> None:
    traces = []

    def counted(key: jax.Array, n: int) -> jax.Array:
        traces.append(n)
        return zeros(key, n)

    counts = []
    for _ in range(2):
        fit(KEY, COUNTER, counted, steps=3, validation=3, **COUNTING)
        counts.append(len(traces))
        traces.clear()
    assert counts[1] == 2 < counts[0]  # two looks at its shapes, nothing compiled


# An optimiser whose state is the very buffers that it was given.
remember_start = optax.GradientTransformation(lambda params: params, lambda g, s, p=None: (g, s))


@pytest.mark.parametrize(
    "optimizer",
    [
        optax.adam(1e-2),
        optax.chain(optax.add_noise(0.1, 0.5, jax.random.key(1)), optax.sgd(1e-2)),
        optax.chain(optax.adam(1e-2), optax.contrib.reduce_on_plateau()),
        optax.chain(optax.sgd(1e-2), remember_start),
    ],
    ids=["adam", "noise", "plateau", "shared_buffers"],
)
def test_the_callers_arrays_outlive_the_training(optimizer: Any) -> None:
    model, data = {"p": jnp.ones(3)}, jnp.ones((20, 1))
    arrays = (model, data)

    def loss(model: Any, batch: Any, key: Any) -> tuple[jax.Array, dict[str, Any]]:
        return (model["p"] ** 2).sum(), {}

    fit(KEY, model, data, loss=loss, optimizer=optimizer, steps=5, batch_size=5, progress=False)
    for array in jax.tree.leaves(arrays):
        np.testing.assert_array_equal(array, 1.0)


def test_an_interrupt_returns_the_flow_so_far(
    monkeypatch: pytest.MonkeyPatch, ctrl_c: None
) -> None:
    monkeypatch.setattr(sys.modules["jinn.training.loop"], "SECONDS_PER_CALL", 1e-3)

    def press(p: np.ndarray) -> None:
        if -p % 1000 == 20.0:  # again, should Python have been in a callback that no error leaves
            signal.raise_signal(signal.SIGINT)

    def interrupting(model: Any, batch: Any, key: Any) -> tuple[jax.Array, dict[str, Any]]:
        jax.debug.callback(press, model["p"])
        return descend(model, batch, key)

    options = COUNTING | {"loss": interrupting, "validate_every": 8}
    result = fit(KEY, COUNTER, zeros, steps=5000, validation=None, **options)
    assert result.interrupted
    assert 20 < result.history["step"][-1] < 5000
    assert float(result.flow["p"]) == -result.history["step"][-1]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_progress_shows_losses_and_silence_is_silent(capsys: pytest.CaptureFixture[str]) -> None:
    fit(KEY, COUNTER, zeros, steps=5, **COUNTING)
    assert capsys.readouterr() == ("", "")
    fit(KEY, COUNTER, zeros, steps=5, **(COUNTING | {"progress": True}))
    shown = capsys.readouterr().out
    assert "5/5" in shown and "loss" in shown and "validation" in shown and "steps/s" in shown


def test_float64(x64: None) -> None:
    flow = LinearGaussian(2, 2, jnp.float64)
    result = fit(KEY, flow, simulate, steps=300, learning_rate=2e-2, progress=False)
    assert {leaf.dtype for leaf in jax.tree.leaves(result.flow)} == {jnp.dtype("float64")}
    assert abs(divergence_from_truth(result.flow)) < 0.02


def test_any_pytree_with_any_loss_and_leaves_that_are_no_arrays() -> None:
    def square(model: Any, batch: Any, key: Any) -> tuple[jax.Array, dict[str, Any]]:
        prediction = model["activation"](batch["u"] * model["layers"][0])
        return jnp.mean((prediction - batch["v"]) ** 2), {"scale": model["layers"][0]}

    u = np.linspace(-2, 2, 256, dtype=np.float32)
    model = {"activation": jnp.tanh, "layers": [jnp.float32(0.1), jnp.int32(3)]}
    data = {"u": u, "v": np.tanh(1.5 * u)}
    result = fit(
        KEY,
        model,
        data,
        loss=square,
        optimizer=optax.adam(1e-1),
        steps=200,
        batch_size=64,
        progress=False,
    )
    assert float(result.flow["layers"][0]) == pytest.approx(1.5, abs=1e-3)
    assert result.flow["layers"][1] == 3 and result.flow["activation"] is jnp.tanh
    assert result.history["scale"][-1] == pytest.approx(1.5, abs=1e-2)


def test_conditions_may_be_dicts() -> None:
    class TwoConditions(LinearGaussian):
        def __init__(self) -> None:
            super().__init__(2, 2)
            self.condition_shape = {"a": (1,), "b": (1,)}

        def log_prob(self, x: Any, condition: Any, *, key: Any = None) -> Any:
            joined = jnp.concatenate([condition["a"], condition["b"]], axis=-1)
            return super().log_prob(x, joined)

    def split(key: jax.Array, n: int) -> tuple[jax.Array, dict[str, jax.Array]]:
        x, c = simulate(key, n)
        return x, {"a": c[:, :1], "b": c[:, 1:]}

    result = fit(KEY, TwoConditions(), split, steps=300, learning_rate=3e-2, progress=False)
    loss = -result.flow.log_prob(*split(jax.random.key(99), 10_000)).mean()
    assert float(loss) == pytest.approx(0.43, abs=0.03)


def test_state_that_follows_the_weights_is_refreshed(monkeypatch: pytest.MonkeyPatch) -> None:
    def refresh(model: Any) -> Any:
        return model | {"doubled": 2 * model["p"].astype(jnp.int32)}

    monkeypatch.setattr(sys.modules["jinn.training.step"], "refresh", refresh)
    model = COUNTER | {"doubled": jnp.zeros((), jnp.int32)}
    result = fit(KEY, model, zeros, steps=6, validation=None, **COUNTING)
    assert int(result.flow["doubled"]) == -12


def test_a_loss_that_changes_with_the_step_is_told_it() -> None:
    def scheduled(model: Any, batch: Any, key: Any, *, step: Any = None) -> Any:
        count = jnp.asarray(-1.0 if step is None else step, jnp.float32)
        return model["p"] * 0 + count, {"seen": count}

    options = COUNTING | {"loss": scheduled, "validation": jnp.ones((4, 1))}
    history = fit(KEY, COUNTER, zeros, steps=6, validate_every=2, **options).history
    np.testing.assert_array_equal(history["seen"], [0.5, 2.5, 4.5])
    np.testing.assert_array_equal(history["validation_loss"], [-1.0] * 3)

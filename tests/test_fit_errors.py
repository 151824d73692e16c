"""What `jinn.fit` says to bad input: it names the thing, what came and what to do."""

import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jinn.flows import real_nvp
from jinn.training import TrainingDiverged, fit

KEY = jax.random.key(0)
X, C = np.zeros((20, 2), np.float32), np.zeros((20, 3), np.float32)
PLAIN, CONDITIONAL = (
    real_nvp(2, condition_dim=dim, depth=1, hidden=(4,), rngs=0) for dim in (0, 3)
)


def spoiled(array: np.ndarray, *rows: int) -> np.ndarray:
    array = array.copy()
    array[list(rows), -1] = np.nan
    return array


def check(text: str, data: Any, *, flow: Any = PLAIN, **options: Any) -> None:
    options = {"steps": 2, "batch_size": 4, "progress": False} | options
    with pytest.raises(ValueError, match=re.escape(text)):
        fit(KEY, flow, data, **options)


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (spoiled(X, 3, 7), "x of the data has NaN or infinite values in 2 of 20 rows, the first"),
        (spoiled(X, 3, 7), "the first is row 3; remove or repair these rows"),
        ((X, spoiled(C, 5)), "condition of the data has NaN or infinite values in 1 of 20 rows"),
        ((X, {"a": C, "b": spoiled(C, 0, 1)}), "condition['b'] of the data has NaN or infinite"),
        (np.where(np.arange(20) < 19, 0.0, np.inf)[:, None], "1 of 20 rows, the first is row 19"),
        (X[:0], "the data is empty: x 0"),
        ((X[:0], C[:0]), "the data is empty: x 0, condition 0"),
        ((), "the data is empty: it holds no arrays"),
        (None, "the data is empty: it holds no arrays"),
        ((X, C[:19]), "differ in their number of rows: x 20, condition 19"),
        ((X, {"a": C, "b": C[:1]}), "x 20, condition['a'] 20, condition['b'] 1"),
        (np.float32(1.0), "x of the data is a scalar; its first axis must be rows"),
        ("x.npy", "data must be arrays, x or (x, condition), a function simulate(key, n) -> batch"),
        ("x.npy", "or an iterator of batches such as iter(loader); got str for x"),
        ([[0.0, 1.0]], "got float for data[0][0]"),
    ],
)  # fmt: skip
def test_data_that_cannot_be_used(data: Any, text: str) -> None:
    check(text, data)


def test_unrepaired_validation_data() -> None:
    check("x of the validation data has NaN", X, validation=spoiled(X, 1))
    check(
        "x of the simulated validation data has NaN",
        lambda key, n: jnp.nan * jax.random.normal(key, (n, 2)),
    )


@pytest.mark.filterwarnings("ignore:.*does not use its key")
@pytest.mark.parametrize(
    ("flow", "data", "text"),
    [
        (PLAIN, C, "x has rows of shape (3,), but the flow has event_shape (2,); pass x of shape"),
        (PLAIN, (X, C), "the data has a condition, but the flow takes none (condition_shape=None)"),
        (CONDITIONAL, X, "the data has no condition, but the flow expects condition_shape (3,)"),
        (CONDITIONAL, (X, X), "condition has rows of shape (2,), but the flow has condition_shape"),
        (CONDITIONAL, (X, {"a": C}), "condition must be one array of rows of shape (3,), got dict"),
        (PLAIN, {"a": X}, "x must be one array of rows of shape (2,), got dict"),
        (PLAIN, [X, C], "x must be one array of rows of shape (2,), got list; pass arrays as x or"),
    ],
)  # fmt: skip
def test_data_of_the_wrong_size_for_the_flow(flow: Any, data: Any, text: str) -> None:
    check(text, data, flow=flow)
    check(text, lambda key, n: jax.tree.map(lambda leaf: jnp.asarray(leaf[:n]), data), flow=flow)


def test_dict_conditions_of_the_wrong_form() -> None:
    class Dicts:
        event_shape, condition_shape = (2,), {"a": (3,), "b": (3,)}

    check("condition must be a dict with the keys ['a', 'b'] of the flow's condition_shape, got "
          "['a']", (X, {"a": C}), flow=Dicts())  # fmt: skip
    check("condition['b'] has rows of shape (2,), but the flow has condition_shape['b'] (3,)",
          (X, {"a": C, "b": X}), flow=Dicts())  # fmt: skip


def test_losses_and_functions_that_cannot_be_called() -> None:
    check("expected loss to be a function loss(flow, batch, key)", X, loss=None)
    check("needs a flow with a log_prob, got Stack; make a bijector a flow", X, flow=PLAIN.bijector)

    def batches():
        yield X

    check("got a generator function as data; call it", batches)
    check("a function simulate(key, n) -> batch, got one that takes (key)", lambda key: X)


def test_batches_larger_than_the_data() -> None:
    check("batch_size=21 is larger than the 20 rows of training data; pass a batch_size of at "
          "most 20", X, batch_size=21, validation=None)  # fmt: skip
    check("batch_size=20 is larger than the 19 rows of training data (20 rows, 1 held out for "
          "validation); pass a batch_size of at most 19", X, batch_size=20)  # fmt: skip
    check("batch_size=4 is larger than the 0 rows of training data (20 rows, 25 held out for "
          "validation); hold fewer rows out", X, validation=25)  # fmt: skip


@pytest.mark.parametrize("validation", [-0.1, 1.0, 1.5, -3, float("nan"), True])
def test_validation_out_of_range(validation: Any) -> None:
    check(f"validation={validation!r} is out of range; pass a fraction in [0, 1), a whole number",
          X, validation=validation)  # fmt: skip


def test_validation_data_of_another_form() -> None:
    check("the rows of validation data have the shapes (3,), those of the training data (2,)",
          X, validation=C)  # fmt: skip
    check("the rows of validation data have the shapes ((2,), (3,)), those of the training data "
          "(2,)", X, validation=(X, C))  # fmt: skip
    check("the validation data is empty: x 0", X, validation=X[:0])


@pytest.mark.parametrize(
    "name", ["steps", "batch_size", "max_bad_steps", "validate_every", "patience"]
)
@pytest.mark.parametrize("value", [0, -1, 1.5, True])
def test_counts_out_of_range(name: str, value: Any) -> None:
    check(f"{name} must be a whole number of at least 1, got {value!r}", X, **{name: value})


@pytest.mark.parametrize("rate", [0.0, -1e-3, float("nan"), float("inf")])
def test_learning_rates_out_of_range(rate: float) -> None:
    check(f"learning_rate must be positive and finite, got {rate!r}", X, learning_rate=rate)


@pytest.mark.parametrize("decay", [0.0, 1.0, -0.5, float("nan"), "fast"])
def test_decays_of_the_average_out_of_range(decay: Any) -> None:
    check(
        f"ema_decay must be between 0 and 1, such as 0.999, or None, got {decay!r}",
        X,
        ema_decay=decay,
    )


def test_patience_needs_validation() -> None:
    check("patience=3 needs a validation loss; pass a validation", X, patience=3, validation=None)
    check("patience=3 needs a validation loss", X, patience=3, validation=0.0)


def test_simulators_that_do_not_return_rows() -> None:
    check("simulate(key, n) was asked for n=4 rows and returned x 2", lambda key, n: jnp.zeros(2))
    check("simulate(key, n) was asked for n=4 rows and returned x 4, condition 1",
          lambda key, n: (jnp.zeros((n, 2)), jnp.zeros((1, 3))))  # fmt: skip
    check("simulate(key, n) was asked for n=4 rows and returned none", lambda key, n: None)


def test_simulators_that_jax_cannot_trace_or_that_are_frozen() -> None:
    check("JAX cannot trace simulate(key, n): a simulator runs inside the compiled step",
          lambda key, n: jnp.asarray(np.asarray(jax.random.normal(key, (n, 2)))))  # fmt: skip
    with pytest.warns(UserWarning, match="does not use its key, so all batches are the same"):
        fit(KEY, PLAIN, lambda key, n: jnp.ones((n, 2)), steps=1, batch_size=4, progress=False)


def test_an_optimizer_that_is_none_and_a_batch_that_cannot_initialise() -> None:
    check("expected optimizer to be an optax transformation", X, optimizer="adam")
    flow = real_nvp(2, depth=1, hidden=(4,), rngs=0)

    def loss(flow: Any, batch: Any, key: jax.Array) -> Any:
        return -flow.log_prob(batch["x"]).mean(), {}

    batch = {"x": X, "weights": X[:, 0]}
    check("call flow = jinn.initialize(flow, x, condition) first", batch, flow=flow, loss=loss)


def test_losses_that_do_not_keep_the_contract() -> None:
    def with_result(result: Any) -> Any:
        return lambda flow, batch, key: result

    check("a loss must return a pair (scalar, dict of metrics)", X, loss=with_result(jnp.zeros(())))
    check("the loss and its metrics must be scalars, got the shapes {'loss': (3,)}", X,
          loss=with_result((jnp.zeros(3), {})))  # fmt: skip
    check("the loss may not call a metric ['step']; rename it", X,
          loss=with_result((jnp.zeros(()), {"step": jnp.zeros(())})))  # fmt: skip


def test_a_model_without_parameters() -> None:
    check("dict has no floating-point array that can be trained", X, flow={"n": jnp.arange(3)})


def test_a_key_that_is_no_key() -> None:
    with pytest.raises(ValueError, match="expected an int, one JAX key"):
        fit("seed", PLAIN, X)  # type: ignore[arg-type]


def test_divergence_says_what_to_try_and_carries_the_result() -> None:
    def nothing_finite(key: jax.Array, n: int) -> jax.Array:
        return jnp.nan * jax.random.normal(key, (n, 1))

    model = {"p": jnp.ones(())}
    with pytest.raises(TrainingDiverged) as caught:
        fit(
            KEY,
            model,
            nothing_finite,
            loss=lambda model, batch, key: (model["p"] * batch.mean(), {}),
            optimizer=optax.sgd(1.0),
            validation=None,
            max_bad_steps=3,
            progress=False,
        )
    text = str(caught.value)
    assert "not finite in 3 steps in a row, up to step 3 of 10000" in text
    assert "smaller learning_rate, standardised data, or float64" in text
    assert "`.result`" in text
    result = caught.value.result
    assert float(result.flow["p"]) == 1.0 and result.skipped_steps == 3
    assert np.isnan(result.history["loss"]).all() and not result.interrupted

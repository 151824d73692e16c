"""Trains a Real NVP of flowjax and judges it, in a process of its own; imports nothing of jinn's.

`python flowjax_worker.py REQUEST ARRAYS ANSWER`: REQUEST is JSON, the attributes of a `Peer` with a
seed; ARRAYS is an .npz with flattened pictures, their classes and the number of levels. ANSWER will
be an .npz with what is measured.
"""

# pyright: reportMissingImports=false

import json
import math
import sys
import time
from importlib.metadata import version
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from flowjax.distributions import StandardNormal
from flowjax.flows import coupling_flow

CLASSES = 10


def main(request: dict[str, Any], arrays: dict[str, np.ndarray]) -> dict[str, Any]:
    """Trains and judges."""
    keys = jax.random.split(jax.random.key(request["seed"]), 4)
    levels, size = int(arrays["levels"]), arrays["x"].shape[1]
    width = matching_width(size, request)
    flow = make_flow(keys[0], size, width, request)
    # Each pixel is standardised, as an ActNorm would.
    y = (arrays["x"].astype(np.float64) + 0.5) / levels
    mean = jnp.asarray(y.mean(0), jnp.float32)
    scale = jnp.asarray(np.sqrt(y.var(0) + 1 / (12 * levels**2)), jnp.float32)

    def log_prob(flow: Any, x: Any, c: Any, key: Any, draws: int) -> Any:
        u = jax.random.uniform(key, (draws, *x.shape))
        log_p = flow.log_prob(((x + u) / levels - mean) / scale, c)
        bound = jax.nn.logsumexp(log_p, axis=0) - math.log(draws)
        return bound - jnp.sum(jnp.log(scale)) - size * math.log(levels)

    def nats(flow: Any, x: Any, c: Any, key: Any) -> Any:
        return -jnp.mean(log_prob(flow, x, c, key, 1))

    tensors = {name: jnp.asarray(arrays[name], jnp.float32) for name in ("x", "x_test")}
    classes = {name: jax.nn.one_hot(arrays[name], CLASSES) for name in ("y", "y_test")}
    started = time.perf_counter()
    flow, losses, test_losses = train(keys[1], flow, nats, tensors, classes, request)
    seconds = time.perf_counter() - started

    judge = eqx.filter_jit(lambda flow, x, c, key: log_prob(flow, x, c, key, request["draws"]))
    bits = []
    for i in range(0, len(arrays["x_test"]), request["batch_size"]):
        rows = slice(i, i + request["batch_size"])
        key = jax.random.fold_in(keys[2], i)
        log_p = judge(flow, tensors["x_test"][rows], classes["y_test"][rows], key)
        bits.append(-np.asarray(log_p) / (size * math.log(2)))
    drawn = flow.sample(keys[3], (request["samples"],), jnp.eye(CLASSES))
    samples = np.asarray(drawn * scale + mean) * levels
    nat = size * math.log(2)
    return {
        "bits": np.concatenate(bits),
        "samples": np.clip(np.floor(samples), 0, levels - 1).astype(np.uint8),
        "train_losses": np.asarray(losses) / nat,
        "test_losses": np.asarray(test_losses) / nat,
        "parameters": count(flow),
        "width": width,
        "training_seconds": seconds,
        **{name: version(name) for name in ("flowjax", "equinox", "jax")},
    }


def make_flow(key: Any, size: int, width: int, request: dict[str, Any]) -> Any:
    """A Real NVP given the class."""
    return coupling_flow(
        key,
        base_dist=StandardNormal((size,)),
        cond_dim=CLASSES,
        flow_layers=request["layers"],
        nn_width=width,
        nn_depth=request["depth"],
        nn_activation=jax.nn.silu,
    )


def count(flow: Any) -> int:
    """Number of parameters."""
    floats = (leaf for leaf in jax.tree.leaves(flow) if hasattr(leaf, "dtype"))
    return sum(leaf.size for leaf in floats if jnp.issubdtype(leaf.dtype, jnp.inexact))


def matching_width(size: int, request: dict[str, Any]) -> int:
    """The width of hidden layers with which there are about as many parameters as wanted."""

    def parameters(width: int) -> int:
        return count(eqx.filter_eval_shape(make_flow, jax.random.key(0), size, width, request))

    low, high = 1, 2
    while parameters(high) < request["parameters"]:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        if parameters(middle) < request["parameters"]:
            low = middle
        else:
            high = middle
    return high


def train(
    key: Any, flow: Any, loss: Any, x: Any, c: Any, request: dict[str, Any]
) -> tuple[Any, list[float], list[float]]:
    """Maximum likelihood with fresh noise in each step.

    Gives the flow with averaged weights, and in twenty intervals the mean loss of training; where
    "curve" is asked for, also that of the test pictures.
    """
    steps, rows = request["steps"], request["batch_size"]
    interval = -(-steps // 20)
    rate = request["learning_rate"]
    schedule = optax.warmup_cosine_decay_schedule(rate / 100, rate, min(steps // 10, 500), steps)
    adam = optax.adamw(schedule, weight_decay=request["weight_decay"])
    optimizer = optax.chain(optax.clip_by_global_norm(5.0), adam)
    params, static = eqx.partition(flow, eqx.is_inexact_array)

    def of_params(params: Any, x: Any, c: Any, key: Any) -> Any:
        return loss(eqx.combine(params, static), x, c, key)

    @jax.jit
    def run(params: Any, average: Any, state: Any, first: Any) -> Any:
        def body(carry: Any, step: Any) -> Any:
            params, average, state = carry
            rows_key, noise_key = jax.random.split(jax.random.fold_in(key, step))
            chosen = jax.random.choice(rows_key, len(x["x"]), (rows,), replace=False)
            value, slope = jax.value_and_grad(of_params)(
                params, x["x"][chosen], c["y"][chosen], noise_key
            )
            updates, state = optimizer.update(slope, state, params)
            params = optax.apply_updates(params, updates)
            decay = jnp.minimum(request["ema_decay"], (1 + step) / (10 + step))
            average = jax.tree.map(lambda a, p: decay * a + (1 - decay) * p, average, params)
            return (params, average, state), value

        return jax.lax.scan(body, (params, average, state), first + jnp.arange(interval))

    judge = jax.jit(of_params)
    average, state = params, optimizer.init(params)
    losses, test_losses = [], []
    for first in range(0, steps, interval):
        (params, average, state), values = run(params, average, state, first)
        losses.append(float(values.mean()))
        if request.get("curve"):
            test_losses.append(float(judge(average, x["x_test"], c["y_test"], key)))
    return eqx.combine(average, static), losses, test_losses


if __name__ == "__main__":
    with np.load(sys.argv[2]) as given:
        answer = main(json.loads(sys.argv[1]), dict(given))
    np.savez(sys.argv[3], **answer)

"""From pairs (x, y), or a simulator of them, to a trained posterior."""

import os
from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from jinn.bijectors.elementwise import Unconstrain
from jinn.flows.ensemble import Ensemble
from jinn.flows.flow import Flow
from jinn.inference.defaults import Defaults, defaults_for
from jinn.inference.members import record_of, train_members
from jinn.inference.posterior import Posterior, wrapped
from jinn.losses.flow_matching import flow_matching
from jinn.losses.likelihood import negative_log_likelihood
from jinn.networks.randomness import as_key
from jinn.training.checks import check_finite, check_options, check_rows, validation_rows
from jinn.training.data import explaining_tracers, hashable
from jinn.training.fit import WEIGHT_DECAY, fit
from jinn.training.optimizer import default_optimizer
from jinn.training.result import FitResult

LOSSES = {"likelihood": negative_log_likelihood, "flow_matching": flow_matching()}
STATISTICS_ROWS = 16_384
"""Rows that are simulated to find means and standard deviations."""


def fit_posterior(
    key: jax.Array,
    data: Any,
    *,
    flow: Flow | None = None,
    method: Literal["likelihood", "flow_matching"] = "likelihood",
    support: tuple[Any, Any] | None = None,
    ensemble: int | None = None,
    steps: int | None = None,
    batch_size: int | None = None,
    learning_rate: float | None = None,
    validation: Any = "default",
    **fit_options: Any,
) -> Posterior:
    """Train a conditional flow to be the posterior p(x | y), by `max E log p(x | y)`.

    x and y are standardised by their means and standard deviations; the density returned counts
    that, so it is a density in the units of x. Options that are None follow the number of pairs,
    see `jinn.inference.defaults`.

    Args:
        key: A JAX key.
        data: Arrays `(x, y)` of shapes `(n, *event)` and `(n, *condition)` (y may be a dict of
            arrays), or a simulator `simulate(key, n) -> (x, y)` that JAX can trace, which gives
            every step fresh pairs.
        flow: The conditional flow to train, over events and conditions of these shapes; None
            builds `jinn.flows.neural_spline_flow` (vectors only), for pairs of two kinds, of
            which the one is taken that a short training leaves with the lower validation loss.
        method: "likelihood", or "flow_matching", for flows with one `Continuous` bijector such as
            `jinn.flows.continuous_flow`, which learns the field that carries latents to p(x | y)
            without solving its equation; see `jinn.losses.flow_matching`. Samples and densities
            take a solve each then.
        support: `(low, high)`, scalars or arrays of x's shape, where the prior of x is bounded;
            a bound may be infinite. No sample leaves it, and the density is 0 outside. Training
            data on a bound are moved inside by one part in 1e6.
        ensemble: Number of flows to train, each from weights of its own and with other pairs held
            out, on a CPU as many at a time as it has cores; the posterior is their even mixture.
            None is 1 for a flow that is given or for a simulator.
        steps: Number of training steps of each flow. None lets the training end earlier, where
            the validation loss falls no more.
        batch_size: Pairs in a step.
        learning_rate: Highest learning rate of the default optimiser.
        validation: The fraction or number of pairs to validate on, or pairs `(x, y)` of their own;
            see `jinn.fit`. "default" follows the number of pairs.
        **fit_options: Passed to `jinn.fit`: optimizer, patience, max_bad_steps, progress and
            others. Each flow has a folder of its own in ``checkpoint_dir``, `member-0` and so on,
            and in `trial-0` while kinds of flows are compared; of those trained at the same time
            a SIGTERM ends all with their last checkpoints.

    Returns:
        The posterior; its `training` holds the history of each flow, the `member` of the ensemble.
        After Ctrl-C it is made of the flows that were finished, or else of the one so far that has
        the lowest validation loss. Flows whose training diverged are left out, with a warning.

    Raises:
        ValueError: If data, flow, method or support do not fit each other; the text says how.
        TrainingDiverged: If the loss of every flow stays without a finite value; see `jinn.fit`.

    Reference:
        Guided Image Generation with Conditional Invertible Neural Networks (Ardizzone, Luth,
        Kruse, Rother, Kothe, 2019), https://arxiv.org/abs/1907.02392
    """
    if flow is not None and not isinstance(flow, Flow):
        raise ValueError(
            f"fit_posterior: expected flow to be a jinn.Flow, got {type(flow).__name__}; "
            "build one with jinn.flows, or jinn.Flow(bijector, base)"
        )
    if method not in LOSSES:
        raise ValueError(
            f"fit_posterior: expected method to be one of {list(LOSSES)}, got {method!r}"
        )
    statistics_key, flow_key, fit_key = jax.random.split(as_key(key, "fit_posterior: key"), 3)
    x, y = _examples(data, statistics_key)
    event_shape = x.shape[1:]
    condition_shape = jax.tree.map(lambda leaf: leaf.shape[1:], y)
    simulated = callable(data)
    defaults = defaults_for(None if simulated else len(x), method)
    if isinstance(validation, str) and validation == "default":
        validation = defaults.validation
    validates = validation_rows(validation, 1) != 0
    if flow is None:
        candidates = _default_flows(event_shape, condition_shape, defaults, flow_key)
        candidates = candidates if validates else candidates[:1]
        ensemble = defaults.ensemble if ensemble is None else ensemble
    else:
        candidates = [flow]
        ensemble = 1 if ensemble is None else ensemble
    flow = candidates[0]
    if flow.event_shape != event_shape or flow.condition_shape != condition_shape:
        raise ValueError(
            f"fit_posterior: the data have x of shape {event_shape} and y of shape "
            f"{condition_shape}, but the flow takes {flow.event_shape} given "
            f"{flow.condition_shape}; build the flow with these shapes"
        )
    low, high = _margins(x, event_shape, support)
    inside = jnp.clip(x, low, high)
    if support is not None:
        inside = _forward(Unconstrain(event_shape, *support), inside)
    statistics = _statistics(inside)
    mean = jax.tree.map(lambda leaf: _statistics(leaf)[0], y)
    scale = jax.tree.map(lambda leaf: _statistics(leaf)[1], y)
    untrained = Posterior(wrapped(flow, support, *statistics), mean, scale)

    def prepare(pair: tuple[Any, Any]) -> tuple[Array, Any]:
        x, y = _as_floating(pair)
        return jnp.clip(x, low.astype(x.dtype), high.astype(x.dtype)), untrained._standardize(y)

    def simulate(key: jax.Array, n: int) -> tuple[Array, Any]:
        return prepare(data(key, n))

    if isinstance(validation, tuple):
        pair = _checked(validation, "validation data")
        _check_form(pair, event_shape, condition_shape, "validation data")
        _check_inside(pair[0], event_shape, support, "validation data")
        validation = prepare(pair)
    fit_options = {"loss": LOSSES[method], "ema_decay": defaults.ema_decay} | fit_options
    if steps is None:
        steps = defaults.steps
        if validates:
            fit_options.setdefault("patience", defaults.patience)
    pairs = simulate if simulated else prepare((x, y))
    if learning_rate is None:
        learning_rate = defaults.learning_rate
    check_options(learning_rate, fit_options["ema_decay"], steps=steps)
    if fit_options.get("optimizer") is None:
        decay = 0.0 if simulated else WEIGHT_DECAY
        fit_options["optimizer"] = default_optimizer(learning_rate, steps, weight_decay=decay)

    checkpoint_dir = fit_options.pop("checkpoint_dir", None)

    def train(key: jax.Array, flow: Flow, name: str, steps: int = steps) -> FitResult:
        return fit(
            key,
            wrapped(flow, support, *statistics),
            pairs,
            steps=steps,
            batch_size=defaults.batch_size if batch_size is None else batch_size,
            learning_rate=learning_rate,
            validation=validation,
            checkpoint_dir=None if checkpoint_dir is None else os.path.join(checkpoint_dir, name),
            **fit_options,
        )

    try_out = partial(train, steps=min(steps, defaults.trial_steps))
    members = train_members(fit_key, candidates, ensemble, train, try_out)
    flows = [member.flow for member in members]
    return Posterior(
        flows[0] if len(flows) == 1 else Ensemble(flows),
        mean,
        scale,
        training=record_of(members),
        wrapping="affine" if support is None else "bounded",
    )


@jax.jit
def _forward(bijector: Unconstrain, x: Array) -> Array:
    return bijector.forward(x)


def _examples(data: Any, key: jax.Array) -> tuple[Array, Any]:
    """The pairs given, or some simulated ones, checked and as floating arrays."""
    if not callable(data):
        return _checked(data, "training data")
    simulate: Callable[[jax.Array, int], Any] = jax.jit(hashable(data), static_argnums=1)
    with explaining_tracers("fit_posterior"):
        pair = simulate(key, STATISTICS_ROWS)
    return _checked(pair, "simulated data", rows=STATISTICS_ROWS)


def _checked(pair: Any, what: str, *, rows: int | None = None) -> tuple[Array, Any]:
    if not isinstance(pair, tuple) or len(pair) != 2:
        raise ValueError(
            f"fit_posterior: expected {what} (x, y), arrays or a simulator "
            f"simulate(key, n) -> (x, y), got {type(pair).__name__}"
        )
    if not jax.tree_util.all_leaves([pair[0]]):
        raise ValueError(
            f"fit_posterior: expected x of the {what} to be one array (n, size), got "
            f"{type(pair[0]).__name__}; join its parts by jax.numpy.concatenate(..., axis=-1)"
        )
    x, y = jax.tree.map(jnp.asarray, pair)
    check_rows((x, y), what, expected=rows, names=("x", "y"))
    for name, leaf in (("x", x), *((f"y{k}", v) for k, v in _named(y))):
        if leaf.ndim < 2:
            raise ValueError(
                f"fit_posterior: expected {name} of shape (n, size), got {leaf.shape}; "
                f"make a single number a vector of length 1, {name}[:, None]"
            )
        if jnp.iscomplexobj(leaf):
            raise ValueError(
                f"fit_posterior: expected {name} of the {what} to be real, got {leaf.dtype}; "
                "pass real and imaginary parts side by side"
            )
    check_finite((x, y), what, names=("x", "y"))
    return _as_floating((x, y))


def _check_form(pair: tuple[Array, Any], event_shape: Any, condition_shape: Any, what: str) -> None:
    got = jax.tree.map(lambda leaf: leaf.shape[1:], pair)
    if got != (event_shape, condition_shape):
        raise ValueError(
            f"fit_posterior: the {what} have x of shape {got[0]} and y of shape {got[1]}, but the "
            f"training data have {event_shape} and {condition_shape}; pass pairs of these shapes"
        )


def _as_floating(pair: tuple[Any, Any]) -> tuple[Array, Any]:
    def convert(leaf: Array) -> Array:
        floating = jnp.issubdtype(leaf.dtype, jnp.floating)
        return leaf if floating else leaf.astype(jnp.result_type(float))

    return jax.tree.map(convert, pair)


def _named(y: Any) -> list[tuple[str, Array]]:
    return [(jax.tree_util.keystr(path), leaf) for path, leaf in jax.tree.leaves_with_path(y)]


def _default_flows(
    event_shape: Any, condition_shape: Any, defaults: Defaults, key: jax.Array
) -> list[Flow]:
    if isinstance(condition_shape, dict) or len(event_shape) != 1 or len(condition_shape) != 1:
        raise ValueError(
            f"fit_posterior: x of shape {event_shape} and y of shape {condition_shape} need a flow "
            "of their own, pass flow=...; the default is for vectors"
        )
    sizes = {"event_dim": event_shape[0], "condition_dim": condition_shape[0]}
    return [defaults.builder(**sizes, rngs=key, **choice) for choice in defaults.flows]


def _statistics(values: Array) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of each element over the rows, in float64.

    The deviation is 1 where the rows differ by no more than rounding errors.
    """
    wide = np.asarray(values, np.float64)
    mean, deviation = wide.mean(axis=0), wide.std(axis=0)
    rounding = 4 * float(jnp.finfo(values.dtype).eps) * np.abs(wide).max(axis=0)
    return mean, np.where(deviation > rounding, deviation, 1.0)


def _margins(
    x: Array, event_shape: tuple[int, ...], support: tuple[Any, Any] | None
) -> tuple[Array, Array]:
    """Bounds that training data are moved inside to, a millionth of the width from the support's.

    On a bound itself the unconstrained value is infinite, and would rule mean and deviation.
    """
    if support is None:
        infinite = jnp.full((1, *event_shape), jnp.inf, x.dtype)
        return -infinite, infinite
    low, high = _check_inside(x, event_shape, support, "training data")
    with np.errstate(invalid="ignore"):
        width = np.where(np.isfinite(high - low), high - low, _statistics(x)[1])
    low, high = low + 1e-6 * width, high - 1e-6 * width
    return jnp.asarray(low[None], x.dtype), jnp.asarray(high[None], x.dtype)


def _check_inside(
    x: Array, event_shape: tuple[int, ...], support: tuple[Any, Any] | None, what: str
) -> tuple[np.ndarray, np.ndarray]:
    """The support's bounds in the shape of one x, if all rows are between them."""
    if support is None:
        support = (-np.inf, np.inf)
    if not isinstance(support, tuple | list) or len(support) != 2:
        raise ValueError(
            f"fit_posterior: expected support=(low, high), got {support!r}; "
            "use -inf or inf where there is no bound"
        )
    bounds = Unconstrain(event_shape, *support)
    low, high = (np.asarray(b[...].astype(x.dtype), np.float64) for b in (bounds.low, bounds.high))
    values = np.asarray(x, np.float64)
    outside = (values < low) | (values > high)
    rows = outside.reshape(len(values), -1).any(axis=1)
    if rows.any():
        elements = sorted({tuple(map(int, index)) for index in np.argwhere(outside.any(axis=0))})
        raise ValueError(
            f"fit_posterior: x of the {what} is outside the declared support in "
            f"{int(rows.sum())} of {len(x)} rows, the first is row {int(rows.argmax())} "
            f"(elements {elements[:5]}); widen support=(low, high) or remove these rows"
        )
    return low, high

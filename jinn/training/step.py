"""The compiled training loop: many steps in one call."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array

from jinn.bijectors.module import refresh
from jinn.losses.schedule import at_step
from jinn.training.memo import remembered
from jinn.training.placement import ONE_DEVICE, Placement
from jinn.training.sources import CompiledSource
from jinn.training.weights import Structure, Weights, copy

Loss = Callable[..., tuple[Any, dict[str, Any]]]


class State(NamedTuple):
    """What training carries from step to step.

    Attributes:
        weights: The current weights.
        average: The exponential moving average of the trained weights, in float32 or wider, or
            None.
        good: What `averaged` gave when loss and gradient were last seen to be finite.
        optimizer: The optimiser's state.
        order: The data source's state.
        step: Number of steps done, skipped ones too.
        bad_steps: How many steps in a row, up to now, were skipped.
        skipped: How many steps were skipped in all.
        totals: Sums of the loss and the metrics over finite steps, and their "count".
    """

    weights: Weights
    average: list[Any] | None
    good: Weights
    optimizer: Any
    order: Any
    step: Array
    bad_steps: Array
    skipped: Array
    totals: dict[str, Array]

    def averaged(self) -> Weights:
        """The weights to validate and to return: their average where there is one."""
        if self.average is None:
            return self.weights
        trained, fixed = self.weights
        pairs = zip(self.average, trained, strict=True)
        return Weights([mean.astype(leaf.dtype) for mean, leaf in pairs], fixed)


def start(
    structure: Structure,
    model: Any,
    loss: Loss,
    optimizer: optax.GradientTransformation,
    source: CompiledSource,
    key: jax.Array,
    *,
    averaged: bool = False,
    placement: Placement = ONE_DEVICE,
) -> State:
    """The state before the first step, sharing no buffer with the model.

    Args:
        structure: The structure of the model.
        model: The model to train.
        loss: The loss function.
        optimizer: The optimiser.
        source: Where batches come from.
        key: The key of the training.
        averaged: Whether to average the weights.
        placement: Where the state is to lie.

    Returns:
        The state.

    Raises:
        ValueError: If the loss does not return a scalar and a dict of scalars.
    """
    weights = placement.agreed(structure.weights(model))
    average = [leaf.astype(jnp.promote_types(leaf.dtype, jnp.float32)) for leaf in weights.trained]
    totals = _zero_totals(structure, weights, loss, source, key)
    zero = jnp.zeros((), jnp.int32)
    state = State(
        weights=weights,
        average=average if averaged else None,
        good=weights,
        optimizer=optimizer.init(weights.trained),
        order=source.start(),
        step=zero,
        bad_steps=zero,
        skipped=zero,
        totals=totals,
    )
    return copy(_placed(state, placement.put_weights, placement.put_everywhere))


def _placed(state: State, weights: Callable[[Any], Any], rest: Callable[[Any], Any]) -> State:
    """The state with one function applied to what is like weights, another to all else."""
    like_weights = ("weights", "average", "good", "optimizer")
    return State(
        **{
            name: (weights if name in like_weights else rest)(part)
            for name, part in state._asdict().items()
        }
    )


def _zero_totals(
    structure: Structure, weights: Weights, loss: Loss, source: CompiledSource, key: jax.Array
) -> dict[str, Array]:
    def first(weights: Weights, source: CompiledSource, key: jax.Array) -> Any:
        batch, _ = source.draw(source.start(), key, jnp.zeros((), jnp.int32))
        return at_step(loss, jnp.zeros((), jnp.int32))(structure.model(weights), batch, key)

    result = jax.eval_shape(first, weights, source, key)
    if not (isinstance(result, tuple) and len(result) == 2 and isinstance(result[1], dict)):
        raise ValueError(
            "fit: a loss must return a pair (scalar, dict of metrics), for example "
            f"`return value, {{}}`; got {result}"
        )
    value, metrics = result
    reserved = {"loss", "count", "step", "validation_loss"} & set(metrics)
    if reserved:
        raise ValueError(f"fit: the loss may not call a metric {sorted(reserved)}; rename it")
    shapes = {"loss": value, **metrics}
    wrong = {name: shape for name, leaf in shapes.items() if (shape := leaf.shape) != ()}
    if wrong:
        raise ValueError(
            f"fit: the loss and its metrics must be scalars, got the shapes {wrong}; "
            "take the mean over the batch"
        )
    return {
        "count": jnp.zeros((), jnp.int32),
        **{
            name: jnp.zeros((), jnp.promote_types(leaf.dtype, jnp.float32))
            for name, leaf in shapes.items()
        },
    }


@remembered
def make_run(
    structure: Structure,
    loss: Loss,
    optimizer: optax.GradientTransformation,
    max_bad_steps: int,
    ema_decay: float | None = None,
    placement: Placement = ONE_DEVICE,
    by_shards: bool = False,
    microbatches: int = 1,
) -> Callable[[State, CompiledSource, jax.Array, int | Array], State]:
    """Compile the training loop; the same arguments give the same program, compiled once.

    The loop is a `lax.while_loop` to a last step given at run time, so that calls of any length
    share one program, and it ends by itself after `max_bad_steps` bad steps in a row.

    Args:
        structure: The structure of the model.
        loss: The loss function.
        optimizer: The optimiser.
        max_bad_steps: Number of skipped steps in a row that ends the loop.
        ema_decay: Decay of the average of the weights, for a state that has one.
        placement: Where state and batch lie.
        by_shards: Whether the loss is a mean over rows that uses no key.
        microbatches: Number of parts of a batch whose gradients are taken one after the other.

    Returns:
        A function of the state (donated), the source, the key and the step to stop before.
    """
    update = optax.with_extra_args_support(optimizer).update

    def objective(
        trained: list[Any], fixed: list[Any], batch: Any, key: jax.Array, step: Array
    ) -> Any:
        return at_step(loss, step)(structure.model(Weights(trained, fixed)), batch, key)

    differentiate = placement.value_and_gradient(
        objective, by_shards=by_shards, microbatches=microbatches
    )

    def one_step(source: CompiledSource, key: jax.Array, state: State) -> State:
        data_key, loss_key = jax.random.split(key)
        batch, order = source.draw(state.order, data_key, state.step)
        batch = placement.rows(batch)
        (value, metrics), gradients = differentiate(
            *state.weights, batch, jax.random.fold_in(loss_key, state.step), state.step
        )
        updates, optimizer_state = update(
            gradients, state.optimizer, state.weights.trained, value=value
        )
        trained: Any = optax.apply_updates(state.weights.trained, updates)
        measured_leaves = (value, *gradients, *trained)
        finite = jnp.stack([jnp.isfinite(leaf).all() for leaf in measured_leaves]).all()
        model = refresh(structure.model(Weights(trained, state.weights.fixed)))
        weights, good, optimizer_state = jax.tree.map(
            partial(jnp.where, finite),
            (structure.weights(model), state.averaged(), optimizer_state),
            (state.weights, state.good, state.optimizer),
        )
        average = state.average
        if average is not None and ema_decay is not None:
            decay = jnp.minimum(ema_decay, (1 + state.step) / (10 + state.step))
            average = [
                jnp.where(
                    finite,
                    old + ((1 - decay) * (new.astype(old.dtype) - old)).astype(old.dtype),
                    old,
                )
                for old, new in zip(average, weights.trained, strict=True)
            ]
        measured = {"count": 1, "loss": value, **metrics}
        new = State(
            weights=weights,
            average=average,
            good=good,
            optimizer=optimizer_state,
            order=order,
            step=state.step + 1,
            bad_steps=jnp.where(finite, 0, state.bad_steps + 1),
            skipped=state.skipped + ~finite,
            totals={
                name: total + jnp.where(finite, measured[name], 0).astype(total.dtype)
                for name, total in state.totals.items()
            },
        )
        return _placed(new, placement.weights, placement.replicated)

    @partial(jax.jit, donate_argnums=0)
    def run(state: State, source: CompiledSource, key: jax.Array, stop: int | Array) -> State:
        return jax.lax.while_loop(
            lambda state: (state.step < stop) & (state.bad_steps < max_bad_steps),
            partial(one_step, source, key),
            state,
        )

    return run

"""`fit`: train a flow, or any other pytree, on arrays, a simulator or an iterator of batches."""

import math
import os
import time
import warnings
from collections.abc import Iterator
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh

from jinn.bijectors.module import initialize, needs_initialization, refresh
from jinn.losses.likelihood import negative_log_likelihood, split_batch
from jinn.losses.schedule import at_step
from jinn.networks.randomness import as_key
from jinn.training.checkpoint import (
    Checkpoints,
    Snapshot,
    listed,
    shapes_of,
    termination_noticed,
)
from jinn.training.checks import check_options, check_sizes
from jinn.training.data import IteratorSource, first_source, make_source, parts
from jinn.training.history import History, means
from jinn.training.interrupt import interrupt_deferred
from jinn.training.optimizer import default_optimizer
from jinn.training.placement import is_row_mean, make_placement
from jinn.training.processes import any_process
from jinn.training.progress import progress_bar
from jinn.training.result import FitResult, diverged
from jinn.training.step import Loss, make_run, start
from jinn.training.together import raise_if_stopped
from jinn.training.validation import make_evaluate
from jinn.training.weights import Weights, copy, structure_of

INITIALIZATION_ROWS = 4096
PROBED_ROWS = 256
"""Of a loss that may be a mean over rows."""
SECONDS_PER_CALL = 0.5
WEIGHT_DECAY = 1e-4


def fit(
    key: jax.Array,
    flow: Any,
    data: Any,
    *,
    loss: Loss = negative_log_likelihood,
    optimizer: optax.GradientTransformation | None = None,
    learning_rate: float = 1e-3,
    steps: int = 10_000,
    batch_size: int = 512,
    microbatches: int = 1,
    validation: Any = 0.05,
    validate_every: int | None = None,
    patience: int | None = None,
    max_bad_steps: int = 20,
    ema_decay: float | None = None,
    checkpoint_dir: str | os.PathLike | None = None,
    checkpoint_every: int | None = None,
    mesh: Mesh | None = None,
    shard_parameters: bool = False,
    progress: bool = True,
) -> FitResult:
    """Minimises the mean loss over the data, ``min_w E[loss(flow_w, batch)]``, by stochastic steps.

    The same arguments give the same result, and they stay usable. A flow with data-dependent
    layers is first initialised from ``x`` or ``(x, condition)``, unless it was. A step whose loss
    or gradient is not finite changes nothing and is counted. Ctrl-C ends the training early and
    returns the flow so far.

    Args:
        key: A JAX key, for shuffling, simulation and stochastic losses.
        flow: The flow; with a loss of your own, any pytree with floating-point arrays.
        data: A pytree of arrays with a leading axis of rows, ``x`` or ``(x, condition)`` for the
            default loss; or ``simulate(key, n) -> batch`` of n rows, which runs inside the
            compiled step and gives fresh data for ever (it is compiled once for each function
            object, with the values that it finds outside itself then); or an iterator of batches
            on the host, one for each step, such as ``iter(loader)``. Where that ends before
            ``steps``, so does the training, with a warning.
        loss: ``loss(flow, batch, key) -> (scalar, metrics)``, a mean over the rows of the batch;
            metrics is a dict of scalars for the history. One that changes in the course of training
            has a further ``step=None``: it is given the number of the step, from 0, and in
            validation None, for the loss that holds in the end.
        optimizer: Any optax transformation, in place of Adam (AdamW with a decay of 1e-4 for
            arrays) with clipping, warm-up and cosine decay. It is given the list of the arrays
            that `jinn.trainable` allows to be trained, so it needs no mask.
        learning_rate: Highest learning rate of the default optimiser.
        steps: Number of steps.
        batch_size: Rows in a batch; those of an iterator are taken as they come.
        microbatches: Number of equal parts of a batch whose gradients are computed one after the
            other and averaged for one step, which takes the memory of one part. The loss is then
            the mean of the parts' losses: for a mean over rows the same, but for rounding and keys.
        validation: What to measure the validation loss on: the fraction in [0, 1) or the number
            of rows to hold out of arrays or to simulate once (a fraction of a simulator's rows is
            at most 10 000 rows); or a batch like the data; None or 0 for no validation. An
            iterator is validated on a batch that is given, or not at all.
        validate_every: Steps from one validation and entry in the history to the next. The
            default makes about 50, fewer where they would cost much.
        patience: Stop after so many validations in a row without a new best; None never stops.
        max_bad_steps: Number of skipped steps in a row that counts as divergence.
        ema_decay: Decay in (0, 1), such as 0.999, of an exponential moving average of the weights,
            which is what is validated and returned; the decay at step t is at most
            (1 + t) / (10 + t). None averages nothing.
        checkpoint_dir: A folder for checkpoints. The same call goes on from the newest of them, and
            ends bit for bit where it would have ended without a break, so it can simply be made
            again after a crash; one that had ended gives its result at once. A SIGTERM, as before a
            pre-emption, writes a checkpoint and ends the process by SystemExit, Ctrl-C writes one
            too. Iterators with `get_state` and `set_state`, such as grain's, are set back; others
            must begin anew, and give the batches that were used once more. Of several processes
            all write to one folder that they share; it can be restored by another number of them,
            and on other devices. A SIGTERM to one ends all, Ctrl-C writes nothing.
        checkpoint_every: Steps from one checkpoint to the next; None writes one with each entry in
            the history.
        mesh: Devices to train on, ``jax.make_mesh((jax.device_count(),), ("data",))``: each takes
            an equal part of the rows of every batch, whose size stays `batch_size`. Keys and order
            of the data are those of one device, and so is the result but for rounding. A loss that
            is a mean over rows and uses no key costs one all-reduce a step; any other is divided by
            JAX. Of several processes, all call `fit` alike, with the same data or each with an
            iterator over its own part of every batch.
        shard_parameters: Split the weights and the optimiser's state over the mesh's devices as
            well, and gather the weights in each step; for models whose state fills a device.
        progress: Show a progress bar.

    Returns:
        The trained flow with the history of its training.

    Raises:
        ValueError: If data, flow and options do not fit each other; the text says how.
        TrainingDiverged: If `max_bad_steps` steps in a row were skipped. The text names the first
            of the flow's bijectors whose output is not finite.
    """
    check_options(
        learning_rate,
        ema_decay,
        steps=steps,
        batch_size=batch_size,
        microbatches=microbatches,
        max_bad_steps=max_bad_steps,
        validate_every=validate_every,
        patience=patience,
        checkpoint_every=checkpoint_every,
    )
    split_key, first_key, validation_key, train_key = jax.random.split(as_key(key, "fit: key"), 4)
    placement = make_placement(mesh, shard_parameters)
    if not isinstance(data, Iterator):
        placement.check_split(batch_size, microbatches)
    if checkpoint_dir is not None and mesh is None and jax.process_count() > 1:
        raise ValueError(
            f"fit: checkpoints of {jax.process_count()} processes need a mesh over all their "
            'devices; pass mesh=jax.make_mesh((jax.device_count(),), ("data",))'
        )
    source, held_out = make_source(
        split_key,
        data,
        batch_size=batch_size,
        steps=steps,
        validation=validation,
        placement=placement,
    )
    first = first_source(source)
    if patience is not None and held_out is None:
        raise ValueError(
            f"fit: patience={patience} needs a validation loss; pass a validation such as 0.05, or "
            "patience=None"
        )
    if loss is negative_log_likelihood:
        check_sizes(flow, jax.eval_shape(lambda key: first.sample(key, batch_size), first_key))
    if needs_initialization(flow):
        flow = _initialized(flow, first.sample(first_key, INITIALIZATION_ROWS))
    if optimizer is not None and not isinstance(optimizer, optax.GradientTransformation):
        raise ValueError(
            f"fit: expected optimizer to be an optax transformation such as optax.adam(1e-3), got "
            f"{optimizer!r}"
        )
    if optimizer is None:
        decay = 0.0 if callable(data) else WEIGHT_DECAY
        optimizer = default_optimizer(learning_rate, steps, weight_decay=decay)

    structure = structure_of(flow)
    state = start(
        structure,
        flow,
        loss,
        optimizer,
        first,
        train_key,
        averaged=ema_decay is not None,
        placement=placement,
    )
    by_shards = placement.devices > 1 and is_row_mean(
        partial(at_step(loss, 0), flow), first.sample(first_key, PROBED_ROWS), first_key
    )
    run = make_run(
        structure,
        loss,
        optimizer,
        max_bad_steps,
        ema_decay,
        placement,
        by_shards=by_shards,
        microbatches=microbatches,
    )
    evaluate = make_evaluate(structure, loss, max(1, batch_size // microbatches), placement)
    if not isinstance(source, IteratorSource):
        source = placement.put_everywhere(source)
    held_out, train_key, validation_key = placement.put_everywhere(
        (held_out, train_key, validation_key)
    )
    interval = validate_every or _default_interval(steps, batch_size, held_out)
    history = History([name for name in state.totals if name not in ("count", "loss")])
    best: Weights | None = None
    best_loss, validation_loss, unimproved = math.inf, math.nan, 0
    interrupted, step, length, last_part, position = False, 0, 1, first, None
    checkpoints = None
    if checkpoint_dir is not None:
        arguments = {
            "arrays": shapes_of(flow),
            "optimizer": shapes_of(state.optimizer),
            "rows": {"order": shapes_of(state.order), "validation": shapes_of(held_out)},
            "metrics": list(state.totals),
            "key": listed(as_key(key, "fit: key")),
            "steps": steps,
            "batch_size": batch_size,
            "microbatches": microbatches,
            "learning_rate": learning_rate,
            "ema_decay": ema_decay,
            "interval": interval,
            "patience": patience,
        }
        checkpoints = Checkpoints(checkpoint_dir, arguments)
        found = checkpoints.restore(state, lambda state: state.averaged())
        if found is not None:
            step, (state, best, numbers, position) = found
            best_loss, validation_loss, unimproved = numbers["validation"]
            history.restore(numbers["history"])
            if isinstance(source, IteratorSource):
                source.go_on(step, position)
    saved, every = step, checkpoint_every or interval

    def save(wait: bool = False) -> None:
        if checkpoints is None or step == 0:
            return
        numbers = {
            "validation": (best_loss, validation_loss, unimproved),
            "history": history.columns,
        }
        # A copy, since the next call is given the arrays of the state to write over.
        checkpoints.save(step, Snapshot(copy(state), best, numbers, position))
        if wait:
            checkpoints.wait()

    with (
        placement.exclusive(),
        termination_noticed(checkpoints is not None) as terminated,
        progress_bar(steps, visible=progress) as show,
    ):
        try:
            while history.last_step < steps and unimproved != patience:
                raise_if_stopped()
                target = min((history.last_step // interval + 1) * interval, steps)
                began = time.perf_counter()
                wanted = min(step + length, target, saved + every)
                for part, stop in parts(source, step, wanted):
                    with interrupt_deferred():
                        last_part = part
                        state = run(state, part, train_key, stop)
                step = int(state.step)
                if checkpoints is not None and isinstance(source, IteratorSource):
                    position = source.position()
                seconds = time.perf_counter() - began
                length = max(1, min(4 * length, int(length * SECONDS_PER_CALL / seconds)))
                if jax.process_count() > 1:  # which must all call the same
                    length = interval
                if int(state.bad_steps) == max_bad_steps:
                    break
                if step < wanted:
                    warnings.warn(
                        f"fit: the iterator ended after {step} of {steps} batches, and so does the "
                        "training; pass a longer one, or steps to fit",
                        stacklevel=2,
                    )
                    steps = target = step
                if step == target and history.last_step < step:
                    measured = math.nan
                    if held_out is not None:
                        measured = float(evaluate(state.averaged(), held_out, validation_key))
                    with interrupt_deferred():
                        validation_loss = measured
                        unimproved += held_out is not None
                        if measured < best_loss:
                            best, best_loss, unimproved = copy(state.averaged()), measured, 0
                        history.add(step, state.totals, measured)
                        mean_loss = means(state.totals)["loss"]
                        state = state._replace(totals=jax.tree.map(jnp.zeros_like, state.totals))
                else:
                    mean_loss = means(state.totals)["loss"]
                show(step, mean_loss, validation_loss)
                if step >= saved + every or step == steps or unimproved == patience:
                    save()
                    saved = step
                if checkpoints is not None and any_process(terminated()):
                    save(wait=True)
                    written = checkpoints.holds(step)
                    raise SystemExit(
                        f"fit: ended by SIGTERM at step {step} of {steps}; "
                        f"{'the' if written else 'no'} checkpoint of it is in {checkpoint_dir}, "
                        "and the same call goes on from the newest there"
                    )
        except KeyboardInterrupt:
            interrupted = True
            if not isinstance(source, IteratorSource):
                step = int(state.step)
            # Else the weights are ahead of `position`, or other processes know nothing of it.
            if step == int(state.step) and jax.process_count() == 1:
                save()
        finally:
            if checkpoints is not None:
                checkpoints.close()

    if history.last_step < int(state.step):
        history.add(int(state.step), state.totals, math.nan)
    sound = state.averaged() if int(state.bad_steps) == 0 else state.good
    model = structure.model(sound if best is None else best)
    result = FitResult(
        flow=model if ema_decay is None else refresh(model),
        history=history.arrays(),
        interrupted=interrupted,
        skipped_steps=int(state.skipped),
    )
    if int(state.bad_steps) == max_bad_steps:
        batch = last_part.draw(state.order, jax.random.split(train_key)[0], state.step - 1)[0]
        last = structure.model(state.weights)
        raise diverged(result, last, batch, max_bad_steps, f"step {int(state.step)} of {steps}")
    return result


def _initialized(flow: Any, batch: Any) -> Any:
    try:
        return initialize(flow, *split_batch(batch))
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"fit: {type(flow).__name__} has layers to initialise from data, which takes a flow "
            "and a batch x or (x, condition); for other data call "
            f"flow = jinn.initialize(flow, x, condition) first. It said: {error}"
        ) from error


def _default_interval(steps: int, batch_size: int, held_out: Any) -> int:
    """About 50 validations, but at most one row validated for every two rows trained on."""
    rows = 0 if held_out is None else jax.tree.leaves(held_out)[0].shape[0]
    return max(1, -(-steps // 50), 2 * rows // batch_size)

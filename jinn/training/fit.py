"""`fit`: train a flow, or any other pytree, on arrays, a simulator or an iterator of batches."""

import os
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import jax
import optax
from jax.sharding import Mesh

from jinn.bijectors.module import initialize, needs_initialization, refresh
from jinn.losses.likelihood import negative_log_likelihood, split_batch
from jinn.networks.randomness import as_key
from jinn.training.checkpoint import (
    Checkpoints,
    check_position,
    listed,
    shapes_of,
    termination_noticed,
)
from jinn.training.checks import check_loss, check_options, check_sizes
from jinn.training.data import IteratorSource, first_source, make_source
from jinn.training.loop import Programs, Schedule, Training
from jinn.training.optimizer import default_optimizer
from jinn.training.placement import make_placement
from jinn.training.processes import any_process
from jinn.training.progress import progress_bar
from jinn.training.result import FitResult, diverged
from jinn.training.shards import goes_by_shards
from jinn.training.step import Loss, make_run, start
from jinn.training.together import raise_if_stopped
from jinn.training.validation import make_evaluate
from jinn.training.weights import structure_of

INITIALIZATION_ROWS = 4096
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
    checkpoint_keep: int = 3,
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
        checkpoint_dir: A folder for checkpoints, or the URL of one like gs://bucket/run. The same
            call goes on from the newest of them, and ends bit for bit where it would have ended
            without a break, so it can simply be made again after a crash; one that had ended gives
            its result at once. A SIGTERM, as before a pre-emption, writes a checkpoint and ends the
            process by SystemExit; Ctrl-C, and an error of the iterator, write one too. Iterators
            with `get_state` and `set_state`, such as grain's, are set back; others must begin anew,
            and give the batches that were used once more. Of several processes all write to one
            folder that they share; it can be restored by another number of them, and on other
            devices. A SIGTERM to one ends all, Ctrl-C and errors write nothing.
        checkpoint_every: Steps from one checkpoint to the next; None writes one with each entry in
            the history.
        checkpoint_keep: Number of newest checkpoints that are kept; each holds the weights that are
            best by validation so far, too.
        mesh: Devices to train on, ``jax.make_mesh((jax.device_count(),), ("data",))``: each takes
            an equal part of the rows of every batch, whose size stays `batch_size`. Keys and order
            of the data are those of one device, and so is the result but for rounding. A loss that
            is a mean over rows, uses no key and does not change with the step costs one all-reduce
            a step; any other is divided by JAX. Of several processes, all call `fit` alike, with
            the same data or each with an iterator over its own part of every batch.
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
        checkpoint_keep=checkpoint_keep,
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
    check_loss(loss, flow)
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
    by_shards = goes_by_shards(placement, structure, loss, flow, first, first_key)
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
        if isinstance(source, IteratorSource):
            check_position(source.position())
        checkpoints = Checkpoints(checkpoint_dir, arguments, keep=checkpoint_keep)
    training = Training(
        state,
        source,
        held_out,
        (train_key, validation_key),
        Programs(run, evaluate),
        Schedule(steps, interval, checkpoint_every or interval, patience, max_bad_steps),
        checkpoints,
    )
    training.restore()
    interrupted = False
    with (
        placement.exclusive(),
        termination_noticed(checkpoints is not None) as terminated,
        progress_bar(steps, visible=progress) as show,
    ):
        try:
            while not training.ended:
                raise_if_stopped()
                training.advance()
                show(training.step, training.mean_loss, training.validation_loss)
                if checkpoints is not None and any_process(terminated()):
                    training.save(wait=True)
                    written = checkpoints.holds(training.step)
                    raise SystemExit(
                        f"fit: ended by SIGTERM at step {training.step} of {training.steps}; "
                        f"{'the' if written else 'no'} checkpoint of it is in {checkpoint_dir}, "
                        "and the same call goes on from the newest there"
                    )
        except KeyboardInterrupt:
            interrupted = True
            training.save_broken_off()
        except Exception as error:  # such as of the iterator
            with suppress(Exception):
                training.save_broken_off()
            error.add_note(f"fit: it came after step {training.step} of {training.steps}")
            raise
        finally:
            if checkpoints is not None:
                checkpoints.close()

    model = structure.model(training.finish())
    result = FitResult(
        flow=model if ema_decay is None else refresh(model),
        history=training.history.arrays(),
        interrupted=interrupted,
        skipped_steps=int(training.state.skipped),
    )
    if training.diverged:
        last = structure.model(training.state.weights)
        where = f"step {int(training.state.step)} of {training.steps}"
        raise diverged(result, last, training.last_batch(), max_bad_steps, where)
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

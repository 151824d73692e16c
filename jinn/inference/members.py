"""Training the flows that make a posterior: candidates on trial, then others like the best."""

import warnings
from collections.abc import Callable, Sequence
from functools import partial
from numbers import Integral
from typing import TypeVar

import jax
import numpy as np

from jinn.flows.flow import Flow
from jinn.flows.specification import build_specified, is_specified
from jinn.inference.posterior import TrainingRecord
from jinn.training.result import FitResult, TrainingDiverged
from jinn.training.together import train_together

Result = TypeVar("Result")


def train_members(
    key: jax.Array,
    candidates: Sequence[Flow],
    size: int,
    train: Callable[[jax.Array, Flow, str], FitResult],
    try_out: Callable[[jax.Array, Flow, str], FitResult],
) -> list[FitResult]:
    """Trains flows built like the candidate that a short training leaves with the lowest loss.

    The loss is that of validation. Candidates are tried with one key, so on the same pairs; each
    flow is then trained with a key of its own, the first from the candidate's weights and each
    other from new ones. An interrupt ends it all: the flows that are finished are kept, or
    else the one so far, trials too, that has the lowest loss, and the last is marked. A flow whose
    training diverges is left out, with a warning.

    Args:
        key: A JAX key.
        candidates: Flows to choose from, one or more.
        size: Number of flows wanted.
        train: Trains a flow with a key, under a name of its own.
        try_out: The same, for a short time.

    Returns:
        Results of training the flows.

    Raises:
        ValueError: If the size is less than 1, or flows cannot be built like a candidate.
        TrainingDiverged: If all trainings diverged.
        KeyboardInterrupt: If it came before there was any flow.
    """
    if isinstance(size, bool) or not isinstance(size, Integral) or size < 1:
        raise ValueError(
            f"fit_posterior: expected ensemble to be a whole number of at least 1, got {size!r}"
        )
    if size > 1 and not all(map(is_specified, candidates)):
        raise ValueError(
            f"fit_posterior: ensemble={size} needs flows with weights of their own, and the flow "
            "given cannot be built again, since no named builder of jinn.flows made it, or its "
            "parts were changed since; pass ensemble=1, or train several and mix them by "
            "jinn.flows.Ensemble"
        )
    trial_key, key = jax.random.split(key)
    flow = candidates[0]
    tried: list[FitResult] = []
    if len(candidates) > 1:

        def try_candidate(i: int) -> tuple[int, FitResult]:
            return i, try_out(trial_key, candidates[i], f"trial-{i}")

        trials = [partial(try_candidate, i) for i in range(len(candidates))]
        numbered, interrupted = _train_together(trials, lambda trial: trial[1].interrupted)
        tried = [result for _, result in numbered]
        if interrupted:
            return _best_so_far(tried)
        flow = candidates[min(numbered, key=lambda trial: _best_validation_loss(trial[1]))[0]]

    def train_member(key: jax.Array, i: int) -> FitResult:
        weights_key, train_key = jax.random.split(key)
        own = flow
        if i > 0:
            own = build_specified(str(flow.specification), rngs=weights_key)
        return train(train_key, own, f"member-{i}")

    keys = jax.random.split(key, size)
    trainings = [partial(train_member, keys[i], i) for i in range(size)]
    members, interrupted = _train_together(trainings, lambda member: member.interrupted)
    finished = [member for member in members if not member.interrupted]
    if not finished:
        return _best_so_far([*members, *tried])
    finished[-1] = finished[-1]._replace(interrupted=interrupted)
    return finished


def record_of(members: Sequence[FitResult]) -> TrainingRecord:
    """Joins the histories of several flows.

    Args:
        members: Results of training each.

    Returns:
        The record; its history says which ``member`` an entry is of.
    """
    histories = [
        {"member": np.full(len(result.history["step"]), i)} | result.history
        for i, result in enumerate(members)
    ]
    return TrainingRecord(
        {name: np.concatenate([h[name] for h in histories]) for name in histories[0]},
        interrupted=members[-1].interrupted,
        skipped_steps=sum(result.skipped_steps for result in members),
    )


def _train_together(
    trainings: Sequence[Callable[[], Result]], is_interrupted: Callable[[Result], bool]
) -> tuple[list[Result], bool]:
    """`train_together`, where trainings may diverge, but for one."""

    def unless_diverged(train: Callable[[], Result]) -> Result | TrainingDiverged:
        try:
            return train()
        except TrainingDiverged as error:
            return error

    ended, interrupted = train_together(
        [partial(unless_diverged, train) for train in trainings],
        lambda result: not isinstance(result, TrainingDiverged) and is_interrupted(result),
    )
    sound = [result for result in ended if not isinstance(result, TrainingDiverged)]
    errors = [result for result in ended if isinstance(result, TrainingDiverged)]
    if errors and not sound:
        raise errors[0]
    if errors:
        warnings.warn(
            f"fit_posterior: {len(errors)} of {len(ended)} trainings diverged, and their flows are "
            f"left out. The first: {errors[0]}",
            stacklevel=4,
        )
    return sound, interrupted


def _best_so_far(results: Sequence[FitResult]) -> list[FitResult]:
    if not results:
        raise KeyboardInterrupt
    return [min(results, key=_best_validation_loss)._replace(interrupted=True)]


def _best_validation_loss(result: FitResult) -> float:
    losses = result.history["validation_loss"]
    return float(np.min(losses, where=~np.isnan(losses), initial=np.inf))

"""Training the flows that make a posterior: candidates on trial, then others like the best."""

import operator
from collections.abc import Callable, Sequence

import jax
import numpy as np

from jinn.flows.flow import Flow
from jinn.flows.specification import build_specified
from jinn.inference.posterior import TrainingRecord
from jinn.training.fit import FitResult


def train_members(
    key: jax.Array,
    candidates: Sequence[Flow],
    size: int,
    train: Callable[[jax.Array, Flow], FitResult],
) -> list[FitResult]:
    """Trains every candidate, and flows built like the one with the lowest validation loss.

    Candidates are trained with one key, so on the same pairs; each other flow with a key and
    weights of its own. An interrupt ends it all: the flows that are finished are kept, and the
    last is marked.

    Args:
        key: A JAX key.
        candidates: Flows to choose from, one or more.
        size: Number of flows wanted.
        train: Trains a flow with a key.

    Returns:
        Results of the best candidate and of those built like it.

    Raises:
        ValueError: If the size is less than 1, or flows cannot be built like a candidate.
    """
    if operator.index(size) < 1:
        raise ValueError(f"fit_posterior: expected ensemble to be at least 1, got {size}")
    if size > 1 and any(flow.specification is None for flow in candidates):
        raise ValueError(
            f"fit_posterior: ensemble={size} needs flows with weights of their own, and the flow "
            "given cannot be built again, since no named builder of jinn.flows made it; pass "
            "ensemble=1, or train several and mix them by jinn.flows.Ensemble"
        )
    first_key, *other_keys = jax.random.split(key, size)
    trials: list[FitResult] = []
    for flow in candidates:
        trials.append(train(first_key, flow))
        if trials[-1].interrupted:
            break
    chosen = min(range(len(trials)), key=lambda i: _best_validation_loss(trials[i]))
    members = [trials[chosen]._replace(interrupted=trials[-1].interrupted)]
    specification = str(candidates[chosen].specification)
    for other_key in other_keys:
        if members[-1].interrupted:
            break
        weights_key, train_key = jax.random.split(other_key)
        result = train(train_key, build_specified(specification, rngs=weights_key))
        if result.interrupted:
            members[-1] = members[-1]._replace(interrupted=True)
        else:
            members.append(result)
    return members


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


def _best_validation_loss(result: FitResult) -> float:
    losses = result.history["validation_loss"]
    return float(np.min(losses, where=~np.isnan(losses), initial=np.inf))

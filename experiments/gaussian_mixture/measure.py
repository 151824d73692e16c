"""Trains one method on one labeling, and measures its samples against exact ones."""

import time
from dataclasses import asdict
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

import jinn
from experiments.gaussian_mixture.problem import (
    CATEGORIES,
    DEVIATION,
    LABELINGS,
    MODES,
    exact_samples,
    modes_of,
    occurring,
    probabilities,
    simulate,
)
from experiments.gaussian_mixture.settings import Settings
from experiments.record import parameter_count
from jinn import flows
from jinn.inference import check_latent, posterior_mismatch
from jinn.losses import inn_loss, negative_log_likelihood

REACH = 4.0
"""Farther than so many standard deviations from a mode, a sample is outside of it. Of exact samples
0.03 % are."""
COVERED = 0.5
"""The least share of what a mode should get, for it to count as covered."""
DRAWN = 1500
"""Samples in a panel of the picture, all labels together."""

Samples = Float[Array, "n labels 2"]


def run(
    labeling: str, settings: Settings, seed: int
) -> tuple[dict[str, Any], dict[str, np.ndarray]] | None:
    """Trains a method and measures it.

    Args:
        labeling: Name of the labeling.
        settings: The method and its training.
        seed: Seed of everything random.

    Returns:
        The record for JSON, and the samples and labels of the picture; None if Ctrl-C ended the
        training.
    """
    keys = jax.random.split(jax.random.key(seed), 7)
    bidirectional = settings.builder == "inn"
    sizes: dict[str, Any] = {"categories" if bidirectional else "condition_dim": CATEGORIES}
    model = getattr(flows, settings.builder)(2, **sizes, rngs=keys[0], **settings.options)
    parameters = parameter_count(model)
    started = time.perf_counter()
    result = jinn.fit(
        keys[1],
        model,
        partial(_pairs, labeling=labeling, one_hot=not bidirectional),
        loss=inn_loss(**settings.loss) if bidirectional else negative_log_likelihood,
        steps=settings.steps,
        batch_size=settings.batch_size,
        learning_rate=settings.learning_rate,
        validation=0,
    )
    if result.interrupted:
        return None
    jax.block_until_ready(result.flow)
    seconds = time.perf_counter() - started
    model = result.flow
    labels = jnp.asarray(occurring(labeling))
    if bidirectional:
        samples = model.sample(keys[2], (settings.samples,), labels)
    else:
        samples = model.sample(keys[2], (settings.samples,), jax.nn.one_hot(labels, CATEGORIES))
    exact = exact_samples(keys[3], settings.samples, labeling)
    again = exact_samples(keys[4], settings.samples, labeling)
    record = {
        "labeling": labeling,
        "seed": seed,
        "settings": asdict(settings),
        "parameters": parameters,
        "training_seconds": seconds,
        "skipped_steps": result.skipped_steps,
        "losses": {name: float(values[-1]) for name, values in result.history.items()},
        "exact": compare(again, exact, labeling),
        **compare(samples, exact, labeling),
    }
    if bidirectional:
        x, y = simulate(keys[5], settings.fresh, labeling)
        record["accuracy"] = float(jnp.mean(model.predict(x) == y))
        x, y = simulate(keys[6], settings.latents, labeling)
        found = check_latent(model, x, y, draws=settings.latent_draws, key=keys[6])
        record["latent"] = {name: float(value) for name, value in found._asdict().items()}
    return record, picture(samples, labeling)


def compare(samples: Samples, exact: Samples, labeling: str) -> dict[str, float]:
    """Measures samples of p(x | label) for each label against exact ones.

    Args:
        samples: Samples, the labels that occur along the second axis, as `exact_samples` has them.
        exact: Exact samples.
        labeling: Name of the labeling.

    Returns:
        ``mmd``, the unbiased MMD^2, and ``outside``, the share of samples that are far from every
        mode of their label, both as means over labels by their probability; ``stray``, the share
        far from every mode of any label; ``covered``, the share of all modes that get at least
        half of what they should of their label's samples; and ``marginal_mmd``, the MMD^2 of
        samples without their labels.
    """
    weights = probabilities(labeling)
    distances = np.linalg.norm(np.asarray(samples)[:, :, None] - MODES, axis=-1)
    near = distances < REACH * DEVIATION
    own = np.array([[label == of for of in LABELINGS[labeling]] for label in occurring(labeling)])
    outside = 1.0 - np.mean(np.any(near & own, axis=-1), axis=0)
    stray = 1.0 - np.mean(np.any(near, axis=-1), axis=0)
    shares = np.mean(near, axis=0)
    covered = [
        shares[row, mode] >= COVERED / len(modes_of(labeling, label))
        for row, label in enumerate(occurring(labeling))
        for mode in modes_of(labeling, label)
    ]
    mmd = np.asarray(posterior_mismatch(samples, exact), np.float64)
    marginals = [pooled(x, labeling) for x in (samples, exact)]
    return {
        "mmd": float(weights @ mmd),
        "marginal_mmd": float(posterior_mismatch(*marginals)),
        "outside": float(weights @ outside),
        "stray": float(weights @ stray),
        "covered": float(np.mean(covered)),
    }


def pooled(samples: Samples, labeling: str) -> Float[Array, "m 2"]:
    """Samples of p(x): of each label as many of the first as it is likely."""
    counts = (probabilities(labeling) * len(samples)).astype(int)
    return jnp.concatenate([samples[:count, row] for row, count in enumerate(counts)])


def picture(samples: Samples, labeling: str) -> dict[str, np.ndarray]:
    """What the picture shows: the samples of p(x, label) and their labels."""
    counts = (probabilities(labeling) * min(DRAWN, len(samples))).astype(int)
    rows = [np.asarray(samples[:count, row]) for row, count in enumerate(counts)]
    return {"samples": np.concatenate(rows), "labels": np.repeat(occurring(labeling), counts)}


def _pairs(key: Array, n: int, *, labeling: str, one_hot: bool) -> tuple[Array, Array]:
    x, labels = simulate(key, n, labeling)
    return x, jax.nn.one_hot(labels, CATEGORIES) if one_hot else labels

"""``python -m benchmarks.log_det``: spread and bias of the log-determinant's two estimators."""

import argparse
import itertools
import json
import math
import shlex
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table

from experiments.record import environment
from jinn.functional import log_det_exact, log_det_power_series, log_det_russian_roulette
from jinn.functional.perceptron import perceptron

DIMS, COEFFICIENTS = (2, 8, 32), (0.5, 0.9, 0.97)
NETWORKS = ("random", "symmetric")
"""Weights at random, whose Jacobians have eigenvalues well below their singular values; and one
hidden layer with `g(x) = -tanh(x W + b) W^T`, whose Jacobians are symmetric and negative: the
eigenvalue -c shrinks volumes most, and its powers fall off most slowly."""
WIDTH, ROWS, TERMS, FILL = 32, 16, 20, 0.95


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures, prints a table and writes JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.log_det", description=__doc__)
    parser.add_argument("--keys", type=int, default=4096)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--smoke", action="store_true", help="seconds, to see that it runs")
    parser.add_argument("--out", type=Path, default=Path("results/log_det"))
    options = parser.parse_args(arguments)
    words = sys.argv[1:] if arguments is None else arguments
    keys, dims = (64, DIMS[:1]) if options.smoke else (options.keys, DIMS)
    console = Console()
    results = []
    for network, n, coefficient in itertools.product(NETWORKS, dims, COEFFICIENTS):
        with console.status(f"{network} network, dimension {n}, coefficient {coefficient}"):
            results.append(measure(network, n, coefficient, keys=keys, seed=options.seed))
    options.out.mkdir(parents=True, exist_ok=True)
    path = options.out / "log_det.json"
    record = {
        "benchmark": "log_det",
        "command": shlex.join(["python", "-m", "benchmarks.log_det", *words]),
        "settings": {
            "width": WIDTH,
            "rows": ROWS,
            "terms": TERMS,
            "fill": FILL,
            "keys": keys,
            "seed": options.seed,
        },
        "results": results,
        "environment": environment(),
    }
    path.write_text(json.dumps(record, indent=1) + "\n")
    console.print(make_table(results))
    console.print(f"Wrote {path}")


def measure(network: str, n: int, coefficient: float, *, keys: int, seed: int) -> dict[str, Any]:
    """Estimates the log-determinants of one perceptron over and over.

    The largest singular value of its Jacobians at the points is `FILL` of the coefficient.

    Args:
        network: One of `NETWORKS`.
        n: Number of elements of an event.
        coefficient: Lipschitz coefficient.
        keys: Number of estimates.
        seed: Seed of weights, points and estimates.

    Returns:
        Figures for JSON, in nats: means over the points.
    """
    rng = np.random.default_rng((seed, n))
    shapes = [(n, WIDTH), (WIDTH, WIDTH), (WIDTH, n)]
    kernels = [jnp.asarray(rng.normal(size=s) / math.sqrt(s[0]), jnp.float32) for s in shapes]
    shifts = [jnp.asarray(0.3 * rng.normal(size=s[1]), jnp.float32) for s in shapes]
    if network == "symmetric":
        kernels, shifts = [kernels[0], -kernels[0].T], [shifts[0], shifts[2]]
    x = jnp.asarray(rng.normal(size=(ROWS, n)), jnp.float32)

    def evaluate(kernels: list[jax.Array], x: jax.Array) -> jax.Array:
        return perceptron(x, kernels, shifts, jnp.tanh)

    def largest(kernels: list[jax.Array]) -> jax.Array:
        jacobians = jax.vmap(jax.jacrev(partial(evaluate, kernels)))(x)
        return jnp.max(jnp.linalg.norm(jacobians, 2, axis=(-2, -1)))

    kernels[-1] *= FILL * coefficient / largest(kernels)
    g = partial(evaluate, kernels)
    exact = np.asarray(log_det_exact(g, x), np.float64)
    # The exact sum of the series' terms: its distance from the log-determinant is the bias.
    truncated = np.asarray(log_det_power_series(g, x, terms=TERMS), np.float64)

    def estimate(key: jax.Array) -> tuple[jax.Array, jax.Array]:
        return (
            log_det_russian_roulette(g, x, key, rate=coefficient),
            log_det_power_series(g, x, key, terms=TERMS),
        )

    split = jax.random.split(jax.random.key(seed), keys)
    found = jax.jit(lambda keys: jax.lax.map(estimate, keys, batch_size=min(256, len(keys))))(split)
    roulette, series = (np.asarray(values, np.float64) for values in found)
    return {
        "network": network,
        "dimension": n,
        "coefficient": coefficient,
        "largest_singular_value": float(largest(kernels)),
        "log_det": float(np.mean(np.abs(exact))),
        "roulette_terms": 2 + coefficient / (1 - coefficient),
        "roulette_standard_error": _spread(roulette),
        "roulette_deviation": _deviation(roulette, exact),
        "series_standard_error": _spread(series),
        "series_deviation": _deviation(series, truncated),
        "series_bias": float(np.mean(np.abs(truncated - exact))),
        "series_bias_bound": n * coefficient ** (TERMS + 1) / ((TERMS + 1) * (1 - coefficient)),
    }


def _spread(values: np.ndarray) -> float:
    """Root of the mean variance of one estimate."""
    return float(np.sqrt(values.var(axis=0, ddof=1).mean()))


def _deviation(values: np.ndarray, expected: np.ndarray) -> float:
    """Largest distance of a mean from what it should be, in standard errors."""
    errors = values.std(axis=0, ddof=1) / math.sqrt(len(values))
    return float(np.max(np.abs(values.mean(axis=0) - expected) / errors))


def make_table(results: list[dict[str, Any]]) -> Table:
    """Lays the figures out for 80 columns."""
    title = (
        f"Standard error of one estimate of log|det(I + J)|, bias of {TERMS} terms, in nats; "
        "means of all keys are off by so many standard errors of the mean"
    )
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=0)
    columns = {
        "network": ("network", ""),
        "dim.": ("dimension", "d"),
        "coeff.": ("coefficient", ".2f"),
        "|log\ndet|": ("log_det", ".3f"),
        "roul.\nterms": ("roulette_terms", ".1f"),
        "roul.\ns.e.": ("roulette_standard_error", ".3f"),
        "roul.\noff": ("roulette_deviation", ".1f"),
        "series\ns.e.": ("series_standard_error", ".3f"),
        "series\noff": ("series_deviation", ".1f"),
        "series\nbias": ("series_bias", ".1e"),
    }
    for header in columns:
        table.add_column(header, justify="right", no_wrap=True)
    for result in results:
        table.add_row(*(format(result[name], form) for name, form in columns.values()))
    return table


if __name__ == "__main__":
    main()

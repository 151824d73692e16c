"""``python -m experiments.tissue.validate``: the forward process beside what is known of it.

The Monte Carlo beside published values and the adding-doubling of iadpython, and the surrogate
beside the Monte Carlo over the prior. Each part is kept when it ends; the same command goes on.
"""

import argparse
import importlib
import json
import shlex
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table

from experiments.record import environment
from experiments.tissue import problem
from experiments.tissue.adding_doubling import add_and_double
from experiments.tissue.published import PUBLISHED
from experiments.tissue.tissue import Tissue
from experiments.tissue.transport import Light, simulate

SLABS = 20
QUADRATURE_POINTS = 16
"""Of iadpython."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures what the command line asks for, prints tables and writes JSON."""
    parser = argparse.ArgumentParser(prog="python -m experiments.tissue.validate")
    parser.add_argument("--part", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--photons", type=int, default=10**6, help="for each tissue")
    parser.add_argument("--tissues", type=int, default=12, help="draws of the prior")
    parser.add_argument("--prior-photons", type=int, default=100_000, help="for each of them")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--smoke", action="store_true", help="seconds, to see that it runs")
    parser.add_argument("--out", type=Path, default=Path("results/tissue"))
    options = parser.parse_args(arguments)
    if options.smoke:
        options.photons = options.prior_photons = 1000
        options.tissues = 1
    words = sys.argv[1:] if arguments is None else arguments
    command = shlex.join(["python", "-m", "experiments.tissue.validate", *words])

    console = Console()
    options.out.mkdir(parents=True, exist_ok=True)
    for part in options.part:
        path = options.out / f"{part}{'-smoke' if options.smoke else ''}.json"
        record = {
            "experiment": f"tissue, {part}",
            "command": command,
            "results": PARTS[part](options, console),
            "environment": environment(),
        }
        path.write_text(json.dumps(record, indent=1) + "\n")
        console.print(f"Wrote {path}")


def compare_published(options: argparse.Namespace, console: Console) -> dict[str, Any]:
    """The Monte Carlo and the surrogate beside published values."""
    table = _table("Published values", ("", "published", "Monte Carlo", "s.e.", "off", "surrogate"))
    results, lights = {}, {}
    for number, (name, case) in enumerate(list(PUBLISHED.items())[: 1 if options.smoke else None]):
        key = jax.random.fold_in(jax.random.key(options.seed), number)
        if id(case.tissue) not in lights:
            lights[id(case.tissue)] = _timed(
                lambda k, t: simulate(k, t, photons=options.photons), key, case.tissue
            )
        light, seconds = lights[id(case.tissue)]
        found = {field: np.asarray(value, float) for field, value in light._asdict().items()}
        found["total_reflectance"] = found["specular"] + found["reflectance"]
        found["total_reflectance_error"] = found["reflectance_error"]
        finite = np.where(np.isinf(case.tissue.thickness), 20.0, case.tissue.thickness)
        solved = _fields(add_and_double(_with_thickness(case.tissue, finite)))
        rows = []
        for field, published in case.values.items():
            error = np.hypot(found.get(f"{field}_error", 0.0), case.errors.get(field, 0.0))
            for index, (value, known) in enumerate(
                zip(np.atleast_1d(found[field]), np.atleast_1d(published), strict=True)
            ):
                spread = float(np.atleast_1d(error)[index])
                row = {
                    "quantity": f"{field} {index + 1}" if np.ndim(published) else field,
                    "published": float(known),
                    "monte_carlo": float(value),
                    "standard_error": spread,
                    "standard_errors_off": float((value - known) / spread) if spread else None,
                    "surrogate": float(np.atleast_1d(solved[field])[index]),
                }
                rows.append(row)
                table.add_row(f"{case.title}: {row['quantity']}", *_numbers(list(row.values())[1:]))
        results[name] = {
            "source": case.source,
            "photons": options.photons,
            "seconds": seconds,
            "energy_missing": energy_missing(light),
            "rows": rows,
        }
    console.print(table)
    return results


def compare_slabs(options: argparse.Namespace, console: Console) -> dict[str, Any]:
    """The Monte Carlo and the surrogate beside iadpython on slabs at random."""
    try:
        iadpython: Any = importlib.import_module("iadpython")
    except ImportError:
        console.print("iadpython is missing, so its slabs are left out: pip install iadpython")
        return {"skipped": "iadpython is missing"}
    table = _table(
        f"{SLABS} slabs at random: total reflectance and transmittance",
        ("albedo, depth, g, n", "iadpython", "Monte Carlo", "off", "surrogate"),
    )
    rows = []
    for index, tissue in enumerate(random_slabs(options.seed)[: 1 if options.smoke else SLABS]):
        key = jax.random.fold_in(jax.random.key(options.seed), 100 + index)
        light = simulate(key, tissue, photons=options.photons)
        a, s = float(tissue.absorption[0]), float(tissue.scattering[0])
        depth, g, n = (
            float(tissue.thickness[0] * (a + s)),
            float(tissue.anisotropy[0]),
            tissue.refractive_index[1],
        )
        slab = iadpython.Sample(a=s / (a + s), b=depth, g=g, d=1, n=n, quad_pts=QUADRATURE_POINTS)
        total_r, total_t = (float(value) for value in slab.rt()[:2])
        solved = _fields(add_and_double(tissue))
        row = {
            "albedo": s / (a + s),
            "optical_depth": depth,
            "anisotropy": g,
            "refractive_index": n,
            "iadpython": [total_r, total_t],
            "monte_carlo": [float(light.specular + light.reflectance), float(light.transmittance)],
            "standard_error": [float(light.reflectance_error), float(light.transmittance_error)],
            "surrogate": [float(solved["total_reflectance"]), float(solved["transmittance"])],
            "energy_missing": energy_missing(light),
        }
        off = np.subtract(row["monte_carlo"], row["iadpython"]) / row["standard_error"]
        row["standard_errors_off"] = off.tolist()
        rows.append(row)
        words = [
            " ".join(_numbers(row[name]))
            for name in ("iadpython", "monte_carlo", "standard_errors_off", "surrogate")
        ]
        table.add_row(f"{row['albedo']:.3f}, {depth:.2f}, {g:.2f}, {n:.2f}", *words)
    console.print(table)
    off = np.abs([row["standard_errors_off"] for row in rows])
    return {
        "photons": options.photons,
        "quadrature_points": QUADRATURE_POINTS,
        "largest_standard_errors_off": float(off.max()),
        "surrogate_largest_difference": float(
            np.abs([np.subtract(row["surrogate"], row["iadpython"]) for row in rows]).max()
        ),
        "energy_missing": max(row["energy_missing"] for row in rows),
        "rows": rows,
    }


def random_slabs(seed: int) -> list[Tissue]:
    """Single layers in air: albedo, optical depth, anisotropy and index at random, 1 mm thick."""
    rng = np.random.default_rng(seed)
    slabs = []
    for _ in range(SLABS):
        albedo, depth = rng.uniform(0.5, 0.99), np.exp(rng.uniform(np.log(0.5), np.log(20.0)))
        g, n = rng.uniform(0.0, 0.9), float(rng.choice([1.33, 1.4, 1.5]))
        slabs.append(
            Tissue(
                np.array([depth * (1 - albedo)]),
                np.array([depth * albedo]),
                np.array([g]),
                np.array([1.0]),
                (1.0, n, 1.0),
            )
        )
    return slabs


def compare_surrogate(options: argparse.Namespace, console: Console) -> dict[str, Any]:
    """The surrogate beside the Monte Carlo over the prior, in all bands."""
    x = problem.prior(jax.random.key(options.seed), options.tissues)
    spectra, errors, missing, seconds = [], [], 0.0, 0.0
    for index, row in enumerate(x):
        key = jax.random.fold_in(jax.random.key(options.seed), 200 + index)
        tissue = problem.to_tissue(row)
        light, taken = _timed(
            lambda k, t: simulate(k, t, photons=options.prior_photons), key, tissue
        )
        seconds += taken
        spectra.append(np.asarray(light.reflectance, float))
        errors.append(np.asarray(light.reflectance_error, float))
        missing = max(missing, energy_missing(light))
        console.print(f"{index + 1} of {len(x)} tissues: {taken:.0f} s")
    found, error = np.stack(spectra), np.stack(errors)
    table = _table(
        f"Relative error of the surrogate, {options.tissues} tissues of the prior x 8 bands",
        ("points", "median", "95 %", "largest", "root mean square in s.e."),
    )
    results = []
    for points in (6,) if options.smoke else (4, 6, 8):
        solved = np.asarray(add_and_double(problem.to_tissue(x), points=points).reflectance, float)
        relative, scaled = np.abs(solved / found - 1), (solved - found) / error
        result = {
            "points": points,
            "median": float(np.median(relative)),
            "quantile_95": float(np.quantile(relative, 0.95)),
            "largest": float(relative.max()),
            "root_mean_square_in_standard_errors": float(np.sqrt(np.mean(scaled**2))),
            "spectra": solved.tolist(),
        }
        results.append(result)
        table.add_row(str(points), *_numbers(list(result.values())[1:-1]))
    noise = np.median(error / found)
    console.print(table, f"Median relative standard error of the Monte Carlo: {noise:.2%}")
    return {
        "photons": options.prior_photons,
        "seconds": seconds,
        "energy_missing": missing,
        "relative_standard_error": {
            "median": float(noise),
            "quantile_95": float(np.quantile(error / found, 0.95)),
        },
        "surrogate": results,
        "x": np.asarray(x, float).tolist(),
        "monte_carlo": found.tolist(),
        "standard_error": error.tolist(),
    }


def energy_missing(light: Light) -> float:
    """Largest distance from 1 of the sum of all shares."""
    shares = [np.asarray(value, float) for value in light[:4]]
    total = shares[0] + shares[1] + shares[2] + shares[3].sum(axis=-1)
    return float(np.abs(total - 1).max())


PARTS: dict[str, Callable[[argparse.Namespace, Console], dict[str, Any]]] = {
    "published": compare_published,
    "slabs": compare_slabs,
    "surrogate": compare_surrogate,
}


def _timed(function: Callable[..., Any], *arguments: Any) -> tuple[Any, float]:
    start = time.perf_counter()
    value = jax.block_until_ready(function(*arguments))
    return value, time.perf_counter() - start


def _fields(balance: Any) -> dict[str, np.ndarray]:
    fields = {name: np.asarray(value, float) for name, value in balance._asdict().items()}
    return fields | {"total_reflectance": fields["specular"] + fields["reflectance"]}


def _with_thickness(tissue: Tissue, thickness: np.ndarray) -> Tissue:
    coefficients = (tissue.absorption, tissue.scattering, tissue.anisotropy)
    return Tissue(*coefficients, thickness, tissue.refractive_index)


def _table(title: str, headers: tuple[str, ...]) -> Table:
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=0)
    table.add_column(headers[0])
    for header in headers[1:]:
        table.add_column(header, justify="right")
    return table


def _numbers(values: Sequence[float | None]) -> list[str]:
    return ["" if value is None else f"{value:.5f}" for value in values]


if __name__ == "__main__":
    main()

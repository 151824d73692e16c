"""The tables of the measured figures, for 80 columns."""

from collections.abc import Iterable, Mapping
from typing import Any

from rich.box import SIMPLE
from rich.table import Table

from experiments.trust import TESTS, verdict

Records = Mapping[str, Mapping[str, Any]]


def accuracy_table(runs: Records) -> Table:
    """Tabulates the methods beside ABC and noise."""
    title = (
        "Unseen spectra: calibration error, and that of a perfect posterior; error\n"
        "of the oxygenation's MAP; root mean square error of the MAP in prior\n"
        "deviations, and of its spectrum relative to what was seen"
    )
    columns = ("calibr.", "perfect", "sO2\nmedian", "sO2\nmean", "all 13", "resim.", "train.\nsec.")
    table = _table(title, ("", "seed"), columns)
    for name, run in _networks(runs):
        perfect = run["perfect"]
        table.add_row(
            name.split("/")[0],
            str(run["seed"]),
            *_errors(run, f"{sum(perfect) / len(perfect):.2%}"),
            f"{run['training_seconds']:.0f}",
        )
    if "abc" in runs:
        table.add_row("ABC, nearest", "", *_errors(runs["abc"]["nearest"]), "")
        table.add_row("ABC, weights", "", *_errors(runs["abc"]["weighted"]), "")
    if "data" in runs:
        noise, photons = runs["data"]["monte_carlo"], runs["data"]["monte_carlo"]["photons"]
        table.add_row("camera noise", *[""] * 6, f"{runs['data']['camera_noise']:.2%}", "")
        table.add_row(f"Monte Carlo, {photons:.0e}", *[""] * 6, f"{noise['noise']:.2%}", "")
    return table


def scene_table(runs: Records) -> Table:
    """Tabulates the maps."""
    title = (
        "Oxygenation map: mean absolute error of the posterior mean in and outside\n"
        "of the clamped region, and coverage of the 68 % and 95 % intervals"
    )
    table = _table(title, ("", "seed"), ("clamped", "elsewhere", "68 %", "95 %", "sec."))
    for name, run in _networks(runs):
        scene = run["scene"]
        table.add_row(
            name.split("/")[0],
            str(run["seed"]),
            f"{scene['error clamped']:.4f}",
            f"{scene['error elsewhere']:.4f}",
            f"{scene['coverage 68']:.1%}",
            f"{scene['coverage 95']:.1%}",
            f"{scene['seconds']:.1f}",
        )
    return table


def trust_table(runs: Records) -> Table:
    """Tabulates verdicts with the least p-value over parameters, in units of the least allowed."""
    title = "Diagnostics: verdict, and the smallest p-value over the least that passes"
    table = _table(title, ("", "seed"), TESTS)
    for name, run in _networks(runs):
        cells = [verdict(run["trust"][test]) if test in run["trust"] else "" for test in TESTS]
        table.add_row(name.split("/")[0], str(run["seed"]), *cells)
    return table


def typicality_table(runs: Records) -> Table:
    """Tabulates the false alarms and the power of the typicality check."""
    table = _table("Typicality check at 1 %: share flagged", ("",), ("prior", "these"))
    for name, rates in runs["data"]["typicality"].items():
        table.add_row(name, f"{rates['false_alarm_rate']:.1%}", f"{rates['power']:.1%}")
    return table


def _table(title: str, left: Iterable[str], right: Iterable[str]) -> Table:
    table = Table(title=title, title_justify="left", box=SIMPLE, padding=0)
    for column in left:
        table.add_column(column, no_wrap=True)
    for column in right:
        table.add_column(column, justify="right", no_wrap=True)
    return table


def _networks(runs: Records) -> list[tuple[str, Mapping[str, Any]]]:
    return [(name, run) for name, run in sorted(runs.items()) if "/seed" in name]


def _errors(run: Mapping[str, Any], perfect: str = "") -> list[str]:
    return [
        f"{run['calibration_error']:.2%}",
        perfect,
        f"{run['oxygenation_error']['median']:.4f}",
        f"{run['oxygenation_error']['mean']:.4f}",
        f"{run['parameter_error']:.3f}",
        f"{run['resimulation_error']:.2%}",
    ]

"""The benchmark of residual and continuous flows: its flows, ratios, verdicts and tables."""

import io

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from rich.console import Console

from benchmarks.freeform import libraries, report
from benchmarks.freeform.cases import CASES, Continuous, data, from_fields, smoke
from benchmarks.freeform.jinn_flows import matching_flow, residual_flow


def test_the_continuous_flow_is_the_network_that_the_case_says():
    case = smoke(CASES["continuous"])
    assert isinstance(case, Continuous)
    flow = matching_flow(case)
    x, c = map(jnp.asarray, data(case, 3))
    waves = 0.3 * np.pi * np.arange(1, 1 + case.frequencies)
    joined = np.concatenate([np.cos(waves), np.sin(waves)])
    h = np.concatenate([np.tile(joined, (3, 1)), x, c], axis=1)
    *hidden, (last, bias) = case.weights()
    for kernel, shift in hidden:
        h = np.tanh(h @ kernel + shift)
    found = flow.bijector.vector_field(0.3, x, c)
    np.testing.assert_allclose(found, h @ last + bias, rtol=1e-5, atol=1e-5)


@pytest.mark.thorough
def test_the_residual_blocks_have_the_weights_of_the_case_scaled_to_the_bound():
    case = smoke(CASES["residual"])
    flow = residual_flow(case)
    block, weights = flow.bijector[1], case.weights()[1]
    for kernel, (given, _) in zip(block.network.kernels, weights, strict=True):
        scale = min(1, case.layer_bound / np.linalg.norm(given, 2))
        np.testing.assert_allclose(kernel(), scale * given, rtol=1e-3, atol=1e-6)
    jacobian = jax.jacfwd(block.network)(jnp.asarray(data(case, 1)[0][0]))
    assert 0.5 < np.linalg.norm(jacobian, 2) < case.coefficient


def result(**changes):
    found = {
        "case": "residual",
        "program": "step",
        "seconds": {
            "jinn": [2.0, 4.0, 8.0],
            "FrEIA": [8.0, 16.0, 32.0],
            "normflows": [5.0, 10.0, 20.0],
        },
        "facts": {
            "jinn": {"standard_error": 0.1, "log_prob": [1.0, 2.0]},
            "FrEIA": {"standard_error": 0.2, "log_prob": [1.0, 4.0]},
            "normflows": {"standard_error": 0.2, "log_prob": [1.0, 2.0]},
        },
        "skipped": {"zuko": "absent"},
    }
    return found | changes


@pytest.mark.parametrize(
    ("jinn", "error", "met"), [(0.35, 0.2, True), (0.36, 0.2, False), (0.35, 0.21, False)]
)
def test_a_step_is_judged_by_the_fastest_peer_and_its_standard_error(jinn, error, met):
    found = result()
    found["seconds"]["jinn"] = [jinn * seconds for seconds in found["seconds"]["normflows"]]
    found["facts"]["jinn"]["standard_error"] = error
    summary = report.summarise(found)
    assert summary["fastest_peer"] == "normflows"
    assert summary["met"] is met
    assert summary["apart"] == {"jinn": 0.0, "FrEIA": 2**0.5, "normflows": 0.0}


def test_tables_say_what_was_reached_and_what_was_missed():
    found = result()
    found["seconds"]["jinn series"] = [2.5, 5.0, 10.0]
    found["facts"]["jinn series"] = {"log_prob": [1.0, 2.0]}
    found["summary"] = report.summarise(found)
    memory = {"series": {"power_series": {5: 10**6, 40: 2 * 10**6}}, "adjoints": {}}
    text = io.StringIO()
    console = Console(file=text, width=140)
    for table in (*report.make_tables([found]), report.memory_table(memory)):
        console.print(table)
    lines = [" ".join(line.split()) for line in text.getvalue().splitlines()]
    assert "residual step jinn 4000 0.1 0" in lines
    assert "FrEIA 16000 0.25 0.2 1.41" in lines
    assert "residual step 0.40 (0.40-0.40) normflows <= 0.35: missed" in lines
    assert "- jinn series 0.50 (0.50-0.50) normflows" in lines
    assert "power_series (terms) 1.00 (5) 2.00 (40) 2.000, <= 1.1: missed" in lines


@pytest.mark.thorough
def test_absent_peers_are_skipped_and_jinn_is_measured(monkeypatch):
    monkeypatch.setattr(libraries, "installed", lambda package: None)
    case = from_fields({**vars(smoke(CASES["continuous"])), "hidden": [8, 8]})
    found = libraries.measure(case, "sample", libraries.PEERS, 2, libraries.torch_process())
    assert {key: len(rounds) for key, rounds in found["seconds"].items()} == {
        "jinn": 2,
        "jinn mean error": 2,
    }
    assert found["skipped"]["bijx"] == "bijx not installed"
    assert found["skipped"]["zuko"] == "torch and zuko not installed"
    assert report.summarise(found)["met"] is None

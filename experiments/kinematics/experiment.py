"""The arm as an inverse problem, its settings, and what others have measured."""

from dataclasses import replace

from experiments.inverse_problem import InverseProblem, Published
from experiments.kinematics.plots import draw_arms
from experiments.kinematics.problem import EXAMPLE_Y, forward, simulate
from experiments.kinematics.reference import sample_reference
from experiments.settings import Settings

PAPER = """Kruse et al. 2021, Table 1, https://arxiv.org/abs/2101.10763
    Err_post from memory; kernel and ABC tolerance are not stated there"""
REPLICATION = """A third party's replication, this kernel, 1000 observations:
    https://github.com/eminesu/invertible-architectures-benchmark"""

PROBLEM = InverseProblem(
    name="kinematics",
    title="Inverse kinematics",
    cause="pose",
    effect="end point",
    parameters=("rail height", "angle 1", "angle 2", "angle 3"),
    example_y=EXAMPLE_Y,
    forward=forward,
    simulate=simulate,
    sample_reference=sample_reference,
    draw=draw_arms,
    picture="arms",
    legend="lower left",
    published=(
        Published("cINN", {"Err_post": 0.015, "Err_resim": 0.008}, PAPER),
        Published(
            "flow matching",
            {"Err_post": 0.0016, "Err_post biased": 0.0062, "Err_resim": 2.7e-6},
            REPLICATION,
        ),
        Published(
            "MDN",
            {"Err_post": 0.0031, "Err_post biased": 0.0077, "Err_resim": 6.7e-4},
            REPLICATION,
        ),
    ),
)

_MAF = Settings(
    flow="maf",
    flow_options={"depth": 8, "hidden": (128, 128), "transformer": "rational_quadratic_spline"},
    steps=8_000,
    y_noise=0.004,
    tolerance=0.01,
)

PRESETS = {
    "neural_spline_flow": Settings(
        flow="neural_spline_flow",
        flow_options={"depth": 8, "hidden": (128, 128)},
        steps=13_000,
        y_noise=0.004,
        tolerance=0.01,
    ),
    "real_nvp": Settings(
        flow="real_nvp",
        flow_options={"depth": 12, "hidden": (128, 128)},
        steps=8_000,
        y_noise=0.004,
        tolerance=0.01,
    ),
    "flow_matching": Settings(
        flow="continuous_flow",
        method="flow_matching",
        flow_options={
            "hidden": (256, 256, 256, 256),
            "modulation": "concat",
            "activation": "silu",
            "residual": True,
            "solver": "rk4",
            "steps": 8,
        },
        steps=12_000,
        learning_rate=1e-3,
        ema_decay=0.999,
        y_noise=0.004,
        tolerance=0.01,
    ),
    "continuous_flow": Settings(
        flow="continuous_flow",
        flow_options={
            "hidden": (128, 128),
            "modulation": "concat",
            "frequencies": 2,
            "rtol": 1e-3,
            "atol": 1e-3,
        },
        steps=6_000,
        batch_size=256,
        learning_rate=5e-3,
        ema_decay=0.99,
        y_noise=0.01,
        tolerance=0.01,
    ),
    "residual_flow": Settings(
        flow="residual_flow",
        flow_options={"depth": 8, "hidden": (128, 128, 128), "coefficient": 0.97},
        steps=3_000,
        learning_rate=2e-3,
        ema_decay=0.99,
        y_noise=0.01,
        tolerance=0.01,
    ),
    "maf": _MAF,
    "iaf": replace(
        _MAF,
        flow="iaf",
        steps=4_000,
        learning_rate=2e-3,
        ema_decay=0.999,
        teacher=_MAF,
        likelihood_weight=1.0,
    ),
}

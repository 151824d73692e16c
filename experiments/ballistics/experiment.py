"""The throw as an inverse problem, its settings, and what others have measured."""

import numpy as np

from experiments.ballistics.plots import draw_throws
from experiments.ballistics.problem import ANGLES, EXAMPLE_Y, forward, never_lands, simulate
from experiments.ballistics.reference import sample_reference
from experiments.inverse_problem import InverseProblem, Published
from experiments.settings import Settings

PAPER = """Kruse et al. 2021, Table 2, https://arxiv.org/abs/2101.10763
    from memory, outliers clamped there; kernel and ABC tolerance are not stated"""
REPLICATION = """A third party's replication, this kernel, 1000 observations:
    https://github.com/eminesu/invertible-architectures-benchmark"""

PROBLEM = InverseProblem(
    name="ballistics",
    title="Inverse ballistics",
    cause="throw",
    effect="impact",
    parameters=("x0", "y0", "angle", "v0"),
    example_y=EXAMPLE_Y,
    forward=forward,
    simulate=simulate,
    sample_reference=sample_reference,
    draw=draw_throws,
    picture="throws",
    legend="upper right",
    published=(
        Published("cINN", {"Err_post": 0.047, "Err_resim": 0.437}, PAPER),
        Published(
            "flow matching",
            {"Err_post": 0.0071, "Err_post biased": 0.0127, "Err_resim": 4.5e-5},
            REPLICATION,
        ),
        Published(
            "MDN",
            {"Err_post": 0.0071, "Err_post biased": 0.0127, "Err_resim": 1.2e-3},
            REPLICATION,
        ),
        Published("  v0 rounded", {"Err_post": 0.0012}, REPLICATION),
    ),
    support=(
        np.array([-np.inf, -np.inf, ANGLES[0], -np.inf]),
        np.array([np.inf, np.inf, ANGLES[1], np.inf]),
    ),
    integers=("v0",),
    counted={"never land (their apex counts as impact)": never_lands},
)

PRESETS = {
    "neural_spline_flow": Settings(
        flow="neural_spline_flow",
        flow_options={"depth": 8, "hidden": (128, 128)},
        steps=6_000,
        y_noise=0.02,
        tolerance=0.02,
    ),
    "real_nvp": Settings(
        flow="real_nvp",
        flow_options={"depth": 12, "hidden": (128, 128)},
        steps=6_000,
        y_noise=0.02,
        tolerance=0.02,
    ),
}

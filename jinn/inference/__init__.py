"""Inference: posteriors, rejection sampling, and measures of their quality."""

from jinn.inference.abc import abc_quantile as abc_quantile
from jinn.inference.abc import abc_rejection as abc_rejection
from jinn.inference.diagnostics import check_typicality as check_typicality
from jinn.inference.diagnostics import expected_coverage as expected_coverage
from jinn.inference.diagnostics import posterior_predictive_check as posterior_predictive_check
from jinn.inference.diagnostics import simulation_based_calibration as simulation_based_calibration
from jinn.inference.diagnostics import tarp as tarp
from jinn.inference.diagnostics import typicality_rates as typicality_rates
from jinn.inference.diagnostics import write_report as write_report
from jinn.inference.fit_posterior import fit_posterior as fit_posterior
from jinn.inference.latent import LatentCheck as LatentCheck
from jinn.inference.latent import check_latent as check_latent
from jinn.inference.metrics import c2st as c2st
from jinn.inference.metrics import calibration_curve as calibration_curve
from jinn.inference.metrics import calibration_error as calibration_error
from jinn.inference.metrics import posterior_mismatch as posterior_mismatch
from jinn.inference.metrics import resimulation_error as resimulation_error
from jinn.inference.on_mesh import OnMesh as OnMesh
from jinn.inference.posterior import Posterior as Posterior
from jinn.inference.to_disk import sample_to_disk as sample_to_disk

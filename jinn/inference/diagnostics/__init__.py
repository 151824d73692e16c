"""Whether a posterior can be trusted: tests with verdicts, pictures and a report."""

from jinn.inference.diagnostics.calibration import expected_coverage as expected_coverage
from jinn.inference.diagnostics.calibration import (
    simulation_based_calibration as simulation_based_calibration,
)
from jinn.inference.diagnostics.calibration import tarp as tarp
from jinn.inference.diagnostics.predictive import PredictiveCheck as PredictiveCheck
from jinn.inference.diagnostics.predictive import (
    posterior_predictive_check as posterior_predictive_check,
)
from jinn.inference.diagnostics.report import Report as Report
from jinn.inference.diagnostics.report import write_report as write_report
from jinn.inference.diagnostics.typicality import TypicalityCheck as TypicalityCheck
from jinn.inference.diagnostics.typicality import TypicalityRates as TypicalityRates
from jinn.inference.diagnostics.typicality import check_typicality as check_typicality
from jinn.inference.diagnostics.typicality import typicality_rates as typicality_rates
from jinn.inference.diagnostics.uniformity import UniformityTest as UniformityTest

"""jinn: invertible neural networks in JAX and Flax, for inverse problems."""

from importlib.metadata import PackageNotFoundError, version

from jinn import bijectors as bijectors
from jinn import distributions as distributions
from jinn import flows as flows
from jinn import functional as functional
from jinn import inference as inference
from jinn import losses as losses
from jinn import networks as networks
from jinn import training as training
from jinn.bijectors import check_bijector as check_bijector
from jinn.bijectors import initialize as initialize
from jinn.bijectors import refresh as refresh
from jinn.bijectors import trainable as trainable
from jinn.flows import Flow as Flow
from jinn.inference import Posterior as Posterior
from jinn.inference import fit_posterior as fit_posterior
from jinn.training import FitResult as FitResult
from jinn.training import TrainingDiverged as TrainingDiverged
from jinn.training import fit as fit

try:
    __version__ = version("jinn")
except PackageNotFoundError:  # run from a checkout that was not installed
    __version__ = "0+unknown"

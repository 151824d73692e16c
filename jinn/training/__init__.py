"""Training: the loop `fit`, its data sources, its default optimiser and its display."""

from jinn.training.fit import fit as fit
from jinn.training.optimizer import default_optimizer as default_optimizer
from jinn.training.result import FitResult as FitResult
from jinn.training.result import TrainingDiverged as TrainingDiverged

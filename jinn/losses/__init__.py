"""Losses: callables `loss(flow, batch, key) -> (scalar, metrics)` for `jinn.fit`."""

from jinn.losses.distillation import distillation as distillation
from jinn.losses.flow_matching import flow_matching as flow_matching
from jinn.losses.inn import inn_loss as inn_loss
from jinn.losses.likelihood import negative_log_likelihood as negative_log_likelihood
from jinn.losses.orthogonality import with_orthogonality as with_orthogonality
from jinn.losses.regularized import regularized_likelihood as regularized_likelihood

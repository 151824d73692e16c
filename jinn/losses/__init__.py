"""Losses: callables `loss(flow, batch, key) -> (scalar, metrics)` for `jinn.fit`."""

from jinn.losses.likelihood import negative_log_likelihood as negative_log_likelihood

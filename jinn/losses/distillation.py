"""Density distillation: a flow that samples fast learns from one that evaluates fast."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from jinn.losses.likelihood import negative_log_likelihood, split_batch


def distillation(
    teacher: Any, *, likelihood_weight: float = 0.0
) -> Callable[..., tuple[Array, dict[str, Array]]]:
    r"""Make the loss ``KL(q || p) - w E_data log q(x | c)`` of a student q, in nats.

    ``KL(q || p) = E_q [log q(x | c) - log p(x | c)]`` takes samples of the student, one for each
    row, whose own log-density comes with them in the same pass; the gradient reaches the student
    through them. So no direction that is slow is used where the student is a `jinn.flows.iaf` and
    the teacher a `jinn.flows.maf`. The teacher p does not change.

    That divergence forgives a student that covers only some of the teacher's modes. The second
    term, on the x of the batch, does not; it takes the student's slow direction.

    Args:
        teacher: A trained density with ``log_prob(x, condition)``.
        likelihood_weight: The weight w. With 0, only the conditions and the number of rows of the
            batch are used.

    Returns:
        A loss for `jinn.fit`: from the student, a batch x or `(x, condition)` and a key to a scalar
        and the metrics "entropy" of the student, ``-E_q log q``, "cross_entropy", ``-E_q log p``,
        and with a weight "negative_log_likelihood". With `key=None` it takes the same samples in
        every call.

    Raises:
        ValueError: If the teacher has no log_prob, or the weight is negative or not finite. The
            loss raises it if the student's events or conditions have other shapes than the
            teacher's.

    Reference:
        Parallel WaveNet: Fast High-Fidelity Speech Synthesis (van den Oord et al., 2018),
        section 3, https://arxiv.org/abs/1711.10433
    """
    if not callable(getattr(teacher, "log_prob", None)):
        raise ValueError(
            "distillation: expected a teacher with a method log_prob, such as a trained "
            f"jinn.Flow, got {type(teacher).__name__}"
        )
    if not 0 <= likelihood_weight < float("inf"):
        raise ValueError(
            f"distillation: expected a likelihood_weight of at least 0, got {likelihood_weight!r}"
        )
    return _Distillation(teacher, float(likelihood_weight))


@dataclass(frozen=True, eq=False)
class _Distillation:
    """The loss; the same object compiles nothing again in `fit`."""

    teacher: Any
    likelihood_weight: float

    def __call__(
        self, flow: Any, batch: Any, key: jax.Array | None = None
    ) -> tuple[Array, dict[str, Array]]:
        for name in ("event_shape", "condition_shape"):
            found, wanted = getattr(flow, name), getattr(self.teacher, name, None)
            if hasattr(self.teacher, name) and found != wanted:
                raise ValueError(
                    f"distillation: expected a student with the {name} of its teacher, {wanted}, "
                    f"got {found}"
                )
        x, condition = split_batch(batch)
        rows = () if condition is not None else (len(jax.tree.leaves(x)[0]),)
        key = jax.random.key(0) if key is None else key
        samples, log_q = flow.sample_and_log_prob(key, rows, condition)
        log_p = jax.lax.stop_gradient(self.teacher).log_prob(samples, condition)
        wide = jnp.promote_types(log_q.dtype, jnp.float32)
        entropy, cross_entropy = (-jnp.mean(value, dtype=wide) for value in (log_q, log_p))
        value = cross_entropy - entropy
        metrics = {"entropy": entropy, "cross_entropy": cross_entropy}
        if self.likelihood_weight:
            nll, _ = negative_log_likelihood(flow, batch)
            value += self.likelihood_weight * nll
            metrics["negative_log_likelihood"] = nll
        return value, metrics

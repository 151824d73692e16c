"""The likelihood of continuous flows with a price on speed and on bends."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from jinn.bijectors.continuous import Continuous
from jinn.losses.flow_matching import unrolled
from jinn.losses.likelihood import split_batch


def regularized_likelihood(
    *, kinetic: float = 0.01, jacobian: float = 0.01
) -> Callable[..., tuple[Array, dict[str, Array]]]:
    r"""Make the loss ``-E log p(x) + E integral of (kinetic |f|^2 + jacobian |df/dx|_F^2) dt``.

    Both prices straighten the ways of a continuous flow, which then needs fewer steps.

    Args:
        kinetic: Price of the squared speed.
        jacobian: Price of the squared Frobenius norm of the field's Jacobian, which is exact where
            the divergence is and estimated with the same probes where that is estimated.

    Returns:
        A loss for `jinn.fit`: from a flow, a batch x or `(x, condition)` and a key to a scalar and
        the metrics "negative_log_likelihood", "kinetic" and "squared_jacobian", means over rows.

    Raises:
        ValueError: If a price is negative. The loss raises it if the flow has no `Continuous`
            bijector that it can reach through `Chain` and `EmbedCondition`.

    Reference:
        How to Train Your Neural ODE: the World of Jacobian and Kinetic Regularization (Finlay,
        Jacobsen, Nurbekyan, Oberman, 2020), https://arxiv.org/abs/2002.02798
    """
    if not (kinetic >= 0 and jacobian >= 0):
        raise ValueError(
            f"regularized_likelihood: expected kinetic >= 0 and jacobian >= 0, got {kinetic} and "
            f"{jacobian}"
        )
    return _RegularizedLikelihood(float(kinetic), float(jacobian))


@dataclass(frozen=True)
class _RegularizedLikelihood:
    """The loss. Equal options make equal losses, so that `fit` compiles nothing again."""

    kinetic: float
    jacobian: float

    def __call__(
        self, flow: Any, batch: Any, key: jax.Array | None = None
    ) -> tuple[Array, dict[str, Array]]:
        x, condition = split_batch(batch)
        members = unrolled(flow.bijector, condition)
        if not any(isinstance(member, Continuous) for member, _ in members):
            raise ValueError(
                "regularized_likelihood: expected a flow with a Continuous bijector, such as "
                "jinn.flows.continuous_flow gives, got only "
                f"{[type(member).__name__ for member, _ in members]}"
            )
        total: Any = 0.0
        integrals: list[Any] = [0.0, 0.0]
        keys = [None] * len(members) if key is None else list(jax.random.split(key, len(members)))
        for (member, c), member_key in zip(members, keys, strict=True):
            if isinstance(member, Continuous):
                x, log_det, info = member.regularized_forward(x, c, key=member_key)
                found = (info.kinetic, info.squared_jacobian)
                integrals = [a + b for a, b in zip(integrals, found, strict=True)]
            else:
                x, log_det = member.forward_and_log_det(x, c, key=member_key)
            total = total + log_det
        nll = -jnp.mean(flow._base_log_prob(x, condition) + total)
        kinetic, jacobian = (jnp.mean(integral) for integral in integrals)
        loss = nll + self.kinetic * kinetic + self.jacobian * jacobian
        metrics = {
            "negative_log_likelihood": nll,
            "kinetic": kinetic,
            "squared_jacobian": jacobian,
        }
        return loss, metrics

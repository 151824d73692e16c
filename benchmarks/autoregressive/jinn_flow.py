"""jinn: a `Stack` of a reversal and a `MaskedAutoregressive`."""

import jax

import jinn
from benchmarks.autoregressive.cases import Case
from benchmarks.coupling.jinn_flow import split
from benchmarks.coupling.model import Model
from jinn.bijectors import Bijector, Chain, MaskedAutoregressive, Permute, Stack
from jinn.distributions import StandardNormal
from jinn.flows.autoregressive_flows import UNROLLED_DEPTH


def build(case: Case) -> Model:
    """Builds what `maf(mixing="reverse")` builds, without the ActNorm."""
    shape = (case.event,)

    def make_block(key: jax.Array) -> Bijector:
        layer = MaskedAutoregressive(
            shape,
            condition_shape=(case.condition,),
            hidden=case.hidden,
            activation="relu",
            rngs=key,
        )
        return Chain([Permute(shape, "reverse"), layer])

    stack = Stack(make_block, case.depth, rngs=0, unroll=case.depth <= UNROLLED_DEPTH)
    return split(jinn.Flow(stack, StandardNormal(shape)))

"""What loops carry from step to step."""

from typing import Any

import jax
from jaxtyping import Array


def varying_like(carry: Any, operands: Any) -> Any:
    """Under `jax.shard_map`, mark the carry of a loop as varying over all mesh axes it will meet.

    A loop wants its carry to have one type throughout; elsewhere this is the identity.

    Args:
        carry: Arrays that a loop starts from.
        operands: All that the loop's body uses.

    Returns:
        The carry.
    """

    def varying(leaf: Array) -> frozenset[str]:
        return jax.typeof(leaf).manual_axis_type.varying

    axes = frozenset().union(*map(varying, jax.tree.leaves(operands)))

    def mark(leaf: Array) -> Array:
        missing = tuple(sorted(axes - varying(leaf)))
        return jax.lax.pcast(leaf, missing, to="varying") if missing else leaf

    return jax.tree.map(mark, carry)

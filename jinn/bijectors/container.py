"""What bijectors made of other bijectors share."""

import abc
from collections.abc import Iterable
from typing import Any

import jax
from jaxtyping import Array

from jinn.bijectors.base import Bijector, FastDirection, Info
from jinn.bijectors.shapes import Shape
from jinn.functional.solver import SolverInfo


class Reporting(Bijector):
    """A bijector with one method for both directions, which returns what its solves report too."""

    @abc.abstractmethod
    def _run(
        self, x: Any, condition: Any, key: jax.Array | None, *, with_log_det: bool, inverse: bool
    ) -> tuple[Any, Array | None, Info]:
        """Map checked events in one direction; see `_forward` and `_forward_with_info`."""

    def _forward(
        self, x: Any, condition: Any, *, key: jax.Array | None, with_log_det: bool
    ) -> tuple[Any, Array | None]:
        return self._run(x, condition, key, with_log_det=with_log_det, inverse=False)[:2]

    def _inverse(
        self, y: Any, condition: Any, *, key: jax.Array | None, with_log_det: bool
    ) -> tuple[Any, Array | None]:
        return self._run(y, condition, key, with_log_det=with_log_det, inverse=True)[:2]

    def _forward_with_info(
        self, x: Any, condition: Any, *, key: jax.Array | None, with_log_det: bool
    ) -> tuple[Any, Array | None, Info]:
        return self._run(x, condition, key, with_log_det=with_log_det, inverse=False)

    def _inverse_with_info(
        self, y: Any, condition: Any, *, key: jax.Array | None, with_log_det: bool
    ) -> tuple[Any, Array | None, Info]:
        return self._run(y, condition, key, with_log_det=with_log_det, inverse=True)


def member_condition(member: Bijector, condition: Any) -> Any:
    """Hand a container's condition to a member: None where the member takes none.

    Args:
        member: The bijector inside.
        condition: The container's condition.

    Returns:
        The condition or None.
    """
    return None if member.condition_shape is None else condition


def as_tuple(info: Info) -> tuple[SolverInfo, ...]:
    """What the solves of a bijector reported, one entry a solve.

    Args:
        info: A `SolverInfo` or a tuple of them.

    Returns:
        A tuple.
    """
    return (info,) if isinstance(info, SolverInfo) else info


def joint_condition_shape(members: tuple[Bijector, ...], name: str) -> Shape | None:
    """Condition shape of a container: that of the members that take one.

    Args:
        members: The bijectors inside.
        name: The container's name, for the error.

    Returns:
        The shape, or None where no member takes a condition.

    Raises:
        ValueError: If members want conditions of different shapes.
    """
    joint: Shape | None = None
    for i, member in enumerate(members):
        shape = member.condition_shape
        if shape is None:
            continue
        if joint is not None and shape != joint:
            raise ValueError(
                f"{name}: bijector {i} ({type(member).__name__}) expects a condition of shape "
                f"{shape}, an earlier one expects {joint}; all members share one "
                "condition"
            )
        joint = shape
    return joint


def split_key(key: jax.Array | None, n: int) -> list[jax.Array | None]:
    """Split a call's key over the members of a container.

    Args:
        key: A JAX key, or None.
        n: Number of members.

    Returns:
        A key for each, or None for each.
    """
    return [None] * n if key is None else list(jax.random.split(key, n))


def joint_fast_direction(members: Iterable[Bijector]) -> FastDirection:
    """The direction that takes one pass through every member.

    Args:
        members: The bijectors inside.

    Returns:
        Its name.
    """
    directions = {member.fast_direction for member in members}
    forward, inverse = directions <= {"both", "forward"}, directions <= {"both", "inverse"}
    if forward:
        return "both" if inverse else "forward"
    return "inverse" if inverse else "neither"


def opposite(direction: FastDirection) -> FastDirection:
    """The fast direction after swapping forward and inverse.

    Args:
        direction: The fast direction.

    Returns:
        The swapped name.
    """
    swapped: dict[FastDirection, FastDirection] = {
        "both": "both",
        "neither": "neither",
        "forward": "inverse",
        "inverse": "forward",
    }
    return swapped[direction]

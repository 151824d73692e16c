"""A model as lists of arrays, which is what a fast compiled loop wants to carry."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jinn.bijectors.module import trainable


class Weights(NamedTuple):
    """The arrays of a model: those that the optimiser changes, and the others."""

    trained: list[Any]
    fixed: list[Any]


@dataclass(frozen=True)
class Structure:
    """All of a model but its arrays.

    Attributes:
        treedef: Its pytree structure.
        kinds: For each leaf "trained", "fixed", or "static" where it is no array.
        static: The static leaves, in order.
    """

    treedef: Any
    kinds: tuple[str, ...]
    static: tuple[Any, ...]

    def weights(self, model: Any) -> Weights:
        """The arrays of a model of this structure.

        Args:
            model: The model.

        Returns:
            Lists of its arrays, not copied.
        """
        leaves = list(zip(self.kinds, jax.tree.leaves(model), strict=True))
        return Weights(
            [leaf for kind, leaf in leaves if kind == "trained"],
            [leaf for kind, leaf in leaves if kind == "fixed"],
        )

    def model(self, weights: Weights) -> Any:
        """The model with these arrays.

        Args:
            weights: Lists of arrays as `weights` returns them.

        Returns:
            The model.
        """
        values = {
            "trained": iter(weights.trained),
            "fixed": iter(weights.fixed),
            "static": iter(self.static),
        }
        return jax.tree.unflatten(self.treedef, [next(values[kind]) for kind in self.kinds])


def structure_of(model: Any) -> Structure:
    """Separate what `jinn.trainable` allows to be trained from all else.

    Args:
        model: Any pytree.

    Returns:
        Its structure.

    Raises:
        ValueError: If no leaf can be trained.
    """
    leaves, treedef = jax.tree.flatten(model)
    is_array = [hasattr(leaf, "dtype") for leaf in leaves]
    arrays = [leaf if kept else 0 for leaf, kept in zip(leaves, is_array, strict=True)]
    allowed = jax.tree.leaves(trainable(jax.tree.unflatten(treedef, arrays)))
    kinds = [
        ("trained" if may_change else "fixed") if kept else "static"
        for kept, may_change in zip(is_array, allowed, strict=True)
    ]
    if "trained" not in kinds:
        raise ValueError(
            f"fit: {type(model).__name__} has no floating-point array that can be trained; pass a "
            "flow, or any pytree with parameters"
        )
    static = tuple(leaf for leaf, kind in zip(leaves, kinds, strict=True) if kind == "static")
    return Structure(treedef, tuple(kinds), static)


def copy(tree: Any) -> Any:
    """Copy all arrays of a pytree.

    Args:
        tree: The pytree.

    Returns:
        The same with buffers of its own.
    """
    return jax.tree.map(jnp.copy, tree)

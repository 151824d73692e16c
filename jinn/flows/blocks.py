"""The blocks of multi-scale flows."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import numpy as np
from flax import nnx

from jinn.bijectors.actnorm import ActNorm
from jinn.bijectors.base import Bijector
from jinn.bijectors.chain import Chain
from jinn.bijectors.condition import EmbedCondition
from jinn.bijectors.coupling import Coupling, TwoSidedCoupling, half_mask
from jinn.bijectors.stack import Backprop, Stack
from jinn.bijectors.transformers import Transformer
from jinn.flows.mixing import Mixing, make_mixing
from jinn.functional.coupling import coupling_sizes
from jinn.networks.condition import Pick


@dataclass(frozen=True)
class Blocks:
    """Blocks of ActNorm (if they are normalised), mixing and coupling, of images or vectors.

    Attributes:
        mask: Booleans of the event's shape, True where the couplings transform.
        entry: The entry of a dict condition that they see; None for unconditional ones.
        network: The class of the conditioners.
        mixing: How the last axis is mixed, see `jinn.flows.mixing`.
        two_sided: Whether both parts are transformed.
        normalize: Whether an ActNorm comes first.
        transformer: What the couplings apply.
        hidden: Widths of the conditioners' hidden layers.
        activation: Name of the conditioners' activation.
        param_dtype: Type of the parameters.
        dtype: Type in which the conditioners compute, or None.
    """

    mask: np.ndarray
    entry: str | None
    network: Callable[..., nnx.Module]
    mixing: Mixing
    two_sided: bool
    normalize: bool
    transformer: Transformer
    hidden: Sequence[int] | int
    activation: str
    param_dtype: Any
    dtype: Any

    def stack(
        self, shapes: Any, depth: int, backprop: Backprop, key: jax.Array
    ) -> Stack | EmbedCondition:
        """Stack a number of them.

        Args:
            shapes: Shape of the flow's condition, or of what a network makes of it.
            depth: Number of blocks.
            backprop: As for `jinn.bijectors.Stack`.
            key: A JAX key.

        Returns:
            The blocks, conditional on all of the condition or on their entry of it.
        """
        if not isinstance(shapes, dict) or self.entry is None or self.entry not in shapes:
            shape = None if isinstance(shapes, dict) or self.entry is None else shapes
            return Stack(partial(self.make, shape), depth, rngs=key, backprop=backprop)
        make = partial(self.make, shapes[self.entry])
        stack = Stack(make, depth, rngs=key, backprop=backprop)
        return EmbedCondition(stack, Pick(self.entry), shapes)

    def make(self, condition_shape: Any, key: jax.Array) -> Bijector:
        """Make one block.

        Args:
            condition_shape: Shape of what its conditioners see, or None.
            key: A JAX key.

        Returns:
            The block.
        """
        shape = self.mask.shape
        keys = jax.random.split(key, 3)
        mix = make_mixing(
            self.mixing,
            shape,
            keys[0],
            leaving=None if self.two_sided else half_mask(shape[-1]),
            param_dtype=self.param_dtype,
        )
        masks = (self.mask, ~self.mask)[: 1 + self.two_sided]
        sizes = [coupling_sizes(mask) for mask in masks]
        networks = [
            self.network(
                n_in,
                self.transformer.n_params * n_out,
                hidden=self.hidden,
                condition_shape=condition_shape,
                activation=self.activation,
                param_dtype=self.param_dtype,
                dtype=self.dtype,
                rngs=network_key,
            )
            for (n_in, n_out), network_key in zip(sizes, keys[1:], strict=False)
        ]
        options: Any = {
            "mask": self.mask,
            "transformer": self.transformer,
            "condition_shape": condition_shape,
        }
        if self.two_sided:
            couple = TwoSidedCoupling(shape, conditioners=(networks[0], networks[1]), **options)
        else:
            couple = Coupling(shape, conditioner=networks[0], **options)
        normalization = [ActNorm(shape, param_dtype=self.param_dtype)] if self.normalize else []
        return Chain([*normalization, mix, couple])

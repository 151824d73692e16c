"""A block repeated with different parameters, compiled once."""

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from numbers import Integral
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array

from jinn.bijectors.base import Bijector, Info, Outputs, zeros_log_det
from jinn.bijectors.container import Reporting, as_tuple
from jinn.bijectors.reversible import Backprop as Backprop
from jinn.bijectors.reversible import check_backprop, run_reversibly
from jinn.functional.loop import varying_like
from jinn.functional.reversible import add_floats, zero_floats
from jinn.functional.solver import SolverInfo
from jinn.networks.randomness import as_key

_POLICIES = {
    "store": jax.checkpoint_policies.dots_saveable,
    "remat": jax.checkpoint_policies.nothing_saveable,
}


class Stack(Reporting):
    """Apply `depth` blocks of one kind in turn, `z = f_depth(... f_1(x))`, by `jax.lax.scan`.

    The blocks' parameters are stacked along a new leading axis of every leaf, so that neither
    compile time nor the number of leaves grows with depth. `stack[i]` is one block.

    Args:
        make_block: Makes one block from a JAX key. It is called once, under `jax.vmap`, so all
            its randomness must come from that key; give several parts of a block the keys of
            `jax.random.split(key)`.
        depth: Number of blocks.
        rngs: An int, a JAX key or `flax.nnx.Rngs`.
        backprop: What reverse-mode differentiation keeps: "store" keeps every block's matrix
            products and recomputes the element-wise rest, "remat" keeps the blocks' inputs only
            and recomputes all, "invert" keeps the last block's output only and rebuilds the others'
            by the inverse, so that temporary memory does not grow with depth. Members of a block
            without an `analytic_inverse` (residual, autoregressive, continuous ones) keep their
            inputs then; `reconstruction_drift` measures the rounding. With "invert" JAX refuses
            forward mode, `jax.jvp` and `jax.jacfwd`, and gradients by arrays that a block closes
            over and that are no attributes of it.
        unroll: Write the blocks out one after the other in a direction that takes one pass. On a
            CPU this saves a tenth to a fifth of a training step with up to about six small blocks,
            and costs as much with more; compile time then grows with depth.

    Raises:
        ValueError: If depth is no positive integer, `backprop` is unknown, or a block changes the
            event's shape.
    """

    def __init__(
        self,
        make_block: Callable[[jax.Array], Bijector],
        depth: int,
        *,
        rngs: int | jax.Array | nnx.Rngs,
        backprop: Backprop = "store",
        unroll: bool = False,
    ) -> None:
        """See the class."""
        if not isinstance(depth, Integral) or depth < 1:
            raise ValueError(f"Stack: expected an integer depth >= 1, got {depth!r}")
        check_backprop(backprop, "Stack")
        block = jax.vmap(make_block)(jax.random.split(as_key(rngs), depth))
        if not isinstance(block, Bijector):
            raise ValueError(
                f"Stack: expected make_block to return a Bijector, got {type(block).__name__}"
            )
        if block.event_shape != block.event_shape_out:
            raise ValueError(
                f"Stack: expected a block that keeps the event's shape, but "
                f"{type(block).__name__} maps {block.event_shape} to {block.event_shape_out}"
            )
        self._declare(
            block.event_shape,
            condition_shape=block.condition_shape,
            fast_direction=block.fast_direction,
        )
        self.analytic_inverse = block.analytic_inverse
        self.block: Bijector = block
        self.depth, self.backprop, self.unroll = int(depth), backprop, bool(unroll)

    def __len__(self) -> int:
        """Number of blocks."""
        return self.depth

    def __iter__(self) -> Iterator[Bijector]:
        """Iterate over the blocks in the order of `forward`."""
        return (self[index] for index in range(self.depth))

    def __getitem__(self, index: int) -> Bijector:
        """Take one block.

        Args:
            index: Its place in the order of `forward`, negative from the end.

        Returns:
            A bijector with that block's parameters.

        Raises:
            IndexError: If there is no such block.
            ValueError: If the index is a slice.
        """
        if isinstance(index, slice):
            raise ValueError(
                "Stack: expected an integer index, got a slice; "
                "Chain([stack[i] for i in range(...)]) makes a chain of some blocks"
            )
        if not -self.depth <= index < self.depth:
            raise IndexError(f"Stack: index {index} is out of range for {self.depth} blocks")
        return jax.tree.map(lambda leaf: leaf[index], self.block)

    def _run(
        self, x: Any, condition: Any, key: jax.Array | None, *, with_log_det: bool, inverse: bool
    ) -> tuple[Any, Array | None, Info]:
        if self.backprop == "invert":
            return run_reversibly(
                self, x, condition, key, with_log_det=with_log_det, inverse=inverse
            )

        @partial(jax.checkpoint, policy=_POLICIES[self.backprop], prevent_cse=False)
        def apply(x: Any, block: Bijector, condition: Any, key: Any) -> tuple[Any, Any, Info]:
            return block._apply(x, condition, key=key, with_log_det=with_log_det, inverse=inverse)

        def step(carry: tuple[Any, Any], layer: tuple[Bijector, Any]) -> tuple[Any, Info]:
            x, total = carry
            block, layer_key = layer
            before = x
            x, log_det, info = apply(x, block, condition, layer_key)
            _check_types(before, x, block)
            return (x, total + log_det if with_log_det else total), info

        total = zeros_log_det(x, self.event_shape) if with_log_det else None
        keys = None if key is None else jax.random.split(key, self.depth)
        x, total = varying_like((x, total), (x, condition, self.block, keys))
        (x, total), info = self._scan(
            step, (x, total), (self.block, keys), reverse=inverse, inverse=inverse
        )
        blocks = range(self.depth)[:: -1 if inverse else 1]
        return x, total, _in_turn(info, blocks)

    def _run_forgetful(
        self, x: Any, condition: Any, key: jax.Array | None, *, with_log_det: bool, inverse: bool
    ) -> tuple[Any, Array | None, Info, Any]:
        def step(carry: Any, layer: Any) -> Any:
            x, total = carry
            block, layer_key = layer
            x, log_det, info, kept = block._run_forgetful(
                x, condition, layer_key, with_log_det=with_log_det, inverse=inverse
            )
            return (x, total + log_det if with_log_det else total), (info, kept)

        total = zeros_log_det(x, self.event_shape) if with_log_det else None
        keys = None if key is None else jax.random.split(key, self.depth)
        x, total = varying_like((x, total), (x, condition, self.block, keys))
        (x, total), (info, kept) = self._scan(
            step, (x, total), (self.block, keys), reverse=inverse, inverse=inverse
        )
        blocks = range(self.depth)[:: -1 if inverse else 1]
        return x, total, _in_turn(info, blocks), kept

    def _pull_back(
        self,
        y: Any,
        kept: Any,
        condition: Any,
        key: jax.Array | None,
        cotangents: tuple[Any, Array | None],
        *,
        inverse: bool,
    ) -> tuple[Any, tuple[Bijector, Any, Any]]:
        by_y, by_log_det = cotangents

        def step(carry: Any, layer: Any) -> Any:
            y, by_y, by_condition = carry
            block, layer_key, own = layer
            x, (by_block, by_x, by_c) = block._pull_back(
                y, own, condition, layer_key, (by_y, by_log_det), inverse=inverse
            )
            return (x, by_x, add_floats(by_condition, by_c)), by_block

        keys = None if key is None else jax.random.split(key, self.depth)
        start = (y, by_y, zero_floats(condition))
        start = varying_like(start, (y, by_y, condition, self.block, keys))
        (x, by_x, by_condition), by_block = self._scan(
            step, start, (self.block, keys, kept), reverse=not inverse, inverse=inverse
        )
        by_self = nnx.clone(self)
        by_self.block = by_block
        return x, (by_self, by_x, by_condition)

    def _scan(self, step: Any, start: Any, layers: Any, *, reverse: bool, inverse: bool) -> Any:
        one_pass = self.fast_direction in ("both", "inverse" if inverse else "forward")
        unroll = self.unroll and one_pass
        return jax.lax.scan(step, start, layers, length=self.depth, reverse=reverse, unroll=unroll)

    def _outputs(self, name: str, x: Any, condition: Any, *, inverse: bool) -> Outputs:
        for i in range(self.depth)[:: -1 if inverse else 1]:
            x = yield from self[i]._outputs(f"{name}[{i}]", x, condition, inverse=inverse)
        return x

    def _initialize(self, x: Any, condition: Any, *, invert: bool) -> tuple[Bijector, Any]:
        treedef = jax.tree.structure(self.block)

        def step(x: Any, block: Bijector) -> tuple[Any, list[Array]]:
            block, x = block._initialize(x, condition, invert=invert)
            return x, jax.tree.leaves(block)

        x, leaves = jax.lax.scan(step, x, self.block, length=self.depth, reverse=invert)
        new = nnx.clone(self)
        new.block = jax.tree.unflatten(treedef, jax.tree.map(jnp.asarray, leaves))
        return new, x


def _check_types(x: Any, y: Any, block: Bijector) -> None:
    """Events keep their type, which a scan needs of its blocks."""
    given, got = ([leaf.dtype for leaf in jax.tree.leaves(event)] for event in (x, y))
    if given != got:
        raise ValueError(
            f"Stack: expected {type(block).__name__} to give events of the type that it gets, got "
            f"{', '.join(map(str, got))} for {', '.join(map(str, given))}; let it return "
            "y.astype(x.dtype)"
        )


def _in_turn(stacked: Info, blocks: Iterable[int]) -> Info:
    """One info a solve, block after block, of infos with a leading axis of blocks."""
    infos = as_tuple(stacked)
    return tuple(SolverInfo(*(leaf[i] for leaf in info)) for i in blocks for info in infos)

"""Where the arrays of a training lie on a mesh of devices, and how its gradients are summed."""

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array

from jinn.flows.devices import check_mesh, divisible
from jinn.training.accumulation import accumulated

Objective = Callable[[list[Any], list[Any], Any, jax.Array, Array], Any]
"""``(trained, fixed, batch, key, step) -> (loss, metrics)``."""

_one_training = threading.Lock()


@dataclass(frozen=True)
class Placement:
    """A mesh over all of whose axes the rows of a batch are split.

    Attributes:
        mesh: The mesh, or None for one device, which JAX chooses.
        shard_parameters: Whether weights and the optimiser's state are split too, each array along
            its longest axis that the devices divide, and gathered in each step.
    """

    mesh: Mesh | None = None
    shard_parameters: bool = False

    @property
    def devices(self) -> int:
        """Number of devices."""
        return 1 if self.mesh is None else self.mesh.size

    def exclusive(self) -> AbstractContextManager[Any]:
        """A context of one training on a mesh at a time: those of two would wait for each other."""
        return nullcontext() if self.mesh is None else _one_training

    def rows(self, batch: Any) -> Any:
        """Split the rows of arrays of a traced program, where the devices divide them.

        Args:
            batch: Arrays with a leading axis of rows.

        Returns:
            The same.
        """
        if self.mesh is None:
            return batch
        return jax.tree.map(
            lambda leaf: (
                leaf
                if leaf.shape[0] % self.devices
                else jax.lax.with_sharding_constraint(leaf, self._named(self._split_at(0)))
            ),
            batch,
        )

    def replicated(self, tree: Any) -> Any:
        """Keep arrays of a traced program whole on every device.

        Args:
            tree: A pytree of arrays.

        Returns:
            The same.
        """
        if self.mesh is None:
            return tree
        return jax.lax.with_sharding_constraint(tree, self._named(PartitionSpec()))

    def weights(self, tree: Any) -> Any:
        """Keep arrays like weights of a traced program where `put_weights` put them.

        Args:
            tree: A pytree of arrays.

        Returns:
            The same.
        """
        if self.mesh is None:
            return tree
        named = jax.tree.map(lambda leaf: self._named(self._spec(leaf)), tree)
        return jax.lax.with_sharding_constraint(tree, named)

    def put_weights(self, tree: Any) -> Any:
        """Copy arrays like weights to the devices, whole or in parts.

        Args:
            tree: A pytree of arrays.

        Returns:
            The same.
        """
        if self.mesh is None:
            return tree
        return jax.tree.map(lambda leaf: self._put(leaf, self._spec(leaf)), tree)

    def put_everywhere(self, tree: Any) -> Any:
        """Copy arrays to every device.

        Args:
            tree: A pytree of arrays.

        Returns:
            The same.
        """
        if self.mesh is None:
            return tree
        return jax.tree.map(lambda leaf: self._put(leaf, PartitionSpec()), tree)

    def put_rows(self, batch: Any) -> Any:
        """Spread a batch of the host over the devices.

        Args:
            batch: Arrays with a leading axis of rows; of several processes each has its own part.

        Returns:
            Arrays of all rows.

        Raises:
            ValueError: If this process's devices do not divide its rows.
        """
        if self.mesh is None:
            return divisible(jax.tree.map(jnp.asarray, batch))
        rows, here = jax.tree.leaves(batch)[0].shape[0], len(self.mesh.local_devices)
        if rows % here:
            raise ValueError(
                f"fit: the iterator gave a batch of {rows} rows, which cannot be split evenly over "
                f"the mesh's {here} devices of this process; let it give a multiple of {here}"
            )
        named = self._named(self._split_at(0))
        return jax.tree.map(
            lambda leaf: jax.make_array_from_process_local_data(named, np.asarray(leaf)), batch
        )

    def check_split(self, batch_size: int, microbatches: int) -> None:
        """Check that a batch can be split evenly.

        Args:
            batch_size: Rows in a batch, of all devices.
            microbatches: Number of parts that each device takes its rows in.

        Raises:
            ValueError: If it cannot.
        """
        parts = self.devices * microbatches
        if batch_size % parts:
            over = f"the mesh's {self.devices} devices" if self.mesh is not None else ""
            into = f"microbatches={microbatches}" if microbatches > 1 else ""
            raise ValueError(
                f"fit: batch_size={batch_size} rows cannot be split evenly over "
                f"{' and '.join(filter(None, (over, into)))}; pass a multiple of {parts}"
            )

    def agreed(self, tree: Any) -> Any:
        """What the first process has, such as weights set from its own part of the data.

        Args:
            tree: A pytree of arrays, of the same shapes in every process.

        Returns:
            The same in every process.
        """
        if self.mesh is None or not self.mesh.is_multi_process:
            return tree
        return multihost_utils.broadcast_one_to_all(tree)

    def value_and_gradient(
        self, objective: Objective, *, by_shards: bool, microbatches: int = 1
    ) -> Callable[..., tuple[tuple[Array, dict[str, Array]], list[Any]]]:
        """The loss with its metrics, and its gradient by the trained weights.

        By shards, each device takes the mean over its rows, and one all-reduce takes the mean of
        these. Otherwise JAX divides the computation, with an all-reduce where it needs one, which
        may be in every layer, and the result is that of one device for any loss.

        Args:
            objective: The loss.
            by_shards: Whether it is a mean over rows that uses no key.
            microbatches: Number of parts of the rows, of each device, that are taken in turn.

        Returns:
            A function of the arguments of the objective.
        """
        differentiate = accumulated(jax.value_and_grad(objective, has_aux=True), microbatches)
        if self.mesh is None or not by_shards:
            return differentiate
        mesh, axes = self.mesh, self.mesh.axis_names

        def call(trained: list[Any], *arguments: Any) -> Any:
            specs = [self._spec(leaf) for leaf in trained]

            def gathered(part: Array, spec: PartitionSpec) -> Array:
                if not any(spec):
                    return part
                return jax.lax.all_gather(part, axes, axis=_split_axis(spec), tiled=True)

            def of_a_shard(parts: list[Any], *arguments: Any) -> Any:
                def local(parts: list[Any], *arguments: Any) -> Any:
                    return objective(list(map(gathered, parts, specs)), *arguments)

                of_parts = accumulated(jax.value_and_grad(local, has_aux=True), microbatches)
                found, gradients = of_parts(parts, *arguments)
                # What was gathered, the gradient of the gathering has summed.
                pairs = list(zip(gradients, specs, strict=True))
                whole = [gradient for gradient, spec in pairs if not any(spec)]
                found, whole = _mean_over(axes, (found, whole))
                means = iter(whole)
                split = (gradient / mesh.size for gradient, spec in pairs if any(spec))
                return found, [next(split if any(spec) else means) for spec in specs]

            everywhere, rows = PartitionSpec(), self._split_at(0)
            return jax.shard_map(
                of_a_shard,
                mesh=mesh,
                in_specs=(specs, everywhere, rows, everywhere, everywhere),
                out_specs=(everywhere, specs),
                check_vma=False,  # which would reduce in every layer of a scan
            )(trained, *arguments)

        return call

    def _put(self, leaf: Array, spec: PartitionSpec) -> Array:
        assert self.mesh is not None
        if not self.mesh.is_multi_process:
            return jax.device_put(leaf, self._named(spec))
        if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            data = self._put(jax.random.key_data(leaf), spec)
            return jax.random.wrap_key_data(data, impl=jax.random.key_impl(leaf))
        here = np.asarray(leaf)
        return jax.make_array_from_callback(here.shape, self._named(spec), here.__getitem__)

    def _named(self, spec: PartitionSpec) -> NamedSharding:
        assert self.mesh is not None
        return NamedSharding(self.mesh, spec)

    def _split_at(self, axis: int) -> PartitionSpec:
        assert self.mesh is not None
        return PartitionSpec(*[None] * axis, self.mesh.axis_names)

    def _spec(self, leaf: Any) -> PartitionSpec:
        """How an array like a weight is split."""
        divided = [n if n % self.devices == 0 else 0 for n in np.shape(leaf)]
        if not self.shard_parameters or not any(divided):
            return PartitionSpec()
        return self._split_at(int(np.argmax(divided)))


ONE_DEVICE = Placement()


def make_placement(mesh: Any, shard_parameters: Any) -> Placement:
    """Check the mesh of `fit`.

    Args:
        mesh: What the user gave.
        shard_parameters: What the user gave.

    Returns:
        The placement.

    Raises:
        ValueError: If the mesh is none, or there is none to shard parameters over.
    """
    if not isinstance(shard_parameters, bool):
        raise ValueError(
            f"fit: expected shard_parameters to be a boolean, got {shard_parameters!r}"
        )
    if mesh is None:
        if shard_parameters:
            raise ValueError(
                "fit: shard_parameters=True needs a mesh; pass mesh=jax.make_mesh(...)"
            )
        return ONE_DEVICE
    return Placement(check_mesh(mesh, "fit"), shard_parameters)


def _mean_over(axes: Any, tree: Any) -> Any:
    """Means over the devices by one all-reduce for each type of number."""
    leaves, treedef = jax.tree.flatten(tree)
    means: dict[int, Array] = {}
    for dtype in dict.fromkeys(leaf.dtype for leaf in leaves):
        chosen = [i for i, leaf in enumerate(leaves) if leaf.dtype == dtype]
        flat = jnp.concatenate([leaves[i].ravel() for i in chosen])
        ends = np.cumsum([leaves[i].size for i in chosen])
        parts = jnp.split(jax.lax.pmean(flat, axes), ends[:-1])
        means |= {i: part.reshape(leaves[i].shape) for i, part in zip(chosen, parts, strict=True)}
    return jax.tree.unflatten(treedef, [means[i] for i in range(len(leaves))])


def _split_axis(spec: PartitionSpec) -> int:
    return next(i for i, part in enumerate(spec) if part is not None)

"""Perceptrons whose weights are masked so that outputs depend on earlier inputs only."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jinn.functional.perceptron import add_batches


def hidden_degrees(size: int, width: int, *, lowest: int) -> np.ndarray:
    """Say how many leading inputs each hidden unit sees: ascending from `lowest` to size - 1.

    All degrees have the same number of units, up to one.

    Args:
        size: Number of inputs.
        width: Number of hidden units.
        lowest: The smallest degree; 0 where units may depend on a condition alone.

    Returns:
        Integers of shape `(width,)`.
    """
    return lowest + np.arange(width) * (size - lowest) // width


@dataclass(frozen=True)
class MaskedPerceptron:
    """The perceptron of MADE, `out = W_n h + b_n, h = a(W_l h + b_l)` with masked weights W.

    A hidden unit of degree d depends on the first d elements in the order, and the parameters of
    the element at place k on units of degree k or less. The masks follow from the sizes.

    Args:
        kernels: Weights of the hidden layers, (inputs, outputs) each; the inputs of the first are
            the elements in their order, without the last, on which nothing depends.
        last_kernel: Weights of the outputs, shape (n_params * size, width).
        shifts: What is added in each hidden layer, `(*condition_batch, width)`.
        last_shift: What is added to the outputs, shape (n_params * size,).
        activation: The element-wise function a.
        order: The elements in the order of their dependence.
        lowest: The smallest degree of the hidden units, 0 or 1.
        residual: Add each hidden layer after the first to its input.
        dtype: Type to compute in, or None for that of the inputs and weights.

    Reference:
        MADE: Masked Autoencoder for Distribution Estimation (Germain, Gregor, Murray, Larochelle,
        2015), https://arxiv.org/abs/1502.03509
    """

    kernels: tuple[Float[Array, "_ _"], ...]
    last_kernel: Float[Array, "_ _"]
    shifts: tuple[Float[Array, "..."], ...]
    last_shift: Float[Array, " _"]
    activation: Callable[[Array], Array]
    order: tuple[int, ...]
    lowest: int
    residual: bool = False
    dtype: Any = None

    def __call__(self, x: Float[Array, "*batch size"]) -> Float[Array, "*out_batch outputs"]:
        """Evaluate all parameters in one pass.

        Args:
            x: The elements.

        Returns:
            All elements' first parameter, then all elements' second, and so on.
        """
        h = _elements(x, self.order[:-1]).astype(self._dtype(x))
        n_params = len(self.last_shift) // len(self.order)
        masks = masks_of(self.order, self.widths, n_params, lowest=self.lowest)
        layers = zip(self.kernels, masks[:-1], self.shifts, strict=True)
        for i, (kernel, mask, shift) in enumerate(layers):
            update = self.activation(add_batches(h @ jnp.where(mask, kernel, 0), shift))
            h = h + update if self.residual and i else update
        kernel = jnp.where(masks[-1], self.last_kernel, 0)
        return add_batches(jnp.tensordot(h, kernel, axes=(-1, 1)), self.last_shift)

    @property
    def widths(self) -> tuple[int, ...]:
        """Widths of the hidden layers."""
        return tuple(kernel.shape[1] for kernel in self.kernels)

    def begin(self, like: Float[Array, "*batch size"]) -> tuple[Any, Any]:
        """Prepare an evaluation element after element, in which each hidden unit is computed once.

        The units of degree k become known at step k. Until then they are 0 in the state, so that
        products with all of them need no mask. Units lead and the batch trails. Later stages have
        larger states: a step does not multiply what no step of its stage knows.

        Args:
            like: An array of the batch and type of x.

        Returns:
            A state in which no element is known, and what the steps of each stage need.
        """
        size, batch, dtype = len(self.order), like.shape[:-1], self._dtype(like)
        state = tuple(jnp.zeros((0, *batch), dtype) for _ in (0, *self.kernels))
        layers = []
        known = np.arange(size)  # the inputs of a layer in the order of the state's rows
        for kernel, shift, width in zip(self.kernels, self.shifts, self.widths, strict=True):
            units = _units_by_degree(hidden_degrees(size, width, lowest=self.lowest), size)
            weights = _take(_take(kernel, known, 0), units, 1)  # (inputs, size, units of a degree)
            own = jnp.moveaxis(_take(shift, units, -1), (-2, -1), (0, 1))
            ones = [1] * (len(batch) + 2 - own.ndim)
            own = own.reshape(*own.shape[:2], *ones, *own.shape[2:])
            layers.append((jnp.moveaxis(weights, 1, 0), own))
            known = units.ravel()
        places = np.array(self.order)
        last = _take(self.last_kernel, known, 1).reshape(-1, size, known.size)[:, places]
        last_shift = self.last_shift.reshape(-1, size)[:, places]
        last = jnp.moveaxis(last, 1, 0)
        stages = []
        ends = np.arange(1, _n_stages(size) + 1) * size // _n_stages(size)
        for start, end in pairwise((0, *ends.tolist())):
            # Rows of the state come in groups of one place each: the first `end` groups.
            parts = tuple(
                (kernel[start:end, : kernel.shape[1] * end // size], shift[start:end])
                for kernel, shift in layers
            )
            outputs = last[start:end, :, : last.shape[2] * end // size], last_shift.T[start:end]
            stages.append((jnp.arange(start, end), parts, outputs))
        return state, stages

    def resume(self, state: Any, stage: Any) -> Any:
        """Enlarge the state for a stage.

        Args:
            state: The state at the end of the stage before.
            stage: What the steps of the stage need.

        Returns:
            The state, with room for what becomes known.
        """
        _, layers, (last_kernel, _) = stage
        rows = [*(kernel.shape[1] for kernel, _ in layers), last_kernel.shape[2]]
        return tuple(
            jnp.pad(a, ((0, n - a.shape[0]), *[(0, 0)] * (a.ndim - 1)))
            for a, n in zip(state, rows, strict=True)
        )

    def parameters(self, state: Any, step: Any) -> tuple[Any, Float[Array, "n_params *batch"]]:
        """Compute the units of the next degree and the next element's parameters.

        Args:
            state: The state in which all elements before it are known.
            step: This element's slice of what the steps need.

        Returns:
            The state, and the parameters.
        """
        place, layers, (last_kernel, last_shift) = step
        x, *hidden = state
        inputs, units = x, jnp.zeros(())
        for i, (kernel, shift) in enumerate(layers):
            update = self.activation(jnp.tensordot(kernel, inputs, axes=(0, 0)) + shift)
            units = units + update if self.residual and i else update
            inputs = hidden[i] = jax.lax.dynamic_update_slice_in_dim(
                hidden[i], units, place * len(units), axis=0
            )
        out = jnp.tensordot(last_kernel, inputs, axes=1)
        last_shift = last_shift.reshape(-1, *[1] * (out.ndim - 1))
        return (x, *hidden), out + last_shift

    def append(self, state: Any, step: Any, value: Float[Array, "*batch"]) -> Any:
        """Make the element known.

        Args:
            state: The state that `parameters` returned.
            step: This element's slice of what the steps need.
            value: The element.

        Returns:
            The new state.
        """
        x, *hidden = state
        value = value.astype(x.dtype)
        return (jax.lax.dynamic_update_index_in_dim(x, value, step[0], axis=0), *hidden)

    def _dtype(self, x: Array) -> Any:
        """The type to compute in."""
        return jnp.result_type(x, self.last_kernel) if self.dtype is None else self.dtype


def masks_of(
    order: tuple[int, ...], widths: tuple[int, ...], n_params: int, *, lowest: int
) -> tuple[np.ndarray, ...]:
    """The masks of a `MaskedPerceptron`, booleans in the shapes of its weights.

    Args:
        order: The elements in the order of their dependence.
        widths: Widths of the hidden layers.
        n_params: Number of parameters an element.
        lowest: The smallest degree of the hidden units.

    Returns:
        One mask for each hidden layer and one for the outputs, True where a weight is used.
    """
    size = len(order)
    degrees = [hidden_degrees(size, width, lowest=lowest) for width in widths]
    first = np.arange(size - 1)[:, None] < degrees[0]
    between = [before[:, None] <= after for before, after in pairwise(degrees)]
    places = np.argsort(order)
    last = degrees[-1] <= np.tile(places, n_params)[:, None]
    return first, *between, last


def _n_stages(size: int) -> int:
    """Two for 32 elements, four from 64 on; each is a loop to compile."""
    return max(1, min(4, size // 16))


def _units_by_degree(degrees: np.ndarray, size: int) -> np.ndarray:
    """The units of each degree below `size` in a row, filled up with the number of all units."""
    counts = np.bincount(degrees, minlength=size)
    units = np.full((size, counts.max()), len(degrees))
    for degree, row in enumerate(units):
        row[: counts[degree]] = np.flatnonzero(degrees == degree)
    return units


def _take(array: Array, indices: np.ndarray, axis: int) -> Array:
    """Slices along an axis; of the index just behind its end, zeros."""
    ends = [(0, 0)] * array.ndim
    ends[axis] = (0, 1)
    return jnp.take(jnp.pad(array, ends), indices, axis=axis, mode="clip")


def _elements(x: Array, places: tuple[int, ...]) -> Array:
    """Elements along the last axis; a slice where they lead in their natural order."""
    if places == tuple(range(len(places))):
        return x[..., : len(places)]
    return x[..., np.array(places)]

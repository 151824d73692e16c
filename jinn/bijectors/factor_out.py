"""Multi-scale flows: channels that leave to the latent early."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array

from jinn.bijectors.base import Bijector, Info, Outputs
from jinn.bijectors.container import Reporting
from jinn.networks.options import is_count


class FactorOut(Reporting):
    """Let some channels leave to the latent and map the others, `x = [u, v] -> {f(u), v}`.

    Events are arrays whose last axis are the channels. The first ones go on through the bijector
    `rest`, and the last ones leave as they are; behind `Haar` the averages come first. The output
    is a dict with what left under `name`, and beside it what `rest` gives: its entries if that is
    a dict, else all of it under `rest_name`. So nested ones give one flat dict, a latent a scale:

        coarse = Chain([Haar((4, 4, 6)), block_2])
        flow = Chain([Haar((8, 8, 3)), block_1, FactorOut(coarse, channels=6, name="fine",
                      rest_name="coarse")])

    maps images (8, 8, 3) to `{"fine": (4, 4, 6), "coarse": (2, 2, 24)}`. A base density of dicts is
    `StandardNormal(flow.event_shape_out)`, or a `Joint` of one density for each name; their
    `log_probs` tells the scales' log-densities apart.

    Args:
        rest: The bijector of the channels that go on, over events with a last axis.
        channels: How many channels leave.
        name: The output's key of the channels that leave.
        rest_name: The output's key of what `rest` gives, if that is an array.

    Raises:
        ValueError: If `rest` is no bijector over arrays with a last axis, `channels` is no positive
            integer, or a name is missing, not wanted, or given twice.

    Reference:
        Density estimation using Real NVP (Dinh, Sohl-Dickstein, Bengio, 2017), section 3.6,
        https://arxiv.org/abs/1605.08803
    """

    def __init__(
        self, rest: Bijector, *, channels: int, name: str, rest_name: str | None = None
    ) -> None:
        """See the class."""
        if not isinstance(rest, Bijector):
            raise ValueError(f"FactorOut: expected rest to be a Bijector, got {rest!r}")
        shape, shape_out = rest.event_shape, rest.event_shape_out
        if isinstance(shape, dict) or not shape:
            raise ValueError(
                "FactorOut: expected rest to take arrays with a last axis, the channels, got "
                f"{type(rest).__name__} over events of shape {shape}"
            )
        if not is_count(channels):
            raise ValueError(
                f"FactorOut: expected channels to be a positive integer, got {channels!r}"
            )
        others = _outputs_of_rest(shape_out, rest_name, type(rest).__name__)
        if not isinstance(name, str) or name in others:
            raise ValueError(
                f"FactorOut: expected a name other than those of what the rest gives, "
                f"{sorted(others)}, got {name!r}"
            )
        self._declare(
            (*shape[:-1], shape[-1] + channels),
            event_shape_out={name: (*shape[:-1], int(channels)), **others},
            condition_shape=rest.condition_shape,
            fast_direction=rest.fast_direction,
        )
        self.analytic_inverse = rest.analytic_inverse
        self.rest, self.name, self.rest_name = rest, name, rest_name

    def _run(
        self, x: Any, condition: Any, key: jax.Array | None, *, with_log_det: bool, inverse: bool
    ) -> tuple[Any, Array | None, Info]:
        u, v = self._split(x, inverse)
        y, log_det, info = self.rest._apply(
            u, condition, key=key, with_log_det=with_log_det, inverse=inverse
        )
        return self._join(y, v, inverse), log_det, info

    def _run_forgetful(
        self, x: Any, condition: Any, key: jax.Array | None, *, with_log_det: bool, inverse: bool
    ) -> tuple[Any, Array | None, Info, Any]:
        u, v = self._split(x, inverse)
        y, log_det, info, kept = self.rest._run_forgetful(
            u, condition, key, with_log_det=with_log_det, inverse=inverse
        )
        return self._join(y, v, inverse), log_det, info, kept

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
        image, v = self._split(y, not inverse)
        by_image, by_v = self._split(cotangents[0], not inverse)
        u, (by_rest, by_u, by_condition) = self.rest._pull_back(
            image, kept, condition, key, (by_image, cotangents[1]), inverse=inverse
        )
        by_self = nnx.clone(self)
        by_self.rest = by_rest
        x, by_x = self._join(u, v, not inverse), self._join(by_u, by_v, not inverse)
        return x, (by_self, by_x, by_condition)

    def _outputs(self, name: str, x: Any, condition: Any, *, inverse: bool) -> Outputs:
        u, v = self._split(x, inverse)
        y = yield from self.rest._outputs(f"{name}.rest", u, condition, inverse=inverse)
        return self._join(y, v, inverse)

    def _initialize(self, x: Any, condition: Any, *, invert: bool) -> tuple[Bijector, Any]:
        u, v = self._split(x, invert)
        new = nnx.clone(self)
        new.rest, y = self.rest._initialize(u, condition, invert=invert)
        return new, self._join(y, v, invert)

    def _split(self, x: Any, inverse: bool) -> tuple[Any, Array]:
        """What goes through the rest in a direction, and the channels that do not."""
        if not inverse:
            shape: Any = self.rest.event_shape
            return x[..., : shape[-1]], x[..., shape[-1] :]
        if self.rest_name is not None:
            return x[self.rest_name], x[self.name]
        return {key: part for key, part in x.items() if key != self.name}, x[self.name]

    def _join(self, y: Any, v: Array, inverse: bool) -> Any:
        if inverse:
            return jnp.concatenate([y, v], axis=-1)
        return {self.name: v, **(y if self.rest_name is None else {self.rest_name: y})}


def _outputs_of_rest(shape: Any, rest_name: str | None, kind: str) -> dict[str, tuple[int, ...]]:
    """Shapes of what the rest gives, by their keys."""
    if isinstance(shape, dict):
        if rest_name is not None:
            raise ValueError(
                f"FactorOut: {kind} gives a dict, whose keys {sorted(shape)} are those of the "
                f"output; leave rest_name out, got {rest_name!r}"
            )
        return dict(shape)
    if not isinstance(rest_name, str):
        raise ValueError(
            f"FactorOut: {kind} gives an array, which needs a key in the output; name it by "
            f"rest_name, got {rest_name!r}"
        )
    return {rest_name: shape}

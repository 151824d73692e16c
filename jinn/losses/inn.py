"""The losses of the bidirectional INN, by discrepancies or by maximum likelihood."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp
from jaxtyping import Array

from jinn.bijectors.shapes import as_event
from jinn.flows.inn_data import check_rows
from jinn.flows.inn_model import INN
from jinn.flows.inn_parts import SHARPNESS, InnOutput
from jinn.functional.kernels import kernel_lengths, mmd_squared
from jinn.losses.likelihood import split_batch

Method = Literal["mmd", "likelihood"]
PARTS = ("y", "z", "padding", "x", "reconstruction")
DEFAULT_WEIGHTS = {"mmd": (100.0, 100.0, 1.0, 100.0, 1.0), "likelihood": (1.0, 1.0, 1.0, 0.0, 0.0)}
"""Weights of the parts, in that order."""
FIRST_SHARE = 0.002
"""Share of its weight that L_x begins with where it is warmed up."""


def inn_loss(
    *,
    method: Method = "mmd",
    y_weight: float | None = None,
    z_weight: float | None = None,
    padding_weight: float | None = None,
    x_weight: float | None = None,
    reconstruction_weight: float | None = None,
    z_bandwidths: Sequence[float] | float = (0.5, 1.0, 2.0),
    x_bandwidths: Sequence[float] | float = (0.1, 0.4, 1.6),
    y_bandwidth: float | None = None,
    z_noise: float = 0.02,
    x_warm_up: int = 0,
) -> Callable[..., tuple[Array, dict[str, Array]]]:
    r"""Make the loss of an INN, ``sum of weight * part``, whose parts are its metrics.

    The map is ``f: [x, p] -> [f_y, f_z, f_p]`` with x and y standardised and p the padding. By
    "mmd" the parts are, e being standard normal and ``s_y, s_p`` the INN's noises:

    - "loss_y": ``E |f_y - y|^2``, for labels plus the cross-entropy, ``-log softmax(10 f_y)`` at
      the label, which alone would leave f_y far from the one-hot vectors that `sample` starts from;
    - "loss_z": ``MMD^2([f_z, f_y], [e, y])``, through whose f_y no gradient goes; f_y are
      probabilities where y is a label;
    - "loss_padding": ``E |f_p|^2``, and ``E |p|^2`` of generated x;
    - "loss_x": ``MMD^2(x, f^-1(y + s_y e, e, s_p e))``, its weight "weight_x" warmed up;
    - "loss_reconstruction": ``E |x - f^-1(f(x, s_p e) + noise)|^2``, the noise being
      ``s_y e, z_noise e, s_p e``.

    By "likelihood", ``-log p(x, p | y)`` up to a constant, ``loss_y + loss_z + loss_padding -
    log_det``, with ``loss_y = E |f_y - y - s_y e|^2 / (2 s_y^2)``, ``loss_z = E |f_z|^2 / 2`` and
    ``loss_padding = E |f_p|^2 / (2 s_p^2)``. For labels, y is one-hot: the squared distance
    includes the cross-entropy. The last two parts above can be added. Parts of weight 0 are not
    computed.

    Args:
        method: "mmd" or "likelihood".
        y_weight: Weight of loss_y; by default 100, or 1 by "likelihood".
        z_weight: Weight of loss_z; by default 100, or 1 by "likelihood".
        padding_weight: Weight of loss_padding; 1 by default.
        x_weight: Weight of loss_x; by default 100, or 0 by "likelihood".
        reconstruction_weight: Weight of loss_reconstruction; by default 1, or 0 by "likelihood".
        z_bandwidths: Lengths of the inverse multiquadratic kernel of loss_z, for standardised y.
        x_bandwidths: Those of loss_x, for standardised x.
        y_bandwidth: For noisy forward processes, a length s in deviations of y: in loss_x each pair
            is weighted by ``exp(-|y_i - y_j|^2 / (2 s^2))``, so that x of like y are compared. A
            batch should hold many of these, or samples come out too narrow.
        z_noise: Deviation of the noise on z in loss_reconstruction.
        x_warm_up: Steps in which the weight of loss_x grows exponentially, from 1/500 of its value.
            Validation has the whole weight.

    Returns:
        A loss for `jinn.fit`: from an INN of `jinn.flows.inn`, a batch `(x, y)`, a key and the step
        to a scalar and the metrics. With `key=None` it takes the same noise in every call, with
        `step=None` the whole weight of loss_x.

    Raises:
        ValueError: If the method is unknown, a weight is negative, all weights are 0 (or one that
            "likelihood" cannot do without), or a bandwidth is not positive. The loss raises it if
            it gets no INN, too few rows for an MMD, or x and y that do not fit.

    Reference:
        Analyzing Inverse Problems with Invertible Neural Networks (Ardizzone, Kruse, Wirkert,
        Rahner, Pellegrini, Klessen, Maier-Hein, Rother, Kothe, 2019),
        https://arxiv.org/abs/1808.04730; by likelihood: Benchmarking Invertible Architectures on
        Inverse Problems (Kruse, Ardizzone, Rother, Kothe, 2021), https://arxiv.org/abs/2101.10763
    """
    if method not in get_args(Method):
        raise ValueError(
            f"inn_loss: expected method to be one of {list(get_args(Method))}, got {method!r}"
        )
    given = (y_weight, z_weight, padding_weight, x_weight, reconstruction_weight)
    weights = [
        default if weight is None else weight
        for weight, default in zip(given, DEFAULT_WEIGHTS[method], strict=True)
    ]
    for name, weight in (*zip(PARTS, weights, strict=True), ("z_noise", z_noise)):
        number = isinstance(weight, Real) and not isinstance(weight, bool)
        if not number or not 0 <= float(weight) < math.inf:
            raise ValueError(
                f"inn_loss: expected {name if name == 'z_noise' else name + '_weight'} to be a "
                f"number of at least 0, got {weight!r}"
            )
    if not any(weights):
        raise ValueError("inn_loss: all weights are 0, so there is nothing to train")
    if method == "likelihood" and not all(weights[:3]):
        raise ValueError(
            "inn_loss: by likelihood y_weight, z_weight and padding_weight must be positive, since "
            f"the log-determinant alone has no bound, got {weights[:3]}"
        )
    if isinstance(x_warm_up, bool) or not isinstance(x_warm_up, Integral) or x_warm_up < 0:
        raise ValueError(
            f"inn_loss: expected x_warm_up to be a number of steps of at least 0, got {x_warm_up!r}"
        )
    widths = () if y_bandwidth is None else _lengths("y_bandwidth", y_bandwidth)
    if len(widths) > 1:
        raise ValueError(f"inn_loss: expected y_bandwidth to be one length, got {y_bandwidth!r}")
    return _INNLoss(
        method=method,
        z_bandwidths=_lengths("z_bandwidths", z_bandwidths),
        x_bandwidths=_lengths("x_bandwidths", x_bandwidths),
        y_bandwidth=widths[0] if widths else None,
        z_noise=float(z_noise),
        x_warm_up=int(x_warm_up),
        **dict(zip(PARTS, map(float, weights), strict=True)),
    )


@dataclass(frozen=True)
class _INNLoss:
    """The loss. Equal options make equal losses, so that `fit` compiles nothing again."""

    method: Method
    y: float
    z: float
    padding: float
    x: float
    reconstruction: float
    z_bandwidths: tuple[float, ...]
    x_bandwidths: tuple[float, ...]
    y_bandwidth: float | None
    z_noise: float
    x_warm_up: int

    def __call__(
        self, flow: Any, batch: Any, key: jax.Array | None = None, *, step: Any = None
    ) -> tuple[Array, dict[str, Array]]:
        u, code = self._checked(flow, batch)
        padding_key, log_det_key, noise_key, latent_key, sample_key = jax.random.split(
            jax.random.key(0) if key is None else key, 5
        )
        padding = flow.padding_noise * _normal(padding_key, u, flow.sizes.x_padding)
        by_likelihood = self.method == "likelihood"
        out = flow.split_forward(
            u, padding, with_log_det=by_likelihood, key=None if key is None else log_det_key
        )
        noise = self._noise(flow, noise_key, u)
        if by_likelihood:
            parts = _likelihood_parts(flow, out, code + noise[0])
        else:
            parts = self._discrepancies(flow, out, code, latent_key)
        if self.x or self.reconstruction:
            seen = [leaf + e for leaf, e in zip(out[:3], noise, strict=True)]
            generated, extra = self._inverse_parts(flow, seen, u, code, sample_key)
            parts |= generated
            if "padding" in parts and extra is not None and not by_likelihood:
                parts["padding"] += extra
        if not parts:
            raise ValueError(
                "inn_loss: only padding_weight is positive, and this INN has no padding, so there "
                "is nothing to train; give another part a weight"
            )
        weights = {name: getattr(self, name) for name in PARTS} | {"log_det": -1.0}
        metrics = {_METRICS[name]: value for name, value in parts.items()}
        if self.x and self.x_warm_up:
            weights["x"] = metrics["weight_x"] = self.x * self._share(step)
        terms = [weights[name] * value for name, value in parts.items()]
        return sum(terms[1:], start=terms[0]), metrics

    def _checked(self, model: Any, batch: Any) -> tuple[Array, Array]:
        """Standardised x, and y as the map gives it."""
        if not isinstance(model, INN):
            raise ValueError(
                f"inn_loss: expected a model that jinn.flows.inn builds, got {type(model).__name__}"
            )
        x, y = split_batch(batch)
        checked: Any = as_event(x, model.event_shape, "inn_loss: x")
        u = model.standardize(checked)
        code = model.encode(y).astype(u.dtype)
        check_rows("inn_loss", u, code, y, model)
        least = 2 if self.x or (self.z and self.method == "mmd") else 1
        if len(u) < least:
            raise ValueError(
                f"inn_loss: expected at least {least} rows in a batch for an MMD, got {len(u)}; "
                "raise batch_size, or the number of validation rows"
            )
        return u, code

    def _noise(self, model: INN, key: jax.Array, u: Array) -> list[Array]:
        """The noise on y, z and the padding before an inverse pass."""
        scales = (model.y_noise, self.z_noise, model.padding_noise)
        e = _parts(model, _normal(key, u, model.sizes.total))
        return [scale * part for scale, part in zip(scales, e, strict=True)]

    def _discrepancies(
        self, model: INN, out: InnOutput, code: Array, key: jax.Array
    ) -> dict[str, Array]:
        parts, y = {}, out.y
        if self.y:
            parts["y"] = _mean_square(y - code)
        if self.y and model.categories is not None:
            parts["y"] -= jnp.mean(jnp.sum(jax.nn.log_softmax(SHARPNESS * y) * code, -1))
        if self.z:
            seen = y if model.categories is None else jax.nn.softmax(SHARPNESS * y)
            found = jnp.concatenate([out.z, jax.lax.stop_gradient(seen)], -1)
            wanted = jnp.concatenate([_normal(key, out.z, model.sizes.z), code], -1)
            parts["z"] = mmd_squared(found, wanted, bandwidths=self.z_bandwidths)
        if self.padding and _is_padded(model):
            parts["padding"] = _mean_square(out.padding)
        return parts

    def _inverse_parts(
        self, model: INN, seen: list[Array], u: Array, code: Array, key: jax.Array
    ) -> tuple[dict[str, Array], Array | None]:
        """L_x and the reconstruction, by one pass, and the square of what pads generated x."""
        starts = [seen] if self.reconstruction else []
        if self.x:
            y, z, padding = _parts(model, _normal(key, u, model.sizes.total))
            starts.append([code + model.y_noise * y, z, model.padding_noise * padding])
        joined = [jnp.concatenate(leaves) for leaves in zip(*starts, strict=True)]
        found, padding = model.split_inverse(*joined)
        rows, parts, extra = len(u), {}, None
        if self.x:
            options: dict[str, Any] = {"bandwidths": self.x_bandwidths}
            if self.y_bandwidth is not None:
                options |= {"conditions": (code, code), "condition_bandwidth": self.y_bandwidth}
            parts["x"] = mmd_squared(found[-rows:], u, **options)
            extra = _mean_square(padding[-rows:])
        if self.reconstruction:
            parts["reconstruction"] = _mean_square(found[:rows] - u)
        return parts, extra

    def _share(self, step: Any) -> Array:
        """Of its weight, what L_x has at a step."""
        done = 1.0 if step is None else jnp.minimum(step / self.x_warm_up, 1.0)
        return jnp.asarray(FIRST_SHARE ** (1.0 - done))


_METRICS = {name: f"loss_{name}" for name in PARTS} | {"log_det": "log_det"}


def _likelihood_parts(model: INN, out: InnOutput, y: Array) -> dict[str, Array]:
    """The terms of the negative log-likelihood, and the log-determinant."""
    log_det: Any = out.log_det
    parts = {
        "y": 0.5 * _mean_square(out.y - y) / model.y_noise**2,
        "z": 0.5 * _mean_square(out.z),
        "log_det": jnp.mean(log_det),
    }
    if _is_padded(model):
        parts["padding"] = 0.5 * _mean_square(out.padding) / model.padding_noise**2
    return parts


def _is_padded(model: INN) -> bool:
    return model.sizes.x_padding + model.sizes.z_padding > 0


def _mean_square(differences: Array) -> Array:
    """Squared length of the rows, the mean over them."""
    wide = jnp.promote_types(differences.dtype, jnp.float32)
    return jnp.mean(jnp.sum(differences.astype(wide) ** 2, -1))


def _normal(key: jax.Array, like: Array, width: int) -> Array:
    return jax.random.normal(key, (len(like), width), like.dtype)


def _parts(model: INN, joined: Array) -> list[Array]:
    """What belongs to y, to z and to the padding."""
    return jnp.split(joined, (model.sizes.y, model.sizes.y + model.sizes.z), axis=-1)


def _lengths(name: str, given: Any) -> tuple[float, ...]:
    lengths = kernel_lengths(given)
    if not lengths:
        raise ValueError(
            f"inn_loss: expected {name} to be positive, got {given!r}; squares of lengths must be "
            "in the range of float32"
        )
    return lengths

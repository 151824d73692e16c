"""The methods that are compared: how each is built, trained and sized."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any, NamedTuple

import jax
from jaxtyping import Array

import jinn
from experiments.compare_architectures.baselines import (
    Autoencoder,
    ConditionalVAE,
    Scales,
    WithDecoder,
    autoencoder_loss,
    conditional_vae_loss,
    decoder_loss,
)
from experiments.compare_architectures.settings import Protocol
from experiments.inverse_problem import InverseProblem
from experiments.record import parameter_count
from jinn import flows
from jinn.bijectors import (
    Chain,
    Elementwise,
    EmbedCondition,
    InvAutoActivation,
    InvAutoDense,
)
from jinn.bijectors.transformers import RationalQuadraticSpline
from jinn.losses import inn_loss
from jinn.networks import MLP

NOISE = 0.02
"""Deviation of the tolerance on y of models `x <-> [y, z]`, in deviations of y."""


class Task(NamedTuple):
    """An inverse problem, the noise on y in training a posterior, and the truth's tolerance."""

    problem: InverseProblem
    y_noise: float
    tolerance: float


class Data(NamedTuple):
    """The training pairs, without noise."""

    x: Array
    y: Array


@dataclass(frozen=True, kw_only=True)
class Method:
    """A row of the table.

    Attributes:
        label: Its name in the table.
        build: ``build(task, data, width, key) -> model``, untrained; the width scales its layers.
        loss: A loss for `jinn.fit` of a model `x <-> [y, z]` or of a baseline; None for a flow
            over x given y, which `jinn.fit_posterior` trains.
        matching: Train that flow by flow matching.
        steps: Training steps, for `--parameters` of the default.
        batch_size: Pairs a step.
        learning_rate: Highest learning rate.
        ema_decay: Decay of the average of the weights, or None.
        published: Its name in the published tables, or None.
        ablation: Whether it is part of the ablation of the INN's losses, in place of the table.
    """

    label: str
    build: Callable[[Task, Data, int, jax.Array], Any]
    loss: Callable[..., Any] | None = None
    matching: bool = False
    steps: int
    batch_size: int = 512
    learning_rate: float = 2e-3
    ema_decay: float | None = 0.999
    published: str | None = None
    ablation: bool = False


def _conditional(builder: str, *, layers: int = 2, **options: Any) -> Callable[..., Any]:
    """A flow over x given y whose hidden layers have the width."""

    def build(task: Task, data: Data, width: int, key: jax.Array) -> Any:
        dims = {"condition_dim": task.problem.dim_y, "rngs": key}
        return getattr(flows, builder)(
            task.problem.dim_x, hidden=(width,) * layers, **dims, **options
        )

    return build


def _conditional_splines(task: Task, data: Data, width: int, key: jax.Array) -> flows.Flow:
    """Conditional spline couplings behind a fine spline of every element by itself.

    The latter learns what all posteriors share, such as that the speeds are whole numbers.
    """
    flow = _conditional("neural_spline_flow", depth=8)(task, data, width, key)
    marginals = Elementwise((task.problem.dim_x,), RationalQuadraticSpline(bins=64))
    return flows.Flow(Chain([marginals, flow.bijector]), flow.base)


def _continuous(task: Task, data: Data, width: int, key: jax.Array) -> flows.Flow:
    """A small field, which each step of a solve evaluates, and a large network of y, seen once."""
    field_key, network_key = jax.random.split(key)
    flow = flows.continuous_flow(
        task.problem.dim_x,
        condition_dim=16,
        hidden=(96, 96),
        modulation="concat",
        frequencies=2,
        rtol=1e-3,
        atol=1e-3,
        rngs=field_key,
    )
    shape = (task.problem.dim_y,)
    network = MLP(
        0,
        16,
        hidden=(width,) * 3,
        condition_shape=shape,
        zero_init_last=False,
        rngs=network_key,
    )
    return flows.Flow(EmbedCondition(flow.bijector, network, shape), flow.base)


def _inn(*, architecture: str = "real_nvp", layers: int = 2, **options: Any) -> Callable[..., Any]:
    """An INN, ``x <-> [y, z]``."""

    def build(task: Task, data: Data, width: int, key: jax.Array) -> Any:
        named: Any = {"architecture": architecture}
        return flows.inn(
            task.problem.dim_x,
            task.problem.dim_y,
            y_noise=NOISE,
            hidden=(width,) * layers,
            rngs=key,
            **named,
            **options,
        )

    return build


def _with_decoder(architecture: str) -> Callable[..., Any]:
    """An autoregressive flow of four blocks, and a decoder whose layers are twice as wide."""

    def build(task: Task, data: Data, width: int, key: jax.Array) -> Any:
        flow_key, decoder_key = jax.random.split(key)
        inn = _inn(architecture=architecture, depth=4)(task, data, width, flow_key)
        return WithDecoder(inn, hidden=(2 * width,) * 3, rngs=decoder_key)

    return build


def _invertible_autoencoder(task: Task, data: Data, width: int, key: jax.Array) -> Any:
    """Tied layers, wider than x and y between the first and the last."""
    dim_x, dim_y = task.problem.dim_x, task.problem.dim_y
    sizes = (dim_x, width, width, width, dim_x)
    layers: list[Any] = []
    for layer_key, (size, size_out) in zip(jax.random.split(key, 4), pairwise(sizes), strict=True):
        layers += [InvAutoDense((size,), size_out=size_out, rngs=layer_key)]
        layers += [InvAutoActivation((size_out,), positive=2.0, learned=False)]
    return flows.INN(Chain(layers[:-1]), dim_x, dim_y, z_dim=dim_x - dim_y, y_noise=NOISE)


def _baseline(kind: Any) -> Callable[..., Any]:
    """An autoencoder; z has what y leaves of x's dimensions, or all of them for the VAE."""

    def build(task: Task, data: Data, width: int, key: jax.Array) -> Any:
        dim_x, dim_y = task.problem.dim_x, task.problem.dim_y
        z_dim = dim_x - dim_y if kind is Autoencoder else dim_x
        return kind(Scales(*data), hidden=(width,) * 4, z_dim=z_dim, rngs=key)

    return build


_INN = _inn(depth=8, two_sided=True, clamp=2.0)
_FIELD: dict[str, Any] = {"modulation": "concat", "activation": "silu", "residual": True}

METHODS = {
    "inn": Method(
        label="INN (maximum likelihood)",
        build=_inn(architecture="neural_spline_flow", depth=6),
        loss=inn_loss(method="likelihood"),
        steps=6000,
        published="INN",
    ),
    "inn_mmd": Method(
        label="INN (L2 + MMD)",
        build=_INN,
        loss=inn_loss(),
        steps=3600,
        published="INN (L2 + MMD)",
    ),
    "cinn_affine": Method(
        label="cINN (affine)",
        build=_conditional("real_nvp", depth=12),
        steps=6000,
        published="cINN",
    ),
    "cinn_spline": Method(
        label="cINN (spline)",
        build=_conditional_splines,
        steps=6000,
        published="cINN",
    ),
    "iaf_decoder": Method(
        label="IAF + decoder",
        build=_with_decoder("iaf"),
        loss=decoder_loss,
        steps=4000,
        published="IAF + decoder",
    ),
    "maf_decoder": Method(
        label="MAF + decoder",
        build=_with_decoder("maf"),
        loss=decoder_loss,
        steps=8000,
        published="MAF + decoder",
    ),
    "iresnet": Method(
        label="i-ResNet",
        build=_conditional("residual_flow", layers=3, depth=8, coefficient=0.97),
        steps=3000,
        ema_decay=0.99,
        published="i-ResNet",
    ),
    "invertible_autoencoder": Method(
        label="invertible autoencoder",
        build=_invertible_autoencoder,
        loss=inn_loss(y_weight=1.0, x_weight=0.0),
        steps=7000,
        published="InvAuto",
    ),
    "autoencoder": Method(
        label="autoencoder",
        build=_baseline(Autoencoder),
        loss=autoencoder_loss,
        steps=10_000,
        published="autoencoder",
    ),
    "conditional_vae": Method(
        label="conditional VAE",
        build=_baseline(ConditionalVAE),
        loss=conditional_vae_loss,
        steps=12_000,
        published="cVAE",
    ),
    "mixture_density_network": Method(
        label="mixture density network",
        build=_conditional("mixture_density_network", layers=4, components=16),
        steps=10_000,
        published="MDN",
    ),
    "continuous_flow": Method(
        label="continuous flow",
        build=_continuous,
        steps=2500,
        batch_size=256,
        learning_rate=5e-3,
        ema_decay=0.99,
    ),
    "flow_matching": Method(
        label="flow matching",
        build=_conditional("continuous_flow", layers=4, solver="rk4", steps=8, **_FIELD),
        matching=True,
        steps=12_000,
    ),
    "inn_only_y_z": Method(
        label="INN, only L_y and L_z",
        build=_INN,
        loss=inn_loss(x_weight=0.0, reconstruction_weight=0.0),
        steps=4000,
        ablation=True,
    ),
    "inn_only_x": Method(
        label="INN, only L_x",
        build=_INN,
        loss=inn_loss(y_weight=0.0, z_weight=0.0, padding_weight=0.0, reconstruction_weight=0.0),
        steps=4000,
        ablation=True,
    ),
}
"""By name, in the order of the table."""


def width_for(method: Method, task: Task, data: Data, parameters: int) -> tuple[int, int]:
    """Finds the width whose number of trained parameters is nearest to what is asked for.

    Args:
        method: The method.
        task: The inverse problem.
        data: The training pairs.
        parameters: The number asked for.

    Returns:
        The width and its number of parameters.
    """
    few = Data(data.x[:2], data.y[:2])

    def count(width: int) -> int:
        build = partial(method.build, task, few, width)
        return parameter_count(jax.eval_shape(build, jax.random.key(0)))

    low, high = 4, 8
    while count(high) < parameters:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if count(middle) < parameters else (low, middle)
    return min(
        ((width, count(width)) for width in (low, high)), key=lambda c: abs(c[1] - parameters)
    )


def train(
    method: Method, task: Task, data: Data, protocol: Protocol, *, width: int, key: jax.Array
) -> tuple[Any, bool]:
    """Trains a method.

    Args:
        method: The method.
        task: The inverse problem.
        data: The training pairs.
        protocol: With the method's steps, batch_size and learning_rate.
        width: Width of its layers.
        key: A JAX key.

    Returns:
        A model with ``sample(key, shape, y)``, and whether Ctrl-C ended the training.
    """
    build_key, noise_key, fit_key = jax.random.split(key, 3)
    model = method.build(task, data, width, build_key)
    options: dict[str, Any] = {
        "steps": protocol.steps,
        "batch_size": protocol.batch_size,
        "learning_rate": protocol.learning_rate,
        "ema_decay": method.ema_decay,
        "validation": 0,
    }
    if method.loss is not None:
        result = jinn.fit(fit_key, model, tuple(data), loss=method.loss, **options)
        return result.flow, result.interrupted
    noisy = data.y + task.y_noise * jax.random.normal(noise_key, data.y.shape)
    posterior = jinn.fit_posterior(
        fit_key,
        (data.x, noisy),
        flow=model,
        method="flow_matching" if method.matching else "likelihood",
        support=task.problem.support,
        **options,
    )
    return posterior, posterior.training.interrupted

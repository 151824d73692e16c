"""The conditional flow, the regression and the unconditional flow; their files."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from experiments.colorize.settings import Settings
from experiments.record import parameter_count
from jinn.flows import Flow, multiscale_flow
from jinn.flows.archive import named_arrays, read_archive, with_arrays, write_archive
from jinn.flows.specification import plain
from jinn.networks import ConvNet, FeatureExtractor

HEAD = 32
"""Channels of the regression behind its feature maps."""


class Regression(nnx.Module):
    """A network from L to one ab: the flow's feature maps, brought to one size, and convolutions.

    Args:
        extractor: The feature network.
        size: Height and width of ab.
        key: A JAX key.
    """

    def __init__(self, extractor: FeatureExtractor, size: tuple[int, int], *, key: Array) -> None:
        """See the class."""
        self.extractor, self.size = extractor, tuple(size)
        maps = {name: shape for name, shape in extractor.shapes.items() if len(shape) == 3}
        *keys, last = jax.random.split(key, len(maps) + 1)
        self.heads = nnx.data(
            {
                name: ConvNet(shape[-1], HEAD, hidden=HEAD, zero_init_last=False, rngs=one)
                for (name, shape), one in zip(maps.items(), keys, strict=True)
            }
        )
        self.last = ConvNet(HEAD, 2, hidden=(HEAD, HEAD), rngs=last)

    def __call__(self, lightness: Float[Array, "n height width 1"]) -> Float[Array, "n h w 2"]:
        """Predict ab."""
        maps = self.extractor(lightness)
        parts = [
            jax.image.resize(head(maps[name]), (len(lightness), *self.size, HEAD), "linear")
            for name, head in self.heads.items()
        ]
        return self.last(jax.nn.silu(sum(parts)))


def squared_error(model: Regression, batch: Any, key: Array) -> tuple[Array, dict[str, Array]]:
    """The regression's loss, the mean squared error of ab."""
    colours, lightness = batch
    return jnp.mean(jnp.square(model(lightness) - colours)), {}


def build(model: str, settings: Settings, key: Array) -> Flow | Regression:
    """Builds a model with random weights.

    Args:
        model: One of `MODELS`.
        settings: Its sizes.
        key: A JAX key.

    Returns:
        The model.
    """
    shape = (settings.colours, settings.colours, 2)
    flow_key, head_key = jax.random.split(key)
    if model == "unconditional":
        options = _as_large_as(settings)
        return multiscale_flow(shape, rngs=flow_key, **options)
    lightness = (settings.patch, settings.patch, 1)
    flow = multiscale_flow(shape, condition_shape=lightness, rngs=flow_key, **settings.network)
    if model == "cinn":
        return flow
    embedded: Any = flow.bijector
    return Regression(embedded.network, shape[:2], key=head_key)


def save(path: Path, trained: Any, model: str, settings: Settings, seed: int) -> None:
    """Keeps a trained model in a file, with its settings."""
    path.parent.mkdir(parents=True, exist_ok=True)
    description = {"model": model, "seed": seed, "settings": plain(asdict(settings))}
    write_archive(path, named_arrays(trained), description)


def is_of(path: Path, settings: Settings) -> bool:
    """Whether a file holds a model that was trained with just these settings."""
    _, description = read_archive(path)
    kept: Any = description["settings"]
    return kept == plain(asdict(settings))


def load(path: Path, model: str, settings: Settings) -> Any:
    """Reads a trained model.

    Args:
        path: The file.
        model: One of `MODELS`.
        settings: Settings of which the preset, the network and its sizes are to be the file's.

    Returns:
        The model.

    Raises:
        ValueError: If the file is none that `save` wrote, or is of another model, preset or
            network.
    """
    try:
        arrays, description = read_archive(path)
    except OSError as error:
        raise ValueError(f"{path}: no trained model there ({error}); train one first") from error
    if not isinstance(description, dict) or set(description) != {"model", "seed", "settings"}:
        raise ValueError(f"{path}: this is no trained model of this experiment")
    kept: Any = description["settings"]
    if (description["model"], kept["preset"]) != (model, settings.preset):
        raise ValueError(
            f"{path}: expected a {model} of the preset {settings.preset!r}, got a "
            f"{description['model']} of {kept['preset']!r}; name that preset, or another file"
        )
    wanted = plain(asdict(settings))
    for name in ("network", "patch", "colours"):
        if kept[name] != wanted[name]:
            raise ValueError(
                f"{path}: the preset {settings.preset!r} has another {name} by now; train it again"
            )
    form = jax.eval_shape(lambda: build(model, settings, jax.random.key(0)))
    return with_arrays(form, arrays, str(path), "model")


def _as_large_as(settings: Settings) -> dict[str, Any]:
    """Options of an unconditional flow of as many parameters as the conditional one."""
    sizes = (settings.colours, settings.colours, 2)

    def count(options: dict[str, Any], **more: Any) -> int:
        return parameter_count(
            jax.eval_shape(lambda: multiscale_flow(sizes, rngs=0, **options, **more))
        )

    lightness = (settings.patch, settings.patch, 1)
    wanted = count(dict(settings.network), condition_shape=lightness)
    tried, ratio = {}, 1.0
    for _ in range(5):
        options = _wider(settings.network, ratio)
        found = count(options)
        tried[abs(found - wanted)] = options
        ratio *= (wanted / found) ** 0.5
    return tried[min(tried)]


def _wider(network: Any, ratio: float) -> dict[str, Any]:
    """The options with so many times more channels in hidden layers."""

    def wider(widths: Any) -> Any:
        if isinstance(widths, int):
            return max(1, round(ratio * widths))
        return tuple(max(1, round(ratio * width)) for width in widths)

    options = {name: value for name, value in network.items() if not name.startswith("feature")}
    for name in ("hidden", "fully_connected_hidden"):
        if name in options:
            options[name] = wider(options[name])
    options["scales"] = tuple(
        stage if stage.hidden is None else replace(stage, hidden=wider(stage.hidden))
        for stage in options["scales"]
    )
    return options

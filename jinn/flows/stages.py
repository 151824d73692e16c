"""The stages of a multi-scale flow, and the shapes of the images in them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from numbers import Integral
from typing import Any, Literal

from jinn.networks.options import is_count, layer_widths

Downsample = Literal["haar", "squeeze"]


@dataclass(frozen=True)
class Stage:
    """A part of a `multiscale_flow`: halve the image, apply blocks, let channels leave.

    What is None is as the flow's argument of that name says.

    Args:
        downsample: "haar" or "squeeze" halves height and width first, None keeps them.
        depth: Number of blocks, 0 for none.
        hidden: Channels of the conditioners' hidden layers.
        kernel_size: Sizes of the conditioners' kernels, see `jinn.networks.ConvNet`.
        conditional: Whether the conditioners see the condition.
        mask: "channels" couples the last half of the channels to the first; "checkerboard" couples
            pixels to their neighbours, in two-sided blocks.
        keep: Number of channels that go on behind the blocks, the first ones, -1 for half of them;
            the others leave to the latent. None lets all go on.
        rebalance: Factor of all bands of "haar".
    """

    downsample: Downsample | None = None
    depth: int | None = None
    hidden: Sequence[int] | int | None = None
    kernel_size: Sequence[int] | int | None = None
    conditional: bool = True
    mask: Literal["channels", "checkerboard"] = "channels"
    keep: int | None = None
    rebalance: float = 1.0


@dataclass(frozen=True)
class Place:
    """A stage with its place in a flow.

    Attributes:
        stage: The stage, complete.
        name: "scale_k" after k halvings.
        start: Shape of the events that come in.
        shape: Shape of the events in the blocks.
        out: Shape of the events that go on.
    """

    stage: Stage
    name: str
    start: tuple[int, ...]
    shape: tuple[int, ...]
    out: tuple[int, ...]

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the images in its blocks."""
        return self.shape[0], self.shape[1]

    @property
    def leaving(self) -> int:
        """Number of channels that leave behind the blocks."""
        return self.shape[-1] - self.out[-1]

    @property
    def conditional(self) -> bool:
        """Whether it has blocks that see the condition."""
        return self.stage.conditional and bool(self.stage.depth)


def complete_stages(
    scales: Any, *, depth: Any, downsample: Any, hidden: Any, kernel_size: Any
) -> list[Stage]:
    """Check a flow's stages, and take its arguments where they say nothing.

    Args:
        scales: A number of scales, or stages.
        depth: Number of blocks, or one for each stage.
        downsample: How scales are halved, or one for each.
        hidden: Widths of the conditioners' hidden layers.
        kernel_size: Sizes of the conditioners' kernels, or None for those of Glow.

    Returns:
        The stages; where `keep` is -1, half of the channels go on.

    Raises:
        ValueError: If an option is out of range.
    """
    if is_count(scales):
        depths = _one_each(depth, scales, "depth")
        kinds = _one_each(downsample, scales, "downsample")
        half = [-1] * (scales - 1) + [None]
        stages = [
            Stage(kind, n, keep=keep) for kind, n, keep in zip(kinds, depths, half, strict=True)
        ]
    elif isinstance(scales, Sequence) and scales and not isinstance(scales, str):
        depths = _one_each(depth, len(scales), "depth")
        stages = [_as_stage(stage, default) for stage, default in zip(scales, depths, strict=True)]
    else:
        raise ValueError(
            "multiscale_flow: expected scales to be a number such as 3, or a list of Stages, got "
            f"{scales!r}"
        )
    complete = []
    for i, stage in enumerate(stages):
        name = f"multiscale_flow: stage {i}"
        widths = hidden if stage.hidden is None else stage.hidden
        widths = layer_widths(widths, name)
        sizes = kernel_size if stage.kernel_size is None else stage.kernel_size
        if sizes is None:
            sizes = (3, *[1] * (len(widths) - 1), 3)
        if not (stage.depth == 0 or is_count(stage.depth)):
            raise ValueError(f"{name}: expected depth >= 0, got {stage.depth!r}")
        if stage.downsample not in ("haar", "squeeze", None):
            raise ValueError(
                f'{name}: expected downsample to be "haar", "squeeze" or, in a Stage, None, got '
                f"{stage.downsample!r}"
            )
        if stage.mask not in ("channels", "checkerboard"):
            raise ValueError(
                f'{name}: expected mask to be "channels" or "checkerboard", got {stage.mask!r}'
            )
        complete.append(replace(stage, hidden=widths, kernel_size=sizes))
    return complete


def _as_stage(stage: Any, depth: int) -> Stage:
    known = {field.name for field in fields(Stage)}
    if isinstance(stage, Mapping) and set(stage) <= known:
        stage = Stage(**stage)
    if not isinstance(stage, Stage):
        raise ValueError(
            f"multiscale_flow: expected Stages, or dicts with keys of {sorted(known)}, got "
            f"{stage!r}"
        )
    return stage if stage.depth is not None else replace(stage, depth=depth)


def _one_each(value: Any, n: int, name: str) -> list[Any]:
    values = [value] * n if isinstance(value, Integral | str) else value
    if not isinstance(values, Sequence) or len(values) != n:
        raise ValueError(
            f"multiscale_flow: expected {name} to be one value, or one for each of {n} scales, got "
            f"{value!r}"
        )
    return list(values)


def place_stages(shape: tuple[int, ...], stages: list[Stage]) -> list[Place]:
    """Find the shapes of the events in every stage.

    Args:
        shape: Shape of one event of the flow.
        stages: Its stages, complete.

    Returns:
        The stages with their shapes.

    Raises:
        ValueError: If an image cannot be halved, or channels cannot be coupled or leave.
    """
    places, halvings = [], 0
    left: set[str] = set()
    for i, stage in enumerate(stages):
        name = f"multiscale_flow: stage {i}"
        start = shape
        if stage.downsample is not None:
            height, width, channels = shape
            if height % 2 or width % 2:
                unit = 2 ** (halvings + 1)
                raise ValueError(
                    f"{name} cannot halve images of {height} x {width} pixels, the event after "
                    f"{halvings} halvings; crop or pad events to multiples of {unit} pixels, or "
                    "use fewer scales"
                )
            shape, halvings = (height // 2, width // 2, 4 * channels), halvings + 1
        channels = shape[-1]
        if stage.depth and stage.mask == "channels" and channels < 2:
            raise ValueError(
                f"{name} has one channel and couples by channels; use "
                'Stage(mask="checkerboard"), or halve the image first'
            )
        keep = channels // 2 if stage.keep == -1 else stage.keep
        if keep is not None and not (is_count(keep) and keep < channels):
            raise ValueError(
                f"{name}: expected keep to be 1 to {channels - 1} of its {channels} channels, or "
                f"None for all, got {keep!r}"
            )
        out = shape if keep is None else (*shape[:2], int(keep))
        place = Place(stage, f"scale_{halvings}", start, shape, out)
        if place.leaving and place.name in left:
            raise ValueError(
                f"{name}: channels left {halvings} halvings down already, as {place.name!r}; let "
                "all leave in one stage, or halve the image between"
            )
        left |= {place.name} if place.leaving else set()
        places.append(place)
        shape = out
    return places

"""What is trained, and how it is measured."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from jinn.flows import Stage

MODELS = ("cinn", "regression", "unconditional")
"""The conditional flow; the regression by its feature network; a flow of ab alone, of its size."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The settings of one training and its measurement.

    Attributes:
        preset: Name of these settings.
        patch: Height and width of the lightness in a patch, in pixels.
        colours: Height and width of its colours.
        network: Options of `jinn.flows.multiscale_flow`.
        side: Shorter side of the photographs of which patches are cut, the largest of them.
        noise: Deviation of the noise on colours, in the networks' units.
        steps: Training steps.
        batch_size: Patches a step.
        patches_per_photograph: Those of one visit to a photograph.
        turned: Turn patches by 0 to 270 degrees; else they are mirrored only.
        exposure: Deviation of the logarithm of a patch's exponent, for red, green and blue alike.
        tint: That of further exponents, for each of them by itself.
        saturation: Deviation of the logarithm of the factor on its colours.
        learning_rate: Highest learning rate.
        ema_decay: Decay of the average of the weights.
        test_patches: Patches of the photographs held out.
        samples: Colours for each of them, the 8 of best-of-8.
        photographs: The folder, or "shipped".
        held_out: Names of the photographs that it is measured on.
    """

    preset: str
    patch: int = 32
    colours: int = 16
    network: Mapping[str, Any]
    side: int = 256
    noise: float = 0.05
    steps: int = 1500
    batch_size: int = 48
    patches_per_photograph: int = 8
    turned: bool = True
    exposure: float = 0.4
    tint: float = 0.3
    saturation: float = 0.4
    learning_rate: float = 1e-3
    ema_decay: float = 0.995
    test_patches: int = 256
    samples: int = 8
    photographs: str = "shipped"
    held_out: tuple[str, ...] = ()

    @property
    def factor(self) -> int:
        """How many times smaller the colours are than the lightness."""
        return self.patch // self.colours


PRESETS = {
    "default": Settings(
        preset="default",
        network={
            "scales": (
                Stage(depth=2, hidden=(24, 24)),
                Stage("haar", depth=4, keep=4),
                Stage("haar", depth=4, keep=8),
                Stage("haar", depth=4),
            ),
            "hidden": (48, 48),
            "features": (32, 48, 64, 64),
        },
    ),
    "paper": Settings(
        preset="paper",
        patch=256,
        colours=64,
        network={
            "scales": (
                Stage(depth=4, hidden=(32, 32)),
                Stage("squeeze", depth=2, hidden=(64, 64), kernel_size=1, conditional=False),
                Stage(depth=6, hidden=(64, 64)),
                Stage(
                    "squeeze",
                    depth=2,
                    hidden=(128, 128),
                    kernel_size=1,
                    conditional=False,
                    keep=16,
                ),
                Stage(depth=6, hidden=(128, 128)),
                Stage(
                    "squeeze",
                    depth=2,
                    hidden=(256, 256),
                    kernel_size=1,
                    conditional=False,
                    keep=32,
                ),
                Stage(depth=6, hidden=(256, 256)),
                Stage(
                    "haar",
                    depth=2,
                    hidden=(256, 256),
                    kernel_size=1,
                    conditional=False,
                    keep=32,
                    rebalance=0.5,
                ),
            ),
            "kernel_size": 3,
            "mixing": "orthogonal",
            "two_sided": True,
            "normalize": False,
            "clamp": 1.5,
            "law": "arctan",
            "activation": "leaky_relu",
            "features": (64, 128, 256, 256),
            "feature_vector": 512,
            "fully_connected": 8,
            "fully_connected_hidden": (512, 512, 512),
        },
        side=512,
        steps=120_000,
        learning_rate=1e-4,
        ema_decay=0.999,
        turned=False,
        exposure=0.0,
        tint=0.0,
        saturation=0.0,
        test_patches=128,
    ),
}
"""The default is for two CPU cores; "paper" is for an accelerator and a folder of photographs: the
network of Guided Image Generation with Conditional Invertible Neural Networks (Ardizzone, Lüth,
Kruse, Rother, Köthe, 2019), https://arxiv.org/abs/1907.02392, section 5.2."""

SMOKE = replace(
    PRESETS["default"],
    preset="smoke",
    network={
        "scales": (Stage("haar", depth=1, keep=4), Stage("haar", depth=1)),
        "hidden": 4,
        "features": (4, 8),
    },
    side=48,
    steps=2,
    batch_size=16,
    test_patches=4,
    samples=2,
)
"""To see that all parts run, and nothing else."""

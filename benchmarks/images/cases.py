"""The flows that are timed. Imports neither JAX nor torch: both sides of the comparison read it."""

from dataclasses import dataclass, replace

LEARNING_RATE = 1e-4
CLAMP = 2.0
DEPTHS = (4, 8, 16)
"""Blocks a scale of which the memory is read."""


@dataclass(frozen=True)
class Case:
    """A three-scale flow of images, relu, float32; each scale halves the image and half leaves.

    "conditional": Haar, two-sided couplings behind random permutations, one feature map a scale.
    "glow": squeezed, one-sided couplings behind ActNorm and a learned 1x1 convolution.
    """

    name: str
    size: int = 32
    channels: int = 3
    features: int = 16
    scales: int = 3
    depth: int = 4
    hidden: int = 64
    batch: int = 32

    @property
    def title(self) -> str:
        """The case in words."""
        features = f", feature maps of {self.features} channels" if self.conditional else ""
        return (
            f"{self.size}x{self.size}x{self.channels}, {self.scales} scales of {self.depth} "
            f"blocks, hidden {self.hidden}, kernels 3, 1, 3, batch {self.batch}{features}"
        )

    @property
    def conditional(self) -> bool:
        """Whether it takes feature maps."""
        return self.name == "conditional"

    @property
    def maps(self) -> dict[str, tuple[int, int]]:
        """Size and channels of each feature map, the finest first."""
        scales = range(1, 1 + self.scales)
        return {f"scale_{k}": (self.size // 2**k, self.features) for k in scales}

    @property
    def stages(self) -> list[tuple[int, int]]:
        """Size and channels of the images at each scale."""
        size, channels, found = self.size, self.channels, []
        for _ in range(self.scales):
            size, channels = size // 2, 4 * channels
            found.append((size, channels))
            channels //= 2
        return found


@dataclass(frozen=True)
class Wavelets:
    """A batch of images that is transformed."""

    batch: int = 256
    size: int = 64
    channels: int = 3


CASES = {case.name: case for case in (Case("conditional"), Case("glow"))}
WAVELETS = Wavelets()
PEERS = {"conditional": "FrEIA", "glow": "normflows", "haar": "FrEIA"}
TARGETS = {"step": 1.2, "sample": 1.2, "haar": 0.5, "copy": 3.0}
"""On a CPU, at most so many times the peer's time, or that of a copy of the array."""


def smoke(case: Case) -> Case:
    """The same case at sizes that take seconds."""
    return replace(case, size=8, features=2, scales=2, depth=1, hidden=4, batch=2)

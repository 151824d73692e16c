"""The pictures of digits."""

from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes

GAP = 1
"""Pixels between two digits."""


def draw_samples(path: Path, panels: dict[str, np.ndarray]) -> None:
    """Draws a panel for each array of pictures, a row for each class.

    Args:
        path: Where the picture goes.
        panels: Pictures `(n, classes, height, width)` by the panel's title.
    """
    figure, axes = plt.subplots(
        1, len(panels), figsize=(5.2 * len(panels), 3.4), squeeze=False, layout="constrained"
    )
    for axis, (title, samples) in zip(axes[0], panels.items(), strict=True):
        _show(axis, np.swapaxes(samples, 0, 1))
        axis.set_title(title, fontsize=10)
        _name_rows(axis, samples.shape[1], samples.shape[-2])
    figure.savefig(path, dpi=110)
    plt.close(figure)


def draw_transfer(path: Path, real: np.ndarray, transferred: np.ndarray) -> None:
    """Draws real digits and, in the row of each, its latent decoded as every class.

    Args:
        path: Where the picture goes.
        real: Real digits of different classes, `(rows, height, width)`.
        transferred: What comes of them, `(rows, classes, height, width)`.
    """
    classes, width = transferred.shape[1], transferred.shape[-1]
    figure, axes = plt.subplots(
        1, 2, figsize=(4.6, 4.4), width_ratios=[1, classes], layout="constrained"
    )
    _show(axes[0], real[:, None])
    axes[0].set(xticks=[], yticks=[])
    axes[0].set_title("real", fontsize=10)
    _show(axes[1], transferred)
    axes[1].set_title("its latent, decoded as", fontsize=10)
    places = np.arange(classes) * (width + GAP) + width / 2 - 0.5
    axes[1].set_xticks(places, [str(label) for label in range(classes)], fontsize=8)
    axes[1].set_yticks([])
    axes[1].tick_params(length=0)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _show(axis: Axes, pictures: np.ndarray) -> None:
    """Shows pictures `(rows, columns, height, width)`, dark on white."""
    rows, columns, height, width = pictures.shape
    spaced = np.zeros((rows, columns, height + GAP, width + GAP), pictures.dtype)
    spaced[:, :, :height, :width] = pictures
    image = np.swapaxes(spaced, 1, 2).reshape(rows * (height + GAP), columns * (width + GAP))
    axis.imshow(image[:-GAP, :-GAP], cmap="gray_r", vmin=0, interpolation="nearest")


def _name_rows(axis: Axes, classes: int, height: int) -> None:
    places = np.arange(classes) * (height + GAP) + height / 2 - 0.5
    axis.set_yticks(places, [str(label) for label in range(classes)], fontsize=8)
    axis.set_xticks([])
    axis.tick_params(length=0)

"""Figures of matplotlib, which is imported when one is drawn."""

from typing import Any


def new_axes() -> Any:
    """Makes the axes of a new figure, without a window.

    Returns:
        The axes; ``axes.figure.savefig(path)`` writes them.

    Raises:
        ImportError: If matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError("pictures need matplotlib: pip install matplotlib") from error
    return Figure(figsize=(5, 3.2), layout="constrained").subplots()

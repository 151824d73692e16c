"""Figures of matplotlib, which is imported when one is drawn."""

from typing import Any


def drawable_label(text: Any) -> str:
    """Gives a label that matplotlib can draw: mathematics between dollar signs if it is any.

    Args:
        text: The label.

    Returns:
        The label, its dollar signs escaped where what is between them is no mathematics, and with
        a space before a first underscore, which would hide it from a legend.

    Raises:
        ImportError: If matplotlib is not installed.
    """
    from matplotlib.mathtext import MathTextParser

    text = str(text)
    if "$" in text:
        try:
            MathTextParser("path").parse(text)
        except ValueError:
            text = text.replace("$", r"\$")
    return f" {text}" if text.startswith("_") else text


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

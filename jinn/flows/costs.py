"""What the two directions of a model cost, in words."""

from jinn.bijectors.base import FastDirection


def costs(direction: FastDirection, forward: str, inverse: str) -> str:
    """Say which of two calls are fast, one pass, and which are slow, a loop or a solve.

    Args:
        direction: The fast direction of the bijector.
        forward: Name of the call that goes forward.
        inverse: Name of the call that goes back.

    Returns:
        Such as "log_prob is fast, sample is slow".
    """
    return {
        "both": f"{forward} and {inverse} are both fast (one pass)",
        "forward": f"{forward} is fast, {inverse} is slow",
        "inverse": f"{inverse} is fast, {forward} is slow",
        "neither": f"{forward} and {inverse} are both slow",
    }[direction]

"""Types of the command lines' options, whose errors say what is allowed."""

import math
from argparse import ArgumentTypeError


def at_least_one(text: str) -> int:
    """Reads a whole number of at least 1; an error of the command line for any other."""
    number = int(text)
    if number < 1:
        raise ArgumentTypeError(f"expected at least 1, got {text}")
    return number


def positive(text: str) -> float:
    """Reads a positive, finite number; an error of the command line for any other."""
    number = float(text)
    if not 0 < number < math.inf:
        raise ArgumentTypeError(f"expected a positive number, got {text}")
    return number

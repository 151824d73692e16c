"""Remembering the compiled programs of earlier trainings."""

from collections.abc import Callable
from functools import lru_cache, wraps
from typing import ParamSpec, TypeVar

KEPT = 8

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


def remembered(make: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
    """Gives the same result for the same arguments, so that what is in it is compiled once.

    Args:
        make: A pure function. Arguments that cannot be hashed are never remembered.

    Returns:
        The function, which keeps its last few results.
    """
    cached = lru_cache(maxsize=KEPT)(make)

    @wraps(make)
    def call(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Result:
        try:
            hash((args, tuple(kwargs.values())))
        except TypeError:
            return make(*args, **kwargs)
        return cached(*args, **kwargs)

    return call

"""Calls outside of `jax.jit`, as one program."""

from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

import jax
import numpy as np
from jax.core import Tracer

Module = TypeVar("Module")


def compiled(function: Callable[..., Any], operands: tuple[Any, ...], *static: Any) -> Any:
    """Call `function(*operands, *static)`, compiled once for operands of one structure.

    Loops that JAX meets outside of a trace are compiled anew at each call where their bodies are
    new functions, as those of methods are. Within a trace, whose caller compiles, this is a plain
    call; so it is for operands that hold anything but arrays.

    Args:
        function: A pure function that is the same object at each call, not a closure.
        operands: Pytrees, modules among them.
        *static: Further arguments, which can be hashed.

    Returns:
        What the function returns.
    """
    leaves = jax.tree.leaves(operands)
    arrays = all(isinstance(leaf, jax.Array | np.ndarray) for leaf in leaves)
    if not arrays or any(isinstance(leaf, Tracer) for leaf in leaves):
        return function(*operands, *static)
    return _run(function, static, operands)


@partial(jax.jit, static_argnums=(0, 1))
def _run(function: Callable[..., Any], static: tuple[Any, ...], operands: tuple[Any, ...]) -> Any:
    return function(*operands, *static)


def fast_compiled(make: Callable[[jax.Array], Module]) -> Callable[[jax.Array], Module]:
    """Make one program of a constructor, which compiles fast, without optimisation.

    A constructor runs once or a few times, and draws each shape of a parameter by a program of its
    own. Compiling them one by one and well, as JAX does by default, takes several times as long.

    Args:
        make: From a JAX key to a module.

    Returns:
        The program.
    """
    return jax.jit(make, compiler_options={"xla_backend_optimization_level": 0})


def is_traced(key: jax.Array) -> bool:
    """Whether a key's module is made within a program that is being traced.

    An operation on a known key is traced there, too.

    Args:
        key: A JAX key.

    Returns:
        Whether it is.
    """
    return isinstance(jax.random.clone(key), Tracer)

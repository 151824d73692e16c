"""Named flows remember how they were built, as JSON, so that they can be built again."""

import inspect
import json
from collections.abc import Callable
from dataclasses import asdict
from functools import lru_cache, partial, wraps
from numbers import Integral, Real
from typing import Any, ParamSpec, TypeVar

import jax
import jax.numpy as jnp

from jinn.flows.compiled import fast_compiled, is_traced
from jinn.flows.stages import Stage
from jinn.networks.randomness import as_key

Parameters = ParamSpec("Parameters")
Model = TypeVar("Model")
KEPT_PROGRAMS = 64
_BUILDERS: dict[str, Callable[..., Any]] = {}


def specified(builder: Callable[Parameters, Model]) -> Callable[Parameters, Model]:
    """Make a builder of flows or other models note its name and arguments in `flow.specification`.

    The builder runs as one program, which is compiled once for the same arguments but `rngs`.

    Args:
        builder: A function with an argument `rngs`, whose others can be written as JSON.

    Returns:
        The builder; where an argument cannot be written, its flow has no specification.
    """
    signature = inspect.signature(builder)

    @wraps(builder)
    def build(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Model:
        bound = signature.bind(*args, **kwargs)
        bound.apply_defaults()
        arguments = dict(bound.arguments)
        for name, parameter in signature.parameters.items():
            if parameter.kind is parameter.VAR_KEYWORD:
                arguments |= arguments.pop(name)
        key = as_key(arguments.pop("rngs"))
        make: Callable[[jax.Array], Any] = partial(_call, builder, arguments)
        try:
            specification = {"builder": builder.__name__, "arguments": plain(arguments)}
        except TypeError:
            return make(key) if is_traced(key) else fast_compiled(make)(key)
        text = json.dumps(specification)
        flow: Any = make(key) if is_traced(key) else _program(text)(key)
        flow.specification = text
        return flow

    _BUILDERS[builder.__name__] = build
    return build


@lru_cache(maxsize=KEPT_PROGRAMS)
def _program(specification: str) -> Callable[[jax.Array], Any]:
    """Builds the flow that is specified from a key, compiled once."""
    parts = json.loads(specification)
    builder: Any = _BUILDERS[parts["builder"]]
    return fast_compiled(partial(_call, builder.__wrapped__, parts["arguments"]))


def _call(builder: Callable[..., Model], arguments: dict[str, Any], key: jax.Array) -> Model:
    return builder(**arguments, rngs=key)


def build_specified(specification: str, *, rngs: int | jax.Array = 0) -> Any:
    """Build a flow of the same form again, with other weights.

    Args:
        specification: A flow's `specification`.
        rngs: An int or a JAX key for its weights.

    Returns:
        The flow.

    Raises:
        ValueError: If this version of jinn has no such builder, or it does not take the arguments.
    """
    parts = json.loads(specification)
    name, arguments = parts["builder"], parts["arguments"]
    if name not in _BUILDERS:
        raise ValueError(f"flow {name!r} is unknown to this version; known are {sorted(_BUILDERS)}")
    try:
        return _BUILDERS[name](**arguments, rngs=rngs)
    except TypeError as error:
        raise ValueError(
            f"flow {name!r} of this version does not take the saved arguments {arguments}"
        ) from error


def is_specified(flow: Any) -> bool:
    """Whether a flow's specification builds flows of its form; not so once its parts were changed.

    Args:
        flow: The flow, with any weights.

    Returns:
        Whether `build_specified` gives a flow that differs from this one in its numbers only.
    """
    specification = flow.specification
    if specification is None:
        return False
    try:
        return have_one_form(flow, jax.eval_shape(lambda: build_specified(specification)))
    except ValueError:
        return False


def have_one_form(one: Any, other: Any) -> bool:
    """Whether two pytrees differ in nothing but the numbers in their arrays, and those' types.

    Args:
        one: A pytree of arrays or of their shapes.
        other: Another.

    Returns:
        Whether their structures and shapes are the same.
    """
    (leaves, structure), (others, other_structure) = map(jax.tree.flatten, (one, other))
    if structure != other_structure:
        return False
    return list(map(jnp.shape, leaves)) == list(map(jnp.shape, others))


def plain(value: Any) -> Any:
    """Express an argument of a builder in the types that JSON has.

    Args:
        value: Numbers of any kind, strings, types of arrays, None, `Stage`s of image flows, or
            lists or dicts of these.

    Returns:
        The value.

    Raises:
        TypeError: If it is anything else.
    """
    if value is None or isinstance(value, str | bool):
        return value
    if isinstance(value, Integral):
        return int(value)
    if isinstance(value, Real):
        return float(value)
    if isinstance(value, Stage):
        value = asdict(value)
    if isinstance(value, dict):
        return {key: plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [plain(entry) for entry in value]
    return jnp.dtype(value).name

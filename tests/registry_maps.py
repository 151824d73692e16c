"""The registry's cases of linear and element-wise maps, and of those of the condition alone."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from jinn.bijectors import (
    PLU,
    Chain,
    ConditionalAffine,
    Coupling,
    EmbedCondition,
    Exp,
    Householder,
    Invert,
    LeakyReLU,
    Orthogonal,
    Power,
    Reshape,
    Softplus,
    Stack,
    Tanh,
    TriangularAffine,
    half_mask,
)
from jinn.networks import MLP
from tests.registry_case import Case

_POSITIVE = (0.0, float("inf"))
_DICT = {"a": (2,), "b": (2, 2)}


def _householder(shape: tuple, n_reflections: int | None = None) -> Case:
    return Case(
        Householder,
        lambda dtype: Householder(shape, n_reflections=n_reflections, param_dtype=dtype, rngs=0),
    )


def _conditional_householder(shape: tuple, condition_shape: Any) -> Case:
    return Case(
        Householder,
        lambda dtype: Householder(
            shape,
            n_reflections=2,
            condition_shape=condition_shape,
            hidden=(8,),
            param_dtype=dtype,
            rngs=0,
        ),
    )


def _orthogonal(shape: tuple, parametrization: Any) -> Case:
    return Case(
        Orthogonal,
        lambda dtype: Orthogonal(
            shape, learned=True, parametrization=parametrization, param_dtype=dtype, rngs=0
        ),
    )


def _plu(shape: tuple) -> Case:
    return Case(PLU, lambda dtype: PLU(shape, param_dtype=dtype, rngs=0))


def _triangular(shape: tuple, **options: Any) -> Case:
    return Case(
        TriangularAffine, lambda dtype: TriangularAffine(shape, param_dtype=dtype, **options)
    )


def _power(exponent: float) -> Case:
    return Case(Power, lambda dtype: Power((2,), exponent), (0.1, 3.0), _POSITIVE, _POSITIVE)


def _conditional_affine(shape: tuple, condition_shape: Any, **options: Any) -> Case:
    return Case(
        ConditionalAffine,
        lambda dtype: ConditionalAffine(
            shape,
            condition_shape=condition_shape,
            **{"hidden": (8,), "param_dtype": dtype, "rngs": 0} | options,
        ),
    )


def _two_waves(condition: jax.Array) -> jax.Array:
    return jnp.concatenate([jnp.sin(condition), jnp.cos(condition)], axis=-1)


class MeanOfSet(nnx.Module):
    """Embeds a set of vectors by the mean of what a network says of each."""

    def __init__(self, dtype: Any) -> None:
        self.mlp = MLP(2, 3, hidden=(8,), param_dtype=dtype, zero_init_last=False, rngs=1)

    def __call__(self, condition: jax.Array) -> jax.Array:
        return jnp.mean(self.mlp(condition), axis=-2)


def _coupling(dtype: Any, condition_shape: Any, rngs: Any = 0) -> Coupling:
    return Coupling(
        (3,),
        mask=half_mask(3),
        condition_shape=condition_shape,
        hidden=(8,),
        param_dtype=dtype,
        rngs=rngs,
    )


def _embedded(dtype: Any) -> EmbedCondition:
    """A dict condition, of which an MLP makes a vector that two bijectors share."""
    chain = Chain([_coupling(dtype, (3,)), _conditional_affine((3,), (3,)).make(dtype)])
    embedding = MLP(
        0, 3, hidden=(8,), condition_shape=_DICT, zero_init_last=False, param_dtype=dtype, rngs=1
    )
    return EmbedCondition(chain, embedding, _DICT)


def _embedded_set(dtype: Any) -> EmbedCondition:
    """A set of four vectors as the condition of every block of a stack."""
    stack = Stack(lambda key: _coupling(dtype, (3,), key), 2, rngs=0)
    return EmbedCondition(stack, MeanOfSet(dtype), (4, 2))


MAP_CASES: dict[str, Case] = {
    "householder": _householder((3,)),
    "householder, fewer": _householder((4,), 2),
    "householder, thin": _householder((17,), 1),
    "householder, one element": _householder((1,)),
    "householder, image": _householder((2, 2, 3)),
    "householder, conditional": _conditional_householder((3,), (2,)),
    "householder, image, dict condition": _conditional_householder((2, 1, 3), _DICT),
    "orthogonal, cayley": _orthogonal((4,), "cayley"),
    "orthogonal, cayley, image": _orthogonal((2, 2, 3), "cayley"),
    "orthogonal, reflections": _orthogonal((4,), "householder"),
    "orthogonal, reflections, odd": _orthogonal((3,), "householder"),
    "plu": _plu((4,)),
    "plu, one element": _plu((1,)),
    "plu, image": _plu((2, 2, 3)),
    "plu, volume-preserving": Case(
        PLU, lambda dtype: PLU((4,), volume_preserving=True, param_dtype=dtype, rngs=0)
    ),
    "triangular affine": _triangular((3,), shift=[1.0, -1.0, 0.0]),
    "triangular affine, fixed": _triangular(
        (2,), shift=0.5, matrix=np.array([[2.0, 0.0], [-1.0, 0.5]]), learned=False
    ),
    "softplus": Case(Softplus, lambda dtype: Softplus((3,)), codomain=_POSITIVE),
    "tanh": Case(Tanh, lambda dtype: Tanh((3,)), codomain=(-1.0, 1.0)),
    "leaky relu": Case(LeakyReLU, lambda dtype: LeakyReLU((3,))),
    "leaky relu, steeper below": Case(LeakyReLU, lambda dtype: LeakyReLU((2, 2), 4.0)),
    "exp": Case(Exp, lambda dtype: Exp((3,)), codomain=_POSITIVE),
    "logarithm": Case(Invert, lambda dtype: Invert(Exp((3,))), (0.1, 3.0), domain=_POSITIVE),
    "power, a root": _power(0.5),
    "power, a cube": _power(3.0),
    "power, decreasing": _power(-1.5),
    "conditional affine": _conditional_affine((3,), (2,)),
    "conditional affine, dict condition": _conditional_affine((2,), _DICT, clamp=0.5),
    "conditional affine, image": _conditional_affine((2, 1, 2), (3,)),
    "conditional affine, plain function": _conditional_affine((2,), (2,), conditioner=_two_waves),
    "reshape": Case(Reshape, lambda dtype: Reshape((2, 3), (6,))),
    "reshape, one number": Case(Reshape, lambda dtype: Reshape((), (1, 1))),
    "reshape in a chain": Case(
        Chain,
        lambda dtype: Chain(
            [Reshape((2, 2), (4,)), Orthogonal((4,), rngs=0), Reshape((4,), (2, 2))]
        ),
    ),
    "embed condition, dict": Case(EmbedCondition, _embedded),
    "embed condition, stack": Case(EmbedCondition, _embedded_set),
    "embed condition, plain function": Case(
        EmbedCondition, lambda dtype: EmbedCondition(_coupling(dtype, (4,)), _two_waves, (2,))
    ),
}

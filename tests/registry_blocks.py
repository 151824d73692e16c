"""The registry's cases of the monotone network, of conjugates and of the all-in-one block."""

from typing import Any

import jax.numpy as jnp
import numpy as np

from jinn.bijectors import (
    ActNorm,
    Affine,
    Bijector,
    Chain,
    ConditionalAffine,
    Conjugate,
    Elementwise,
    Householder,
    Permute,
    Planar,
)
from jinn.bijectors import transformers as t
from jinn.flows import all_in_one_block, mixture_density_network
from jinn.networks import MLP
from tests.registry_case import Case


def _block(kind: type[Bijector], shape: tuple = (3,), **options: Any) -> Case:
    return Case(
        kind,
        lambda dtype: all_in_one_block(shape, hidden=(4,), param_dtype=dtype, rngs=0, **options),
    )


def _image_block(dtype: Any) -> Bijector:
    """An MLP that sees each pixel by itself: one channel untouched, two transformed."""
    network = MLP(1, 4, hidden=(4,), param_dtype=dtype, rngs=1)
    return all_in_one_block(
        (2, 1, 3), conditioner=network, mixing="orthogonal", param_dtype=dtype, rngs=0
    )


def _conjugate_with_solves(dtype: Any) -> Conjugate:
    """Both members solve in one direction, and the outer one takes the condition."""
    outer = Chain(
        [
            Planar((2,), param_dtype=dtype, rngs=0),
            ConditionalAffine((2,), condition_shape=(2,), hidden=(4,), param_dtype=dtype, rngs=1),
        ]
    )
    return Conjugate(outer, Planar((2,), param_dtype=dtype, rngs=2))


BLOCK_CASES: dict[str, Case] = {
    "elementwise sigmoidal, conditional": Case(
        Elementwise,
        lambda dtype: Elementwise(
            (2,),
            t.Sigmoidal(units=2),
            condition_shape=(2,),
            hidden=(4,),
            param_dtype=dtype,
            rngs=0,
        ),
    ),
    "mixture_density_network 2|2": Case(
        ActNorm,
        lambda dtype: (
            mixture_density_network(
                2, condition_dim=2, components=2, hidden=(4,), param_dtype=dtype, rngs=0
            ).bijector
        ),
    ),
    "all_in_one_block permute, conditional": _block(Chain, condition_shape=(2,)),
    "all_in_one_block householder, reverse, conditional": _block(
        Conjugate, mixing="householder", reverse=True, condition_shape=(2,)
    ),
    "all_in_one_block plu, volume-preserving": _block(
        Chain, (5,), mixing="plu", volume_preserving=True, law="arctan"
    ),
    "all_in_one_block orthogonal, image": Case(Chain, _image_block),
    "conjugate, solves": Case(
        Conjugate,
        _conjugate_with_solves,
        solver_tolerance=lambda dtype: 64 * float(jnp.finfo(dtype).eps),
    ),
    "conjugate affine of a permutation": Case(
        Conjugate,
        lambda dtype: Conjugate(
            Affine((2, 3), shift=np.arange(3.0), scale=0.5, param_dtype=dtype),
            Chain([Permute((2, 3), "reverse"), Householder((2, 3), param_dtype=dtype, rngs=0)]),
        ),
    ),
}

"""One table of bijectors to hold to the laws: every class, in all that changes its mathematics.

A new bijector gets its cases here; `test_registry.py` fails for one that has none.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from jinn.bijectors import (
    PLU,
    ActNorm,
    Affine,
    Bijector,
    Chain,
    Coupling,
    Householder,
    Invert,
    Logit,
    Orthogonal,
    Permute,
    Sigmoid,
    Stack,
    TwoSidedCoupling,
    Unconstrain,
    half_mask,
)
from jinn.bijectors import transformers as t
from jinn.flows import gin, neural_spline_flow, nice, real_nvp
from jinn.networks import MLP
from tests.registry_autoregressive import AUTOREGRESSIVE_CASES
from tests.registry_blocks import BLOCK_CASES
from tests.registry_case import Case
from tests.registry_continuous import CONTINUOUS_CASES
from tests.registry_elementwise import ELEMENTWISE_CASES
from tests.registry_graph import GRAPH_CASES
from tests.registry_images import IMAGE_CASES
from tests.registry_maps import MAP_CASES
from tests.registry_multiscale import MULTISCALE_CASES
from tests.registry_residual import RESIDUAL_CASES
from tests.registry_zoo import ZOO_CASES


class ImageConditioner(nnx.Module):
    """An MLP over a whole image and a vector condition."""

    def __init__(
        self, shape_in: tuple, shape_out: tuple, condition_shape: tuple | None, dtype: Any
    ) -> None:
        self.shape_in, self.shape_out = shape_in, shape_out
        self.mlp = MLP(
            int(np.prod(shape_in)),
            int(np.prod(shape_out)),
            hidden=(8,),
            condition_shape=condition_shape,
            param_dtype=dtype,
            rngs=0,
        )

    def __call__(self, x: jax.Array, condition: Any) -> jax.Array:
        batch = x.shape[: x.ndim - len(self.shape_in)]
        out = self.mlp(x.reshape(*batch, -1), condition)
        return out.reshape(*out.shape[:-1], *self.shape_out)


def parameter_free_conditioner(x: jax.Array, condition: Any) -> jax.Array:
    """Two parameters for each of two elements, from two elements."""
    return jnp.concatenate([jnp.sin(x), jnp.cos(x)], axis=-1)


def _vector_coupling(
    transformer: Any, mask: Sequence[bool], condition_shape: Any = None
) -> Callable[[Any], Coupling]:
    return lambda dtype: Coupling(
        (len(mask),),
        mask=mask,
        transformer=transformer,
        condition_shape=condition_shape,
        hidden=(8,),
        param_dtype=dtype,
        rngs=0,
    )


def _two_sided(transformer: Any, mask: Sequence[bool], **options: Any) -> Callable[[Any], Any]:
    return lambda dtype: TwoSidedCoupling(
        (len(mask),),
        mask=mask,
        transformer=transformer,
        hidden=(8,),
        param_dtype=dtype,
        rngs=0,
        **options,
    )


def _two_sided_image(dtype: Any) -> TwoSidedCoupling:
    networks = [ImageConditioner((2, 2, 2), (2, 2, 4), (3,), dtype) for _ in range(2)]
    return TwoSidedCoupling(
        (2, 2, 2), mask=_CHECKERBOARD, conditioners=tuple(networks), condition_shape=(3,)
    )


def _image_coupling(transformer: Any, mask: Any, condition_shape: Any) -> Callable:
    shape, n_params = np.shape(mask), t.as_transformer(transformer).n_params
    by_channel = bool((mask == mask[0, 0]).all())
    n_in, n_out = (sum(~mask[0, 0]), sum(mask[0, 0])) if by_channel else (shape[-1], shape[-1])

    def make(dtype: Any) -> Coupling:
        conditioner = ImageConditioner(
            (*shape[:-1], n_in), (*shape[:-1], n_params * n_out), condition_shape, dtype
        )
        return Coupling(
            shape,
            mask=mask,
            transformer=transformer,
            conditioner=conditioner,
            condition_shape=condition_shape,
        )

    return make


def _block(
    mixing: Callable[[tuple, Any, jax.Array], Bijector],
) -> Callable[[Any], Callable[[jax.Array], Chain]]:
    """A block for `Stack` over vectors of length 4: ActNorm, the mixing, an affine coupling."""

    def make_block(dtype: Any) -> Callable[[jax.Array], Chain]:
        def make(key: jax.Array) -> Chain:
            keys = jax.random.split(key)
            coupling = Coupling((4,), mask=_HALF, hidden=(8,), param_dtype=dtype, rngs=keys[0])
            return Chain([ActNorm((4,), param_dtype=dtype), mixing((4,), dtype, keys[1]), coupling])

        return make

    return make_block


def _permute(shape: tuple, dtype: Any, key: jax.Array) -> Permute:
    return Permute(shape, rngs=key)


def _orthogonal(shape: tuple, dtype: Any, key: jax.Array) -> Orthogonal:
    return Orthogonal(shape, param_dtype=dtype, rngs=key)


def _householder(shape: tuple, dtype: Any, key: jax.Array) -> Householder:
    return Householder(shape, param_dtype=dtype, rngs=key)


def _plu(shape: tuple, dtype: Any, key: jax.Array) -> PLU:
    return PLU(shape, param_dtype=dtype, rngs=key)


def _nested_chain(dtype: Any) -> Chain:
    coupling = _vector_coupling("affine", half_mask(3), (2,))(dtype)
    inner = Chain([Permute((3,), "reverse"), coupling, Sigmoid((3,))])
    return Chain([ActNorm((3,), param_dtype=dtype), Chain([inner]), Logit((3,))])


def _mixed_chain(dtype: Any) -> Chain:
    """Members with a dict condition beside members without any."""
    shape = {"a": (2,), "b": (2, 2)}
    return Chain(
        [
            _vector_coupling("affine", half_mask(3), shape)(dtype),
            Orthogonal((3,), param_dtype=dtype, rngs=1),
            _vector_coupling("additive", half_mask(3))(dtype),
            Affine((3,), shift=[1.0, 2.0, 3.0], scale=0.5, param_dtype=dtype),
            _vector_coupling("additive", _ALTERNATING, shape)(dtype),
        ]
    )


# Two transformed elements wherever possible, so that eager calls of many cases compile once.
_HALF, _ODD, _ALTERNATING = half_mask(4), half_mask(3), (True, False, True)
_CHANNELS = np.broadcast_to(np.array([True, False, True]), (2, 2, 3))
_CHECKERBOARD = np.broadcast_to(np.array([[True, False], [False, True]])[..., None], (2, 2, 2))
_INFINITY = float("inf")
_LOW = np.array([0.0, -1.0, -_INFINITY, -_INFINITY])
_HIGH = np.array([2.0, _INFINITY, 3.0, _INFINITY])
_INSIDE = ([0.1, -0.9, -2.0, -2.0], [1.9, 4.0, 2.9, 2.0])

TRANSFORMERS = {
    "additive": t.Additive(),
    "affine": t.Affine(),
    "rational_quadratic_spline": t.RationalQuadraticSpline(),
    "affine, clamp": t.Affine(clamp=0.5),
    "spline, bins and bound": t.RationalQuadraticSpline(bins=2, bound=1.5),
    "volume_preserving": t.VolumePreserving(),
    "volume_preserving, arctan": t.VolumePreserving(clamp=1.0, law="arctan"),
    "affine, arctan": t.Affine(law="arctan"),
    "circular spline, rotated": t.Composed((t.CircularSpline(bins=3), t.Additive())),
    "circular spline": t.CircularSpline(bins=2, bound=2.0),
    "linear spline": t.LinearSpline(bins=4, bound=3.0),
    "quadratic spline": t.QuadraticSpline(bins=4, bound=3.0),
    "cubic spline": t.CubicSpline(bins=4, bound=3.0),
    "learned domain": t.LearnedDomain(t.RationalQuadraticSpline(bins=4, bound=2.0)),
    "sigmoidal": t.Sigmoidal(units=3),
    "composed": t.Composed((t.RationalQuadraticSpline(bins=2), t.Affine(clamp=1.0))),
}

CASES: dict[str, Case] = {
    f"coupling {_name}": Case(Coupling, _vector_coupling(_transformer, _HALF))
    for _name, _transformer in TRANSFORMERS.items()
}

for _name in ("additive", "affine", "volume_preserving", "rational_quadratic_spline"):
    CASES |= {
        f"coupling {_name}, odd, conditional": Case(Coupling, _vector_coupling(_name, _ODD, (3,))),
        f"coupling {_name}, alternating, dict condition": Case(
            Coupling, _vector_coupling(_name, _ALTERNATING, {"a": (2,), "b": (2, 2)})
        ),
        f"coupling {_name}, all transformed": Case(
            Coupling, _vector_coupling(_name, (True, True), (3,))
        ),
        f"coupling {_name}, image, channels": Case(
            Coupling, _image_coupling(_name, _CHANNELS, (3,))
        ),
        f"coupling {_name}, image, checkerboard": Case(
            Coupling, _image_coupling(_name, _CHECKERBOARD, None)
        ),
    }

CASES |= {
    "coupling affine, plain function": Case(
        Coupling,
        lambda dtype: Coupling((4,), mask=_HALF, conditioner=parameter_free_conditioner),
    ),
    "coupling affine, separate networks": Case(
        Coupling,
        lambda dtype: Coupling(
            (4,),
            mask=_HALF,
            condition_shape=(3,),
            hidden=(8,),
            separate_networks=True,
            param_dtype=dtype,
            rngs=0,
        ),
    ),
    "two-sided affine": Case(TwoSidedCoupling, _two_sided("affine", _HALF)),
    "two-sided affine, separate networks, arctan": Case(
        TwoSidedCoupling,
        _two_sided(t.Affine(4.0, "arctan"), _ODD, separate_networks=True, condition_shape=(3,)),
    ),
    "two-sided volume_preserving": Case(
        TwoSidedCoupling, _two_sided("volume_preserving", (True, False, True, False, True))
    ),
    "two-sided spline, dict condition": Case(
        TwoSidedCoupling,
        _two_sided(
            t.RationalQuadraticSpline(bins=2), _ODD, condition_shape={"a": (2,), "b": (2, 2)}
        ),
    ),
    "two-sided image, checkerboard": Case(TwoSidedCoupling, _two_sided_image),
    "permute given": Case(Permute, lambda dtype: Permute((4,), (2, 0, 3, 1))),
    "permute reverse": Case(Permute, lambda dtype: Permute((3,), "reverse")),
    "permute random": Case(Permute, lambda dtype: Permute((5,), rngs=0)),
    "permute leaving": Case(Permute, lambda dtype: Permute((3,), leaving=_ODD, rngs=0)),
    "permute image": Case(Permute, lambda dtype: Permute((2, 2, 3), rngs=0)),
    "orthogonal fixed": Case(Orthogonal, lambda dtype: Orthogonal((3,), param_dtype=dtype, rngs=0)),
    "orthogonal learned": Case(
        Orthogonal, lambda dtype: Orthogonal((4,), learned=True, param_dtype=dtype, rngs=0)
    ),
    "orthogonal learned, one element": Case(
        Orthogonal, lambda dtype: Orthogonal((1,), learned=True, param_dtype=dtype, rngs=0)
    ),
    "orthogonal image": Case(
        Orthogonal, lambda dtype: Orthogonal((2, 2, 3), param_dtype=dtype, rngs=0)
    ),
    "actnorm": Case(ActNorm, lambda dtype: ActNorm((3,), param_dtype=dtype)),
    "actnorm image": Case(ActNorm, lambda dtype: ActNorm((2, 2, 3), param_dtype=dtype)),
    "affine learned": Case(Affine, lambda dtype: Affine((3,), scale=2.0, param_dtype=dtype)),
    "affine fixed": Case(
        Affine,
        lambda dtype: Affine(
            (2, 3), shift=[1.0, 0.0, -2.0], scale=[0.1, 1.0, 10.0], learned=False, param_dtype=dtype
        ),
    ),
    "affine, learned scale": Case(
        Affine, lambda dtype: Affine((2, 2), shift=1.0, learned="scale", param_dtype=dtype)
    ),
    "affine, one number": Case(Affine, lambda dtype: Affine((), shift=1.0, param_dtype=dtype)),
    "sigmoid": Case(Sigmoid, lambda dtype: Sigmoid((3,)), codomain=(0.0, 1.0)),
    "sigmoid, one number": Case(Sigmoid, lambda dtype: Sigmoid(()), codomain=None),
    "logit": Case(Logit, lambda dtype: Logit((2, 2)), (0.01, 0.99), (0.0, 1.0)),
    "unconstrain both bounds": Case(
        Unconstrain,
        lambda dtype: Unconstrain((3,), -1.0, [1.0, 2.0, 3.0]),
        (-0.9, 0.9),
        (-1.0, [1.0, 2.0, 3.0]),
    ),
    "unconstrain low": Case(
        Unconstrain,
        lambda dtype: Unconstrain((3,), [0.0, 1.0, -5.0], _INFINITY),
        (1.1, 9.0),
        ([0.0, 1.0, -5.0], _INFINITY),
    ),
    "unconstrain high": Case(
        Unconstrain,
        lambda dtype: Unconstrain((3,), -_INFINITY, 2.0),
        (-5.0, 1.9),
        (-_INFINITY, 2.0),
    ),
    "unconstrain none": Case(Unconstrain, lambda dtype: Unconstrain((3,), -_INFINITY, _INFINITY)),
    "unconstrain mixed": Case(
        Unconstrain,
        lambda dtype: Unconstrain((4,), _LOW, _HIGH),
        _INSIDE,
        (_LOW, _HIGH),
    ),
    "chain nested": Case(Chain, _nested_chain, (-1.0, 1.0)),
    "chain mixed conditions": Case(Chain, _mixed_chain),
    "stack permute": Case(Stack, lambda dtype: Stack(_block(_permute)(dtype), 3, rngs=0)),
    "stack orthogonal, remat": Case(
        Stack, lambda dtype: Stack(_block(_orthogonal)(dtype), 2, rngs=0, backprop="remat")
    ),
    "stack plu, invert": Case(
        Stack, lambda dtype: Stack(_block(_plu)(dtype), 2, rngs=0, backprop="invert")
    ),
    "stack householder": Case(Stack, lambda dtype: Stack(_block(_householder)(dtype), 3, rngs=0)),
    "stack plu": Case(Stack, lambda dtype: Stack(_block(_plu)(dtype), 3, rngs=0)),
    "invert unconstrain": Case(
        Invert,
        lambda dtype: Invert(Unconstrain((4,), _LOW, _HIGH)),
        codomain=(_LOW, _HIGH),
    ),
    "invert logit": Case(Invert, lambda dtype: Invert(Logit((2,))), codomain=None),
}

for _name in (
    "coupling rational_quadratic_spline, odd, conditional",
    "permute random",
    "orthogonal fixed",
    "actnorm image",
    "affine learned",
    "chain nested",
    "stack permute",
):
    CASES[f"invert {_name}"] = Case(
        Invert, lambda dtype, inner=CASES[_name].make: Invert(inner(dtype))
    )

for _flow in (real_nvp, neural_spline_flow):
    for _dim, _condition_dim, _mixing in (
        (1, 0, "permute"),
        (2, 2, "orthogonal"),
        (5, 3, "learned_orthogonal"),
        (5, 3, "permute"),
    ):
        CASES[f"{_flow.__name__} {_dim}|{_condition_dim} {_mixing}"] = Case(
            Stack,
            lambda dtype, make=_flow, dim=_dim, condition_dim=_condition_dim, mixing=_mixing: (
                make(
                    dim,
                    condition_dim=condition_dim,
                    depth=2,
                    hidden=(8,),
                    mixing=mixing,
                    param_dtype=dtype,
                    rngs=0,
                ).bijector
            ),
        )

for _name, _kind, _make in (
    ("nice 5|3 householder", Chain, partial(nice, 5, condition_dim=3, mixing="householder")),
    ("gin 5|3 plu", Stack, partial(gin, 5, condition_dim=3, mixing="plu")),
    ("gin 4|0 two-sided", Stack, partial(gin, 4, two_sided=True)),
    (
        "real_nvp 5|3 plu, FrEIA's block",
        Stack,
        partial(
            real_nvp,
            5,
            condition_dim=3,
            mixing="plu",
            two_sided=True,
            separate_networks=True,
            clamp=4.0,
            law="arctan",
        ),
    ),
):
    CASES[_name] = Case(
        _kind,
        lambda dtype, make=_make: make(depth=2, hidden=(8,), param_dtype=dtype, rngs=0).bijector,
    )

CASES["coupling composed, conditional"] = Case(
    Coupling,
    _vector_coupling(
        t.Composed((t.Affine(), t.RationalQuadraticSpline(bins=4), t.Additive())), _HALF, (3,)
    ),
)

CASES |= MAP_CASES | ELEMENTWISE_CASES | ZOO_CASES | GRAPH_CASES | BLOCK_CASES
CASES |= RESIDUAL_CASES | CONTINUOUS_CASES | AUTOREGRESSIVE_CASES | IMAGE_CASES
CASES |= MULTISCALE_CASES

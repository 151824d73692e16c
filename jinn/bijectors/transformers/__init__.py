"""Transformers: the element-wise maps inside couplings, described by plain data.

A transformer maps values of any shape with parameters of shape `(n_params, *values.shape)`: the
parameter axis leads. It holds options only, no arrays, and compares equal by its options.
"""

from jinn.bijectors.transformers.affine import Additive as Additive
from jinn.bijectors.transformers.affine import Affine as Affine
from jinn.bijectors.transformers.affine import VolumePreserving as VolumePreserving
from jinn.bijectors.transformers.choice import Composed as Composed
from jinn.bijectors.transformers.choice import as_transformer as as_transformer
from jinn.bijectors.transformers.domain import LearnedDomain as LearnedDomain
from jinn.bijectors.transformers.sigmoidal import Sigmoidal as Sigmoidal
from jinn.bijectors.transformers.spline import CircularSpline as CircularSpline
from jinn.bijectors.transformers.spline import CubicSpline as CubicSpline
from jinn.bijectors.transformers.spline import LinearSpline as LinearSpline
from jinn.bijectors.transformers.spline import QuadraticSpline as QuadraticSpline
from jinn.bijectors.transformers.spline import RationalQuadraticSpline as RationalQuadraticSpline
from jinn.functional.coupling import Transformer as Transformer

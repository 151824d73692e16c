"""Base densities of flows."""

from jinn.distributions.base import Distribution as Distribution
from jinn.distributions.gaussian_mixture import GaussianMixture as GaussianMixture
from jinn.distributions.gaussian_mixture import MixtureComponents as MixtureComponents
from jinn.distributions.joint import Joint as Joint
from jinn.distributions.location_scale import Normal as Normal
from jinn.distributions.location_scale import StudentT as StudentT
from jinn.distributions.standard_normal import StandardNormal as StandardNormal
from jinn.distributions.uniform import Uniform as Uniform

"""Base densities of flows."""

from jinn.distributions.base import Distribution as Distribution
from jinn.distributions.standard_normal import StandardNormal as StandardNormal
from jinn.distributions.uniform import Uniform as Uniform

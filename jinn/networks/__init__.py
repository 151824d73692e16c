"""Conditioners: the networks that compute a bijector's parameters. Nothing invertible here."""

from jinn.networks.condition import Pick as Pick
from jinn.networks.conv import ConvNet as ConvNet
from jinn.networks.features import FeatureExtractor as FeatureExtractor
from jinn.networks.lipschitz import LipschitzConvNet as LipschitzConvNet
from jinn.networks.lipschitz import LipschitzMLP as LipschitzMLP
from jinn.networks.masked import MaskedMLP as MaskedMLP
from jinn.networks.mlp import MLP as MLP
from jinn.networks.randomness import as_key as as_key
from jinn.networks.separate import SeparateNetworks as SeparateNetworks
from jinn.networks.vector_field import VectorField as VectorField

"""Flows: densities made of a bijector and a base, and the field's named architectures."""

from jinn.flows.all_in_one import all_in_one_block as all_in_one_block
from jinn.flows.autoregressive_flows import iaf as iaf
from jinn.flows.autoregressive_flows import maf as maf
from jinn.flows.continuous_flows import continuous_flow as continuous_flow
from jinn.flows.continuous_flows import with_solver as with_solver
from jinn.flows.coupling_flows import gin as gin
from jinn.flows.coupling_flows import neural_spline_flow as neural_spline_flow
from jinn.flows.coupling_flows import nice as nice
from jinn.flows.coupling_flows import real_nvp as real_nvp
from jinn.flows.dequantized import Dequantized as Dequantized
from jinn.flows.ensemble import Ensemble as Ensemble
from jinn.flows.flow import Flow as Flow
from jinn.flows.inn_flows import inn as inn
from jinn.flows.inn_model import INN as INN
from jinn.flows.mixture_density import mixture_density_network as mixture_density_network
from jinn.flows.multiscale import multiscale_flow as multiscale_flow
from jinn.flows.residual_flows import residual_flow as residual_flow
from jinn.flows.stages import Stage as Stage

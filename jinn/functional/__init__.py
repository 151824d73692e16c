"""The mathematics: pure functions of arrays and of any callable as network. No Flax here."""

from jinn.functional.activations import leaky_relu_forward as leaky_relu_forward
from jinn.functional.activations import leaky_relu_inverse as leaky_relu_inverse
from jinn.functional.activations import softplus_forward as softplus_forward
from jinn.functional.activations import softplus_inverse as softplus_inverse
from jinn.functional.activations import tanh_forward as tanh_forward
from jinn.functional.activations import tanh_inverse as tanh_inverse
from jinn.functional.affine import additive_forward as additive_forward
from jinn.functional.affine import additive_inverse as additive_inverse
from jinn.functional.affine import affine_forward as affine_forward
from jinn.functional.affine import affine_inverse as affine_inverse
from jinn.functional.affine import arctan_clamp as arctan_clamp
from jinn.functional.affine import soft_clamp as soft_clamp
from jinn.functional.affine import volume_preserving_forward as volume_preserving_forward
from jinn.functional.affine import volume_preserving_inverse as volume_preserving_inverse
from jinn.functional.autoregressive import autoregressive_forward as autoregressive_forward
from jinn.functional.autoregressive import autoregressive_inverse as autoregressive_inverse
from jinn.functional.continuous import ContinuousInfo as ContinuousInfo
from jinn.functional.continuous import StructuredField as StructuredField
from jinn.functional.continuous import continuous_forward as continuous_forward
from jinn.functional.continuous import continuous_inverse as continuous_inverse
from jinn.functional.coupling import Transformer as Transformer
from jinn.functional.coupling import coupling_forward as coupling_forward
from jinn.functional.coupling import coupling_inverse as coupling_inverse
from jinn.functional.coupling import coupling_sizes as coupling_sizes
from jinn.functional.coupling import two_sided_coupling_forward as two_sided_coupling_forward
from jinn.functional.coupling import two_sided_coupling_inverse as two_sided_coupling_inverse
from jinn.functional.dequantization import bits_per_dimension as bits_per_dimension
from jinn.functional.dequantization import dequantize as dequantize
from jinn.functional.dequantization import quantize as quantize
from jinn.functional.divergence import exact_divergence as exact_divergence
from jinn.functional.elementwise import logit_forward as logit_forward
from jinn.functional.elementwise import logit_inverse as logit_inverse
from jinn.functional.elementwise import sigmoid_forward as sigmoid_forward
from jinn.functional.elementwise import sigmoid_inverse as sigmoid_inverse
from jinn.functional.elementwise import unconstrain_forward as unconstrain_forward
from jinn.functional.elementwise import unconstrain_inverse as unconstrain_inverse
from jinn.functional.fixed_point import FixedPointInfo as FixedPointInfo
from jinn.functional.fixed_point import fixed_point as fixed_point
from jinn.functional.fourier import fourier_convolution_forward as fourier_convolution_forward
from jinn.functional.fourier import fourier_convolution_inverse as fourier_convolution_inverse
from jinn.functional.inv_auto import orthogonality_error as orthogonality_error
from jinn.functional.inv_auto import orthogonality_penalty as orthogonality_penalty
from jinn.functional.inv_auto import tied_convolution_forward as tied_convolution_forward
from jinn.functional.inv_auto import tied_convolution_inverse as tied_convolution_inverse
from jinn.functional.inv_auto import tied_convolution_matrices as tied_convolution_matrices
from jinn.functional.inv_auto import tied_convolution_penalty as tied_convolution_penalty
from jinn.functional.inv_auto import tied_linear_forward as tied_linear_forward
from jinn.functional.inv_auto import tied_linear_inverse as tied_linear_inverse
from jinn.functional.inv_auto import two_slopes_forward as two_slopes_forward
from jinn.functional.inv_auto import two_slopes_inverse as two_slopes_inverse
from jinn.functional.kernels import mmd_squared as mmd_squared
from jinn.functional.linear import householder_forward as householder_forward
from jinn.functional.linear import householder_inverse as householder_inverse
from jinn.functional.linear import householder_matrix as householder_matrix
from jinn.functional.linear import orthogonal_forward as orthogonal_forward
from jinn.functional.linear import orthogonal_inverse as orthogonal_inverse
from jinn.functional.linear import polish_orthogonal as polish_orthogonal
from jinn.functional.linear import skew_cayley as skew_cayley
from jinn.functional.linear import skew_exponential as skew_exponential
from jinn.functional.log_det import log_det_exact as log_det_exact
from jinn.functional.log_det import log_det_power_series as log_det_power_series
from jinn.functional.log_det import log_det_russian_roulette as log_det_russian_roulette
from jinn.functional.low_rank import planar_forward as planar_forward
from jinn.functional.low_rank import planar_inverse as planar_inverse
from jinn.functional.low_rank import planar_inverse_with_info as planar_inverse_with_info
from jinn.functional.low_rank import sylvester_forward as sylvester_forward
from jinn.functional.low_rank import sylvester_inverse as sylvester_inverse
from jinn.functional.low_rank import sylvester_inverse_with_info as sylvester_inverse_with_info
from jinn.functional.masked import MaskedPerceptron as MaskedPerceptron
from jinn.functional.matrix import linear_forward as linear_forward
from jinn.functional.matrix import linear_inverse as linear_inverse
from jinn.functional.mixture import covariance_factor as covariance_factor
from jinn.functional.mixture import gaussian_mixture_log_prob as gaussian_mixture_log_prob
from jinn.functional.mixture import gaussian_mixture_sample as gaussian_mixture_sample
from jinn.functional.mixture import precision_factor as precision_factor
from jinn.functional.normalization import actnorm_forward as actnorm_forward
from jinn.functional.normalization import actnorm_inverse as actnorm_inverse
from jinn.functional.normalization import actnorm_statistics as actnorm_statistics
from jinn.functional.ode import RK4 as RK4
from jinn.functional.ode import ODESolver as ODESolver
from jinn.functional.permutation import permutation_forward as permutation_forward
from jinn.functional.permutation import permutation_inverse as permutation_inverse
from jinn.functional.polynomial_spline import cubic_spline_forward as cubic_spline_forward
from jinn.functional.polynomial_spline import cubic_spline_inverse as cubic_spline_inverse
from jinn.functional.polynomial_spline import linear_spline_forward as linear_spline_forward
from jinn.functional.polynomial_spline import linear_spline_inverse as linear_spline_inverse
from jinn.functional.polynomial_spline import quadratic_spline_forward as quadratic_spline_forward
from jinn.functional.polynomial_spline import quadratic_spline_inverse as quadratic_spline_inverse
from jinn.functional.powers import exp_forward as exp_forward
from jinn.functional.powers import exp_inverse as exp_inverse
from jinn.functional.powers import power_forward as power_forward
from jinn.functional.powers import power_inverse as power_inverse
from jinn.functional.radial import radial_forward as radial_forward
from jinn.functional.radial import radial_inverse as radial_inverse
from jinn.functional.reshape import haar_forward as haar_forward
from jinn.functional.reshape import haar_inverse as haar_inverse
from jinn.functional.reshape import squeeze_forward as squeeze_forward
from jinn.functional.reshape import squeeze_inverse as squeeze_inverse
from jinn.functional.residual import residual_forward as residual_forward
from jinn.functional.residual import residual_inverse as residual_inverse
from jinn.functional.residual import (
    residual_inverse_with_info as residual_inverse_with_info,
)
from jinn.functional.root import increasing_root as increasing_root
from jinn.functional.sigmoidal import sigmoidal_forward as sigmoidal_forward
from jinn.functional.sigmoidal import sigmoidal_inverse as sigmoidal_inverse
from jinn.functional.solver import SolverInfo as SolverInfo
from jinn.functional.spline import (
    circular_rational_quadratic_spline_forward as circular_rational_quadratic_spline_forward,
)
from jinn.functional.spline import (
    circular_rational_quadratic_spline_inverse as circular_rational_quadratic_spline_inverse,
)
from jinn.functional.spline import (
    rational_quadratic_spline_forward as rational_quadratic_spline_forward,
)
from jinn.functional.spline import (
    rational_quadratic_spline_inverse as rational_quadratic_spline_inverse,
)
from jinn.functional.triangular import plu_forward as plu_forward
from jinn.functional.triangular import plu_inverse as plu_inverse
from jinn.functional.triangular import triangular_forward as triangular_forward
from jinn.functional.triangular import triangular_inverse as triangular_inverse

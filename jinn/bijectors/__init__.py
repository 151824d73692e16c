"""Bijectors: Flax modules that own parameters, shapes and checks, and call `jinn.functional`."""

from jinn.bijectors.actnorm import ActNorm as ActNorm
from jinn.bijectors.base import Bijector as Bijector
from jinn.bijectors.base import Buffer as Buffer
from jinn.bijectors.chain import Chain as Chain
from jinn.bijectors.chain import Invert as Invert
from jinn.bijectors.check import check_bijector as check_bijector
from jinn.bijectors.check_report import BijectorLawError as BijectorLawError
from jinn.bijectors.check_report import BijectorReport as BijectorReport
from jinn.bijectors.coupling import Coupling as Coupling
from jinn.bijectors.coupling import half_mask as half_mask
from jinn.bijectors.elementwise import Affine as Affine
from jinn.bijectors.elementwise import Logit as Logit
from jinn.bijectors.elementwise import Sigmoid as Sigmoid
from jinn.bijectors.elementwise import Unconstrain as Unconstrain
from jinn.bijectors.module import initialize as initialize
from jinn.bijectors.module import refresh as refresh
from jinn.bijectors.module import trainable as trainable
from jinn.bijectors.orthogonal import Orthogonal as Orthogonal
from jinn.bijectors.permute import Permute as Permute
from jinn.bijectors.stack import Stack as Stack

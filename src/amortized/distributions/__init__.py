"""Families that `torch.distributions` lacks, or computes badly."""

from amortized.distributions.autoregressive import Autoregressive
from amortized.distributions.bernoulli import IndependentBernoulli
from amortized.distributions.beta import Beta
from amortized.distributions.center import center, has_center, in_support, representative
from amortized.distributions.chain import Chain
from amortized.distributions.continuous_bernoulli import ContinuousBernoulli
from amortized.distributions.counts import Binomial, NegativeBinomial, Poisson
from amortized.distributions.delta import Delta, is_point_mass
from amortized.distributions.discrete import Bits, EnumeratedBits, EnumeratedOneHot, OneHot, RelaxedBits, RelaxedOneHot
from amortized.distributions.discretized import DiscretizedLogistic
from amortized.distributions.drawing import Draw, draw, is_relaxed
from amortized.distributions.logistic_mixture import ChannelLogisticMixture, LogisticMixture
from amortized.distributions.masked import masked_log_prob
from amortized.distributions.mixture import Mixture
from amortized.distributions.multinomial import Multinomial
from amortized.distributions.optimal import OptimalScale
from amortized.distributions.ordinal import Ordinal
from amortized.distributions.paths import spherical
from amortized.distributions.sphere import SphereUniform
from amortized.distributions.student_t import StudentT
from amortized.distributions.transformed import Transformed
from amortized.distributions.von_mises_fisher import VonMisesFisher
from amortized.distributions.zero_inflated import ZeroInflatedNegativeBinomial

__all__ = [
    "Autoregressive",
    "Beta",
    "Binomial",
    "Bits",
    "Chain",
    "ChannelLogisticMixture",
    "ContinuousBernoulli",
    "Delta",
    "DiscretizedLogistic",
    "Draw",
    "EnumeratedBits",
    "EnumeratedOneHot",
    "IndependentBernoulli",
    "LogisticMixture",
    "Mixture",
    "Multinomial",
    "NegativeBinomial",
    "OneHot",
    "OptimalScale",
    "Ordinal",
    "Poisson",
    "RelaxedBits",
    "RelaxedOneHot",
    "SphereUniform",
    "StudentT",
    "Transformed",
    "VonMisesFisher",
    "ZeroInflatedNegativeBinomial",
    "center",
    "draw",
    "has_center",
    "in_support",
    "is_point_mass",
    "is_relaxed",
    "masked_log_prob",
    "representative",
    "spherical",
]

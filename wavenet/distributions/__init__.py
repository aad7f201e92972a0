"""Output distributions: `base` has their contract, `mixture` what mixtures share, and others one or two of them."""

from wavenet.distributions.base import OutputDistribution
from wavenet.distributions.gaussian_mixture import GaussianMixture
from wavenet.distributions.logistic_mixture import LogisticMixture
from wavenet.distributions.mixture import Mixture
from wavenet.distributions.mulaw_categorical import MuLawCategorical

__all__ = ["GaussianMixture", "LogisticMixture", "Mixture", "MuLawCategorical", "OutputDistribution"]

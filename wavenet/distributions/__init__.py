"""What a sample of audio may be, given the past: the paper's classes, or mixtures for samples of 16 bits.

`OutputDistribution` is their contract; a new one is a class that keeps it, and a YAML in
`configs/model/distribution/`. `Mixture` is what mixtures share.
"""

from wavenet.distributions.base import OutputDistribution
from wavenet.distributions.gaussian_mixture import GaussianMixture
from wavenet.distributions.logistic_mixture import LogisticMixture
from wavenet.distributions.mixture import Mixture
from wavenet.distributions.mulaw_categorical import MuLawCategorical

__all__ = ["GaussianMixture", "LogisticMixture", "Mixture", "MuLawCategorical", "OutputDistribution"]

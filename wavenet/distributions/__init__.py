"""Output distributions of the next sample: the paper's mu-law classes, or mixtures for 16-bit samples.

`OutputDistribution` is their interface; a new distribution is a class that implements it, and a YAML file in
`configs/model/distribution/`. `Mixture` is the base class of mixtures.
"""

from wavenet.distributions.base import OutputDistribution
from wavenet.distributions.gaussian_mixture import GaussianMixture
from wavenet.distributions.logistic_mixture import LogisticMixture
from wavenet.distributions.mixture import Mixture
from wavenet.distributions.mulaw_categorical import MuLawCategorical

__all__ = ["GaussianMixture", "LogisticMixture", "Mixture", "MuLawCategorical", "OutputDistribution"]

"""Output distributions: `base` has their contract, every other file one of them."""

from wavenet.distributions.base import OutputDistribution
from wavenet.distributions.mulaw_categorical import MuLawCategorical

__all__ = ["MuLawCategorical", "OutputDistribution"]

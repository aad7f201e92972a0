"""How good a model is, in numbers."""

from wavenet.evaluation.bits import Score, bits_per_sample, utterance_bits
from wavenet.evaluation.similarity import Similarity, similarity

__all__ = ["Score", "Similarity", "bits_per_sample", "similarity", "utterance_bits"]

"""How good a model is, in numbers."""

from wavenet.evaluation.bits import Score, bits_per_sample, utterance_bits

__all__ = ["Score", "bits_per_sample", "utterance_bits"]

"""Metrics of models."""

from wavenet.evaluation.bits import Score, bits_per_sample, grouped, score_each, utterance_bits
from wavenet.evaluation.bits_per_byte import Clips, utterance_bytes
from wavenet.evaluation.interval import ratio_interval
from wavenet.evaluation.perceptual import Verdict, pesq, stoi
from wavenet.evaluation.similarity import Similarity, similarity

__all__ = [
    "Clips",
    "Score",
    "Similarity",
    "Verdict",
    "bits_per_sample",
    "grouped",
    "pesq",
    "ratio_interval",
    "score_each",
    "similarity",
    "stoi",
    "utterance_bits",
    "utterance_bytes",
]

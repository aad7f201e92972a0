"""Metrics of models."""

from wavenet.evaluation.bits import (
    Score,
    batches_by_length,
    bits_per_sample,
    grouped,
    score_batches,
    score_each,
    utterance_bits,
)
from wavenet.evaluation.bits_per_byte import Clips, utterance_bytes
from wavenet.evaluation.interval import jackknife_interval, ratio_interval
from wavenet.evaluation.long_term import (
    LongTerm,
    average_spectrum,
    frame_levels,
    level_distance,
    long_term,
    long_term_distance,
    rms_level,
    silent_share,
    spectral_flatness,
    spectrum_distance,
)
from wavenet.evaluation.perceptual import Verdict, pesq, stoi
from wavenet.evaluation.similarity import Similarity, similarity

__all__ = [
    "Clips",
    "LongTerm",
    "Score",
    "Similarity",
    "Verdict",
    "average_spectrum",
    "batches_by_length",
    "bits_per_sample",
    "frame_levels",
    "grouped",
    "jackknife_interval",
    "level_distance",
    "long_term",
    "long_term_distance",
    "pesq",
    "ratio_interval",
    "rms_level",
    "score_batches",
    "score_each",
    "silent_share",
    "similarity",
    "spectral_flatness",
    "spectrum_distance",
    "stoi",
    "utterance_bits",
    "utterance_bytes",
]

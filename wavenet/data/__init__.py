"""Datasets, their preparation, and the stream of segments. Sees audio, never the model.

A `Dataset` is a class with a `name` and a method `scan()` that returns a `Scan`: where each utterance's
file is, and which named conditions (such as the speaker) hold for it. It may also state the recordings'
licences, which go to the card of a model that learns from them. `prepare` does the rest, the same for
all: it resamples once into a cache and refuses what cannot be used. `add_features` computes what a model
may be conditioned on frame by frame, once as well.
"""

from wavenet.data.corpus import Corpus, Prepared, split
from wavenet.data.dataset import Dataset, DatasetError, Scan, Skipped, Utterance
from wavenet.data.features import add_features
from wavenet.data.origin import Licence, Origin
from wavenet.data.prepare import prepare
from wavenet.data.segments import SegmentStream, TrainingSegments, WholeUtterances

__all__ = [
    "Corpus",
    "Dataset",
    "DatasetError",
    "Licence",
    "Origin",
    "Prepared",
    "Scan",
    "SegmentStream",
    "Skipped",
    "TrainingSegments",
    "Utterance",
    "WholeUtterances",
    "add_features",
    "prepare",
    "split",
]

"""Datasets, their preparation, and the stream of training segments. Independent of the model.

A `Dataset` is a class with a `name` and a method `scan()` that returns a `Scan`: where each utterance's
file is, and its named conditions (such as the speaker). It may also state the recordings' licences, which
go to the card of a model trained on them. `prepare` does the rest, the same for all datasets: it resamples
every recording once into a cache and skips those that cannot be used. `add_features` computes features on
which a model may be conditioned frame by frame, also once. A `Mix` is several datasets as one.
"""

from wavenet.data.corpus import Corpus, IndexedUtterances, Prepared, PreparedUtterance
from wavenet.data.dataset import Dataset, DatasetError, Scan, Skipped, Utterance
from wavenet.data.features import add_features
from wavenet.data.mix import Mix
from wavenet.data.mixed import Part, parts_of, shares_of
from wavenet.data.origin import Licence, Origin
from wavenet.data.prepare import prepare
from wavenet.data.segments import SegmentStream, TrainingSegments, WholeUtterances
from wavenet.data.split import split

__all__ = [
    "Corpus",
    "Dataset",
    "DatasetError",
    "IndexedUtterances",
    "Licence",
    "Mix",
    "Origin",
    "Part",
    "Prepared",
    "PreparedUtterance",
    "Scan",
    "SegmentStream",
    "Skipped",
    "TrainingSegments",
    "Utterance",
    "WholeUtterances",
    "add_features",
    "parts_of",
    "prepare",
    "shares_of",
    "split",
]

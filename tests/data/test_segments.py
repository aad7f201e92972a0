import itertools

import numpy as np
import pytest
import soundfile
import torch
from torch.utils.data import DataLoader

from wavenet.data import Corpus, SegmentStream, TrainingSegments, WholeUtterances
from wavenet.data.corpus import Prepared

LENGTHS = (50, 300, 1000)


@pytest.fixture
def corpus(tmp_path):
    """Ramps: a sample's value says which utterance it is of, and where in it."""
    utterances = []
    for number, length in enumerate(LENGTHS):
        path = tmp_path / f"{number}.wav"
        samples = (np.arange(length) + 1 + 2000 * number) / 32768
        soundfile.write(path, samples, 1000, subtype="PCM_16")
        utterances.append(Prepared(str(number), path, path, length, length / 1000, {"speaker": str(number)}))
    return Corpus("ramps", 1000, utterances, [])


def place(segment):
    """(utterance, first heard, first predicted, one past the last predicted) of a segment."""
    values = (segment["waveform"] * 32768).round().int()
    predicted = segment["predicted"].nonzero().flatten()
    number = int(segment["conditions"]["speaker"])
    first, last = int(predicted[0]), int(predicted[-1])
    assert segment["predicted"][first : last + 1].all()
    heard = values[: last + 1] - 1 - 2000 * number
    assert torch.equal(heard, torch.arange(len(heard), dtype=torch.int32) + heard[0])  # in order, of one utterance
    assert not values[last + 1 :].any()
    return number, int(heard[0]), int(heard[first]), int(heard[last]) + 1


def test_every_prediction_has_its_whole_context_or_the_true_beginning(corpus):
    segments = TrainingSegments(corpus, 100, 64, seed=0)
    for i in range(500):
        number, heard_from, start, stop = place(segments[i])
        assert heard_from == max(0, start - 64)
        assert stop - start == min(100, LENGTHS[number])
        assert stop <= LENGTHS[number]
        assert segments[i]["waveform"].shape == (164,)


def test_every_sample_is_predicted_about_as_often(corpus):
    segments = TrainingSegments(corpus, 100, 64, seed=0)
    counts = [np.zeros(length) for length in LENGTHS]
    draws = 4000
    for i in range(draws):
        number, _, start, stop = place(segments[i])
        counts[number][start:stop] += 1
    expected = draws * 100 / sum(LENGTHS)
    everywhere = np.concatenate(counts[1:]) / expected
    assert 0.4 < everywhere.min() and everywhere.max() < 1.7
    assert counts[2][0] / expected == pytest.approx(0.5, abs=0.2)  # the very beginning is learnt too


def test_segment_i_is_a_function_of_seed_and_i(corpus):
    segments = TrainingSegments(corpus, 100, 64, seed=3)
    again, other = TrainingSegments(corpus, 100, 64, seed=3), TrainingSegments(corpus, 100, 64, seed=4)
    assert all(torch.equal(segments[i]["waveform"], again[i]["waveform"]) for i in (99, 5, 0, 10**12))
    assert [place(segments[i]) for i in range(20)] != [place(other[i]) for i in range(20)]


def take(corpus, count, **options):
    workers = options.pop("num_workers", 0)
    segments = TrainingSegments(corpus, 100, 64, seed=1)
    loader = DataLoader(segments, batch_sampler=SegmentStream(2, **options), num_workers=workers)
    return [batch["waveform"] for batch in itertools.islice(loader, count)]


def equal(a, b):
    return len(a) == len(b) and all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


def test_the_stream_is_the_same_for_any_number_of_workers(corpus):
    assert equal(take(corpus, 6), take(corpus, 6, num_workers=2))


def test_the_stream_goes_on_where_it_was(corpus):
    assert equal(take(corpus, 6)[4:], take(corpus, 2, start=4))
    assert equal(take(corpus, 6)[4:], take(corpus, 2, start=4, num_workers=2))


def test_each_rank_has_its_own_share_of_the_same_stream(corpus):
    alone = torch.cat(take(corpus, 6))
    ranks = [take(corpus, 3, rank=rank, world_size=2) for rank in (0, 1)]
    together = torch.cat([batch for pair in zip(*ranks, strict=True) for batch in pair])
    assert torch.equal(alone, together)


def test_whole_utterances_are_shared_out(corpus):
    everything = WholeUtterances(corpus)
    assert [len(everything[i]["waveform"]) for i in range(len(everything))] == list(LENGTHS)
    shares = [WholeUtterances(corpus, rank, 2) for rank in (0, 1)]
    assert [item["conditions"]["speaker"] for share in shares for item in (share[i] for i in range(len(share)))] == [
        "0",
        "2",
        "1",
    ]


def test_wrong_numbers_are_named(corpus):
    with pytest.raises(ValueError, match="segment_length is 0"):
        TrainingSegments(corpus, 0, 64, 0)
    with pytest.raises(ValueError, match="batch_size is 0"):
        SegmentStream(0)

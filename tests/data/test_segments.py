import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from tests.data.ramps import LENGTHS, Blocks, ramps
from wavenet.data import SegmentStream, TrainingSegments, WholeUtterances, add_features


@pytest.fixture
def corpus(tmp_path):
    return ramps(tmp_path)


def place(segment):
    """Return (utterance, first input, first predicted, one past the last predicted) of a segment."""
    values = (segment["waveform"] * 32768).round().int()
    predicted = segment["predicted"].nonzero().flatten()
    number = int(segment["conditions"]["speaker"])
    first, last = int(predicted[0]), int(predicted[-1])
    assert segment["predicted"][first : last + 1].all()
    inputs = values[: last + 1] - 1 - 2000 * number
    assert torch.equal(inputs, torch.arange(len(inputs), dtype=torch.int32) + inputs[0])  # in order, of one utterance
    assert not values[last + 1 :].any()
    return number, int(inputs[0]), int(inputs[first]), int(inputs[last]) + 1


def test_every_prediction_has_its_whole_context_or_the_true_beginning(corpus):
    segments = TrainingSegments(corpus, 100, 64, seed=0)
    for i in range(500):
        number, first_input, start, stop = place(segments[i])
        assert first_input == max(0, start - 64)
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
    assert counts[2][0] / expected == pytest.approx(0.5, abs=0.2)  # the very beginning is trained on, too


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


def test_the_stream_continues_where_it_was(corpus):
    assert equal(take(corpus, 6)[4:], take(corpus, 2, start=8))
    assert equal(take(corpus, 6)[4:], take(corpus, 2, start=8, num_workers=2))


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


def input_range(segment):
    """Return (utterance, first input, first predicted, one past the last predicted, one past the last input)."""
    values = (segment["waveform"] * 32768).round().int()
    number, count = int(segment["conditions"]["speaker"]), int(values.count_nonzero())
    positions = values[:count] - 1 - 2000 * number
    assert torch.equal(positions, torch.arange(count, dtype=torch.int32) + positions[0])  # in order, of one utterance
    predicted = segment["predicted"].nonzero().flatten()
    assert len(predicted) == predicted[-1] - predicted[0] + 1
    first = int(positions[0])
    return number, first, first + int(predicted[0]), first + int(predicted[-1]) + 1, first + count


@pytest.mark.parametrize("margin", [0, 1, 45])
@pytest.mark.parametrize("hops", [(20,), (20, 30), (7, 1)])
def test_segments_with_features_begin_on_a_frame(corpus, hops, margin):
    """The frames equal the whole utterance's at the same samples; the predictions are the same as without them."""
    with_features = add_features(corpus, [Blocks(f"of {hop}", hop) for hop in hops], progress=False)
    grid = math.lcm(*hops)
    plain = TrainingSegments(corpus, 100, 64, seed=0)
    segments = TrainingSegments(with_features, 100, 64, seed=0, margin=margin)
    length = math.ceil((100 + 64 + margin + grid - 1) / grid) * grid
    whole = [with_features.conditions(number) for number in range(len(LENGTHS))]
    seen = set()
    for i in range(200):
        segment = segments[i]
        number, first_input, start, stop, end_input = input_range(segment)
        same, _, *predicted = place(plain[i])
        assert (number, start, stop) == (same, *predicted)
        assert first_input == max(0, start - 64) // grid * grid
        assert end_input == min(stop + margin, LENGTHS[number])
        assert segment["waveform"].shape == segment["predicted"].shape == (length,)
        seen.add((number, first_input > 0, end_input == LENGTHS[number]))
        for features in with_features.features:
            frames, hop = segment["conditions"][features.name], features.hop_length
            stored = whole[number][features.name]
            expected = [stored[:, min(first_input // hop + k, stored.shape[1] - 1)] for k in range(length // hop)]
            assert torch.equal(frames, torch.stack(expected, dim=1))
            complete = (end_input - first_input) // hop  # and they describe the same samples
            assert torch.equal(frames[:, :complete], features.extract(segment["waveform"])[:, :complete])
    assert {(1, False, False), (1, True, True), (2, True, False), (2, True, True), (0, False, True)} <= seen


def test_a_margin_without_features_is_input_but_not_predicted(corpus):
    plain, wider = (TrainingSegments(corpus, 100, 64, seed=0, margin=margin) for margin in (0, 30))
    for i in range(100):
        number, *expected = place(plain[i])
        assert input_range(wider[i]) == (number, *expected, min(expected[-1] + 30, LENGTHS[number]))
        assert wider[i]["waveform"].shape == (194,)


def test_features_are_batched_by_the_loader(corpus):
    corpus = add_features(corpus, [Blocks()], progress=False)
    segments = TrainingSegments(corpus, 100, 64, seed=1, margin=10)
    batches = [
        list(itertools.islice(DataLoader(segments, batch_sampler=SegmentStream(2), num_workers=workers), 3))
        for workers in (0, 1)
    ]
    for here, there in zip(*batches, strict=True):
        assert here["waveform"].shape == (2, 200)
        assert here["conditions"]["blocks"].shape == (2, 2, 10)
        assert torch.equal(here["conditions"]["blocks"], there["conditions"]["blocks"])
    assert torch.equal(batches[0][0]["conditions"]["blocks"][1], segments[1]["conditions"]["blocks"])


def test_a_condition_that_some_utterances_lack_is_left_out_of_batches(corpus):
    languages = [{"language": "en"}, {}, {"language": "it"}]
    utterances = [
        replace(each, conditions=each.conditions | language)
        for each, language in zip(corpus.utterances, languages, strict=True)
    ]
    segments = TrainingSegments(replace(corpus, utterances=utterances), 100, 64, seed=1)
    batch = next(iter(DataLoader(segments, batch_sampler=SegmentStream(16))))
    assert batch["conditions"].keys() == {"speaker"}
    assert len(set(batch["conditions"]["speaker"])) > 1
    segments = TrainingSegments(replace(corpus, utterances=utterances[::2]), 100, 64, seed=1)
    assert segments[0]["conditions"].keys() == {"speaker", "language"}


def test_whole_utterances_have_all_their_frames(corpus):
    corpus = add_features(corpus, [Blocks()], progress=False)
    for number, item in enumerate(DataLoader(WholeUtterances(corpus), batch_size=None)):
        assert torch.equal(item["conditions"]["blocks"], Blocks().extract(corpus.read(number)))
        assert item["conditions"]["speaker"] == str(number)


def test_wrong_numbers_are_named(corpus):
    with pytest.raises(ValueError, match="margin is -1; it must be a whole number of at least 0"):
        TrainingSegments(corpus, 100, 64, 0, margin=-1)
    with pytest.raises(ValueError, match="segment_length is 0"):
        TrainingSegments(corpus, 0, 64, 0)
    with pytest.raises(ValueError, match="batch_size is 0"):
        SegmentStream(0)

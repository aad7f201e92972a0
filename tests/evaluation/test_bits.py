import dataclasses
import math

import numpy as np
import pytest
import soundfile
import torch

from tests.data.ramps import Blocks, ramps
from wavenet import load
from wavenet.conditioning import MelConditioner
from wavenet.data import Corpus, add_features, prepare
from wavenet.data.corpus import Prepared
from wavenet.data.folder import Folder
from wavenet.distributions import LogisticMixture
from wavenet.evaluation import Score, batches_by_length, bits_per_sample, score_each, utterance_bits
from wavenet.evaluation.bits import batch_bits
from wavenet.nn import Upsampling


@pytest.fixture
def corpus(tmp_path):
    utterances = []
    for number, (speaker, length) in enumerate((("ann", 300), ("bob", 500), ("ann", 77))):
        path = tmp_path / f"{number}.wav"
        soundfile.write(path, np.random.default_rng(number).uniform(-0.9, 0.9, length), 2000)
        utterances.append(Prepared(str(number), path, path, length, length / 2000, {"speaker": speaker}))
    return Corpus("noise", 2000, utterances, [])


def test_each_sample_is_counted_once_with_its_full_context(small, corpus):
    """The sum equals the textbook one: predict sample t from samples 0 .. t - 1, for every t."""
    model = small(("ann", "bob"), torch.float64)
    x = corpus.read(2).double()
    condition = model.condition({"speaker": "ann"}, 1)
    expected = 0.0
    for t in range(len(x)):
        inputs = torch.cat([torch.zeros(1, dtype=torch.float64), x[:t]])[None]
        parameters = model(inputs, condition)[0][..., -1:]
        expected -= model.distribution.log_prob(parameters, x[None, t : t + 1]).item() / math.log(2)
    score = utterance_bits(model, x, {"speaker": "ann"})
    assert score.bits == pytest.approx(expected, rel=1e-9)
    assert (score.samples, score.utterances) == (77, 1)


@pytest.mark.parametrize("chunk", [1, 10, 76, 77])
def test_chunk_length_does_not_matter(small, corpus, chunk):
    model = small(dtype=torch.float64)
    whole = utterance_bits(model, corpus.read(2).double())
    assert utterance_bits(model, corpus.read(2).double(), chunk=chunk).bits == pytest.approx(whole.bits, rel=1e-9)


def test_an_overflow_is_named(small, corpus):
    model = small(("ann", "bob"))
    for weights in model.head.parameters():
        weights.data.fill_(1e30)
    with pytest.raises(FloatingPointError, match="log-likelihood of 0 is infinite or nan: its weights are too large"):
        bits_per_sample(model, corpus)


def test_scores_by_speaker_add_up(small, corpus):
    model = small(("ann", "bob"))
    ticks = []
    scores = bits_per_sample(model, corpus, on_progress=lambda: ticks.append(1))
    assert list(scores) == ["ann", "bob", "all"]
    assert (scores["ann"].samples, scores["ann"].utterances) == (377, 2)
    assert scores["all"] == scores["ann"] + scores["bob"]
    assert scores["all"].samples == 877
    assert len(ticks) == 3


def test_a_uniform_model_scores_chance_level(small, corpus):
    model = small()
    with torch.no_grad():
        for parameter in model.head[-1].parameters():
            parameter.zero_()
    assert bits_per_sample(model, corpus)["all"].bits_per_sample == pytest.approx(4)  # log2 of 16 classes


def test_errors_and_empty_scores(small, corpus):
    with pytest.raises(ValueError, match="the corpus is at 2000 Hz; the model's sample_rate is 8000"):
        model = small()
        model.sample_rate = 8000
        bits_per_sample(model, corpus)
    with pytest.raises(ValueError, match="unknown speaker 'ann'; choose from eve"):
        bits_per_sample(small(("eve",)), corpus)
    assert math.isnan(Score().bits_per_sample)


def test_bits_as_16_bit_samples(small, corpus):
    """A uniform model of mu-law classes needs log2(classes) bits, and then those of the levels within a class."""
    model = small()
    with torch.no_grad():
        for parameter in model.head[-1].parameters():
            parameter.zero_()
    score = bits_per_sample(model, corpus)["all"]
    levels = model.distribution.encode(torch.arange(-(2**15), 2**15)[None] / 2**15)[0].T  # one embedding for a class
    classes = levels.unique(dim=0, return_inverse=True)[1]
    expected = 0.0
    for index in range(3):
        numbers = (corpus.read(index) * 2**15).round().long() + 2**15
        expected += classes.bincount()[classes[numbers]].log2().sum().item()
    assert score.log2_levels == pytest.approx(expected, rel=1e-6)
    assert score.bits_per_16_bit_sample == pytest.approx(4 + expected / score.samples, rel=1e-5)
    of_levels = bits_per_sample(small(distribution=LogisticMixture), corpus)["all"]
    assert of_levels.bits_per_16_bit_sample == of_levels.bits_per_sample
    assert math.isnan(Score().bits_per_16_bit_sample)


def test_a_corpus_is_scored_with_its_features(small, tmp_path, monkeypatch):
    corpus, received = add_features(ramps(tmp_path), [Blocks()], progress=False), []

    def batch_bits(model, waveforms, conditions):
        received.extend(conditions)
        return [Score(1.0, len(waveform), 1) for waveform in waveforms]

    monkeypatch.setattr("wavenet.evaluation.bits.batch_bits", batch_bits)
    bits_per_sample(small(), dataclasses.replace(corpus, sample_rate=2000))
    received.sort(key=lambda conditions: conditions["speaker"])
    assert [conditions["speaker"] for conditions in received] == ["0", "1", "2"]
    for index, conditions in enumerate(received):
        assert torch.equal(conditions["blocks"], Blocks().extract(corpus.read(index)))


def mel():
    return MelConditioner(2000, 3, n_fft=64, hop_length=24, n_mels=5, upsampling=Upsampling([3, 2]))


@pytest.mark.parametrize("conditioner", [None, mel])
def test_a_batch_scores_each_utterance_as_if_alone(small, corpus, conditioner):
    """Of different lengths, speakers and features, in pieces that end within some of them."""
    model = small(("ann", "bob"), torch.float64, conditioner)
    corpus = add_features(corpus, model.features, progress=False)
    waveforms = [corpus.read(number).double() for number in range(3)]
    conditions = [
        {name: c.double() if isinstance(c, torch.Tensor) else c for name, c in corpus.conditions(number).items()}
        for number in range(3)
    ]
    together = batch_bits(model, waveforms, conditions, chunk=300)
    assert [score.samples for score in together] == [300, 500, 77]
    for score, waveform, condition in zip(together, waveforms, conditions, strict=True):
        alone = utterance_bits(model, waveform, condition)
        assert score.bits == pytest.approx(alone.bits, rel=1e-12)
        assert score.log2_levels == pytest.approx(alone.log2_levels, rel=1e-12)
        assert (score.samples, score.utterances) == (alone.samples, 1)


def test_utterances_are_scored_in_batches_of_similar_lengths(small, corpus):
    assert [batch.tolist() for batch in batches_by_length(corpus, 2)] == [[1, 0], [2]]
    model = small(("ann", "bob"))
    for alone, together in zip(score_each(model, corpus), score_each(model, corpus, batch_size=2), strict=True):
        assert together.bits == pytest.approx(alone.bits, rel=1e-5)
        assert together.samples == alone.samples


@pytest.mark.parametrize("batch_size", [1, 2])
def test_scores_do_not_depend_on_the_number_of_threads(speech, tmp_path, batch_size):
    """With a network and recordings that are large enough for PyTorch to share one convolution between threads."""
    model, found = load("babble"), {}
    corpus = prepare(Folder(speech, speakers_from_folders=True), 8000, tmp_path, progress=False)
    corpus = corpus.select(np.arange(0, 12, 4))
    before = torch.get_num_threads()
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            found[threads] = score_each(model, corpus, None, batch_size)
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    assert found[1] == found[2] == found[3]

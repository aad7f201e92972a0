"""Predictions in a training segment equal those in the whole utterance."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from tests.configured import build_model, settings
from tests.conftest import lively
from wavenet.data import TrainingSegments, add_features, prepare
from wavenet.data.folder import Folder
from wavenet.training import WaveNetTraining

pytestmark = pytest.mark.slow


@pytest.fixture
def corpus(speech, in_tmp):
    return prepare(Folder(speech, speakers_from_folders=True), 8000, cache_dir=in_tmp / "cache", progress=False)


CASES = {
    "mel": [*settings(["speaker", "mel"]), "model.conditioners.speaker.categories=[allison,carlo,june]"],
    "mel and f0": settings(["mel", "f0"]),
    "transposed": [*settings(["mel"]), "model.conditioners.mel.upsampling.kind=transposed"],
    "context": settings(["mel"], True),
    "bands": [*settings(["mel"]), "model.conditioners.mel.upsampling.freq_kernel_size=3"],
}


def whole_and_segments(corpus, overrides, cut_context=0, cut_margin=0):
    """Return the largest difference of a log-probability over the predicted samples of several segments."""
    model = lively(build_model(*overrides)).double()
    some = add_features(replace(corpus, utterances=corpus.utterances[:2]), model.features, progress=False)
    context, margin = model.receptive_field + model.margin - cut_context, model.margin - cut_margin
    frame = 1 if model.context is None else model.context.pool
    segments = TrainingSegments(some, 300, context, seed=1, margin=margin, frame=frame)
    whole = []
    with torch.inference_mode():
        for index in range(len(some.utterances)):
            condition = model.condition(some.conditions(index), 1)
            whole.append(model.log_prob(some.read(index).double()[None], condition)[0][0])
        worst = 0.0
        for i in range(12):
            segment = segments[i]
            waveform, predicted = segment["waveform"].double()[None], segment["predicted"]
            got = model.log_prob(waveform, model.condition(segment["conditions"], 1))[0][0][predicted]
            piece = segment["waveform"][predicted]
            places = [(n, place(some.read(n), piece)) for n in range(2)]
            (number, start), *others = [(n, at) for n, at in places if at is not None]
            assert not others
            worst = max(worst, (got - whole[number][start : start + len(got)]).abs().max().item())
    return worst


def place(waveform, piece):
    """Return where a piece of a waveform begins, or None."""
    windows = waveform.unfold(0, len(piece), 1)
    found = (windows == piece).all(dim=1).nonzero().flatten()
    return int(found[0]) if len(found) else None


@pytest.mark.parametrize("case", CASES)
def test_predictions_in_a_segment_equal_those_in_the_whole_utterance(corpus, case):
    assert whole_and_segments(corpus, CASES[case]) < 1e-9


def test_a_smaller_margin_or_context_changes_the_predictions(corpus):
    """One frame less after the segment, or before it."""
    assert whole_and_segments(corpus, CASES["mel"], cut_margin=8) > 1e-6
    assert whole_and_segments(corpus, CASES["mel"], cut_context=24) > 1e-6


def test_the_segments_number_decides_which_conditions_are_dropped(corpus):
    """So a resumed run drops the same ones, and two conditions of a segment are dropped together."""
    overrides = ["model.conditioners.mel.dropout=0.5"]
    training = WaveNetTraining(lively(build_model(*settings(["mel"]), *overrides)), lr=0.1)
    model = training.model
    torch.nn.init.normal_(model.conditioners["mel"].absent)
    corpus = add_features(corpus, model.features, progress=False)
    first, again = (TrainingSegments(corpus, 50, 64, seed=5, margin=model.margin) for _ in range(2))
    chances = torch.stack([first[i]["dropout_uniform"] for i in range(300)])
    assert torch.equal(chances, torch.stack([again[i]["dropout_uniform"] for i in range(300)]))
    assert 0 <= chances.min() < 0.02 and 0.98 < chances.max() < 1
    assert abs((chances < 0.5).float().mean() - 0.5) < 0.1
    losses = []
    training.log = lambda *_, **__: None
    training.trainer = SimpleNamespace(global_step=0)
    for i in range(8):
        batch = torch.utils.data.default_collate([first[i]])
        dropped = first[i]["dropout_uniform"] < 0.5
        condition = model.condition({} if dropped else batch["conditions"], 1)
        log_prob = model.log_prob(batch["waveform"], condition)[0][batch["predicted"]]
        torch.testing.assert_close(training.training_step(batch, i), -log_prob.mean())
        losses.append(bool(dropped))
    assert {True, False} == set(losses)

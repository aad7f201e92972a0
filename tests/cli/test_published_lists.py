"""Training, evaluation and the report hold out the same published list."""

import json

import pytest

from tests.conftest import TINY
from tests.data.layouts import speechcommands

QUIET = ["sounds.seconds=0", "speed.seconds=0", "resynthesis.utterances=0"]


@pytest.fixture
def trained(run, in_tmp):
    """A run on the layout of SC09, and what it printed."""
    speechcommands(in_tmp)
    data = ["dataset=speechcommands", f"dataset.root={in_tmp}", "run_dir=r", "logger=none"]
    return run("train", *TINY, *data, "model/conditioners=[speaker]", "model.sample_rate=16000")


def test_training_and_evaluation_hold_out_the_same_list(run, in_tmp, trained):
    assert "in 10 utterances for training" in trained and "in 10 held out" in trained
    assert "unseen   speaker: 1 of 1 held-out values are in no training recording" in trained
    options = ["checkpoint=r", *QUIET, "bits_per_byte.clip_seconds=1", "output=x.json"]
    output = run("evaluate", *options)
    result = json.loads((in_tmp / "x.json").read_text())
    assert "1b88bf70" in output and "2c6d3924" not in output and "0a7c2a8d" not in output
    assert result["bits_per_sample"]["all"]["utterances"] == 10
    chosen = ["dataset=speechcommands", f"dataset.root={in_tmp}", "dataset.held_out=test"]
    with pytest.raises(AssertionError, match="2c6d3924"):  # a speaker that the model does not know
        run("evaluate", *options, *chosen)


def test_evaluation_on_the_test_list(run, in_tmp):
    speechcommands(in_tmp)
    data = ["dataset=speechcommands", f"dataset.root={in_tmp}"]
    run("train", *TINY, *data, "run_dir=r", "logger=none", "model/conditioners=none", "validation_fraction=0")
    output = run("evaluate", "checkpoint=r", *QUIET, "output=x.json", *data, "dataset.held_out=test")
    assert "2c6d3924" in output and "1b88bf70" not in output and "0a7c2a8d" not in output


def test_without_a_recording_to_train_on(run, in_tmp):
    folder = speechcommands(in_tmp) / "SpeechCommands" / "speech_commands_v0.02"
    for path in folder.glob("*/0a7c2a8d_nohash_0.wav"):
        path.unlink()
    with pytest.raises(AssertionError, match="all 10 recordings are in its lists of held-out ones; add recordings"):
        run("train", *TINY, "dataset=speechcommands", f"dataset.root={in_tmp}", "logger=none")

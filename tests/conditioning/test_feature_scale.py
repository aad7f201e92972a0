"""Features of another scale than in training are named, with the conversion; unusual recordings are not."""

import math
import re

import pytest
import torch

import wavenet
from tests.configured import build_model
from tests.conftest import PROMPTS
from wavenet.audio import LogMel, read
from wavenet.conditioning import check_scale, statistics_of

RATE = 8000
SIZES = ("n_mels=20", "n_fft=64", "hop_length=16", "upsampling.scales=[4]", "upsampling.hold=4")
MEL_SIZES = [f"model.conditioners.mel.{size}" for size in SIZES]
MEL = LogMel(RATE, 512, 64, n_mels=40)
FILES = sorted(PROMPTS.glob("*/*_00[1-6].flac"))
WAVEFORMS = [read(path, RATE)[0] for path in FILES[::4]]
TRAINED = statistics_of(MEL.extract(read(path, RATE)[0]) for path in FILES[2::4])


def message(frames, statistics=TRAINED):
    try:
        return check_scale("mel", frames, statistics) or ""
    except ValueError as error:
        return f"refused: {error}"


@pytest.mark.parametrize(
    "change",
    [
        lambda x: x,
        lambda x: 0 * x,
        lambda x: x / 100,
        lambda x: x / 1000,
        lambda x: (20 * x).clamp(-1, 1),
        lambda x: x[:500],
        lambda x: torch.nn.functional.pad(x, (RATE, RATE)),
    ],
)
def test_recordings_of_any_level_are_accepted(change):
    assert [message(MEL.extract(change(waveform))) for waveform in WAVEFORMS] == [""] * len(WAVEFORMS)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda x: x * 20 / math.log(10), "refused.*20 log10; multiply it by .* = 0.1151"),
        (lambda x: x * 10 / math.log(10), "refused.*10 log10; multiply it by .* = 0.2303"),
        (lambda x: x + 40, "refused.*shifted; subtract about (39|4[01])"),
        (lambda x: (x - x.min()) / (x.max() - x.min()), "looks normalised"),
        (lambda x: x.exp(), "magnitudes without a logarithm"),
        (lambda x: x / math.log(10), r"base 10; multiply it by ln\(10\)|^$"),  # of a noisy recording, it might be right
    ],
)
def test_another_scale_is_named_with_its_conversion(change, expected):
    messages = [message(change(MEL.extract(waveform))) for waveform in WAVEFORMS]
    assert all(re.search(expected, each) for each in messages), messages
    assert sum(map(bool, messages)) >= 0.8 * len(messages)


@pytest.mark.parametrize("statistics", [None, {}, {"low": 1}, dict.fromkeys(TRAINED, 0.0), dict.fromkeys(TRAINED, "x")])
def test_without_statistics_nothing_is_checked(statistics):
    assert message(MEL.extract(WAVEFORMS[0]) + 40, statistics) == ""


def test_a_constant_pitch_is_no_other_scale():
    assert (
        message(torch.full((1, 50), 110.0), {"low": 0, "high": 300, "mean": 80, "spread_low": 50, "spread_high": 90})
        == ""
    )


def test_generation_checks_what_the_model_was_trained_on(tmp_path):
    model = build_model("model/conditioners=[mel]", *MEL_SIZES)
    right = torch.randn(20, 60) - 5
    model.metadata = {"features": {"mel": statistics_of([right])}}
    model = wavenet.load(wavenet.save(model, tmp_path / "saved"))
    options = {"backend": "reference", "seed": 1}
    wavenet.generate(model, None, conditions={"mel": right}, **options)
    with pytest.raises(ValueError, match=r"stream: mel has values from .* in training they were"):
        wavenet.generate(model, None, conditions={"mel": right + 40}, **options)
    with pytest.warns(UserWarning, match="stream: mel varies by only"):
        wavenet.generate(model, None, conditions={"mel": (right + 5) / 10 - 5}, **options)

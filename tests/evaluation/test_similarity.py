import math

import numpy as np
import pytest
import torch

from tests.conftest import PROMPTS
from wavenet.audio import LogMel, Pitch, read
from wavenet.evaluation import similarity


def noise(length=8000):
    return 0.1 * torch.randn(length)


def voice(hertz, rate=8000):
    phase = 2 * torch.pi * hertz * torch.arange(rate, dtype=torch.float64) / rate
    return (0.2 * sum(torch.sin(n * phase + n * n) / n for n in range(1, 8))).float()


@pytest.mark.parametrize("rate", [2000, 8000, 11025, 16000, 22050, 44100])
def test_identical_audio_has_distance_0(rate):
    x = noise(rate)
    same = similarity(x, x, rate)
    assert (same.log_mel_distance, same.mel_cepstral_distortion, same.voicing_error) == (0, 0, 0)
    speech, _ = read(PROMPTS / "june" / "june_001.flac", rate)
    same = similarity(speech, speech, rate)
    assert (same.log_mel_distance, same.mel_cepstral_distortion, same.f0_error, same.voicing_error) == (0, 0, 0, 0)


@pytest.mark.parametrize("gain", [2.0, 0.5])
def test_a_gain_changes_the_levels_and_not_the_envelopes(gain):
    x = noise()
    louder = similarity(gain * x, x, 8000)
    assert louder.log_mel_distance == pytest.approx(20 * math.log10(2), abs=1e-4)
    assert louder.mel_cepstral_distortion == pytest.approx(0, abs=1e-3)


def test_distances_follow_their_definition():
    generated, recording = noise(), noise()
    mel = LogMel(8000, 320, 80)
    d = (mel.extract(generated) - mel.extract(recording)).double().numpy()
    found = similarity(generated, recording, 8000)
    assert found.log_mel_distance == pytest.approx(np.sqrt(np.mean((20 / np.log(10) * d) ** 2)), rel=1e-6)
    k, m = np.arange(1, 14)[:, None], np.arange(80)
    c = 2 / 80 * np.cos(np.pi * k * (m + 0.5) / 80) @ d
    expected = np.mean(10 / np.log(10) * np.sqrt(2 * np.sum(c**2, axis=0)))
    assert found.mel_cepstral_distortion == pytest.approx(expected, rel=1e-5)


def test_a_semitone_is_100_cents():
    semitone = similarity(voice(120 * 2 ** (1 / 12)), voice(120), 8000)
    assert semitone.f0_error == pytest.approx(100, abs=1)
    assert semitone.voicing_error < 0.04  # at the ends


def test_a_voice_that_is_half_missing():
    whole = voice(200)
    half = whole.clone()
    half[4000:] = 0
    lost = similarity(half, whole, 8000)
    assert lost.voicing_error == pytest.approx(0.5, abs=0.05)
    assert lost.f0_error < 20


def test_silence_is_far_from_a_voice_and_has_no_pitch():
    found = similarity(torch.zeros(8000), voice(200), 8000)
    assert found.log_mel_distance > 20
    assert math.isnan(found.f0_error)
    assert found.voicing_error > 0.9
    assert similarity(torch.zeros(5), torch.zeros(5), 8000).log_mel_distance == 0


def test_nothing_is_aligned():
    speech, _ = read(PROMPTS / "june" / "june_001.flac", 8000)
    late = similarity(speech[:-800], speech[800:], 8000)
    assert late.log_mel_distance > 6


def test_without_librosa_there_is_no_pitch(monkeypatch):
    monkeypatch.setattr(Pitch, "is_available", staticmethod(lambda: False))
    found = similarity(voice(200), voice(200), 8000)
    assert found.log_mel_distance == 0
    assert math.isnan(found.f0_error)
    assert math.isnan(found.voicing_error)


@pytest.mark.parametrize("shape", [(7999,), (1, 8000), (0,)])
def test_both_must_have_the_same_samples(shape):
    with pytest.raises(ValueError, match=r"similarity: made is \(.*\) and recording is \(8000,\); both must be \(T,\)"):
        similarity(torch.zeros(shape), torch.zeros(8000), 8000)

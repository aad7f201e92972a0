import os

import numpy as np
import pytest
import soundfile
import torch

from tests.conftest import PROMPTS
from wavenet.audio import AudioError, log_mel_spectrogram, read, resample, trim_silence, write
from wavenet.audio.picture import spectrogram_image


def tone(hertz, rate, seconds=0.5):
    time = torch.arange(int(rate * seconds), dtype=torch.float64) / rate
    return 0.5 * torch.sin(2 * torch.pi * hertz * time).float()


def test_real_speech_survives_writing_and_reading(tmp_path):
    speech, rate = read(PROMPTS / "june" / "june_001.flac")
    assert rate == 16000
    assert 0.1 < speech.abs().max() <= 1
    for name in ("a.wav", "b.flac"):
        write(tmp_path / "new" / name, speech, rate)
        again, rate_again = read(tmp_path / "new" / name)
        assert rate_again == rate
        torch.testing.assert_close(again, speech, rtol=0, atol=1 / 32768)
    assert sorted(os.listdir(tmp_path / "new")) == ["a.wav", "b.flac"]  # nothing temporary stays


def test_channels_are_averaged_and_any_rate_is_resampled(tmp_path):
    left, right = tone(440, 44100), torch.zeros(22050)
    soundfile.write(tmp_path / "x.wav", torch.stack([left, right], dim=1).numpy(), 44100, subtype="FLOAT")
    waveform, rate = read(tmp_path / "x.wav", 16000)
    assert (waveform.shape, rate) == ((8000,), 16000)
    torch.testing.assert_close(waveform[200:-200], tone(440, 16000)[200:-200] / 2, rtol=0, atol=1e-3)


def test_resampling_keeps_tones_and_removes_what_would_alias():
    low, high = tone(1000, 48000), tone(15000, 48000)
    assert resample(low, 48000, 16000).square().mean() == pytest.approx(0.125, rel=0.02)
    assert resample(high, 48000, 16000)[300:-300].abs().max() < 1e-4
    assert resample(torch.ones(4000) * torch.tensor([1.0, -1.0]).repeat(2000), 8000, 16000).abs().max() <= 1
    assert resample(low, 48000, 48000) is low


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda p: None, "no such file"),
        (lambda p: p.mkdir(), "not a file, but a folder"),
        (lambda p: os.mkfifo(p), "not a file, but a pipe"),
        (lambda p: p.symlink_to(p), "no such file"),
        (lambda p: p.write_bytes(b""), "not readable"),
        (lambda p: p.write_bytes(b"RIFF, but not really a wave file"), "not readable"),
        (lambda p: soundfile.write(p, np.zeros(0), 8000), "empty"),
        (lambda p: soundfile.write(p, np.array([0.1, np.nan]), 8000, subtype="FLOAT"), "NaN"),
        (lambda p: soundfile.write(p, np.array([0.1, 1.7]), 8000, subtype="FLOAT"), r"reach 1\.7, beyond"),
    ],
)
def test_bad_files_are_named_with_their_reason(tmp_path, make, reason):
    path = tmp_path / "x.wav"
    make(path)
    with pytest.raises(AudioError, match=rf"x\.wav: .*{reason}"):
        read(path)


def test_nothing_half_written_stays_behind(tmp_path):
    with pytest.raises(AudioError, match=r"must be \(T,\) with samples in"):
        write(tmp_path / "x.wav", torch.tensor([2.0]), 8000)
    with pytest.raises(AudioError, match="'.xyz' names no audio format"):
        write(tmp_path / "x.xyz", torch.zeros(10), 8000)
    (tmp_path / "folder.wav").mkdir()
    with pytest.raises(AudioError, match="cannot be written"):
        write(tmp_path / "folder.wav", torch.zeros(10), 8000)
    assert os.listdir(tmp_path) == ["folder.wav"]


def test_trimming_cuts_the_ends_and_keeps_pauses():
    quiet = torch.randn(4000) * 1e-4
    waveform = torch.cat([quiet, tone(440, 8000), quiet, tone(440, 8000), quiet])
    trimmed = trim_silence(waveform, 8000, 40)
    assert 12000 <= trimmed.shape[0] <= 12000 + 4 * 200
    assert trim_silence(tone(440, 8000), 8000, 40).shape[0] == 4000
    with pytest.raises(ValueError, match="threshold_db is 0"):
        trim_silence(waveform, 8000, 0)


def test_mel_spectrogram_shows_a_tone_where_it_is():
    mel = log_mel_spectrogram(tone(1000, 16000), 16000)
    assert mel.shape == (80, 32)
    louder = log_mel_spectrogram(tone(2000, 16000), 16000)
    assert mel[:, 10].argmax() < louder[:, 10].argmax()
    image = spectrogram_image(mel)
    assert image.shape == (3, 80, 32)
    assert 0 <= image.min() < image.max() <= 1

import math
import os
import re
import resource
import tracemalloc

import numpy as np
import pytest
import soundfile
import torch

from tests.conftest import PROMPTS
from tests.reliability.mutants import encoded, patched
from wavenet.audio import AudioError, claimed_seconds, log_mel_spectrogram, read, resample, trim_silence, write
from wavenet.audio.spectrogram_image import spectrogram_image


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
    assert sorted(os.listdir(tmp_path / "new")) == ["a.wav", "b.flac"]  # no temporary files are left


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


@pytest.mark.parametrize(("old", "new"), [(48000, 16000), (44100, 16000), (22050, 8000), (8000, 22050), (16000, 15999)])
def test_resampling_is_flat_below_nine_tenths_and_removes_aliases(old, new):
    """Of half the lower rate, for pure tones: within 0.02 dB, and what is not the tone below -100 dB."""
    half = min(old, new) / 2
    for hertz in (half * part for part in (0.01, 0.5, 0.8, 0.9, 1.01, 1.05, 1.3) if half * part < old / 2):
        resampled = resample(tone(hertz, old), old, new).double()[500:-500]
        time = (torch.arange(len(resampled), dtype=torch.float64) + 500) / new
        waves = torch.stack([(2 * torch.pi * hertz * time).sin(), (2 * torch.pi * hertz * time).cos()], dim=1)
        amplitudes = torch.linalg.lstsq(waves, resampled[:, None]).solution
        if hertz < half:
            assert (20 * amplitudes.norm().div(0.5).log10()).abs() < 0.02
            resampled = resampled - (waves @ amplitudes)[:, 0]
        assert 20 * resampled.square().mul(2).mean().sqrt().div(0.5).log10() < -100, hertz


@pytest.mark.parametrize(("old", "new"), [(3, 2), (2, 3), (441, 160), (160, 441), (1, 6), (6, 1), (1000, 7)])
@pytest.mark.parametrize("length", [0, 1, 50, 3001])
def test_every_length_is_rounded_up(old, new, length):
    waveform = torch.rand(2, 3, length, dtype=torch.float64) - 0.5
    resampled = resample(waveform, old, new)
    assert (resampled.shape, resampled.dtype) == ((2, 3, math.ceil(length * new / old)), torch.float64)
    assert torch.equal(resampled[1, 2], resample(waveform[1, 2], old, new))


@pytest.mark.parametrize("rate", [44101, 16001, 7919, 999983])
def test_a_prime_rate_is_resampled_too(rate):
    resampled = resample(tone(440, rate, seconds=0.1), rate, 16000)
    assert abs(len(resampled) - 1600) <= 1
    torch.testing.assert_close(resampled[400:1200], tone(440, 16000)[400:1200], rtol=0, atol=1e-4)


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
        (
            lambda p: soundfile.write(p, np.array([0.1, 1.7]), 8000, subtype="FLOAT"),
            r"reach 1\.7, .* 4\.6 dB above full scale; .* 0\.5882 or",
        ),
        (
            lambda p: soundfile.write(p, 0.1 + np.outer(np.sin(np.arange(99)), [0.5, -0.5]), 8000),
            "opposite phase",
        ),
    ],
)
def test_bad_files_are_named_with_their_reason(tmp_path, make, reason):
    path = tmp_path / "x.wav"
    make(path)
    with pytest.raises(AudioError, match=rf"x\.wav: .*{reason}"):
        read(path)


def flac_with_header(samples, **fields):
    """Return a FLAC file whose header claims another rate, number of channels, bits or length."""
    return patched(("flac", encoded(samples, 16000, "flac")), **fields)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (flac_with_header(np.zeros(4800), rate=999), "its header says 999 Hz; a recording has 1000 to 1000000"),
        (encoded(np.zeros(100), 2_000_000_000, "wav"), "its header says 2000000000 Hz"),
        (encoded(np.zeros((100, 500)), 16000, "wav"), "its header says 500 channels; a recording has up to 64"),
        (flac_with_header(np.zeros(4800), length=2**36 - 1), "longer than 12 hours, or damaged"),
        (
            flac_with_header(np.zeros(4800), length=2**29),
            r"33554 s of sound in \d+ bytes; it is damaged, or all",
        ),
        (flac_with_header(np.sin(np.arange(4800)), length=5000), r"says 0\.312 s, it ends after 0\.300"),
        (encoded(np.sin(np.arange(4800)), 16000, "flac")[:3000], r"not readable as audio \(.*lost sync\)"),
        (encoded(np.sin(np.arange(4800)), 16000, "wav")[:1000], "cut off; its header says 9644 bytes, it has 1000"),
        (encoded(np.sin(np.arange(4800)), 16000, "aiff")[:1000], r"cut off; its header says \d+ bytes, it has 1000"),
    ],
)
def test_a_false_header_is_refused_before_memory_is_allocated(tmp_path, data, reason):
    path = tmp_path / "x.audio"
    path.write_bytes(data)
    tracemalloc.start()
    with pytest.raises(AudioError, match=rf"x\.audio: .*{reason}"):
        read(path)
    assert tracemalloc.get_traced_memory()[1] < 2**20  # including numpy's arrays
    tracemalloc.stop()


@pytest.mark.parametrize("length", [4800, 0])  # 0 is an unknown length, so it is only found in decoding
def test_longer_files_than_max_seconds_are_refused(tmp_path, length):
    (tmp_path / "x.flac").write_bytes(flac_with_header(np.sin(np.arange(4800)), length=length))
    assert len(read(tmp_path / "x.flac", max_seconds=0.3)[0]) == 4800
    with pytest.raises(AudioError, match=r"x\.flac: longer than 0\.29 s, or damaged; cut it into shorter files"):
        read(tmp_path / "x.flac", max_seconds=0.29)


@pytest.mark.parametrize("length", [0, 2**32 - 1, 2**31 - 1])
def test_a_file_written_to_a_pipe_is_read_to_its_end(tmp_path, length):
    """A program that writes to a pipe cannot go back to write the length."""
    samples = (np.random.default_rng(0).uniform(-1, 1, 4800) * 32767).round() / 32768
    wav = bytearray(encoded(samples, 16000, "wav"))
    wav[4:8] = wav[40:44] = length.to_bytes(4, "little")
    (tmp_path / "x.wav").write_bytes(wav)
    (tmp_path / "x.flac").write_bytes(flac_with_header(samples, length=0))
    for name in ("x.flac", *(["x.wav"] if length else [])):
        assert np.array_equal(read(tmp_path / name)[0], samples.astype(np.float32))
    assert claimed_seconds(tmp_path / "x.flac") is None


@pytest.mark.parametrize("ending", ["wav", "flac", "ogg", "mp3"])
def test_decoding_in_blocks_gives_the_same_samples(tmp_path, monkeypatch, ending):
    samples = np.random.default_rng(0).uniform(-0.2, 0.2, (20000, 2))
    soundfile.write(tmp_path / f"x.{ending}", samples, 16000)
    whole = read(tmp_path / f"x.{ending}")[0]
    monkeypatch.setattr("wavenet.audio.files._BLOCK", 1234)
    assert read(tmp_path / f"x.{ending}")[0].equal(whole)
    expected = soundfile.read(tmp_path / f"x.{ending}", dtype="float32")[0].mean(axis=1)
    np.testing.assert_allclose(whole, expected, rtol=0, atol=2e-7)


def test_an_mp3_with_an_estimated_length_is_not_damaged(tmp_path):
    """Without the first frame, which counts the others, a tag at the end is counted as further frames."""
    path = tmp_path / "x.mp3"
    with soundfile.SoundFile(path, "w", 16000, 1, bitrate_mode="CONSTANT", compression_level=0.5) as file:
        file.write(np.random.default_rng(0).uniform(-0.3, 0.3, 16000))
    data = path.read_bytes()
    path.write_bytes(data[data.index(data[:3], 4) :] + b"APETAGEX" + bytes(900))
    assert soundfile.info(path).frames > len(read(path)[0]) > 16000


@pytest.mark.parametrize("ending", ["ogg", "mp3"])
def test_a_loud_recording_in_a_lossy_format_is_clipped_to_full_scale(tmp_path, ending):
    loud = np.sign(np.sin(np.arange(16000) / 9)) * 0.99
    soundfile.write(tmp_path / f"x.{ending}", loud, 16000)
    assert np.abs(soundfile.read(tmp_path / f"x.{ending}")[0]).max() > 1.01  # before clipping
    waveform, _ = read(tmp_path / f"x.{ending}")
    assert waveform.abs().max() == 1


@pytest.mark.parametrize("peak", [1.0000001, 1.02, 1.12])
def test_floats_a_little_above_full_scale_are_clipped(tmp_path, peak):
    soundfile.write(tmp_path / "x.wav", np.array([0.1, -peak, peak]), 8000, subtype="FLOAT")
    assert torch.equal(read(tmp_path / "x.wav")[0], torch.tensor([0.1, -1.0, 1.0]))


@pytest.mark.parametrize("peak", [1.13, 3.0, 32768.0])
def test_floats_far_above_full_scale_are_read_after_the_advice(tmp_path, peak):
    samples = np.array([0.1, -peak, peak])
    soundfile.write(tmp_path / "x.wav", samples, 8000, subtype="FLOAT")
    with pytest.raises(AudioError) as error:
        read(tmp_path / "x.wav")
    factor = float(re.search(r"multiply them by (\S+) or less", str(error.value))[1])
    soundfile.write(tmp_path / "x.wav", samples * factor, 8000, subtype="FLOAT")
    assert 0.99 < read(tmp_path / "x.wav")[0].max() <= 1


def test_channels_that_cancel_only_partly_are_averaged(tmp_path):
    left = np.sin(np.arange(999))
    soundfile.write(tmp_path / "x.wav", np.stack([left, -0.9 * left], axis=1) / 2, 8000, subtype="FLOAT")
    torch.testing.assert_close(read(tmp_path / "x.wav")[0], torch.from_numpy(left / 40).float())


def test_a_full_disk_is_reported_and_no_file_is_left(tmp_path):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5000, hard))
    try:
        for name in ("x.wav", "x.flac", "x.ogg"):
            with pytest.raises(AudioError, match=rf"{name}: cannot be written \(File too large; delete something"):
                write(tmp_path / name, torch.rand(20000) - 0.5, 16000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert os.listdir(tmp_path) == []


def test_no_partial_file_is_left(tmp_path):
    with pytest.raises(AudioError, match=r"must be \(T,\) with samples in"):
        write(tmp_path / "x.wav", torch.tensor([2.0]), 8000)
    with pytest.raises(AudioError, match="'.xyz' is not an audio format"):
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
    for offset in (0.01, -0.3):
        assert torch.equal(trim_silence(waveform + offset, 8000, 40), trimmed + offset)
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

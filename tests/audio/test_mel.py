import dataclasses
import pickle

import numpy as np
import pytest
import torch

from wavenet.audio import LogMel, log_mel_spectrogram


def hertz_of(mel):
    """Return the frequencies of mels on Slaney's scale: linear to 1 kHz, then 27 steps per factor 6.4."""
    mel = np.asarray(mel, dtype=np.float64)
    return np.where(mel < 15, mel * 200 / 3, 1000 * np.exp((mel - 15) * np.log(6.4) / 27))


def mel_of(hertz):
    return hertz * 3 / 200 if hertz < 1000 else 15 + 27 * np.log(hertz / 1000) / np.log(6.4)


def reference(x, rate, n_fft, hop, n_mels, fmin, fmax, floor):
    """Compute the definition, frame by frame, in float64."""
    edges = hertz_of(np.linspace(mel_of(fmin), mel_of(fmax), n_mels + 2))
    hertz = np.arange(n_fft // 2 + 1) * rate / n_fft
    filters = np.zeros((n_mels, len(hertz)))
    for m in range(n_mels):
        low, middle, high = edges[m : m + 3]
        up, down = (hertz - low) / (middle - low), (high - hertz) / (high - middle)
        filters[m] = np.maximum(0, np.minimum(up, down)) * 2 / (high - low)
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(n_fft) / n_fft)
    frames = []
    for f in range(-(-len(x) // hop)):
        start = f * hop + hop / 2 - n_fft / 2
        samples = np.array([x[int(t)] if 0 <= t < len(x) else 0.0 for t in start + np.arange(n_fft)])
        frames.append(np.log(np.maximum(filters @ np.abs(np.fft.rfft(window * samples)), floor)))
    return np.stack(frames, axis=1)


@pytest.mark.parametrize(
    ("rate", "n_fft", "hop", "n_mels", "fmin", "fmax", "length"),
    [
        (8000, 1024, 256, 80, 0.0, None, 3000),
        (22050, 1024, 256, 80, 0.0, 8000.0, 2048),
        (16000, 254, 62, 20, 60.0, 7600.0, 500),
    ],
)
def test_it_equals_its_definition(rate, n_fft, hop, n_mels, fmin, fmax, length):
    x = torch.rand(length) - 0.5
    computed = LogMel(rate, n_fft, hop, n_mels, fmin, fmax).extract(x)
    expected = reference(x.double().numpy(), rate, n_fft, hop, n_mels, fmin, fmax or rate / 2, 1e-5)
    assert computed.dtype == torch.float32
    np.testing.assert_allclose(computed.numpy(), expected, rtol=0, atol=2e-4)


@pytest.mark.parametrize("length", [1, 63, 64, 65, 640, 1000])
def test_a_frame_for_every_hop_begun(length):
    mel = LogMel(8000, hop_length=64)
    assert mel.extract(torch.rand(length)).shape == (80, mel.num_frames(length))
    assert mel.num_frames(length) == -(-length // 64)
    assert mel.extract(torch.rand(3, 2, length)).shape == (3, 2, 80, -(-length // 64))


def test_no_samples_give_no_frames():
    assert LogMel(8000).extract(torch.zeros(0)).shape == (80, 0)


def test_a_click_in_the_middle_of_a_frame_has_symmetric_energy():
    x = torch.zeros(64 * 40)
    x[64 * 17 + 32] = 0.5
    energy = LogMel(8000, 512, 64, n_mels=40, floor=1e-12).extract(x).exp().sum(0)
    assert energy.argmax() == 17
    for distance in (1, 2, 3):
        assert energy[17 - distance] == pytest.approx(energy[17 + distance].item(), rel=1e-4)
        assert energy[17 - distance] < energy[17 - distance + 1]
    assert energy[[13, 21]].max() < 1e-9  # the first sample of a Hann window is 0


@pytest.mark.parametrize(
    "t", [0, 1, 63, 65, 700, 1023]
)  # sample 64 is as far from the middle of frame 0 as from that of frame 1
def test_a_click_is_loudest_in_the_frame_that_it_lies_in(t):
    x = torch.zeros(1024)
    x[t] = 0.5
    assert LogMel(8000, 512, 64, n_mels=40).extract(x).sum(0).argmax() == t // 64


@pytest.mark.parametrize("hertz", [150, 440, 1000, 3300])
def test_a_tone_is_in_its_band(hertz):
    mel = LogMel(8000)
    x = torch.sin(2 * torch.pi * hertz * torch.arange(8000) / 8000)
    middles = hertz_of(np.linspace(0, mel_of(4000), 82))[1:-1]
    assert abs(mel.extract(x)[:, 15].argmax().item() - np.abs(middles - hertz).argmin()) <= 1


def test_silence_is_the_floor():
    torch.testing.assert_close(LogMel(8000, floor=1e-3).extract(torch.zeros(500)), torch.full((80, 2), 1e-3).log())


def test_it_is_immutable_and_comparable():
    mel = LogMel(8000, 512, 64, n_mels=40)
    assert (mel.num_channels, mel.name, mel.reads_files) == (40, "mel", False)
    assert pickle.loads(pickle.dumps(mel)) == mel == dataclasses.replace(mel)
    assert dataclasses.replace(mel, n_mels=20).num_channels == 20
    with pytest.raises(dataclasses.FrozenInstanceError):
        mel.n_mels = 20


@pytest.mark.parametrize(
    ("numbers", "reason"),
    [
        ({"n_mels": 0}, "n_mels is 0; it must be a whole number"),
        ({"sample_rate": 8000.0}, r"sample_rate is 8000\.0"),
        ({"hop_length": 2048}, r"hop_length is 2048; it must be at most n_fft \(1024\)"),
        ({"hop_length": 255}, "hop_length is 255; it must be even as n_fft is"),
        ({"n_fft": 1023}, "n_fft is 1023; it must be an even number from 2"),
        ({"fmin": -1.0}, r"fmin is -1\.0"),
        ({"fmin": 4000.0}, r"fmin is 4000\.0 and fmax is None"),
        ({"fmax": 4001.0}, r"fmax is 4001\.0; they must be 0 <= fmin < fmax <= 4000 Hz"),
        ({"fmin": float("nan")}, "fmin is nan"),
        ({"floor": 0.0}, r"floor is 0\.0; it must be a number above 0"),
        (
            {"n_fft": 256, "n_mels": 160},
            r"n_mels is 160: \d+ of the bands .* 31.2 Hz; use fewer bands, or a longer n_fft than 256",
        ),
    ],
)
def test_wrong_numbers_are_named(numbers, reason):
    with pytest.raises(ValueError, match=f"LogMel: .*{reason}"):
        LogMel(**{"sample_rate": 8000} | numbers)


@pytest.mark.parametrize("rate", [2000, 8000, 16000, 22050, 44100, 48000, 96000, 192000])
def test_a_spectrogram_can_be_computed_at_any_rate(rate):
    x = torch.rand(rate // 10)
    assert log_mel_spectrogram(x, rate).shape == (80, -(-len(x) // 256))
    if rate <= 96000:
        assert torch.equal(log_mel_spectrogram(x, rate), LogMel(rate).extract(x))

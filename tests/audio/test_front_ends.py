"""The mel spectrograms that front ends for HiFi-GAN and Tacotron 2 make, computed with librosa in the authors' way."""

import librosa
import numpy as np
import pytest
import soundfile
import torch

from tests.conftest import PROMPTS
from wavenet.audio import LogMel, resample

N_FFT, HOP = 1024, 256
RATES = {22050: (80, 8000.0), 24000: (100, None)}  # bands and fmax: HiFi-GAN's and Tacotron 2's, BigVGAN's for 24 kHz


def speech(rate):
    samples, original = soundfile.read(PROMPTS / "june" / "june_001.flac", dtype="float32")
    return resample(torch.from_numpy(samples), original, rate)[: rate + 77]  # not a multiple of the hop


def bands(rate):
    n_mels, fmax = RATES[rate]
    return librosa.filters.mel(sr=rate, n_fft=N_FFT, n_mels=n_mels, fmin=0, fmax=fmax or rate / 2, dtype=np.float64)


def of_hifi_gan(x, rate, epsilon):
    """Reflection of (n_fft - hop) / 2 samples at both ends, and windows from the first sample on."""
    padded = np.pad(x.double().numpy(), (N_FFT - HOP) // 2, mode="reflect")
    spectrum = librosa.stft(padded, n_fft=N_FFT, hop_length=HOP, window="hann", center=False)
    return np.log(np.maximum(bands(rate) @ np.sqrt(np.abs(spectrum) ** 2 + epsilon), 1e-5))


def of_tacotron_2(x, rate):
    """Windows centred on the samples 0, hop, 2 hop and so on, and reflection of half a window at both ends."""
    padded = np.pad(x.double().numpy(), N_FFT // 2, mode="reflect")
    spectrum = librosa.stft(padded, n_fft=N_FFT, hop_length=HOP, window="hann", center=False)
    return np.log(np.maximum(bands(rate) @ np.abs(spectrum), 1e-5))


def ours(rate, **settings):
    n_mels, fmax = RATES[rate]
    return LogMel(rate, N_FFT, HOP, n_mels, 0.0, fmax, 1e-5, **settings)


@pytest.mark.parametrize("rate", RATES)
def test_it_is_hifi_gans_up_to_the_very_ends(rate):
    x = speech(rate)
    frames = ours(rate, padding="reflect").extract(x).numpy()
    expected = of_hifi_gan(x, rate, epsilon=0)
    assert frames.shape[1] == expected.shape[1] + 1 == len(x) // HOP + 1  # the last frame reaches beyond the recording
    assert expected.max() > 0 and expected.std() > 1.5
    np.testing.assert_allclose(frames[:, :-1], expected, rtol=0, atol=3e-4)
    with_epsilon = of_hifi_gan(x, rate, epsilon=1e-9)  # which tells in the quietest bands only
    np.testing.assert_allclose(frames[:, :-1], with_epsilon, rtol=0, atol=0.06)
    assert np.abs(frames[:, :-1] - with_epsilon).mean() < 1e-4


def test_with_silence_beyond_the_ends_only_the_frames_there_differ():
    x = speech(22050)
    difference = np.abs(ours(22050).extract(x).numpy()[:, :-1] - of_hifi_gan(x, 22050, 0)).max(axis=0)
    assert difference[:2].max() > 0.1 and difference[2:-2].max() < 1e-3


@pytest.mark.parametrize("rate", RATES)
def test_tacotron_2s_frames_are_half_a_hop_earlier(rate):
    x = speech(rate)
    expected = of_tacotron_2(x, rate)
    assert expected.shape[1] == len(x) // HOP + 1
    later = torch.cat([torch.zeros(HOP // 2), x])
    frames = ours(rate, padding="reflect").extract(later).numpy()
    inside = slice(3, -4)
    np.testing.assert_allclose(frames[:, : expected.shape[1]][:, inside], expected[:, inside], rtol=0, atol=1e-4)
    unshifted = ours(rate, padding="reflect").extract(x).numpy()[:, : expected.shape[1]]
    assert np.abs(unshifted[:, inside] - expected[:, inside]).mean() > 0.05


def test_it_is_librosas_melspectrogram():
    x = speech(22050)
    padded = np.pad(x.numpy(), (N_FFT - HOP) // 2, mode="reflect")
    mel = librosa.feature.melspectrogram(
        y=padded, sr=22050, n_fft=N_FFT, hop_length=HOP, n_mels=80, fmin=0, fmax=8000, power=1.0, center=False
    )
    frames = ours(22050, padding="reflect").extract(x).numpy()[:, :-1]
    np.testing.assert_allclose(frames, np.log(np.maximum(mel, 1e-5)), rtol=0, atol=5e-4)


@pytest.mark.parametrize("length", [1, 2, 3, 200, 383, 385, 1000])
def test_reflection_of_a_recording_of_any_length(length):
    x = torch.rand(length) - 0.5
    frames = ours(22050, padding="reflect").extract(x)
    assert frames.shape == (80, -(-length // HOP)) and bool(frames.isfinite().all())
    before = (N_FFT - HOP) // 2
    after = before + frames.shape[1] * HOP - length
    padded = torch.from_numpy(np.pad(x.numpy(), (before, after), mode="reflect"))
    spectrum = librosa.stft(padded.double().numpy(), n_fft=N_FFT, hop_length=HOP, window="hann", center=False)
    expected = np.log(np.maximum(bands(22050) @ np.abs(spectrum), 1e-5))
    np.testing.assert_allclose(frames.numpy(), expected, rtol=0, atol=5e-4)


def test_a_batch_is_reflected_as_each_of_its_recordings():
    x = torch.rand(2, 3, 2000) - 0.5
    mel = ours(22050, padding="reflect")
    torch.testing.assert_close(mel.extract(x)[1, 2], mel.extract(x[1, 2]))


def test_another_padding():
    with pytest.raises(ValueError, match="padding is 'edge'; it must be silence or reflect"):
        ours(22050, padding="edge")

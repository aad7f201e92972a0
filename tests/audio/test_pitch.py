import builtins
import pickle
import re

import pytest
import torch

from tests.conftest import PROMPTS
from wavenet.audio import Pitch, read
from wavenet.extras import install_command


def voice(hertz, rate):
    """Return a sound with harmonics of the given fundamental, (T,) Hz for each sample."""
    phase = 2 * torch.pi * hertz.double().cumsum(0) / rate
    harmonics = range(1, int(0.45 * rate / hertz.max()))
    return (0.2 * sum(torch.sin(n * phase + n * n) / n for n in harmonics)).float()


def middles(pitch, length):
    return torch.arange(pitch.num_frames(length)) * pitch.hop_length + pitch.hop_length // 2


@pytest.mark.slow
@pytest.mark.parametrize(("rate", "hop"), [(8000, 64), (8000, 80), (8000, 37), (22050, 256)])
def test_a_gliding_pitch_is_tracked(rate, hop):
    seconds = torch.arange(2 * rate) / rate
    hertz = 180 * 2 ** (0.9 * torch.sin(2 * torch.pi * 0.3 * seconds))
    pitch = Pitch(rate, hop)
    f0 = pitch.extract(voice(hertz, rate))
    assert f0.shape == (1, pitch.num_frames(len(hertz)))
    assert f0.dtype == torch.float32
    inside = slice(400 // hop + 1, -(400 // hop) - 2)
    expected = hertz[middles(pitch, len(hertz)).clamp(max=len(hertz) - 1)]
    relative = (f0[0] / expected - 1)[inside]
    assert relative.abs().max() < 0.01
    assert relative.mean().abs() < 0.002


def test_rising_and_falling_pitch_have_no_delay():
    """A delay of one frame would cause an error of 0.8 % here, with opposite signs for rising and falling pitch."""
    rate = 8000
    pitch, up = Pitch(rate, 64), 120 * 2 ** (torch.arange(rate) / rate * 1.44)
    errors = []
    for hertz in (up, up.flip(0)):
        f0 = pitch.extract(voice(hertz, rate))[0]
        errors.append((f0 / hertz[middles(pitch, rate).clamp(max=rate - 1)] - 1)[8:-8].mean().item())
    assert abs(errors[0] - errors[1]) / 2 < 0.1 * 0.008


def test_the_beginning_and_end_of_a_voice_are_found():
    sound = torch.zeros(8000)
    sound[2560:5120] = voice(torch.full((2560,), 200.0), 8000)
    voiced = Pitch(8000, 64).extract(sound)[0] > 0
    assert voiced[42:78].all()
    assert not voiced[:36].any()
    assert not voiced[84:].any()
    assert abs((40 - voiced.nonzero().min()) - (voiced.nonzero().max() - 79)) <= 3  # equally on both sides


def test_silence_and_noise_have_no_pitch():
    assert torch.equal(Pitch(8000).extract(torch.zeros(4000)), torch.zeros(1, 63))
    assert (Pitch(8000).extract(0.1 * torch.randn(16000)) > 0).float().mean() < 0.2


@pytest.mark.parametrize("length", [0, 1, 63, 64, 65, 266])
def test_a_recording_shorter_than_two_periods_has_no_pitch(length):
    pitch = Pitch(8000)
    assert torch.equal(pitch.extract(torch.rand(length)), torch.zeros(1, pitch.num_frames(length)))


@pytest.mark.slow
@pytest.mark.parametrize("hop", [1, 8, 1000, 4096])
def test_any_hop_length_works(hop):
    pitch = Pitch(8000, hop)
    f0 = pitch.extract(voice(torch.full((4000,), 200.0), 8000))
    assert f0.shape == (1, pitch.num_frames(4000))
    assert f0[0, pitch.num_frames(4000) // 4] == pytest.approx(200, rel=0.01)


def test_real_voices_have_plausible_pitch():
    for name, low, high in (("june/june_001", 120, 300), ("carlo/carlo_001", 80, 250)):
        f0 = Pitch(8000).extract(read(PROMPTS / f"{name}.flac", 8000)[0])[0]
        assert 0.3 < (f0 > 0).float().mean() < 0.98
        assert low < f0[f0 > 0].median() < high


def test_wrong_numbers_are_named():
    with pytest.raises(ValueError, match="Pitch: hop_length is 0; it must be a whole number"):
        Pitch(8000, 0)
    for fmin in (0, -60, float("nan")):
        with pytest.raises(ValueError, match=f"Pitch: fmin is {fmin}; it must be a number above 0"):
            Pitch(8000, 64, fmin, 500)
    for fmin, fmax in ((300, 500), (60, 2001)):
        with pytest.raises(ValueError, match=f"Pitch: fmin is {fmin} and fmax is {fmax}; .* 2000 Hz, a quarter"):
            Pitch(8000, 64, fmin, fmax)


def test_it_can_be_pickled_and_compared():
    pitch = Pitch(16000, 128)
    assert pickle.loads(pickle.dumps(pitch)) == pitch
    assert (pitch.num_channels, pitch.name, pitch.reads_files) == (1, "f0", False)


def test_without_librosa_the_error_names_the_package_to_install(monkeypatch):
    real = builtins.__import__

    def without(name, *rest):
        if name == "librosa":
            raise ModuleNotFoundError("No module named 'librosa'")
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ModuleNotFoundError, match=re.escape(install_command("pitch"))):
        Pitch(8000).extract(torch.zeros(4000))

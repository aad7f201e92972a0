"""Long-term measures against closed forms: noise, tones, filters, gains and silence."""

import math

import pytest
import torch

from tests.conftest import PROMPTS
from wavenet.audio import read
from wavenet.evaluation import (
    average_spectrum,
    level_distance,
    long_term,
    long_term_distance,
    rms_level,
    silent_share,
    spectral_flatness,
    spectrum_distance,
)
from wavenet.evaluation.long_term import WHITE_NOISE_FLATNESS, band_edges

RATE = 8000


def noise(seconds=30, level=0.1, seed=0, rate=RATE):
    return level * torch.randn(seconds * rate, generator=torch.Generator().manual_seed(seed))


def tone(hertz, seconds=1, amplitude=0.5, rate=RATE):
    return amplitude * torch.sin(2 * torch.pi * hertz * torch.arange(seconds * rate, dtype=torch.float64) / rate)


def speech(name, rate=RATE):
    return read(PROMPTS / name.split("_")[0] / f"{name}.flac", rate)[0]


@pytest.mark.parametrize(
    ("rate", "lowest", "highest", "bands"), [(8000, 100, 3150, 16), (16000, 100, 6300, 19), (48000, 100, 16000, 23)]
)
def test_bands_are_third_octaves_below_half_the_rate(rate, lowest, highest, bands):
    edges = band_edges(rate)
    centres = (edges[1:] * edges[:-1]).sqrt()
    assert len(centres) == bands
    assert centres[0].item() == pytest.approx(lowest, rel=0.01)
    assert centres[-1].item() == pytest.approx(highest, rel=0.01)
    torch.testing.assert_close(edges[1:] / edges[:-1], torch.full_like(centres, 10**0.1))


def test_the_spectrum_of_white_noise_is_the_width_of_the_bands():
    edges = band_edges(RATE)
    expected = 10 * ((edges[1:] - edges[:-1]) / (edges[-1] - edges[0])).log10()
    found = average_spectrum([noise(seconds=120)], RATE)
    torch.testing.assert_close(found[3:], expected[3:], rtol=0, atol=0.5)
    torch.testing.assert_close(found[:3], expected[:3], rtol=0, atol=2)  # 3 to 5 frequencies of the transform each


def test_a_tone_is_in_one_band():
    found = average_spectrum([tone(1000)], RATE)
    assert found[10].item() == pytest.approx(0, abs=0.01)
    assert found.argmax() == 10
    assert found.min().item() == pytest.approx(-60)


def test_the_distance_of_filtered_noise_is_that_of_the_filter():
    """A first difference has the gain 2 sin(pi f / rate), which is 0 dB around 1.3 kHz at 8 kHz."""
    x = noise(seconds=120)
    frequencies = torch.linspace(0, RATE / 2, 400_001, dtype=torch.float64)
    gain = 4 * (torch.pi * frequencies / RATE).sin().square()
    edges = band_edges(RATE)
    band = torch.bucketize(frequencies, edges, right=True)
    power = torch.zeros(len(edges) + 1, dtype=torch.float64)
    flat, tilted = (10 * (p / p.sum()).log10() for p in (
        power.index_add(0, band, torch.ones_like(gain))[1:-1], power.index_add(0, band, gain)[1:-1]
    ))  # fmt: skip
    found = spectrum_distance(long_term([x], RATE), long_term([x[1:] - x[:-1]], RATE))
    assert found == pytest.approx((flat - tilted).square().mean().sqrt().item(), abs=0.2)


@pytest.mark.parametrize("gain", [0.25, 2.0, -1.0])
def test_a_copy_at_another_level_has_distance_0_and_the_same_flatness(gain):
    x = 0.3 * speech("june_001")
    copy, original = long_term([gain * x], RATE), long_term([x], RATE)
    assert spectrum_distance(copy, original) == pytest.approx(0, abs=1e-6)
    assert copy.level - original.level == pytest.approx(20 * math.log10(abs(gain)), abs=1e-6)
    assert spectral_flatness([gain * noise()], RATE) == pytest.approx(spectral_flatness([noise()], RATE), abs=1e-6)


def test_voices_differ_more_than_halves_of_one_voice():
    def of(speaker, numbers):
        return long_term([speech(f"{speaker}_{n:03d}") for n in numbers], RATE)

    halves = spectrum_distance(of("june", range(1, 21, 2)), of("june", range(2, 21, 2)))
    others = spectrum_distance(of("june", range(1, 21, 2)), of("carlo", range(2, 21, 2)))
    assert 0.3 < halves < 3
    assert others > 1.5 * halves


def test_white_noise_has_the_flatness_of_its_definition():
    assert pytest.approx(-2.507, abs=1e-3) == WHITE_NOISE_FLATNESS
    assert spectral_flatness([noise()], RATE) == pytest.approx(WHITE_NOISE_FLATNESS, abs=0.15)  # of 99 frequencies
    assert spectral_flatness([noise(seconds=10, rate=48000)], 48000) == pytest.approx(WHITE_NOISE_FLATNESS, abs=0.03)


def test_a_tone_has_the_flatness_of_its_three_frequencies():
    """With a period that divides the frame, Hann's window leaves the powers 1/4, 1 and 1/4, and the floor elsewhere."""
    frequencies = 99  # between 0 and 4 kHz in a frame of 200 samples
    powers = torch.tensor([0.25, 1, 0.25], dtype=torch.float64) / (1.5 / frequencies)
    expected = (10 * powers.log10().sum().item() - 80 * (frequencies - 3)) / frequencies
    assert spectral_flatness([tone(1000)], RATE) == pytest.approx(expected, abs=1e-6)


def test_silent_frames_do_not_change_the_flatness():
    x = noise()
    faint = torch.cat([x, 1e-4 * tone(1000, seconds=30).float()])
    assert spectral_flatness([faint], RATE) == pytest.approx(spectral_flatness([x], RATE), abs=1e-6)
    louder = torch.cat([x, 0.1 * tone(1000, seconds=30).float()])
    assert spectral_flatness([louder], RATE) < -30


def test_the_share_of_silence_counts_frames():
    x = noise(seconds=1)
    quarter = torch.cat([x, torch.zeros(len(x) // 3 // 200 * 200)])
    assert silent_share([quarter], RATE) == pytest.approx(0.25, abs=0.01)
    assert silent_share([x, torch.zeros(len(x))], RATE) == 0.5  # below the loudest frame of both
    assert silent_share([x], RATE) == 0
    for below, share in ((38, 0), (42, 0.5)):
        steps = torch.cat([tone(1000), 10 ** (-below / 20) * tone(1000)])
        assert silent_share([steps], RATE) == share


def test_silence_and_a_constant_are_silent():
    for silence in (torch.zeros(RATE), torch.full((RATE,), 0.3), 1e-4 * noise(seconds=1)):
        found = long_term([silence], RATE)
        assert found.silence == 1
        assert math.isnan(found.flatness)
    assert long_term([torch.zeros(RATE)], RATE).level == -100
    assert bool(long_term([torch.zeros(RATE)], RATE).spectrum.isnan().all())
    assert math.isnan(spectrum_distance(long_term([torch.zeros(RATE)], RATE), long_term([noise(1)], RATE)))


def test_levels_are_relative_to_an_rms_of_1():
    square = torch.ones(RATE).where(torch.arange(RATE) % 2 == 0, -1.0)
    assert rms_level([square]) == 0
    assert rms_level([tone(1000, amplitude=1)]) == pytest.approx(-3.0103, abs=1e-4)
    assert rms_level([tone(1000, amplitude=0.1) + 0.5]) == pytest.approx(-23.0103, abs=1e-4)  # no offset
    assert rms_level([square, torch.zeros(RATE)]) == pytest.approx(-3.0103, abs=1e-4)


def test_several_sounds_are_measured_as_one():
    parts = [speech(f"june_{n:03d}") for n in (1, 2, 3)]
    found, longest = long_term(parts, RATE), long_term([torch.cat(parts)], RATE)
    assert spectrum_distance(found, longest) < 0.3  # by the windows at the ends
    assert found.level == pytest.approx(longest.level, abs=0.01)
    assert found.silence == pytest.approx(longest.silence, abs=0.02)
    assert found.flatness == pytest.approx(longest.flatness, abs=0.2)


def test_the_distance_of_levels_is_that_of_a_gain_and_of_pauses():
    x = tone(1000, seconds=10, amplitude=0.1)
    whole, quiet = long_term([x], RATE), long_term([0.5 * x], RATE)
    assert level_distance(quiet, whole) == pytest.approx(20 * math.log10(2), abs=1e-6)
    quarter = long_term([torch.cat([x[20_000:], torch.zeros(20_000)])], RATE)
    assert level_distance(quarter, whole) == pytest.approx(0.25 * (60 - 23.0103), abs=0.4)  # of 100 percentiles
    assert level_distance(whole, long_term([-x], RATE)) == pytest.approx(0, abs=1e-9)


def test_the_whole_distance_is_the_mean_of_its_three_parts():
    x, y = long_term([speech("june_001")], RATE), long_term([speech("carlo_002")], RATE)
    parts = (spectrum_distance(x, y), abs(x.flatness - y.flatness), level_distance(x, y))
    assert long_term_distance(x, y) == pytest.approx(math.fsum(parts) / 3) != 0
    assert long_term_distance(x, x) == 0
    assert math.isnan(long_term_distance(x, long_term([torch.zeros(RATE)], RATE)))


@pytest.mark.parametrize("rate", [1000, 2000, 11025, 22050, 44100])
def test_every_rate_is_measured(rate):
    found = long_term([noise(seconds=2, rate=rate)], rate)
    assert bool(found.spectrum.isfinite().all())
    assert -4 < found.flatness < -2
    assert long_term([noise(seconds=1, rate=rate)[: rate // 40 + 1]], rate).silence == 0  # shorter than a window


def test_wrong_sounds_are_named():
    with pytest.raises(ValueError, match="long_term: sounds is empty; give one waveform at least"):
        long_term([], RATE)
    with pytest.raises(ValueError, match=r"long_term: a sound is \(1, 8000\); it must be \(T,\)"):
        average_spectrum([torch.zeros(1, RATE)], RATE)
    with pytest.raises(ValueError, match=r"long_term: a sound is \(100,\); it must be \(T,\), of 200 samples or more"):
        silent_share([torch.zeros(100)], RATE)

"""Long-term measures of speech, which need no recording of the same words: spectrum, flatness, silence, level.

Bits per sample say how well a model predicts recordings; these say whether what it generates sounds like them as a
whole, or is noise, silence, too loud or too quiet. They say nothing about words, and little about naturalness.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from wavenet.audio import frame_power
from wavenet.audio.silence import FRAME_SECONDS

WHITE_NOISE_FLATNESS = -10 / math.log(10) * 0.5772156649015329
"""Spectral flatness of white noise, dB: 10 log10 of e to the minus Euler's constant, -2.51."""
SILENT_BELOW_LOUDEST = 40.0
"""A frame this many dB below the loudest one is silent."""
LOWEST_LEVEL = -100.0
"""Levels are not given below this, dBFS; the rounding noise of 16 bits is at -101."""
_SILENT_LEVEL = -60.0  # dBFS; a quieter frame is silent however quiet the loudest one is
_SPECTRUM_SECONDS = 0.128  # of a window; its resolution, 8 Hz, is a third of the lowest band's width
_SPECTRUM_FLOOR = 1e-6  # of the whole power
_FLATNESS_FLOOR = 1e-8  # of the mean power of a frame's frequencies
_LOWEST_BAND, _HIGHEST_BAND = -10, 12  # third octaves from 1 kHz: 100 Hz to 16 kHz


@dataclass(frozen=True)
class LongTerm:
    """Long-term measures of one or more sounds of a speaker; see `long_term`.

    Attributes:
        spectrum: Long-term average spectrum (bands,), dB below the whole power; NaN for silence.
        flatness: Spectral flatness (Wiener entropy), dB; NaN for silence.
        silence: Share of silent frames, 0 to 1.
        level: RMS level, dBFS.
        frame_levels: Percentiles (100,) of the levels of frames, dBFS, from the quietest to the loudest.
    """

    spectrum: Tensor
    flatness: float
    silence: float
    level: float
    frame_levels: Tensor


def long_term(sounds: Sequence[Tensor], sample_rate: int) -> LongTerm:
    """Measure sounds of one speaker together, as if they were one.

    Args:
        sounds: Waveforms (T,) in [-1, 1], on the CPU, of any lengths.
        sample_rate: Rate of all, Hz; at least 1000.

    Returns:
        The measures of `average_spectrum`, `spectral_flatness`, `silent_share`, `rms_level` and `frame_levels`.

    Raises:
        ValueError: If there is no sound, or one is not (T,) or too short for a frame of 25 ms.
    """
    return LongTerm(
        average_spectrum(sounds, sample_rate),
        spectral_flatness(sounds, sample_rate),
        silent_share(sounds, sample_rate),
        rms_level(sounds),
        frame_levels(sounds, sample_rate),
    )


def long_term_distance(a: LongTerm, b: LongTerm) -> float:
    """Return the mean of three distances in dB: of the spectra, of the flatness, and of the levels of frames.

    So timbre, noisiness, and loudness with its pauses count equally, which is a convention. For two halves of 15 s of
    recordings of one voice it was 0.9 to 2.3 dB (the package's own held-out recordings); NaN if one is silent.
    """
    return (spectrum_distance(a, b) + abs(a.flatness - b.flatness) + level_distance(a, b)) / 3


def spectrum_distance(a: LongTerm, b: LongTerm) -> float:
    """Return the distance of two long-term average spectra: the root mean square difference over bands, dB.

    It is 0 for the same sound at any level, and NaN if one is silent.
    """
    return (a.spectrum - b.spectrum).square().mean().sqrt().item()


def level_distance(a: LongTerm, b: LongTerm) -> float:
    """Return the distance of the levels of frames: the mean absolute difference of their percentiles, dB.

    It is the first Wasserstein distance of the two distributions. For a copy at another level it is the difference of
    the levels, as far as no frame is silent; longer pauses count by how far they are below speech.
    """
    return (a.frame_levels - b.frame_levels).abs().mean().item()


def band_edges(sample_rate: int) -> Tensor:
    """Return the edges of the third-octave bands in which spectra are compared.

    Bands have the centres 1000 * 10^(n / 10) Hz (IEC 61260-1, base 10), from 100 Hz to 16 kHz, or to the last band
    that ends below half the sample rate.

    Args:
        sample_rate: Hz.

    Returns:
        (bands + 1,) Hz, float64.
    """
    edges = 1000 * 10 ** ((torch.arange(_LOWEST_BAND, _HIGHEST_BAND + 2, dtype=torch.float64) - 0.5) / 10)
    return edges[edges <= sample_rate / 2]


def average_spectrum(sounds: Sequence[Tensor], sample_rate: int) -> Tensor:
    """Return the long-term average spectrum (LTAS) of sounds, relative to its own power.

    Power is averaged over Hann windows of 128 ms with half overlap (Welch's method), so that loud passages count most
    and silence does not, and summed in third-octave bands, as in Byrne et al., An international comparison of
    long-term average speech spectra, JASA 96 (1994). The result is the power of each band over that of all bands in dB:
    the level of the sound does not matter. Bands below -60 dB are raised to it.

    Args:
        sounds: Waveforms (T,) in [-1, 1].
        sample_rate: Rate of all, Hz.

    Returns:
        (bands,) dB, float64; see `band_edges`. NaN without power in any band.

    Raises:
        ValueError: If there is no sound, or one is not (T,).
    """
    _check(sounds)
    length = 2 * round(_SPECTRUM_SECONDS * sample_rate / 2)
    window = torch.hann_window(length, dtype=torch.float64)
    power = torch.zeros(length // 2 + 1, dtype=torch.float64)
    for sound in sounds:
        padded = torch.nn.functional.pad(sound.double(), (0, max(0, length - len(sound))))
        power += torch.fft.rfft(padded.unfold(0, length, length // 2) * window).abs().square().sum(dim=0)
    edges = band_edges(sample_rate)
    band = torch.bucketize(torch.arange(len(power)) * (sample_rate / length), edges, right=True)  # 0: below the first
    bands = torch.zeros(len(edges) + 1, dtype=torch.float64).index_add(0, band, power)[1:-1]
    return 10 * (bands / bands.sum()).clamp(min=_SPECTRUM_FLOOR).log10()


def spectral_flatness(sounds: Sequence[Tensor], sample_rate: int) -> float:
    """Return the spectral flatness (Wiener entropy) of sounds in dB: high for noise, low for voices and tones.

    It is the geometric over the arithmetic mean of a frame's power spectrum (Gray and Markel, IEEE Trans. ASSP-22,
    1974; in dB as in Johnston, IEEE JSAC 6, 1988), here the mean in dB over frames of 25 ms with a Hann window. Silent
    frames (see `silent_share`) are left out: what is in them is the rounding noise of the file. Of a frame, the
    frequencies between 0 and half the sample rate count, both ends excluded, and powers below 1e-8 of their mean are
    raised to that; so the level does not matter, and a pure tone has about -77 dB. White noise has -2.51 dB, not 0, as
    the power of a single frequency of noise is exponentially distributed.

    Args:
        sounds: Waveforms (T,) in [-1, 1].
        sample_rate: Rate of all, Hz.

    Returns:
        The mean over sounding frames, dB; NaN if all frames are silent.

    Raises:
        ValueError: If there is no sound, or one is not (T,) or too short for a frame.
    """
    sounding = ~_silent(sounds, sample_rate)
    if not bool(sounding.any()):
        return math.nan
    frame = round(FRAME_SECONDS * sample_rate)
    window = torch.hann_window(frame, dtype=torch.float64)
    frames = torch.cat([sound[: len(sound) // frame * frame].double().reshape(-1, frame) for sound in sounds])[sounding]
    centred = frames - frames.mean(dim=1, keepdim=True)
    power = torch.fft.rfft(centred * window).abs().square()[:, 1 : (frame + 1) // 2]
    power = power / power.mean(dim=1, keepdim=True)
    return (10 * power.clamp(min=_FLATNESS_FLOOR).log10()).mean().item()


def silent_share(sounds: Sequence[Tensor], sample_rate: int) -> float:
    """Return the share of frames of 25 ms that are silent, 0 to 1.

    A frame is silent if its level (`frame_power`: around its own mean) is more than 40 dB below that of the loudest
    frame of all the sounds, or below -60 dBFS: so silence as a whole, and a constant, are silent in all frames.

    Args:
        sounds: Waveforms (T,) in [-1, 1].
        sample_rate: Rate of all, Hz.

    Raises:
        ValueError: If there is no sound, or one is not (T,) or too short for a frame.
    """
    return _silent(sounds, sample_rate).double().mean().item()


def rms_level(sounds: Sequence[Tensor]) -> float:
    """Return the RMS level of sounds in dBFS, pauses included; at least -100.

    0 dBFS is an RMS of 1: a square wave at full scale; a sine at full scale has -3.01. Each sound's mean is left out,
    as an offset is not heard.

    Args:
        sounds: Waveforms (T,) in [-1, 1].

    Raises:
        ValueError: If there is no sound, or one is not (T,).
    """
    _check(sounds)
    energy = math.fsum((sound.double() - sound.double().mean()).square().sum().item() for sound in sounds)
    return 10 * math.log10(max(energy / sum(map(len, sounds)), 10 ** (LOWEST_LEVEL / 10)))


def frame_levels(sounds: Sequence[Tensor], sample_rate: int) -> Tensor:
    """Return percentiles of the levels of frames of 25 ms: 0.5 %, 1.5 % ... 99.5 %.

    Levels are those of `frame_power`, raised to -60 dBFS where they are lower: how quiet silence is does not matter.

    Args:
        sounds: Waveforms (T,) in [-1, 1].
        sample_rate: Rate of all, Hz.

    Returns:
        (100,) dBFS, ascending, float64.

    Raises:
        ValueError: If there is no sound, or one is not (T,) or too short for a frame.
    """
    levels = 10 * _frame_powers(sounds, sample_rate).clamp(min=10 ** (_SILENT_LEVEL / 10)).log10()
    return levels.quantile((torch.arange(100, dtype=torch.float64) + 0.5) / 100)


def _silent(sounds: Sequence[Tensor], sample_rate: int) -> Tensor:
    """Return which frames of all sounds are silent, (F,)."""
    power = _frame_powers(sounds, sample_rate)
    limit = max(power.max().item() * 10 ** (-SILENT_BELOW_LOUDEST / 10), 10 ** (_SILENT_LEVEL / 10))
    return power < limit


def _frame_powers(sounds: Sequence[Tensor], sample_rate: int) -> Tensor:
    """Return the power of each frame of all sounds, (F,)."""
    _check(sounds, round(FRAME_SECONDS * sample_rate))
    return torch.cat([frame_power(sound.double(), sample_rate) for sound in sounds])


def _check(sounds: Sequence[Tensor], shortest: int = 1) -> None:
    if not sounds:
        raise ValueError("long_term: sounds is empty; give one waveform at least")
    for sound in sounds:
        if sound.dim() != 1 or len(sound) < shortest:
            raise ValueError(
                f"long_term: a sound is {tuple(sound.shape)}; it must be (T,), of {shortest} samples or more"
            )

"""Distances between a resynthesis and its recording."""

import math
from dataclasses import dataclass

import torchaudio.functional
from torch import Tensor

from wavenet.audio import LogMel, Pitch

_COEFFICIENTS = 13


@dataclass(frozen=True)
class Similarity:
    """Distances of a resynthesis from its recording, over frames of 10 ms; see `similarity`. 0 is identical.

    Attributes:
        log_mel_distance: Root mean square difference of the levels, over frames and mel bands, dB.
        mel_cepstral_distortion: Distance of the spectral envelopes without their level, mean over frames, dB.
        f0_error: Root mean square difference of the pitch, over the frames that are voiced in both, cents
            (hundredths of a semitone); NaN if there are none, or without librosa.
        voicing_error: Fraction of the frames that are voiced in one and not in the other; NaN without librosa.
        f0_error_hz: As f0_error, in Hz.
    """

    log_mel_distance: float
    mel_cepstral_distortion: float
    f0_error: float
    voicing_error: float
    f0_error_hz: float = math.nan


def similarity(made: Tensor, recording: Tensor, sample_rate: int) -> Similarity:
    """Compare a resynthesis with its recording at the same times, without warping or shifting.

    Levels are not normalised, and all frames are included, also those where the recording is nearly silent: there
    the mel levels are clamped to the floor of 1e-5, and faint noise in one of the two may be many dB above it.

    With x[f, m] the natural logarithms of the mel magnitudes (`LogMel` with windows of 40 ms, frames of 10 ms,
    M = 80 bands from 0 Hz to sample_rate / 2; sample_rate / 100 bands below 8 kHz, 14 at least) and d the
    difference of `made` and `recording`:

    - log_mel_distance = sqrt(mean over f and m of (20 / ln 10 * d[f, m])^2).
    - mel_cepstral_distortion = mean over f of 10 / ln 10 * sqrt(2 * sum over k = 1 .. 13 of c[f, k]^2), where
      c[f, k] = 2 / M * sum over m = 0 .. M - 1 of d[f, m] * cos(pi * k * (m + 1/2) / M). The distance is that of
      Kubichek (1993): the root mean square difference in dB of the envelopes that 13 coefficients describe.
      Implementations differ in what is transformed (here the mel spectrum, often a fit to the full one), so
      compare values of this function with one another only.
    - f0_error, f0_error_hz and voicing_error compare the estimates of `Pitch` from 60 to 500 Hz. They are in steps of
      20 cents, so that an error of about 10 cents may be due to rounding.

    Args:
        made: The resynthesis, (T,) samples in [-1, 1], on the CPU.
        recording: (T,) samples in [-1, 1], on the CPU.
        sample_rate: Rate of both, Hz; at least 2000.

    Returns:
        The distances.

    Raises:
        ValueError: If the shapes differ or are not (T,), or the sample_rate is too low.
    """
    if made.dim() != 1 or made.shape != recording.shape or len(made) == 0:
        raise ValueError(
            f"similarity: made is {tuple(made.shape)} and recording is {tuple(recording.shape)}; "
            f"both must be (T,): cut them to the same samples"
        )
    mel = mel_of(sample_rate)
    pitch = Pitch(sample_rate, mel.hop_length)
    difference = mel.extract(made).double() - mel.extract(recording).double()
    f0_error, f0_error_hz, voicing_error = math.nan, math.nan, math.nan
    if pitch.is_available():
        f0_error, f0_error_hz, voicing_error = _pitch_errors(pitch.extract(made), pitch.extract(recording))
    return Similarity(
        (20 / math.log(10) * difference).square().mean().sqrt().item(),
        _cepstral_distortion(difference),
        f0_error,
        voicing_error,
        f0_error_hz,
    )


def mel_of(sample_rate: int) -> LogMel:
    """Return the spectrogram that `similarity` compares; the rate is at least 2000 Hz."""
    hop_length = 2 * round(sample_rate / 200)  # even, as LogMel requires
    return LogMel(sample_rate, 4 * hop_length, hop_length, n_mels=max(14, min(80, sample_rate // 100)))


def _cepstral_distortion(difference: Tensor) -> float:
    """Return the mel cepstral distortion for the difference of natural log-mel spectrograms (M, F)."""
    transform = torchaudio.functional.create_dct(_COEFFICIENTS + 1, len(difference), norm=None).double()
    cepstrum = transform.T[1:] @ difference / len(difference)  # torchaudio's transform includes the factor 2
    return (10 / math.log(10) * (2 * cepstrum.square().sum(dim=0)).sqrt()).mean().item()


def _pitch_errors(generated: Tensor, recording: Tensor) -> tuple[float, float, float]:
    """Return the F0 error in cents and in Hz and the voicing error, from F0 (1, F) in Hz, 0 where unvoiced."""
    both = (generated > 0) & (recording > 0)
    cents = 1200 * (generated[both] / recording[both]).double().log2()
    hertz = (generated[both] - recording[both]).double()
    voicing = ((generated > 0) != (recording > 0)).double().mean().item()
    return cents.square().mean().sqrt().item(), hertz.square().mean().sqrt().item(), voicing

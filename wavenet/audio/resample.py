"""Resampling to another sample rate."""

import math

import torch
import torchaudio.functional
from torch import Tensor

# Filter parameters that torchaudio's documentation gives for librosa's "kaiser_best".
_ZEROS = 64  # zero crossings on either side
_ROLLOFF = 0.9475937167399596  # cutoff, as a fraction of half the lower rate
_BETA = 14.769656459379492  # of the Kaiser window
_TABLE = 2**19  # weights; up to this many, a table of all weights is worth its memory


def resample(waveform: Tensor, from_rate: int, to_rate: int) -> Tensor:
    """Resample with a windowed sinc filter (torchaudio's, Kaiser window).

    The filter may overshoot a full-scale peak slightly; such samples are clipped to [-1, 1].

    Args:
        waveform: (..., T) samples in [-1, 1].
        from_rate: The waveform's rate, Hz.
        to_rate: The new rate, Hz.

    Returns:
        (..., ceil(T * to_rate / from_rate)) samples in [-1, 1]; the same tensor if the rates are equal.
    """
    if from_rate == to_rate:
        return waveform
    shared = math.gcd(from_rate, to_rate)
    old, new = from_rate // shared, to_rate // shared
    if new * (old + 2 * _reach(old, new)) > _TABLE:
        return _without_table(waveform, old, new).clamp(-1, 1)
    resampled = torchaudio.functional.resample(
        waveform,
        from_rate,
        to_rate,
        lowpass_filter_width=_ZEROS,
        rolloff=_ROLLOFF,
        resampling_method="sinc_interp_kaiser",
        beta=_BETA,
    )
    return resampled.clamp(-1, 1)


def _without_table(waveform: Tensor, old: int, new: int) -> Tensor:
    """Apply the same filter for rates without a large common divisor, such as 44101 and 16000 Hz.

    torchaudio's table has new * (old + 2 * reach) weights, gigabytes for such rates, nearly all of them 0.
    Here each of the `new` phases has its own 2 * reach weights, which are computed as needed.

    Args:
        waveform: (..., T).
        old: The waveform's rate, without the common divisor.
        new: The new rate, without the common divisor.

    Returns:
        (..., ceil(T * new / old)).
    """
    reach = _reach(old, new)
    length = -(-waveform.shape[-1] * new // old)
    padded = torch.nn.functional.pad(waveform, (reach - 1, reach + 1))
    windows = padded.unfold(-1, 2 * reach, 1)  # window k: samples (k - reach, k + reach], a view
    resampled = waveform.new_empty(*waveform.shape[:-1], length)
    block = max(1, _TABLE // 4 // (2 * reach))
    for first in range(0, min(new, length), block):
        phases = torch.arange(first, min(first + block, new, length))
        delays = (phases * old % new).double() / new  # of each output after the input sample before it
        offsets = torch.arange(1 - reach, reach + 1) - delays[:, None]
        weights = _filter(offsets, old, new).to(waveform)
        for start in range(0, length, new):
            index = phases[: max(0, length - start - first)] + start
            if not len(index):
                break
            resampled[..., index] = (windows[..., index * old // new, :] * weights[: len(index)]).sum(dim=-1)
    return resampled


def _reach(old: int, new: int) -> int:
    """Return the number of input samples that the filter covers on either side."""
    return math.ceil(_ZEROS * max(1.0, old / new) / _ROLLOFF)


def _filter(offsets: Tensor, old: int, new: int) -> Tensor:
    """Return the filter's weights, float64, at offsets in samples of the old rate."""
    cutoff = min(1.0, new / old) * _ROLLOFF  # fraction of half the old rate
    zeros = (offsets * cutoff).clamp(-_ZEROS, _ZEROS)
    window = torch.special.i0(_BETA * (1 - (zeros / _ZEROS).square()).sqrt())
    return cutoff * torch.sinc(zeros) * window / torch.special.i0(torch.tensor(_BETA, dtype=torch.float64))

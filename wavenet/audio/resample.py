"""Change of sample rate."""

import math

import torch
import torchaudio.functional
from torch import Tensor

# Of the filter: the numbers that torchaudio's documentation gives for librosa's "kaiser_best".
_ZEROS = 64  # zero crossings on either side
_ROLLOFF = 0.9475937167399596  # where it cuts, as a share of the lower rate's half
_BETA = 14.769656459379492  # of the Kaiser window
_TABLE = 2**19  # weights; for up to so many, a table of all of them is worth its memory


def resample(waveform: Tensor, from_rate: int, to_rate: int) -> Tensor:
    """Resample with a windowed sinc filter (torchaudio's, Kaiser window).

    The filter may overshoot a full-scale peak by a little; such samples are held at -1 or 1.

    Args:
        waveform: (..., T) samples in [-1, 1].
        from_rate: The waveform's rate, Hz.
        to_rate: The wanted rate, Hz.

    Returns:
        (..., ceil(T * to_rate / from_rate)) samples in [-1, 1]; the same tensor if the rates agree.
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
    """The same filter for rates without a large common divisor, such as 44101 and 16000 Hz.

    torchaudio's table has new * (old + 2 * reach) weights, gigabytes for such rates, nearly all of them 0.
    Here each of the `new` phases has its own 2 * reach weights, made as they are needed.

    Args:
        waveform: (..., T).
        old: The waveform's rate, without the common divisor.
        new: The wanted rate, without the common divisor.

    Returns:
        (..., ceil(T * new / old)).
    """
    reach = _reach(old, new)
    length = -(-waveform.shape[-1] * new // old)
    padded = torch.nn.functional.pad(waveform, (reach - 1, reach + 1))
    windows = padded.unfold(-1, 2 * reach, 1)  # window k: samples (k - reach, k + reach], a view
    resampled = waveform.new_empty(*waveform.shape[:-1], length)
    at_once = max(1, _TABLE // 4 // (2 * reach))
    for first in range(0, min(new, length), at_once):
        phases = torch.arange(first, min(first + at_once, new, length))
        after = (phases * old % new).double() / new  # how far each output lies behind a sample
        offsets = torch.arange(1 - reach, reach + 1) - after[:, None]
        weights = _filter(offsets, old, new).to(waveform)
        for start in range(0, length, new):
            index = phases[: max(0, length - start - first)] + start
            if not len(index):
                break
            resampled[..., index] = (windows[..., index * old // new, :] * weights[: len(index)]).sum(dim=-1)
    return resampled


def _reach(old: int, new: int) -> int:
    """Samples that the filter hears on either side."""
    return math.ceil(_ZEROS * max(1.0, old / new) / _ROLLOFF)


def _filter(offsets: Tensor, old: int, new: int) -> Tensor:
    """The filter's weights at distances, float64, in samples of the old rate."""
    cut = min(1.0, new / old) * _ROLLOFF  # a share of the old rate's half
    zeros = (offsets * cut).clamp(-_ZEROS, _ZEROS)
    window = torch.special.i0(_BETA * (1 - (zeros / _ZEROS).square()).sqrt())
    return cut * torch.sinc(zeros) * window / torch.special.i0(torch.tensor(_BETA, dtype=torch.float64))

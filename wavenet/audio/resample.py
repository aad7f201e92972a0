"""Resampling to another sample rate."""

import math

import numpy as np
import soxr
import torch
from torch import Tensor

_QUALITY = "HQ"  # made for 16-bit audio


def resample(waveform: Tensor, from_rate: int, to_rate: int) -> Tensor:
    """Resample with soxr's linear-phase filter HQ; `scripts/benchmark.py resampling` measures it.

    The filter may overshoot a full-scale peak slightly; such samples are clipped to [-1, 1].

    Args:
        waveform: (..., T) samples in [-1, 1], float32 or float64.
        from_rate: The waveform's rate, Hz.
        to_rate: The new rate, Hz.

    Returns:
        (..., ceil(T * to_rate / from_rate)) samples in [-1, 1]; the same tensor if the rates are equal.
    """
    if from_rate == to_rate:
        return waveform
    *shape, length = waveform.shape
    rows = waveform.reshape(math.prod(shape), length).numpy()
    # soxr rounds the length; a zero or more after the last sample let it compute the last fraction, too
    padded = np.pad(rows, ((0, 0), (0, -(-from_rate // to_rate))))
    new_length = -(-length * to_rate // from_rate)
    resampled = np.empty((len(rows), new_length), rows.dtype)
    for row, samples in zip(resampled, padded, strict=True):
        row[:] = soxr.resample(samples, from_rate, to_rate, _QUALITY)[:new_length]
    return torch.from_numpy(resampled).view(*shape, new_length).clamp(-1, 1)

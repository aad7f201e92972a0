"""Audio samples: their check, and their form as 16-bit integers."""

import math

import numpy as np
import torch
from torch import Tensor


def check_samples(owner: str, waveform: Tensor) -> None:
    """Check that every sample is in [-1, 1]. Compiled code, which cannot raise, skips the check.

    Args:
        owner: The function that takes the samples; the message begins with it.
        waveform: Samples, any shape.

    Raises:
        ValueError: If a sample is outside [-1, 1] or not a number.

    >>> check_samples("encode", torch.tensor([0.5, -2.0]))
    Traceback (most recent call last):
    ValueError: encode: a sample is -2; samples must lie in [-1, 1]: scale the waveform
    """
    if not torch.compiler.is_compiling() and not bool((waveform.abs() <= 1).all()):
        worst = waveform.flatten()[waveform.abs().nan_to_num(math.inf).argmax()].item()
        raise ValueError(f"{owner}: a sample is {worst:g}; samples must lie in [-1, 1]: scale the waveform")


def as_int16(samples: np.ndarray) -> np.ndarray:
    """Return samples in [-1, 1] rounded to 16 bits; readers divide them by 32768.

    >>> as_int16(np.array([-1, 0.6 / 32768, 1], np.float32)).tolist()
    [-32768, 1, 32767]
    """
    return np.rint(samples * np.float32(32768)).clip(-32768, 32767).astype(np.int16)

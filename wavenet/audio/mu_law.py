"""Mu-law companding: fine steps for quiet samples, coarse steps for loud ones."""

import functools
import math

import torch
from torch import Tensor

from wavenet.audio.samples import check_samples


def mu_law_compand(waveform: Tensor, num_classes: int = 256) -> Tensor:
    """Compand amplitudes, so that quiet samples get a larger part of the range (ITU-T G.711).

    f(x) = sign(x) ln(1 + mu |x|) / ln(1 + mu) with mu = num_classes - 1.

    Args:
        waveform: Samples in [-1, 1], any shape.
        num_classes: 2 or more.

    Returns:
        Companded levels in [-1, 1], the waveform's shape, float32 (float64 for float64).

    Raises:
        ValueError: If a sample is outside [-1, 1] or not a number.

    >>> mu_law_compand(torch.tensor([-1.0, 0.0, 1 / 255]))
    tensor([-1.0000,  0.0000,  0.1250])
    """
    _check_num_classes(num_classes)
    check_samples("mu_law", waveform)
    mu = num_classes - 1
    if waveform.dtype != torch.float64:
        waveform = waveform.float()
    sign = 1 - 2 * (waveform < 0).to(waveform)  # not 0 at 0, where the slope is steepest and its gradient matters
    return sign * torch.log1p(mu * (sign * waveform)) / math.log1p(mu)


def mu_law_encode(waveform: Tensor, num_classes: int = 256) -> Tensor:
    """Quantise a waveform to classes (van den Oord et al., 2016, section 2.2; ITU-T G.711).

    The result of `mu_law_compand`, in [-1, 1], is rounded to num_classes levels.

    Args:
        waveform: Samples in [-1, 1], any shape.
        num_classes: Number of levels, 2 or more.

    Returns:
        Classes 0 .. num_classes - 1, int64, the waveform's shape.

    Raises:
        ValueError: If a sample is outside [-1, 1] or not a number.

    >>> mu_law_encode(torch.tensor([-1.0, 0.0, 0.01, 1.0]))
    tensor([  0, 128, 157, 255])
    """
    return ((mu_law_compand(waveform, num_classes) + 1) / 2 * (num_classes - 1) + 0.5).floor().long()


def mu_law_decode(classes: Tensor, num_classes: int = 256) -> Tensor:
    """Decode classes to samples: the inverse of `mu_law_encode` at every level.

    Args:
        classes: Integers 0 .. num_classes - 1, any shape.
        num_classes: Number of levels, 2 or more.

    Returns:
        Samples in [-1, 1], float32, the classes' shape; the ends are exactly -1 and 1.

    >>> mu_law_decode(torch.tensor([0, 255]))
    tensor([-1.,  1.])
    """
    _check_num_classes(num_classes)
    return _levels(num_classes, classes.device)[classes]


@functools.lru_cache(maxsize=16)
def _levels(num_classes: int, device: torch.device) -> Tensor:
    """Return a table of all decoded values, so that a class is the same sample bit for bit everywhere."""
    mu = num_classes - 1
    with torch.inference_mode(False):
        companded = 2 * torch.arange(num_classes, dtype=torch.float64, device="cpu") / mu - 1
        levels = companded.sign() * (float(num_classes) ** companded.abs() - 1) / mu
        return levels.float().to(device)


def _check_num_classes(num_classes: int) -> None:
    if num_classes < 2:
        raise ValueError(f"mu-law: num_classes is {num_classes}; it must be 2 or more (256 in the paper)")

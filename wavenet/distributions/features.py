"""Smooth functions of a sample: the network's input, or its initial value."""

import math

import torch
from torch import Tensor


def smooth_features(level: Tensor, amplitude: Tensor, channels: int) -> list[Tensor]:
    """Return the companded level, the amplitude, and a Fourier series of the level: similar samples stay similar.

    Args:
        level: Mu-law companded, in [-1, 1], any shape.
        amplitude: In [-1, 1], of the same shape.
        channels: Number of functions.

    Returns:
        `channels` tensors of that shape.
    """
    columns = [level, amplitude]
    for frequency in range(1, (channels + 1) // 2):
        columns += [torch.sin(math.pi * frequency * level), torch.cos(math.pi * frequency * level)]
    return columns[:channels]


def root_mean_square(x: Tensor) -> Tensor:
    """Return the root mean square of all values, a scalar."""
    return x.square().mean().sqrt()

"""Smooth functions of a sample: what the network hears of it, or begins to hear."""

import math

import torch
from torch import Tensor


def smooth_features(level: Tensor, amplitude: Tensor, channels: int) -> list[Tensor]:
    """The companded level, the amplitude, and a Fourier series of the level: neighbours stay neighbours.

    Args:
        level: Mu-law companded, in [-1, 1], any shape.
        amplitude: In [-1, 1], of the same shape.
        channels: How many of these functions.

    Returns:
        `channels` tensors of that shape.
    """
    columns = [level, amplitude]
    for frequency in range(1, (channels + 1) // 2):
        columns += [torch.sin(math.pi * frequency * level), torch.cos(math.pi * frequency * level)]
    return columns[:channels]


def root_mean_square(x: Tensor) -> Tensor:
    """Of all values, a scalar."""
    return x.square().mean().sqrt()

"""Spectrogram images. Not imported by the package's `__init__`, because matplotlib is slow to import."""

import matplotlib
import torch
from torch import Tensor


def spectrogram_image(log_mel: Tensor, low: float = -11.5, high: float = 1.0) -> Tensor:
    """Convert a log-mel spectrogram to a colour image, with low frequencies at the bottom.

    Args:
        log_mel: (n_mels, frames), natural logarithm.
        low: Value of the darkest colour.
        high: Value of the brightest colour.

    Returns:
        (3, n_mels, frames) in [0, 1].
    """
    scaled = ((log_mel.flip(0) - low) / (high - low)).clamp(0, 1)
    rgba = matplotlib.colormaps["magma"](scaled.numpy())
    return torch.from_numpy(rgba[..., :3]).permute(2, 0, 1).float()

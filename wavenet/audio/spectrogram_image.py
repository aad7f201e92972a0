"""Pictures of sound. Apart from its siblings, because matplotlib takes a while to import."""

import matplotlib
import torch
from torch import Tensor


def spectrogram_image(log_mel: Tensor, low: float = -11.5, high: float = 1.0) -> Tensor:
    """Colour a log-mel spectrogram for a picture: low frequencies at the bottom.

    Args:
        log_mel: (n_mels, frames), natural logarithm.
        low: Drawn darkest.
        high: Drawn brightest.

    Returns:
        (3, n_mels, frames) in [0, 1].
    """
    scaled = ((log_mel.flip(0) - low) / (high - low)).clamp(0, 1)
    rgba = matplotlib.colormaps["magma"](scaled.numpy())
    return torch.from_numpy(rgba[..., :3]).permute(2, 0, 1).float()

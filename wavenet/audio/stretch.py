"""Scaling of a waveform to full scale."""

from torch import Tensor


def stretched(waveform: Tensor) -> Tensor:
    """Scale and shift a waveform so that its range is -1 to 1, as the SaShiMi paper's code does with each clip.

    From github.com/state-spaces/s4, src/dataloaders/audio.py, `minmax_scale` (Goel et al., 2022). The mean moves as
    well, so silence is at 0 only if the highest and the lowest sample are equally far from it.

    Args:
        waveform: (T,), T at least 1.

    Returns:
        (T,) in [-1, 1]; a constant waveform becomes -1, as in the paper's code.
    """
    low, high = waveform.aminmax()
    return (2 * (waveform - low) / (high - low + 1e-6) - 1).clamp(-1, 1)

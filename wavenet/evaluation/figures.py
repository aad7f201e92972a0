"""Figures: the dilated stack, and spectrograms of generated and real speech."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib.pyplot as plt
from matplotlib.figure import Figure
from torch import Tensor

from wavenet.audio import log_mel_spectrogram
from wavenet.nn import receptive_field


def draw_stack(path: str | os.PathLike[str], kernel_size: int = 2, dilations: Sequence[int] = (1, 2, 4, 8)) -> None:
    """Draw a stack of dilated causal convolutions (figure 3 of the paper) and the receptive field of one output.

    Args:
        path: The image file to write.
        kernel_size: Taps of each convolution.
        dilations: Dilation of each layer, samples.
    """
    field = receptive_field(kernel_size, dilations)
    length = field + 8
    in_field = {(len(dilations), length - 1)}
    figure, axes = plt.subplots(figsize=(11, 3.6))
    for layer in range(len(dilations), 0, -1):
        for t in range(length):
            for tap in range(kernel_size):
                source = t - tap * dilations[layer - 1]
                if source < 0:
                    continue
                highlighted = (layer, t) in in_field
                if highlighted:
                    in_field.add((layer - 1, source))
                colour, width = ("tab:orange", 1.6) if highlighted else ("lightgrey", 0.6)
                axes.plot(
                    [source, t], [layer - 1, layer], color=colour, linewidth=width, zorder=2 if highlighted else 1
                )
    for layer in range(len(dilations) + 1):
        for t in range(length):
            colour = "tab:orange" if (layer, t) in in_field else "white"
            axes.scatter(t, layer, s=70, color=colour, edgecolors="grey", zorder=3)
    labels = ["input", *(f"dilation {d}" for d in dilations)]
    axes.set_yticks(range(len(labels)), labels)
    axes.set_xticks([length - field, length - 1], [f"t - {field - 1}", "t"])
    axes.set_title(
        f"Receptive field of one output: {field} samples through {len(dilations)} layers of kernel {kernel_size}"
    )
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    _save(figure, path)


def draw_spectrograms(path: str | os.PathLike[str], waveforms: Mapping[str, Tensor], sample_rate: int) -> None:
    """Draw mel spectrograms, two in a row.

    Args:
        path: The image file to write.
        waveforms: Title and waveform (T,) of each spectrogram.
        sample_rate: Hz.
    """
    rows = (len(waveforms) + 1) // 2
    figure, grid = plt.subplots(rows, 2, figsize=(11, 2.2 * rows), squeeze=False, sharex=True, sharey=True)
    for axes, (title, waveform) in zip(grid.flat, waveforms.items(), strict=False):
        mel = log_mel_spectrogram(waveform, sample_rate)
        seconds = waveform.shape[0] / sample_rate
        axes.imshow(
            mel.numpy(),
            origin="lower",
            aspect="auto",
            cmap="magma",
            vmin=-11.5,
            vmax=1,
            extent=(0, seconds, 0, len(mel)),
        )
        axes.set_title(title, fontsize=10)
    for axes in grid[:, 0]:
        axes.set_ylabel("mel band")
    for axes in grid[-1]:
        axes.set_xlabel("seconds")
    _save(figure, path)


def _save(figure: Figure, path: str | os.PathLike[str]) -> None:
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    plt.close(figure)

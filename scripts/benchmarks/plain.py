"""Baselines: the same network in its simplest form, and in r9y9's package."""

import warnings
from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wavenet.audio import mu_law_encode
from wavenet.nn import cycle_of_dilations

VOCODER = "wavenet-vocoder"  # r9y9's package


class PlainConv1d(nn.Module):
    """WaveNet with one-hot input, a padded Conv1d for each layer, and skip outputs that are summed layer by layer.

    Args:
        residual_channels: Channels between the layers; all arguments are as in `WaveNet`.
        gate_channels: Channels before the split into filter and gate.
        skip_channels: Channels of the skip outputs and the head.
        kernel_size: Taps of the dilated convolutions.
        dilation_cycle: Layers per cycle.
        num_cycles: Number of cycles.
        num_classes: Number of mu-law classes.
        condition_channels: Channels of a condition for the whole utterance; 0 for none.
    """

    def __init__(
        self,
        residual_channels: int = 64,
        gate_channels: int = 128,
        skip_channels: int = 256,
        kernel_size: int = 2,
        dilation_cycle: int = 10,
        num_cycles: int = 3,
        num_classes: int = 256,
        condition_channels: int = 0,
    ) -> None:
        super().__init__()
        dilations = cycle_of_dilations(dilation_cycle, num_cycles)
        self.num_classes = num_classes
        self.pads = [(kernel_size - 1) * dilation for dilation in dilations]
        self.input = nn.Conv1d(num_classes, residual_channels, 1)
        self.gated = nn.ModuleList(
            nn.Conv1d(residual_channels, gate_channels, kernel_size, dilation=dilation) for dilation in dilations
        )
        self.conditioned = nn.ModuleList(
            nn.Conv1d(condition_channels, gate_channels, 1, bias=False)
            for _ in (dilations if condition_channels else ())
        )
        self.skip = nn.ModuleList(nn.Conv1d(gate_channels // 2, skip_channels, 1) for _ in dilations)
        self.residual = nn.ModuleList(nn.Conv1d(gate_channels // 2, residual_channels, 1) for _ in dilations[1:])
        self.head = nn.Sequential(
            nn.ReLU(), nn.Conv1d(skip_channels, skip_channels, 1), nn.ReLU(), nn.Conv1d(skip_channels, num_classes, 1)
        )

    def log_prob(self, waveform: Tensor, condition: Tensor | None = None) -> Tensor:
        """Return the log-probability of each sample in nats, (B, T).

        Args:
            waveform: (B, T) in [-1, 1].
            condition: (B, condition_channels, 1), if the network has any.
        """
        classes = mu_law_encode(waveform, self.num_classes)
        inputs = F.pad(classes[:, :-1], (1, 0), value=self.num_classes // 2)
        x = self.input(F.one_hot(inputs, self.num_classes).transpose(1, 2).float())
        total = torch.zeros(())
        for i, conv in enumerate(self.gated):
            gated = conv(F.pad(x, (self.pads[i], 0)))
            if condition is not None:
                gated = gated + self.conditioned[i](condition)
            filters, gates = gated.chunk(2, dim=1)
            z = torch.tanh(filters) * torch.sigmoid(gates)
            total = total + self.skip[i](z) if i else self.skip[i](z)
            if i < len(self.residual):
                x = x + self.residual[i](z)
        return -F.cross_entropy(self.head(total), classes, reduction="none")


def vocoder(sizes: Mapping[str, int], **options: Any) -> Any:
    """Return the network of the PyPI package wavenet-vocoder, for 256 classes.

    Args:
        sizes: Sizes, with the names of `PlainConv1d`'s arguments.
        options: Further arguments of the package's constructor.

    Raises:
        ImportError: If the package is not installed.
    """
    from wavenet_vocoder import WaveNet as Vocoder  # pyright: ignore[reportMissingImports]

    sizes = {"kernel_size": 2, "dilation_cycle": 10, **sizes}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # it uses torch's deprecated weight_norm
        return Vocoder(
            out_channels=256,
            layers=sizes["dilation_cycle"] * sizes["num_cycles"],
            stacks=sizes["num_cycles"],
            residual_channels=sizes["residual_channels"],
            gate_channels=sizes["gate_channels"],
            skip_out_channels=sizes["skip_channels"],
            kernel_size=sizes["kernel_size"],
            **options,
        )


def vocoder_log_prob(network: Any) -> Callable[..., Tensor]:
    """Return a function of waveforms (B, T), and a condition (B, C, 1) or None, for a network of `vocoder`.

    It returns log-probabilities in nats, (B, T), as `PlainConv1d.log_prob` does.
    """

    def log_prob(waveform: Tensor, condition: Tensor | None = None) -> Tensor:
        classes = mu_law_encode(waveform, 256)
        inputs = F.one_hot(F.pad(classes[:, :-1], (1, 0), value=128), 256).transpose(1, 2).float()
        return -F.cross_entropy(network(inputs, g=condition), classes, reduction="none")

    return log_prob
